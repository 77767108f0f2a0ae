"""The ways to call user code: over HTTP here; connected workers and embedded mode have their own."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from stepwell.engine.core.model import Reply


class EndpointRequest(NamedTuple):
    """How a durable endpoint is called (protocol 7.4): as it was by whoever began the run."""

    method: str
    content_type: str
    is_plan_forced: bool


class OutgoingCall(NamedTuple):
    """One request to the user's code."""

    url: str
    """The function's URL, as it was registered, with its ``fnId``."""
    step_id: str
    run_id: str
    request_id: str
    request_version: int
    body: bytes
    trace: str = ""
    """Header lines that say where the spans of the call belong."""
    endpoint: EndpointRequest | None = None
    """Of a durable endpoint: ``url`` and ``body`` are those of its request; it fetches the run's state itself."""


class Transport(Protocol):
    """Makes a call and returns what came back. It never raises for what an app does, or doesn't."""

    async def call(self, call: OutgoingCall) -> Reply: ...
