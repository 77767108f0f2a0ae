"""The account at the end of a world: every accepted event has its outcome, and what is kept of it fits together."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from stepwell.engine.core.model import Event
from stepwell.limits import LOST_ATTEMPTS_MAX
from tests.simulation.app import Program

if TYPE_CHECKING:
    from tests.simulation.world import World


class Account:
    """Reads the database from outside, and tells the world what isn't as promised."""

    def __init__(self, world: World) -> None:
        self._world = world

    def check(self) -> None:
        """Check all that is stored."""
        self._check_runs()
        self._check_attempts()

    def _check_runs(self) -> None:
        """Each accepted event has exactly one run, or a skip, for each function that it matches."""
        world = self._world
        names = dict(world.query("select id, slug from function"))
        rows = world.query(
            "select run.id, run.function_id, run.event_id, run.status, run.reason, run.original_run_id, run.output"
            " from run"
        )
        by_event: dict[tuple[str, str], list[str]] = {}
        taken: dict[tuple[str, str], int] = {}
        failed: list[str] = []
        for id, function_id, event_id, status, reason, original, output in rows:
            slug = names[function_id]
            if original is None:
                by_event.setdefault((event_id, slug), []).append(id)
            if status == "skipped":
                if reason != "duplicate_event_id":
                    world.fail(f"{id}: skipped because of {reason}")
                continue
            if status == "failed" and slug == world.programs[0].slug:
                failed.append(id)
            if original is None and event_id in world.accepted and world.accepted[event_id].has_own_id:
                key = (world.accepted[event_id].event_id, slug)
                taken[key] = taken.get(key, 0) + 1
            self._check_end(id, world.app.programs[slug], status, reason, output)
        for (event_id, slug), runs in by_event.items():
            if len(runs) != 1:
                world.fail(f"event {event_id} started {slug} {len(runs)} times")
        for key, count in taken.items():
            if count != 1 and world.is_steady:
                world.fail(f"event id {key[0]} started {key[1]} {count} times within 24 hours")
        stored = {row[0] for row in world.query("select id from event")}
        for event in world.accepted.values():
            if event.id not in stored:
                world.fail(f"event {event.id} was acknowledged and is gone")
            for program in world.programs:
                if _matches(program, event) and (event.id, program.slug) not in by_event:
                    world.fail(f"event {event.id} ({event.name}) did not start {program.slug}")
                if not _matches(program, event) and (event.id, program.slug) in by_event:
                    world.fail(f"event {event.id} ({event.name}) started {program.slug}")
        self._check_failure_handlers(failed)
        self._check_ticks()

    def _check_end(self, id: str, program: Program, status: str, reason: str, output: bytes) -> None:
        world = self._world
        if status == "cancelled" and id not in world.cancelled:
            world.fail(f"{id}: nobody cancelled it")
        if reason == "attempts_lost":
            lost = world.query(
                f"select max(lost_count) from (select count(*) as lost_count from attempt"
                f" where run_id = '{id}' and outcome = 'lost' group by step_id)"
            )
            if lost[0][0] < LOST_ATTEMPTS_MAX:
                world.fail(f"{id}: failed because of {lost[0][0]} lost attempts")
        elif status != "cancelled" and id not in world.disturbed:
            expected = "completed" if program.ends_well() else "failed"
            if status != expected:
                world.fail(f"{id}: {status}, not {expected} ({output})")
        if status == "completed" and json.loads(output) != {"of": id}:
            world.fail(f"{id}: its output is {output}")

    def _check_failure_handlers(self, failed: Sequence[str]) -> None:
        """Each failed run of the function with a failure handler has started that once."""
        handled: dict[str, int] = {}
        for (body,) in self._world.query(
            "select event.body from run join event on event.id = run.event_id"
            " join function on function.id = run.function_id"
            " where function.slug = 'one-failure' and run.original_run_id is null"
        ):
            run_id = json.loads(body)["data"]["run_id"]
            handled[run_id] = handled.get(run_id, 0) + 1
        if handled != dict.fromkeys(failed, 1):
            self._world.fail(f"failed runs {sorted(failed)} have handlers {handled}")

    def _check_ticks(self) -> None:
        """A schedule ticks once for each of its times."""
        times = [
            json.loads(body)["data"]["fireAt"]
            for (body,) in self._world.query("select body from event where name = 'inngest/scheduled.timer'")
        ]
        if len(set(times)) != len(times):
            self._world.fail(f"a schedule ticked twice at one time: {sorted(times)}")
        if self._world.is_steady and any(program.cron for program in self._world.programs) and not times:
            self._world.fail("a schedule never ticked")

    def _check_attempts(self) -> None:
        """Attempts of a job count up without gaps, lost ones use up no retries, and steps point to theirs."""
        world = self._world
        jobs: dict[tuple[str, str], list[tuple[int, int, str]]] = {}
        for run_id, id, attempt, outcome, started_at, ended_at in world.query(
            "select run_id, id, attempt, outcome, started_at, ended_at from attempt"
        ):
            job_id, _, generation = id.rpartition(".")
            jobs.setdefault((run_id, job_id), []).append((int(generation), attempt, outcome))
            if ended_at < started_at:
                world.fail(f"{run_id}: attempt {id} ended before it started")
        for (run_id, job_id), attempts in jobs.items():
            attempts.sort()
            counted = [attempt for _, attempt, outcome in attempts if outcome != "lost"]
            if counted != list(range(len(counted))):
                world.fail(f"{run_id}: the attempts of job {job_id} are {attempts}")
            for before, after in itertools.pairwise(attempts):
                if after[1] != before[1] + (before[2] == "error"):
                    world.fail(f"{run_id}: attempts of job {job_id} don't follow each other: {attempts}")
            if any(outcome in ("ok", "failed") for _, _, outcome in attempts[:-1]):
                world.fail(f"{run_id}: job {job_id} went on after its end: {attempts}")
        for run_id, id in world.query("select run_id, id from attempt where instr(cast(error as text), 'NothingToDo')"):
            world.fail(f"{run_id}: attempt {id} was a call for nothing: the app had seen less than was known")
        for run_id, step_id, position, memo, outcome in world.query(
            "select step.run_id, step.id, step.position, step.memo, attempt.outcome from step"
            " left join attempt on attempt.run_id = step.run_id and attempt.id = step.attempt_id"
            " where step.op <> 'Sleep'"
        ):
            expected = "failed" if memo.startswith(b'{"error"') else "ok"
            if outcome != expected:
                world.fail(f"{run_id}: the result of step {step_id[:8]} (position {position}) came by {outcome}")
        for (run_id,) in world.query(
            "select run_id from step group by run_id having min(position) <> 0 or max(position) <> count(*) - 1"
        ):
            world.fail(f"{run_id}: its steps aren't numbered from 0 without gaps")


def _matches(program: Program, event: Event) -> bool:
    number = json.loads(event.body)["data"]["n"]
    patterns = {event.name, *(["a/*"] if event.name.startswith("a/") else [])}
    return bool(patterns & set(program.events)) and (program.condition is None or number > 3)
