"""What a run waits for while none of its code runs: time, events, signals, the end of another function.

Each function here checks what a handler gave and returns what is asked of the server (protocol 4.8), or reads what came of
it (4.4). Wrong use raises ``StepUsageError`` with the step's id.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import msgspec

from stepwell.errors import DurationError, ExpressionError, StepUsageError
from stepwell.limits import DAY_MS, EVENT_NAME_CHARS_MAX, SIGNAL_NAME_CHARS_MAX, SLEEP_MS_MAX, STEP_INPUT_BYTES_MAX
from stepwell.protocol.canonical import Json
from stepwell.protocol.duration import Duration, duration_ms, duration_text, time_text
from stepwell.protocol.ops import OpCode
from stepwell.sdk.condition import condition
from stepwell.sdk.event import Event, as_object, from_json
from stepwell.sdk.serialise import NotSerialisable, decode, encode
from stepwell.sdk.wanted import Asked, Wanted

if TYPE_CHECKING:
    from stepwell.sdk.function import Function

Since: TypeAlias = Literal["run_start"] | None
OnConflict: TypeAlias = Literal["fail", "replace"]

_CONFLICTS: Final = ("fail", "replace")


class Signal(msgspec.Struct, frozen=True):
    """A signal that came: its name, and what its sender gave with it."""

    name: str
    data: Json = None


class Received:
    """Which events a run has had: a wait that looks back passes over them, so that waits in a loop get each event once."""

    def __init__(self, events: Iterable[Event]) -> None:
        self._ids: dict[str, dict[str, None]] = {}
        for event in events:
            self.add(event)

    def add(self, event: Event) -> None:
        """Note an event that the run has had."""
        if event.id:
            self._ids.setdefault(event.name, {})[event.id] = None

    def ids(self, name: str) -> list[str]:
        """Return the ids of those of one name, in the order in which they came."""
        return list(self._ids.get(name, ()))


def sleeping(id: str, duration: Duration) -> Wanted:
    """Ask for a sleep."""
    return Wanted(id, asked=Asked(OpCode.SLEEP, name=_text(id, duration, "sleeps")))


def sleeping_until(id: str, time: datetime.datetime | str) -> Wanted:
    """Ask for a sleep until a time, which has a zone."""
    try:
        at = datetime.datetime.fromisoformat(time) if isinstance(time, str) else time
    except ValueError:
        raise StepUsageError(f"step {id!r}: {time!r} is not a time; write it like 2030-01-31T09:00:00Z") from None
    if at.tzinfo is None:
        raise StepUsageError(f"step {id!r}: {time!r} has no time zone; add one (Z, +02:00, datetime.UTC)")
    return Wanted(id, asked=Asked(OpCode.SLEEP, name=time_text(round(at.timestamp() * 1000))))


def waiting_for_event(
    id: str,
    event: str,
    *,
    match: str | None,
    if_: str | None,
    timeout: Duration,
    since: Since,
    received: Received,
) -> Wanted:
    """Ask for the next event of a name; with ``since``, which is an option of ours, for one that was there before, too."""
    if not _is_name(event, EVENT_NAME_CHARS_MAX):
        raise StepUsageError(
            f"step {id!r} waits for the event {event!r}; give the name of one, of up to {EVENT_NAME_CHARS_MAX} characters"
        )
    if since not in (None, "run_start"):
        raise StepUsageError(f"step {id!r}: since is 'run_start' or None: {since!r}")
    try:
        expression = condition(match, if_)
    except ExpressionError as error:
        raise StepUsageError(f"step {id!r}: {error}") from None
    opts: dict[str, Json] = {"timeout": _text(id, timeout, "waits")}
    if expression is not None:
        opts["if"] = expression
    if since is not None:
        opts["since"] = since
        if seen := received.ids(event):
            opts["seen"] = seen
    return Wanted(id, asked=Asked(OpCode.WAIT_FOR_EVENT, opts, event))


def as_event(memo: Json, received: Received) -> Event | None:
    """Read what came of a wait for an event, and note it; None when its time ran out."""
    if memo is None:
        return None
    event = from_json(memo)
    received.add(event)
    return event


def waiting_for_signal(id: str, signal: str, *, timeout: Duration, on_conflict: OnConflict, takes_kept: bool) -> Wanted:
    """Ask for a signal."""
    check_signal(f"step {id!r}", signal)
    if on_conflict not in _CONFLICTS:
        raise StepUsageError(f"step {id!r}: on_conflict is 'fail' or 'replace': {on_conflict!r}")
    opts: dict[str, Json] = {"signal": signal, "timeout": _text(id, timeout, "waits"), "conflict": on_conflict}
    if takes_kept:
        opts["keep"] = True
    return Wanted(id, asked=Asked(OpCode.WAIT_FOR_SIGNAL, opts, signal))


def as_signal(memo: Json) -> Signal | None:
    """Read what came of a wait for a signal; None when its time ran out."""
    if memo is None:
        return None
    fields = as_object(memo)
    return Signal(str(fields.get("signal") or ""), fields.get("data"))


def check_signal(where: str, signal: str) -> None:
    """Raise ``StepUsageError`` for a name that no signal can have."""
    if not _is_name(signal, SIGNAL_NAME_CHARS_MAX):
        raise StepUsageError(f"{where}: a signal's name has 1 to {SIGNAL_NAME_CHARS_MAX} characters: {signal!r:.80}")


def _is_name(name: object, chars_max: int) -> bool:
    """Tell whether it can be a name: not every database takes the character U+0000."""
    return isinstance(name, str) and 0 < len(name) <= chars_max and "\0" not in name


def invoking(
    id: str, function: Function[Any] | str, *, data: Mapping[str, Any] | None, timeout: Duration | None
) -> Wanted:
    """Ask for a run of a function and its result."""
    slug = function if isinstance(function, str) else getattr(function, "slug", None)
    if not isinstance(slug, str) or not slug:
        raise StepUsageError(
            f"step {id!r} invokes {function!r}; give a function of this app, or the id of one on the server,"
            " which has its app's in front (acme-ship)"
        )
    given = plain(id, {} if data is None else data)
    if not isinstance(given, dict):
        raise StepUsageError(f"step {id!r} invokes {slug!r} with {type(data).__name__} as data; give a mapping")
    opts: dict[str, Json] = {"function_id": slug, "payload": {"data": given}}
    if timeout is not None:
        opts["timeout"] = _text(id, timeout, "waits")
    return Wanted(id, asked=Asked(OpCode.INVOKE_FUNCTION, opts))


def plain(id: str, value: object) -> Json:
    """Return what JSON makes of a step's input; raise ``StepUsageError`` for what it can't hold, and for too much."""
    try:
        encoded = encode(value)
    except NotSerialisable as error:
        raise StepUsageError(f"what step {id!r} is given can't be written as JSON: {error}") from None
    if len(encoded) > STEP_INPUT_BYTES_MAX:
        raise StepUsageError(
            f"what step {id!r} is given has {len(encoded)} bytes; the limit is {STEP_INPUT_BYTES_MAX}:"
            " store the data elsewhere and give where it is"
        )
    return decode(encoded)


def _text(id: str, duration: Duration, verb: str) -> str:
    """Write a duration in the protocol's form."""
    try:
        ms = duration_ms(duration)
    except (DurationError, TypeError) as error:
        raise StepUsageError(f"step {id!r}: {error}") from None
    if ms > SLEEP_MS_MAX:
        raise StepUsageError(f"step {id!r} {verb} {duration!r}; the most is {SLEEP_MS_MAX // DAY_MS} days")
    return duration_text(ms)
