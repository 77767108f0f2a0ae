"""Conditions of waits and of cancel rules: what of them is known at once, what an index finds, and what is left.

A condition has two variables: ``event``, what the run was started by, and ``async``, what comes later (protocol 10).
The first is known when the run begins to wait, so ``prepare`` takes the conjunction apart into

- terms that read nothing of ``async``: they are decided at once. A false one means that nothing can ever match;
- one equality ``async.<path> == <what is known>``, which becomes a path and a value for an index, so that an event
  finds the runs that wait for it by look-up (design 4);
- the *rest*, which is evaluated for each event that the index finds.

The rest is kept as JSON: the condition's own text, the numbers of the terms that are left, and of ``event`` only the
fields that these read. Text with the values written into it would be another one for each run, and every look-up would
have to compile it; this way all the runs of a function share what was compiled once.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NamedTuple, cast

import msgspec

from stepwell.engine.core.expression import NO_VALUE, Expression, compile_expression
from stepwell.engine.core.expression_parts import Path, outermost, path_of, paths, reads_now
from stepwell.engine.core.expression_text import written_path
from stepwell.engine.core.expression_tree import Call, Node
from stepwell.engine.core.expression_values import Value, is_number
from stepwell.errors import ExpressionError
from stepwell.limits import WAIT_PATH_BYTES_MAX, WAIT_VALUE_BYTES_MAX
from stepwell.protocol.canonical import Json, NotJson, encode

_NAMES: Final = ("event", "async")
_CONDITIONS_CACHED: Final = 4_096  # a few kB each
_EXACT_MAX: Final = 2**53 - 1  # up to which different whole numbers have different canonical texts
_SEEN_MAX: Final = 4
_SEEN_CHARS_MAX: Final = 80
_MISSING: Final = object()


class Condition(msgspec.Struct, frozen=True):
    """A condition with the run's own event put in.

    It matches an event ``e`` if ``value_at(e, path) == value and holds(rest, e, ...)``.
    """

    path: str = ""
    """The fields that lead to the indexed value, as a JSON array: ``["data","order"]``. Empty: nothing is indexed."""
    value: str = ""
    """The indexed value in canonical JSON; ``null`` is also that of a field which isn't there."""
    rest: str | None = None
    """What is left to evaluate, for ``holds``; None where nothing is."""
    is_never: bool = False
    """It is already known to be false."""


_ALWAYS: Final = Condition()
_NEVER: Final = Condition(is_never=True)


class _Rest(msgspec.Struct, frozen=True):
    text: str = msgspec.field(name="if")
    terms: tuple[int, ...]
    """Numbers, from 0, of the terms that are left: the operands of the top ``&&`` in source order."""
    event: Json
    """The fields of the run's event that these terms read."""


class _Equality(NamedTuple):
    """``async.<path> == known``."""

    path: str
    known: Expression
    is_fixed: bool
    """The value is the same in all runs, so that it tells none of them from the others."""


class _Term(NamedTuple):
    expression: Expression
    reads: tuple[Path, ...]
    """The paths in ``event``, the variable left out."""
    is_known: bool
    """It reads neither ``async`` nor the time."""
    equality: _Equality | None


class _Index(NamedTuple):
    rank: int
    term: int
    path: str
    value: str
    is_exact: bool
    """The look-up decides the term: other values have other texts."""


def prepare(text: str | None, trigger: Mapping[str, object]) -> Condition:
    """Put the run's own event into a condition; no text at all is a condition that is always true.

    ``trigger`` is the event as it was decoded from canonical JSON. Raises ``ExpressionError`` for a text that can't be
    compiled. What can't be evaluated counts as false.
    """
    if text is None or not text.strip():
        return _ALWAYS
    variables = {"event": trigger}
    left: list[int] = []
    index: _Index | None = None
    for number, term in enumerate(_terms(text)):
        if term.is_known:
            if not term.expression.test(variables):
                return _NEVER
            continue
        left.append(number)
        if term.equality is not None:
            try:
                known = term.equality.known.value(variables)
            except NO_VALUE:
                return _NEVER
            found = _index(number, term.equality, known)
            if found is not None and (index is None or found.rank > index.rank):
                index = found
    if index is not None and index.is_exact:
        left.remove(index.term)
    path, value = ("", "") if index is None else (index.path, index.value)
    return Condition(path, value, _rest(text, tuple(left), trigger) if left else None)


def value_at(body: bytes, path: str) -> str:
    """Return what an event has at an indexed path, as ``Condition.value`` would have it: ``null`` if nothing.

    Empty for what can't be indexed (an object, an array, a very long string), and for the empty path. ``body`` is canonical
    JSON, so that the value is its own text: nothing else is decoded.
    """
    if not path:
        return ""
    try:
        found = bytes(_reader(path)(body))
    except msgspec.ValidationError:  # something on the way isn't an object
        return "null"
    return "" if found[0] in b"{[" or len(found) > WAIT_VALUE_BYTES_MAX else found.decode()


def holds(rest: str | None, incoming: Mapping[str, object], *, now_ms: int) -> bool:
    """Tell whether the rest of a condition is true of an event that has come in. What can't be evaluated is false."""
    if rest is None:
        return True
    kept = msgspec.json.decode(rest, type=_Rest)
    try:
        terms = _terms(kept.text)
    except ExpressionError:  # it was written by a version that knew more functions than this one
        return False
    variables = {"event": kept.event, "async": incoming}
    return all(terms[number].expression.test(variables, now_ms) for number in kept.terms)


