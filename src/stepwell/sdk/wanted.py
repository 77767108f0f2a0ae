"""A step as a handler calls it, before it is known what it gives."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from stepwell.protocol.canonical import Json
from stepwell.protocol.ops import OpCode


class Asked(NamedTuple):
    """What the server does for a step, while no user code runs (protocol 4.8)."""

    op: OpCode
    opts: dict[str, Json] | None = None
    name: str | None = None
    """What the op carries as its name; the step's id unless given."""


class Wanted(NamedTuple):
    """A step: either a ``body`` to run here, or something ``asked`` of the server."""

    name: str
    body: Callable[..., Any] | None = None
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = MappingProxyType({})
    asked: Asked | None = None
    type: str | None = None
    given: list[Json] | None = None
    """The arguments as they were before the body ran, for people to see."""
    is_raced: bool = False
    """It belongs to a branch of a race: its end is to be told without waiting for the steps found with it."""
