"""The doctor: what the reconciler of this server has looked at, found and mended."""

from __future__ import annotations

import msgspec

from stepwell.engine.reconciler import Report
from stepwell.protocol.duration import time_text
from stepwell.server.api.endpoint import AnyEndpoint, Call, Endpoint, Nothing


class FindingView(msgspec.Struct, frozen=True, kw_only=True):
    """Something that was found: a fault, which should never be; or what comes of time, such as an expired wait."""

    fault: str
    is_fault: bool
    found: int
    mended: int
    examples: list[str]
    """Keys of some: of runs, jobs, waits their ids."""


class Diagnosis(msgspec.Struct, frozen=True, kw_only=True):
    """One round of the reconciler."""

    is_healthy: bool
    """No fault was found."""
    started_at: str
    ended_at: str
    is_whole: bool
    """All that is open was looked at; otherwise the rounds of the next minutes go on."""
    checked: dict[str, int]
    """How many rows were looked at: unfinished runs, jobs, waits, slots, states of limits, signals, gatherings."""
    findings: list[FindingView]


class LatestDiagnosis(msgspec.Struct, frozen=True):
    """The latest round of the server that answers; null when there was none yet."""

    latest: Diagnosis | None


def endpoints() -> list[AnyEndpoint]:
    """Return the endpoints of the doctor."""
    path = "/api/doctor"
    return [
        Endpoint(
            "GET",
            path,
            "Show what the latest check has found",
            LatestDiagnosis,
            show_doctor,
            query=Nothing,
            body=Nothing,
        ),
        Endpoint("POST", path, "Check everything now, and mend it", Diagnosis, run_doctor, query=Nothing, body=Nothing),
    ]


async def show_doctor(call: Call[Nothing, Nothing]) -> LatestDiagnosis:
    """Show the latest round of this server's reconciler."""
    report = call.context.engine.reconciler.report
    return LatestDiagnosis(_view(report) if report is not None else None)


async def run_doctor(call: Call[Nothing, Nothing]) -> Diagnosis:
    """Look at all that is open, now, and mend what is broken."""
    return _view(await call.context.engine.reconciler.check_once(is_whole=True))


def _view(report: Report) -> Diagnosis:
    return Diagnosis(
        is_healthy=not report.faults,
        started_at=time_text(report.started_at),
        ended_at=time_text(report.ended_at),
        is_whole=report.is_whole,
        checked={str(walk): count for walk, count in report.checked.items()},
        findings=[
            FindingView(
                fault=str(fault),
                is_fault=not fault.is_of_time,
                found=count,
                mended=report.mended.get(fault, 0),
                examples=list(report.examples[fault]),
            )
            for fault, count in report.found.items()
        ],
    )
