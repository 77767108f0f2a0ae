"""What starts a function: events and schedules, as users write them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias, cast

from stepwell.errors import DurationError, FunctionConfigError
from stepwell.limits import (
    CRON_CHARS_MAX,
    EXPRESSION_CHARS_MAX,
    JITTER_MS_MAX,
    JITTER_MS_MIN,
    TRIGGER_EVENT_CHARS_MAX,
    TRIGGERS_PER_FUNCTION_MAX,
)
from stepwell.protocol.duration import Duration, duration_ms, duration_text
from stepwell.protocol.sync import Trigger

On: TypeAlias = str | Trigger | Iterable[str | Trigger]
"""What ``on=`` takes: an event's name, ``trigger(…)``, ``cron(…)``, or several of them."""

_CRON_FIELDS = 5


def trigger(event: str, *, if_: str | None = None) -> Trigger:
    """Start a function on an event, when the CEL expression ``if_`` holds.

    ``event`` may end in a wildcard (``shop/*``); ``if_`` sees the event: ``"event.data.total > 100"``.
    Raises ``FunctionConfigError`` for an empty or overlong name or expression.
    """
    if not event or len(event) > TRIGGER_EVENT_CHARS_MAX:
        raise FunctionConfigError(f"an event's name has 1 to {TRIGGER_EVENT_CHARS_MAX} characters: {event!r}")
    if if_ is not None and not 0 < len(if_) <= EXPRESSION_CHARS_MAX:
        raise FunctionConfigError(f"if_ has 1 to {EXPRESSION_CHARS_MAX} characters; leave it out for every {event!r}")
    return Trigger(event=event, expression=if_)


def cron(schedule: str, *, jitter: Duration | None = None) -> Trigger:
    """Start a function by a schedule of five fields, in UTC or, with ``TZ=Europe/Paris`` in front, in a time zone.

    With ``jitter`` (1 s to 5 min) each run starts up to so much later, by chance, so that not all start at once.

    Raises ``FunctionConfigError`` when it hasn't five fields, or for a wrong jitter. The server reads it whole, and refuses
    the sync if it can't.
    """
    fields = schedule.split()
    if fields and fields[0].startswith(("TZ=", "CRON_TZ=")):
        fields = fields[1:]
    if len(fields) != _CRON_FIELDS or len(schedule) > CRON_CHARS_MAX:
        raise FunctionConfigError(
            f"{schedule!r} is no cron schedule: write minute, hour, day, month and weekday,"
            " with TZ=Area/City in front for a time zone (cron('TZ=Europe/Paris 0 9 * * 1-5'))"
        )
    return Trigger(cron=schedule, jitter=None if jitter is None else _jitter(jitter))


def _jitter(jitter: Duration) -> str:
    try:
        ms = duration_ms(jitter)
    except DurationError as error:
        raise FunctionConfigError(f"jitter: {error}") from None
    if not JITTER_MS_MIN <= ms <= JITTER_MS_MAX:
        least, most = duration_text(JITTER_MS_MIN), duration_text(JITTER_MS_MAX)
        raise FunctionConfigError(f"a schedule's jitter goes from {least} to {most}: {jitter!r}")
    return duration_text(ms)


def triggers(on: On, function_id: str) -> list[Trigger]:
    """Bring what ``on=`` was given into a list; raise ``FunctionConfigError`` naming the function for anything else."""
    given: Iterable[object] = [on] if isinstance(on, (str, Trigger)) else cast("Iterable[object]", on)
    try:
        found = [_one(item) for item in given]
    except FunctionConfigError as error:
        raise FunctionConfigError(f"function {function_id!r}: {error}") from None
    except TypeError:
        raise FunctionConfigError(f"function {function_id!r}: {_unknown(on)}") from None
    if len(found) > TRIGGERS_PER_FUNCTION_MAX:
        raise FunctionConfigError(
            f"function {function_id!r} has {len(found)} triggers; {TRIGGERS_PER_FUNCTION_MAX} are allowed"
        )
    if len(set(map(repr, found))) != len(found):
        raise FunctionConfigError(f"function {function_id!r} has the same trigger twice")
    return found


def _one(item: object) -> Trigger:
    match item:
        case str():
            return trigger(item)
        case Trigger() if item.event or item.cron:
            return item
        case _:
            raise FunctionConfigError(_unknown(item))


def _unknown(item: object) -> str:
    return (
        f"{item!r} is neither an event nor a schedule: give on= an event's name,"
        " trigger('name', if_='…'), cron('0 9 * * *'), or a list of them"
    )
