"""The account at the end of a world: every accepted event has its outcome, and what is kept of it fits together."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from stepwell.engine.core.model import Event
from stepwell.limits import DAY_MS, LOST_ATTEMPTS_MAX
from tests.simulation.app import Program, WaitSignal, every
from tests.simulation.flow import KEY, crowded

if TYPE_CHECKING:
    from tests.simulation.world import World


CLOCKS_APART_MS = 1_000
"""How far the clocks of replicas are apart, with what a round trip takes."""

LATE_MS = 1_200_000
"""After which what should have happened has, whatever went wrong: a slow network takes its time twice."""


class Account:
    """Reads the database from outside, and tells the world what isn't as promised."""

    def __init__(self, world: World) -> None:
        self._world = world

    def check(self) -> None:
        """Check all that is stored."""
        self._check_runs()
        self._check_attempts()
        self._check_flow()
        self._check_invocations()
        self._check_signals()
        if self._world.is_steady:
            self._check_cancels()

    def _check_runs(self) -> None:
        """Each accepted event has exactly one run, or a skip, for each function that it matches."""
        world = self._world
        names = dict(world.query("select id, slug from function"))
        rows = world.query(
            "select run.id, run.function_id, run.event_id, run.status, run.reason, run.original_run_id, run.output"
            " from run"
        )
        by_event: dict[tuple[str, str], set[str]] = {}
        taken: dict[tuple[str, str], int] = {}
        failed: list[str] = []
        for id, function_id, event_id, status, reason, original, output in rows:
            slug = names[function_id]
            if original is None:
                by_event.setdefault((event_id, slug), set()).add(id)
            if status == "skipped":
                if not self._may_skip(world.app.programs[slug], reason):
                    world.fail(f"{id}: skipped because of {reason}")
                continue
            if "batchEvents" in world.app.programs[slug].flow:  # a batch takes events whatever their ids
                event_id = ""
            if status == "failed" and slug == world.programs[0].slug:
                failed.append(id)
            if original is None and event_id in world.accepted and world.accepted[event_id].has_own_id:
                key = (world.accepted[event_id].event_id, slug)
                taken[key] = taken.get(key, 0) + 1
            self._check_end(id, world.app.programs[slug], status, reason, output)
        for id, function_id, event_id in world.query(
            "select gathered.run_id, run.function_id, gathered.event_id from gathered"
            " left join run on run.id = gathered.run_id where run.original_run_id is null"
        ):
            if function_id is None:
                world.fail(f"event {event_id} was gathered for the run {id}, which isn't there")
            else:
                by_event.setdefault((event_id, names[function_id]), set()).add(id)
        for (event_id, slug), runs in by_event.items():
            if len(runs) != 1:
                world.fail(f"event {event_id} started {slug} {len(runs)} times: {sorted(runs)}")
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
        if status == "cancelled" and id not in world.cancelled and not _may_cancel(program, reason):
            world.fail(f"{id}: nobody cancelled it, and it was because of {reason}")
        if reason == "SignalConflict" and any(
            isinstance(node, WaitSignal) and not node.is_replacing for node in every(program.nodes)
        ):
            return
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

    def _may_skip(self, program: Program, reason: str) -> bool:
        match reason:
            case "duplicate_event_id":
                return True
            case "paused":
                return program.slug in self._world.dropping
            case "singleton":
                return program.flow.get("singleton", {}).get("mode") == "skip"
            case "rate_limited":
                return "rateLimit" in program.flow
            case "idempotency":
                return "idempotency" in program.flow
            case _:
                return False

    def _check_flow(self) -> None:
        """Runs start as often as they may, batches are as large; who is skipped or cancelled for others, has them."""
        world = self._world
        names = dict(world.query("select id, slug from function"))
        starts: dict[tuple[str, object, str], list[int]] = {}
        delayed: set[tuple[str, object, str]] = set()
        for id, function_id, status, body, received_at, original, is_batch, event_id in world.query(
            "select run.id, run.function_id, run.status, event.body, event.received_at,"
            " run.original_run_id, run.is_batch, event.id from run join event on event.id = run.event_id"
        ):
            program, data = world.app.programs[names[function_id]], json.loads(body)["data"]
            is_gathered = is_batch or "debounce" in program.flow or "batchEvents" in program.flow
            for name in ("throttle", "rateLimit", "idempotency"):
                rule = program.flow.get(name)
                if rule is None:
                    continue
                key = data.get("k") if rule == KEY or "key" in rule else None
                if name == "throttle":
                    if id in world.promises.starts:
                        starts.setdefault((program.slug, key, name), []).append(world.promises.starts[id])
                elif status != "skipped" and original is None and not is_gathered:
                    starts.setdefault((program.slug, key, name), []).append(received_at)
                    if event_id in world.delayed:
                        delayed.add((program.slug, key, name))
        for (slug, key, name), times in starts.items() if world.is_steady else ():
            if (slug, key, name) in delayed:  # when they counted is known to the database alone
                continue
            rule = world.app.programs[slug].flow[name]
            count_max, period_ms = 1, DAY_MS
            if name == "throttle":
                count_max, period_ms = rule["limit"] + max(1, rule["burst"]), 10_000
            elif name == "rateLimit":
                count_max, period_ms = rule["limit"], 30_000
            if crowded(times, count_max=count_max, period_ms=period_ms - CLOCKS_APART_MS):
                world.fail(f"{slug} of key {key}: more than its {name} {rule}: {sorted(times)}")
        for id, function_id, count in world.query(
            "select run.id, run.function_id, count(*) from run join gathered on run_id = run.id"
            " where is_batch = 1 and original_run_id is null group by run.id"
        ):
            size_max = world.app.programs[names[function_id]].flow["batchEvents"]["maxSize"]
            if count > size_max:
                world.fail(f"{id}: its batch has {count} events, not {size_max}")

    def _check_invocations(self) -> None:
        """Each step that invokes has one child, and gets its end."""
        world = self._world
        children = {
            (parent, step): [id, status, output, child_ended_at]
            for parent, step, id, status, output, child_ended_at in world.query(
                "select parent_run_id, parent_step_id, id, status, output, ended_at from run"
                " where parent_run_id is not null"
            )
        }
        gathered = {id for (id,) in world.query("select run_id from gathered")}
        [(count,)] = world.query("select count(*) from run where parent_run_id is not null")
        if count != len(children):
            world.fail(f"{count} runs were invoked by {len(children)} steps")
        for run_id, step_id, memo, ended_at in world.query(
            "select run_id, id, memo, ended_at from step where op = 'InvokeFunction'"
        ):
            found, child = json.loads(memo), children.get((run_id, step_id))
            if "error" in found and found["error"].get("name") == "InngestInvokeTimeoutError":
                if child is not None and child[3] is not None and child[3] < ended_at - LATE_MS and world.is_steady:
                    world.fail(f"{run_id}: step {step_id[:8]} timed out, though its child had ended: {child}")
                continue
            if child is None and gathered:
                # Its event joined others: the step gets the end of the run that they started together.
                if "data" in found and found["data"]["of"] not in gathered:
                    world.fail(f"{run_id}: step {step_id[:8]} became {found}, which no batch returned")
            elif child is None:
                if "error" not in found or "could not find" not in found["error"]["message"]:
                    world.fail(f"{run_id}: step {step_id[:8]} invoked nothing, and became {found}")
            elif found.get("data") != (json.loads(child[2]) if child[1] == "completed" else None):
                world.fail(f"{run_id}: step {step_id[:8]} became {found}, and its child {child}")

    def _check_cancels(self) -> None:
        """A run doesn't go on for long after an event that cancels it."""
        names = dict(self._world.query("select id, slug from function"))
        for id, function_id, queued_at, ended_at, body in self._world.query(
            "select run.id, function_id, queued_at, ended_at, event.body from run join event on event.id = run.event_id"
            " where status in ('completed', 'failed')"
        ):
            for rule in self._world.app.programs[names[function_id]].flow.get("cancel", ()):
                for event in self._world.accepted.values():
                    is_for_it = event.name == rule["event"] and _k_of(event.body) == _k_of(body)
                    if is_for_it and queued_at + CLOCKS_APART_MS < event.received_at < ended_at - LATE_MS:
                        self._world.fail(f"{id}: event {event.id} did not cancel it")

    def _check_signals(self) -> None:
        """A signal goes to one run."""
        numbers = [
            json.loads(memo)["data"]["data"]["signal"]
            for (memo,) in self._world.query("select memo from step where op = 'WaitForSignal' and memo <> x'6e756c6c'")
        ]
        if len(set(numbers)) != len(numbers):
            self._world.fail(f"a signal went to two runs: {sorted(numbers)}")

    def _check_attempts(self) -> None:
        """Attempts of a job count up without gaps, lost ones use up no retries, and steps point to theirs."""
        world = self._world
        jobs: dict[tuple[str, str], list[tuple[int, int, str]]] = {}
        checkpointed: set[tuple[str, str]] = set()
        for run_id, id, attempt, outcome, started_at, ended_at in world.query(
            "select run_id, id, attempt, outcome, started_at, ended_at from attempt"
        ):
            if id.count(".") > 2:  # a step of a checkpoint, after which the attempts of its job count anew
                checkpointed.add((run_id, id.rpartition(".")[0].rpartition(".")[0]))
                continue
            job_id, _, generation = id.rpartition(".")
            jobs.setdefault((run_id, job_id), []).append((int(generation), attempt, outcome))
            if ended_at < started_at:
                world.fail(f"{run_id}: attempt {id} ended before it started")
        for (run_id, job_id), attempts in jobs.items():
            attempts.sort()
            if (run_id, job_id) in checkpointed:
                continue
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
            " where step.op not in ('Sleep', 'WaitForEvent', 'WaitForSignal', 'InvokeFunction')"
        ):
            expected = "failed" if memo.startswith(b'{"error"') else "ok"
            if outcome != expected:
                world.fail(f"{run_id}: the result of step {step_id[:8]} (position {position}) came by {outcome}")
        for (run_id,) in world.query(
            "select run_id from step group by run_id having min(position) <> 0 or max(position) <> count(*) - 1"
        ):
            world.fail(f"{run_id}: its steps aren't numbered from 0 without gaps")


def _k_of(body: bytes) -> object:
    return json.loads(body)["data"].get("k")


def _may_cancel(program: Program, reason: str) -> bool:
    match reason:
        case "event":
            return "cancel" in program.flow
        case "singleton":
            return "singleton" in program.flow
        case "start_timeout" | "finish_timeout":
            return reason.removesuffix("_timeout") in program.flow.get("timeouts", {})
        case _:
            return False


def _matches(program: Program, event: Event) -> bool:
    number = json.loads(event.body)["data"]["n"]
    patterns = {event.name, *(["a/*"] if event.name.startswith("a/") else [])}
    return bool(patterns & set(program.events)) and (program.condition is None or number > 3)
