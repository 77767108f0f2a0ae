"""Conditions that people search by: CEL over ``event``, ``run``, ``output`` and ``error``, and shorter forms of it.

    data.user_id = 42              event.data.user_id == 42
    error: timeout                 the run failed, and its error has "timeout" in it, in any case
    "timeout"                      the same

What a condition says at once is taken out of it, so that the database leaves out most of what can't match: the statuses
that it allows, and texts that the event's body must hold.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from stepwell.engine.core.expression import NO_VALUE, Expression, compile_once
from stepwell.engine.core.expression_parts import path_of, paths, reads_now
from stepwell.engine.core.expression_tree import Call, Macro, walk
from stepwell.engine.core.expression_values import INT64_MAX
from stepwell.engine.core.model import RunStatus
from stepwell.errors import ExpressionError
from stepwell.limits import NEEDLE_BYTES_MAX
from stepwell.protocol.canonical import Json, NotJson, encode
from stepwell.server.context import ApiError

RUN_NAMES: Final = ("event", "run", "output", "error")
EVENT_NAMES: Final = ("event",)

_ERROR: Final = re.compile(r"error\s*:\s*(\S.*)\Z", re.DOTALL)
_QUOTED: Final = re.compile(r"""(["'])((?:(?!\1)[^\\])*)\1\Z""", re.DOTALL)
# One that isn't closed goes to the end: so no text is gone through again and again.
_STRING: Final = r"""("(?:[^"\\]|\\.)*"?|'(?:[^'\\]|\\.)*'?)"""
# A string, or what is written differently in CEL: one "=", and "data" without "event".
_SHORT: Final = re.compile(_STRING + r"|(?<![=!<>])=(?!=)|(?<![\w.])data(?=[.\[])", re.ASCII)
_LARGE: Final = re.compile(_STRING + r"|(?<![\w.])[0-9]{16,19}(?![\w.])", re.ASCII)


class Where(NamedTuple):
    """A compiled condition."""

    expression: Expression
    names: tuple[str, ...]
    reads: frozenset[str]
    """Which of the variables it reads."""
    statuses: frozenset[RunStatus]
    """Those in which a run may match."""
    needles: tuple[bytes, ...]
    """What the body of an event that matches holds, all of it."""

    def matches(self, variables: Mapping[str, Json], now_ms: int) -> bool:
        """Tell whether it is true. What can't be evaluated is false."""
        return self.expression.test(variables, now_ms)


def read_where(text: str | None, names: tuple[str, ...]) -> Where | None:
    """Compile a condition; None where there is none. Raises ``ApiError`` 400 with the place of the mistake."""
    if text is None or not text.strip():
        return None
    try:
        expression = _compile(text.strip(), names)
    except ExpressionError as error:
        raise ApiError(400, error.code, str(error), path="$.where") from None
    terms = expression.terms()
    return Where(
        expression=expression,
        names=names,
        reads=frozenset(path[0] for path in paths(expression.tree)),
        statuses=frozenset(status for status in RunStatus if all(_allows(term, status) for term in terms)),
        needles=tuple(needle for term in terms for needle in _needles(term)),
    )


def _compile(text: str, names: tuple[str, ...]) -> Expression:
    plain = _ERROR.match(text) or _QUOTED.match(text)
    if plain is not None and "error" in names:
        sought = encode(plain[plain.lastindex or 0].lower()).decode()
        return compile_once(f"lowercase(error).contains({sought})", names)
    text = _LARGE.sub(lambda found: found[1] or _rounded(found[0]), text)
    try:
        return compile_once(text, names)
    except ExpressionError:
        longer = _SHORT.sub(lambda found: found[1] or ("==" if found[0] == "=" else "event.data"), text)
        if longer == text:
            raise
        return compile_once(longer, names)


def _rounded(number: str) -> str:
    """Return a large number as it is stored: JSON's numbers have 53 bits, and an id may have had more when it was sent."""
    stored = encode(int(number)).decode()
    return stored if stored.isdecimal() and int(stored) <= INT64_MAX else number


def _allows(term: Expression, status: RunStatus) -> bool:
    """Tell whether a term can be true of a run in a status."""
    if reads_now(term.tree) or _has_loop(term):
        return True
    variables: dict[str, Json] = {}
    for path in paths(term.tree):
        if path == ("run", "status"):
            variables["run"] = {"status": status.value}
        elif path[0] == "error" and status is not RunStatus.FAILED:
            variables["error"] = None
        else:
            return True
    return term.test(variables)


def _has_loop(term: Expression) -> bool:
    """Tell whether a term may take long: it is looked at for each status, while everybody waits."""
    return any(isinstance(node, Macro) for node in walk(term.tree))


def _needles(term: Expression) -> Iterator[bytes]:
    """Yield what an event's body has where a term ``event.….field == known`` is true: bodies are in canonical form."""
    match term.tree:
        case Call("_==_", (left, right)) if not _has_loop(term):
            for sought, known in ((left, right), (right, left)):
                path = path_of(sought)
                if path is None or path[0] != "event" or len(path) == 1 or paths(known) or reads_now(known):
                    continue
                try:
                    value = term.part(known).evaluate({})
                    needle = encode(path[-1]) + b":" + encode(value)
                except (ExpressionError, NotJson, *NO_VALUE):
                    continue
                # A field that isn't there is null, too.
                if type(value) in (str, int, float, bool) and len(needle) <= NEEDLE_BYTES_MAX:
                    yield needle
        case _:
            pass
