"""Schedules: cron text to the next fire time, in a zone, right across changes of the clock.

cronsim does the arithmetic on the *wall*: the date and time that a clock in the zone shows, without an offset. What an
hour that is missing or repeated means for a schedule is decided here, as Debian's cron does it:

* A schedule is *fixed* when neither its minute nor its hour field starts with ``*``. Each of its times happens once a
  day: where the clock is set back, on the first pass only; where it jumps ahead over the time, right after the jump.
* Any other schedule *follows the clock*: where it is set back, a time fires on both passes. Where it jumps ahead, as
  much real time passes as ever, so that ``15 * * * *`` loses nothing: 03:15 comes an hour after 01:15. A time that has
  no such stand-in (``*/30 2 * * *``) fires right after the jump instead, where Debian's cron would lose it.

The zone data that ``zoneinfo`` reads, once a zone, is the only thing here from outside.
"""

from __future__ import annotations

import bisect
import datetime
import re
import zoneinfo
from dataclasses import dataclass
from typing import Final

from cronsim import CronSim, CronSimError

from stepwell.errors import CronError
from stepwell.limits import CRON_CHARS_MAX

_EPOCH: Final = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_SECOND: Final = datetime.timedelta(seconds=1)
_MILLISECOND: Final = datetime.timedelta(milliseconds=1)

_ZONED: Final = re.compile(r"(?:CRON_)?TZ=(\S+)\s+(.+)", re.DOTALL)
_ZONE_NAME: Final = re.compile(r"(?!right/|posix/|localtime|posixrules)[\w+-]+(/[\w+-]+)*", re.ASCII)
_NICKNAMES: Final = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_FIELDS: Final = {
    "minute": "0-59",
    "hour": "0-23",
    "day-of-month": "1-31, L (last day) or LW (last weekday)",
    "month": "1-12 or JAN-DEC",
    "day-of-week": "0-7 or SUN-SAT (0 and 7 are Sunday), 5L (last Friday) or 1#2 (second Monday)",
}


def parse_cron(text: str) -> Schedule:
    """Parse a schedule: five fields or a nickname such as ``@daily``, after ``TZ=Area/City`` where it isn't in UTC.

    Raises ``CronError`` that names the field, or the zone, and what it may be (protocol 3.4).
    """
    if len(text) > CRON_CHARS_MAX:
        raise CronError(f"the schedule has {len(text)} characters; at most {CRON_CHARS_MAX} are allowed")
    zoned = _ZONED.fullmatch(text.strip())
    zone = _zone(zoned[1]) if zoned else datetime.UTC
    fields = (zoned[2] if zoned else text).split()
    if len(fields) == 1 and fields[0].startswith("@"):
        if fields[0].lower() not in _NICKNAMES:
            raise CronError(f"{text!r}: unknown nickname {fields[0]!r}; there are {', '.join(_NICKNAMES)}")
        fields = _NICKNAMES[fields[0].lower()].split()
    if len(fields) != len(_FIELDS):
        # cronsim would take six, with the seconds first.
        raise CronError(f"{text!r} has {len(fields)} fields; a schedule has five: {', '.join(_FIELDS)}")
    try:
        CronSim(" ".join(fields), _EPOCH)
    except CronSimError as error:
        raise CronError(f"{text!r}: {_explain(error, fields)}") from None
    return Schedule(text=text, fields=" ".join(fields), zone=zone)


@dataclass(frozen=True, slots=True)
class Schedule:
    """A parsed schedule."""

    text: str
    fields: str
    zone: datetime.tzinfo

    def next_after(self, now_ms: int) -> int | None:
        """Return the first fire time after ``now_ms``, both in ms since the epoch.

        None for a schedule that doesn't fire within fifty years (``0 0 */31 * 1#2``: the first is never a second
        Monday), or not before the calendar ends.
        """
        try:
            at = self._next_after(_EPOCH + (now_ms // 1000) * _SECOND)
        except OverflowError:
            return None
        return None if at is None else (at - _EPOCH) // _MILLISECOND

    @property
    def _follows_clock(self) -> bool:
        minute, hour, *_ = self.fields.split()
        return minute.startswith("*") or hour.startswith("*")

    def _next_after(self, now: datetime.datetime) -> datetime.datetime | None:
        local = now.astimezone(self.zone)
        wall = local.replace(tzinfo=None, fold=0)
        later = (at for match in CronSim(self.fields, wall) for at in self._instants(match) if at > now)
        following = next(later, None)
        if self._follows_clock and local.fold == 0:
            repeated = self._on_second_pass(wall)
            if repeated is not None and (following is None or repeated < following):
                return repeated
        return following

    def _instants(self, wall: datetime.datetime) -> list[datetime.datetime]:
        """Return when a matching wall time fires, in UTC: once, twice, or not at all."""
        before, after = self._offset(wall, fold=0), self._offset(wall, fold=1)
        if before == after:
            return [_utc(wall, before)]
        if before > after:
            return [_utc(wall, before), _utc(wall, after)] if self._follows_clock else [_utc(wall, before)]
        if self._follows_clock and self._matches(wall + (after - before)):
            return []
        return [self._change(wall)]

    def _on_second_pass(self, wall: datetime.datetime) -> datetime.datetime | None:
        """Where ``wall`` is in an hour that will be repeated: the first fire of the repetition at or before ``wall``.

        The search from ``wall`` onwards can't find it, since on the wall it lies behind.
        """
        after = self._offset(wall, fold=1)
        if self._offset(wall, fold=0) <= after:
            return None
        start = self._change(wall).replace(tzinfo=None) + after
        match = next(CronSim(self.fields, start - _SECOND), None)
        return _utc(match, after) if match is not None and match <= wall else None

    def _matches(self, wall: datetime.datetime) -> bool:
        return next(CronSim(self.fields, wall - _SECOND), None) == wall

    def _change(self, wall: datetime.datetime) -> datetime.datetime:
        """Return the instant of the change of the clock that makes a wall time missing or repeated."""
        before, after = self._offset(wall, fold=0), self._offset(wall, fold=1)
        earliest = _utc(wall, max(before, after))
        seconds = range(abs(after - before) // _SECOND + 1)
        return earliest + _SECOND * bisect.bisect_left(
            seconds, True, key=lambda second: (earliest + second * _SECOND).astimezone(self.zone).utcoffset() != before
        )

    def _offset(self, wall: datetime.datetime, *, fold: int) -> datetime.timedelta:
        offset = wall.replace(tzinfo=self.zone, fold=fold).utcoffset()
        assert offset is not None
        return offset


def _utc(wall: datetime.datetime, offset: datetime.timedelta) -> datetime.datetime:
    return (wall - offset).replace(tzinfo=datetime.UTC)


def _zone(name: str) -> datetime.tzinfo:
    try:
        if _ZONE_NAME.fullmatch(name):  # names that depend on this machine are left out, and paths
            return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        pass
    raise CronError(f"unknown time zone {name!r}: use a name such as TZ=Europe/Paris")


def _explain(error: CronSimError, fields: list[str]) -> str:
    """Say which field is wrong; cronsim says ``Bad minute``."""
    name = str(error).removeprefix("Bad ")
    position = list(_FIELDS).index(name)
    try:
        CronSim(" ".join("*" if index != position else field for index, field in enumerate(fields)), _EPOCH)
    except CronSimError:
        return f"the {name} {fields[position]!r} is not valid; use {_FIELDS[name]}, with * , - and / as in cron"
    return f"there is no day {fields[2]} in month {fields[3]}"
