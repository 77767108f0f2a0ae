"""Functions in a group commit: apps are registered, functions paused. A plan without I/O.

Either makes a new revision of the environment, or finds that there is one already which the caller doesn't know.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from typing import TypeAlias

from stepwell.protocol.ids import EnvironmentId, FunctionId
from stepwell.store.query import Statement
from stepwell.store.request import PauseRequest, SyncRequest
from stepwell.store.rows import Row

Revising: TypeAlias = Generator[Statement, Sequence[Row], int | None]
"""Yields statements; is sent their rows; returns the new revision, or None: nothing was written."""


def sync(request: SyncRequest) -> Revising:
    """Register an app: its functions in, those it no longer has archived, its schedules replaced."""
    app = request.app
    revision = yield from _revise(app.environment, request.revision)
    if revision is None:
        return None
    yield Statement(
        "app_upsert",
        parameters={
            "id": app.id,
            "environment": app.environment,
            "name": app.name,
            "transport": app.transport,
            "url": app.url,
            "sdk": app.sdk,
            "framework": app.framework,
            "version": app.version,
            "checksum": app.checksum,
            "now": app.synced_at,
        },
    )
    if request.is_removed:
        yield Statement("app_archive", parameters={"id": app.id, "now": request.now})
    for change in request.changes:
        function = change.function
        yield Statement(
            "function_upsert",
            parameters={
                "id": function.id,
                "environment": function.environment,
                "app_id": function.app_id,
                "slug": function.slug,
                "name": change.name,
                "version": function.version,
            },
        )
        if change.is_changed:
            yield Statement(
                "function_version_insert",
                parameters={
                    "function_id": function.id,
                    "version": function.version,
                    "config": change.config,
                    "now": request.now,
                },
            )
        yield from _set_schedules(function.id, dict(change.crons))
    for function_id in request.archived:
        yield Statement("function_archive", parameters={"id": function_id, "now": request.now})
        yield from _set_schedules(function_id, {})
    return revision


def pause(request: PauseRequest) -> Revising:
    """Pause a function, or let it go on."""
    revision = yield from _revise(request.environment, request.revision)
    if revision is None:
        return None
    wanted = request.pause
    yield Statement(
        "function_pause",
        parameters={
            "id": request.function_id,
            "paused_at": wanted.since if wanted is not None else None,
            "pause_mode": wanted.mode.value if wanted is not None else None,
            "is_stopped": int(wanted is not None and wanted.is_stopped),
        },
    )
    return revision


def _revise(environment: EnvironmentId, revision: int) -> Revising:
    bumped = yield Statement("environment_bump", parameters={"id": environment, "revision": revision})
    return bumped[0][0] if bumped else None


def _set_schedules(
    function_id: FunctionId, crons: Mapping[str, int | None]
) -> Generator[Statement, Sequence[Row], None]:
    """Give a function its schedules; one that stays keeps its time."""
    known = yield Statement("schedule_of_function", parameters={"function_id": function_id})
    for (cron,) in known:
        if cron not in crons:
            yield Statement("schedule_remove", parameters={"function_id": function_id, "cron": cron})
    for cron, next_at in crons.items():
        yield Statement("schedule_add", parameters={"function_id": function_id, "cron": cron, "next_at": next_at})
