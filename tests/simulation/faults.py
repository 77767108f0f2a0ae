"""What may go wrong in a world, and how likely it is."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random


@dataclass
class Faults:
    """How likely each fault is, by occasion. What has ``per_minute`` in its name may be 1 and more."""

    # The process
    crash_before_commit: float = 0.0
    crash_after_commit: float = 0.0
    pause_after_commit: float = 0.0
    crash_per_minute: float = 0.0
    pause_per_minute: float = 0.0
    stop_per_minute: float = 0.0
    forgotten_run: float = 0.0
    clock_step: float = 0.0
    # The network between server and app
    refused: float = 0.0
    lost_reply: float = 0.0
    slow: float = 0.0
    # The database
    disk_full: float = 0.0
    read_error: float = 0.0
    doubled_commit: float = 0.0
    # A database that several replicas share
    unknown_commit: float = 0.0
    outage_per_minute: float = 0.0
    slowness_per_minute: float = 0.0
    database_clock_step: float = 0.0
    lost_news: float = 0.0
    deafness_per_minute: float = 0.0

    @classmethod
    def often(cls) -> Faults:
        """Have everything go wrong often."""
        faults = cls()
        for name in vars(faults):
            setattr(faults, name, _OFTEN.get(name, 0.02))
        return faults

    @classmethod
    def made_up(cls, chance: Random) -> Faults:
        """Choose a kind of trouble: each world has some faults often, some seldom, and some not at all."""
        faults = cls.often()
        for name, likely in vars(faults).items():
            setattr(faults, name, chance.choice([0.0, 0.0, likely / 4, likely]))
        return faults


_OFTEN = {
    "crash_per_minute": 4.0,
    "pause_per_minute": 3.0,
    "stop_per_minute": 3.0,
    "clock_step": 0.05,
    "slow": 0.1,
    "outage_per_minute": 1.0,
    "slowness_per_minute": 2.0,
    "database_clock_step": 0.01,
    "lost_news": 0.5,
    "deafness_per_minute": 2.0,
}
