"""Who waited for which event, in the order of the commits: each wait ends once, with the first event that it was for."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from stepwell.engine.core.model import Event, Intake, JobKind, WaitKind
from stepwell.store.request import ClaimRequest, CommitRequest, IngestRequest, Request, Result, Verdict
from tests.simulation.app import WaitEvent, every

if TYPE_CHECKING:
    from tests.simulation.world import World

SLACK_MS = 5_000
"""An event that comes so shortly before a time-out may lose against it."""


class Came(NamedTuple):
    """An event, and the transaction that stored it."""

    at: int
    event: Event
    data: dict[str, Any]


class Waiting(NamedTuple):
    """A wait, and the transaction that opened it."""

    at: int
    node: WaitEvent
    trigger_id: str | None
    trigger: dict[str, Any]
    since: int | None
    expires_at: int


class Waits:
    """Told of each transaction; tells the world of waits that ended otherwise than they should."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._number = 0
        self._came: dict[str, list[Came]] = {}
        self.inserted: dict[str, int] = {}
        """The transaction that stored each event."""
        self._waits: dict[tuple[str, str], Waiting] = {}
        self._claims: dict[tuple[str, str, int], int] = {}
        self.ends = {"event": 0, "look back": 0, "time-out": 0}
        """How many waits ended by what."""

    def committed(self, requests: Sequence[Request], results: Sequence[Result]) -> None:
        self._number += 1
        done = [
            (request, result)
            for request, result in zip(requests, results, strict=True)
            if result.verdict is Verdict.COMMITTED
        ]
        for request, _ in done:
            if isinstance(request, CommitRequest):
                self._end(request)
        for request, _ in done:
            if isinstance(request, CommitRequest):
                self._open(request)
        for request, result in done:
            if isinstance(request, IngestRequest):
                for intake in request.intakes:
                    if intake.event.id not in result.duplicate and not intake.is_stored:
                        self._come(intake)
            elif isinstance(request, ClaimRequest):
                for claim in result.claimed:
                    if claim.job.kind is JobKind.WAIT:
                        self._claims[claim.job.run_id, claim.job.id, claim.job.generation] = self._number

    def _come(self, intake: Intake) -> None:
        event = intake.event
        if event.id not in self.inserted:
            self.inserted[event.id] = self._number
            data = json.loads(event.body)["data"]
            self._came.setdefault(event.name, []).append(Came(self._number, event, data))

    def _open(self, request: CommitRequest) -> None:
        transition = request.transition
        jobs = {job.id: job for job in transition.jobs if job.kind is JobKind.WAIT and job.op == "WaitForEvent"}
        if not jobs:
            return
        waits = {wait.job_id: wait for wait in transition.waits if wait.kind is WaitKind.EVENT}
        [(slug, body, received_at)] = self._world.query(
            "select function.slug, event.body, event.received_at from run join event on event.id = run.event_id"
            f" join function on function.id = run.function_id where run.id = '{transition.run.id}'"
        )
        nodes = {node.id: node for node in every(self._world.app.programs[slug].nodes) if isinstance(node, WaitEvent)}
        for job in jobs.values():
            wait = waits.get(job.id)
            since, own = (wait.since, wait.trigger_id) if wait is not None else (None, None)
            if since is not None and own is not None:  # what came with the run's own event counts
                since = min(since, received_at)
            self._waits[transition.run.id, job.id] = Waiting(
                self._number, nodes[job.step_id], own, json.loads(body)["data"], since, job.due_at
            )

    def _end(self, request: CommitRequest) -> None:
        """Look at the end of a wait, unless its step was known by then."""
        job, run = request.transition.job, request.transition.run
        if job is None or job.kind is not JobKind.WAIT or job.op != "WaitForEvent" or not request.transition.steps:
            return
        wait = self._waits.pop((run.id, job.id), None)
        if wait is None:
            self._world.fail(f"{run.id}: a wait ended that nobody opened, or twice: {job.title}")
            return
        memo = json.loads(request.transition.steps[0].memo)
        claimed_at = self._claims.get((run.id, job.id, job.generation), wait.at)  # at once: it was born leased
        if memo is None:
            self.ends["time-out"] += 1
            missed = [came for came in self._matching(wait, claimed_at) if self._in_time(wait, came)]
        else:
            missed = self._earlier(run.id, wait, memo["data"]["n"])
        if missed and self._world.is_steady:
            first = missed[0].event
            self._world.fail(f"{run.id}: {job.title} ended by {memo and memo['data']}, and not by {first.id} before it")

    def _earlier(self, run_id: str, wait: Waiting, number: int) -> list[Came]:
        """Return the events that should have ended a wait rather than the one that did."""
        by = next((came for came in self._came.get(wait.node.event, ()) if came.data["n"] == number), None)
        if by is None or not wait.node.matches(wait.trigger, by.data):
            self._world.fail(f"{run_id}: {wait.node.name} ended by an event that it wasn't for: {number}")
            return []
        if by.at >= wait.at:
            self.ends["event"] += 1
            return [came for came in self._matching(wait, by.at) if self._in_time(wait, came)]
        self.ends["look back"] += 1
        if wait.since is None or by.event.received_at < wait.since or by.event.id == wait.trigger_id:
            self._world.fail(f"{run_id}: {wait.node.name} ended by an event from before: {number}")
        return [came for came in self._matching(wait, wait.at) if came.event.id < by.event.id]

    def _matching(self, wait: Waiting, before: int) -> Iterator[Came]:
        """Return the events that were stored before a transaction and that a wait is for."""
        for came in self._came.get(wait.node.event, ()):
            is_back = came.at < wait.at
            if is_back and (wait.since is None or came.event.received_at < wait.since + SLACK_MS):
                continue
            if came.at in (wait.at, before) or came.at > before or came.event.id == wait.trigger_id:
                continue
            if wait.node.matches(wait.trigger, came.data):
                yield came

    def _in_time(self, wait: Waiting, came: Came) -> bool:
        return came.event.received_at < wait.expires_at - SLACK_MS or came.at < wait.at
