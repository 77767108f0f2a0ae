"""What the command line reads of the API's answers. Unknown fields are ignored: the server may be newer."""

from __future__ import annotations

import msgspec

from stepwell.protocol.canonical import Json


class RefusalDetail(msgspec.Struct, frozen=True):
    """What is wrong."""

    code: str
    message: str
    path: str | None = None


class Refusal(msgspec.Struct, frozen=True):
    """An error of the API."""

    error: RefusalDetail


class Moved(msgspec.Struct, frozen=True):
    """Where the clock is after a skip."""

    now: str


class StartedRun(msgspec.Struct, frozen=True):
    """A run that an event started, or would have."""

    id: str
    function: str
    is_skipped: bool


class TakenEvent(msgspec.Struct, frozen=True):
    """An event that was accepted."""

    id: str
    name: str
    runs: list[StartedRun]


class TakenEvents(msgspec.Struct, frozen=True):
    """Accepted events."""

    events: list[TakenEvent]


class RunSummary(msgspec.Struct, frozen=True):
    """A run in a list."""

    id: str
    status: str
    function: str
    event_id: str
    event_name: str
    queued_at: str
    started_at: str | None
    ended_at: str | None
    reason: str | None

    @property
    def is_final(self) -> bool:
        """Tell whether it has ended."""
        return self.ended_at is not None


class RunPage(msgspec.Struct, frozen=True):
    """A page of runs."""

    items: list[RunSummary]
    next_cursor: str | None


class Failure(msgspec.Struct, frozen=True):
    """What a run or an attempt failed with."""

    name: str = "Error"
    message: str = ""
    stack: str | None = None


class RunView(RunSummary, frozen=True):
    """A run with what became of it."""

    output: Json
    error: Failure | None
    waiting: str | None


class Row(msgspec.Struct, frozen=True):
    """A row of a run's timeline."""

    kind: str
    status: str
    title: str | None
    attempt: int | None
    started_at: str | None
    ended_at: str | None
    due_at: str | None
    retry_at: str | None
    error: Failure | None
    waiting: str | None


class Timeline(msgspec.Struct, frozen=True):
    """A run at one moment."""

    now: str
    run: RunView
    rows: list[Row]


class Reason(msgspec.Struct, frozen=True):
    """Why one thing that a run has open doesn't go on."""

    kind: str
    text: str
    release: str
    since: str


class Explanation(msgspec.Struct, frozen=True):
    """Where a run stands."""

    id: str
    status: str
    function: str
    summary: str
    since: str
    reasons: list[Reason]
    left_out: int


class Finding(msgspec.Struct, frozen=True):
    """Something that the doctor found."""

    fault: str
    is_fault: bool
    found: int
    mended: int
    examples: list[str]


class Diagnosis(msgspec.Struct, frozen=True):
    """What the doctor looked at, and found."""

    is_healthy: bool
    ended_at: str
    is_whole: bool
    checked: dict[str, int]
    findings: list[Finding]


class LatestDiagnosis(msgspec.Struct, frozen=True):
    """What was found last, if anything was looked at."""

    latest: Diagnosis | None


class Trigger(msgspec.Struct, frozen=True):
    """What starts a function."""

    event: str | None
    expression: str | None
    cron: str | None
    next_at: str | None


class PauseView(msgspec.Struct, frozen=True):
    """How a function is paused."""

    since: str
    mode: str
    runs_under_way: str


class FunctionView(msgspec.Struct, frozen=True):
    """A function."""

    slug: str
    app: str
    version: int
    triggers: list[Trigger]
    max_attempts: int
    pause: PauseView | None = None


class FunctionList(msgspec.Struct, frozen=True):
    """Functions."""

    items: list[FunctionView]


class AppView(msgspec.Struct, frozen=True):
    """An app."""

    name: str
    url: str
    sdk: str
    framework: str
    function_count: int
    synced_at: str


class AppList(msgspec.Struct, frozen=True):
    """Apps."""

    items: list[AppView]


class SyncedApp(msgspec.Struct, frozen=True):
    """What a sync brought."""

    app: AppView | None
    is_modified: bool
