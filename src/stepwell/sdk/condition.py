"""Conditions on two events, as users write them: the run's own ``event``, and ``async``, the one that comes (protocol 10)."""

from __future__ import annotations

import re
from typing import Final

from stepwell.errors import ExpressionError
from stepwell.limits import EXPRESSION_CHARS_MAX

_PATH: Final = re.compile(r"(?:data|user|id|name|ts|v)(?:\.[A-Za-z_]\w*)*\Z", re.ASCII)


def condition(match: str | None, if_: str | None) -> str | None:
    """Return the CEL expression for what was given, None for any event.

    ``match`` is a path that has the same value in both events. Raises ``ExpressionError`` for a path that is none, for an
    empty or overlong expression, and when both are given.
    """
    if match is not None and if_ is not None:
        raise ExpressionError("give either match or if_: if_ can say what match says, event.data.id == async.data.id")
    if match is not None:
        if not _PATH.match(match):
            raise ExpressionError(
                f"match is a path that both events have, such as data.orderId: {match!r};"
                " write other conditions with if_"
            )
        return f"event.{match} == async.{match}"
    if if_ is not None:
        check_expression("if_", if_)
    return if_


def check_expression(what: str, text: str) -> None:
    """Raise ``ExpressionError`` for an empty or overlong expression. The server reads it."""
    if not isinstance(text, str) or not 0 < len(text) <= EXPRESSION_CHARS_MAX:  # pyright: ignore[reportUnnecessaryIsInstance] - users' input
        raise ExpressionError(f"{what} is a CEL expression of 1 to {EXPRESSION_CHARS_MAX} characters: {text!r:.80}")