def condition_text(path: str, value: str, rest: str | None) -> str | None:
    """Say in the words of a condition what is left of it once it is prepared; None where nothing is."""
    said: list[str] = []
    if path:
        fields = msgspec.json.decode(path, type=tuple[str, ...])
        said.append(f"{written_path(('async', *fields))} == {value}")
    if rest is not None:
        kept = msgspec.json.decode(rest, type=_Rest)
        try:
            terms = _terms(kept.text)
            said += [terms[number].expression.text for number in kept.terms]
        except ExpressionError:
            said.append(kept.text)
    return " && ".join(said) or None


def check_cancel_condition(text: str) -> None:
    """Check the condition of a cancel rule, which may use less than others (protocol 10).

    Raises ``ExpressionError`` with the position and what isn't allowed there.
    """
    compile_expression(text, _NAMES).check_restricted()


def failing_term(text: str, variables: Mapping[str, Json], now_ms: int) -> str | None:
    """Say why an expression is false: the first false term of a conjunction, with the values that it saw.

    Where no term is false but one can't be evaluated, it is the error's text; None for an expression that is true.
    """
    try:
        terms = compile_expression(text, tuple(variables)).terms()
    except ExpressionError as error:
        return str(error)
    trouble: str | None = None
    for term in terms:
        if term.test(variables, now_ms):
            continue
        try:
            term.evaluate(variables, now_ms)
        except ExpressionError as error:
            trouble = trouble or str(error)
        else:
            return _with_values(term, variables)
    return trouble


# Taking apart, once a text


@functools.lru_cache(_CONDITIONS_CACHED)
def _fields(path: str) -> tuple[str, ...]:
    return msgspec.json.decode(path, type=tuple[str, ...])


@functools.lru_cache(_CONDITIONS_CACHED)
def _reader(path: str) -> Callable[[bytes], msgspec.Raw]:
    """Make a decoder of one value: a struct for each object on the way to it, with the one field."""
    fields = _fields(path)
    shape: type[Any] = msgspec.Raw
    default: Any = msgspec.field(default=msgspec.Raw(b"null"))
    names: list[str] = []
    for depth, field in enumerate(reversed(fields)):
        name = f"f{depth}"
        shape = msgspec.defstruct("_On", [(name, shape, default)], rename={name: field})
        default = msgspec.field(default_factory=shape)
        names.insert(0, name)
    read = operator.attrgetter(".".join(names))
    decode = msgspec.json.Decoder(shape).decode
    return lambda body: read(decode(body))


@functools.lru_cache(_CONDITIONS_CACHED)
def _terms(text: str) -> tuple[_Term, ...]:
    return tuple(map(_term, compile_expression(text, _NAMES).terms()))


def _term(expression: Expression) -> _Term:
    return _Term(
        expression=expression,
        reads=tuple(path[1:] for path in paths(expression.tree) if path[0] == "event"),
        is_known=_is_known(expression.tree),
        equality=next(_equalities(expression), None),
    )


def _is_known(tree: Node) -> bool:
    return not reads_now(tree) and all(path[0] != "async" for path in paths(tree))


def _equalities(expression: Expression) -> Iterator[_Equality]:
    match expression.tree:
        case Call("_==_", (left, right)):
            for sought, known in ((left, right), (right, left)):
                path = path_of(sought)
                if path is None or path[0] != "async" or len(path) == 1 or not _is_known(known):
                    continue
                text = encode(list(path[1:]))
                if len(text) <= WAIT_PATH_BYTES_MAX:
                    yield _Equality(text.decode(), expression.part(known), is_fixed=not paths(known))
        case _:
            pass


# Values


def _index(term: int, equality: _Equality, known: Value) -> _Index | None:
    """Make the index entry of an equality, or None for a value that can't be one.

    The rank tells how well it will tell runs apart: a field of the run's event does, a constant or null hardly.
    """
    value = _indexed(known)
    if not value:
        return None
    rank = 0 if known is None or type(known) is bool else 1 if equality.is_fixed else 2
    is_exact = not is_number(known) or -_EXACT_MAX <= cast("float", known) <= _EXACT_MAX
    return _Index(rank, term, equality.path, value, is_exact)


def _indexed(value: Value) -> str:
    """Return the canonical JSON of a scalar that an index can hold; empty for all else."""
    if value is not None and type(value) not in (str, int, float, bool):
        return ""
    try:
        text = encode(value)
    except NotJson:
        return ""
    return text.decode() if len(text) <= WAIT_VALUE_BYTES_MAX else ""


def _rest(text: str, left: tuple[int, ...], trigger: Mapping[str, object]) -> str:
    terms = _terms(text)
    reads = outermost(path for number in left for path in terms[number].reads)
    return msgspec.json.encode(_Rest(text, left, _only(trigger, reads))).decode()


def _only(event: Mapping[str, object], reads: tuple[Path, ...]) -> Json:
    """Copy of an event what is at these paths, of which none lies inside another."""
    if reads == ((),):
        return event
    kept: dict[str, Json] = {}
    for path in reads:
        found = _look_up(event, path)
        if found is not _MISSING:
            inside = kept
            for field in path[:-1]:
                inside = inside.setdefault(field, {})
            inside[path[-1]] = found
    return kept


def _look_up(value: object, path: Path) -> object:
    for field in path:
        value = cast("Json", value).get(field, _MISSING) if isinstance(value, Mapping) else _MISSING
    return value


def _with_values(term: Expression, variables: Mapping[str, Json]) -> str:
    seen = [f"{written_path(path)} is {_shown(_look_up(variables, path))}" for path in paths(term.tree)[:_SEEN_MAX]]
    return f"{term.text} ({', '.join(seen)})" if seen else term.text


def _shown(value: object) -> str:
    if value is _MISSING:
        return "missing"
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= _SEEN_CHARS_MAX else text[: _SEEN_CHARS_MAX - 1] + "…"
