"""Metrics for Prometheus, at ``/metrics``: counted as things happen, in a registry of this server's own.

It costs a few microseconds a step: the series of a function are looked up by one ``dict``. Names and labels are part of
the public interface (docs/operations.md).
"""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from typing import Final

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from stepwell.engine.core.model import Function, Intake, RunStatus, Transition
from stepwell.engine.core.partition import FETCHES, TIMERS
from stepwell.engine.engine import Engine
from stepwell.engine.watch import NoWatcher
from stepwell.errors import StoreError
from stepwell.limits import BACKLOG_AGE_S, BACKLOG_COUNTED_MAX, BACKLOG_PARTITIONS_MAX, MEASURED_FUNCTIONS_MAX
from stepwell.protocol.ids import FunctionId
from stepwell.protocol.ops import OpCode
from stepwell.store.request import Result

_OTHER: Final = "other"
_WAITED: Final = frozenset((OpCode.SLEEP, OpCode.WAIT_FOR_EVENT, OpCode.WAIT_FOR_SIGNAL, OpCode.INVOKE_FUNCTION))
_STEP_S: Final = (0.005, 0.025, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900)
_RUN_S: Final = (0.025, 0.1, 0.5, 1, 5, 15, 60, 300, 900, 3_600, 21_600, 86_400, 604_800)
_LAG_S: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15, 60, 300, 3_600)
_COMMIT_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5)
_BATCH: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500)

log = structlog.get_logger("stepwell.metrics")


class Metrics(NoWatcher):
    """Watches the engine, and counts. Everything is called on the event loop."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self._engine: Engine | None = None
        self._backlog_at = float("-inf")
        self._functions: dict[FunctionId, _OfFunction] = {}
        self._slugs: set[str] = set()
        self._families = _Families(registry)
        ProcessCollector(registry=registry)
        Info("stepwell_build", "The server's version", registry=registry).info({"version": version("stepwell")})
        self._events = Counter("stepwell_events_received_total", "Events that clients sent", registry=registry)
        self._lag = Histogram(
            "stepwell_queue_lag_seconds",
            "From when a call was due until it began",
            buckets=_LAG_S,
            registry=registry,
        )
        self._commit = Histogram(
            "stepwell_store_commit_seconds",
            "How long a transaction took that wrote",
            buckets=_COMMIT_S,
            registry=registry,
        )
        self._batch = Histogram(
            "stepwell_store_batch_requests",
            "How many requests one transaction carried out",
            buckets=_BATCH,
            registry=registry,
        )
        self._backlog = Gauge(
            "stepwell_backlog_jobs",
            f"Jobs that are due and that nobody has begun, up to {BACKLOG_COUNTED_MAX} a queue",
            ["queue"],
            registry=registry,
        )

    def read(self, engine: Engine, stream_count: Callable[[], int]) -> None:
        """Read from now on, when asked, what is so in the engine, and how many streams are open."""
        self._engine = engine
        engine.store.measure(self._wrote)
        for name, text, value in (
            ("stepwell_calls_in_flight", "Jobs that this server works on", lambda: engine.busy),
            ("stepwell_outage", "1 while the database can't be used", lambda: engine.store.outage is not None),
            ("stepwell_sse_streams", "Pages that listen to changes", stream_count),
        ):
            Gauge(name, text, registry=self.registry).set_function(value)

    # -- what happens -------------------------------------------------------------------------------------------

    def took_in(self, intake: Intake, functions: Sequence[Function], result: Result) -> None:
        if not (intake.is_stored or intake.event.is_internal):
            self._events.inc()
        for start, function in zip(intake.starts, functions, strict=True):
            id = start.run.id
            if id in result.skipped:
                self._of(function).ended[RunStatus.SKIPPED].inc()
            elif id not in result.gathered:
                self._of(function).started.inc()

    def changed(self, transition: Transition, function: Function) -> None:
        of_function = self._functions.get(function.id) or self._of(function)
        attempt, job = transition.attempt, transition.job
        if attempt is not None and job is not None and job.kind.is_call:
            self._lag.observe(max(0, attempt.started_at - job.due_at) / 1000)
        for step in transition.steps:
            if step.op not in _WAITED:
                of_function.step.observe(max(0, step.ended_at - step.started_at) / 1000)
        if transition.is_final:
            run = transition.run
            of_function.ended[run.status].inc()
            of_function.run.observe(max(0, (run.ended_at or run.queued_at) - run.queued_at) / 1000)

    def _wrote(self, took_s: float, request_count: int) -> None:
        self._commit.observe(took_s)
        self._batch.observe(request_count)

    def _of(self, function: Function) -> _OfFunction:
        """Return a function's series; those of one that is beyond the limit it shares with others."""
        found = self._functions.get(function.id)
        if found is None:
            found = self._functions[function.id] = _OfFunction(self._families, self._label(function.slug))
        return found

    def _label(self, slug: str) -> str:
        if slug not in self._slugs and len(self._slugs) >= MEASURED_FUNCTIONS_MAX:
            return _OTHER
        self._slugs.add(slug)
        return slug

    # -- what is asked ------------------------------------------------------------------------------------------

    async def refresh(self) -> None:
        """Read the backlog, unless that was done just now. Where it can't be read, there is none to show."""
        engine = self._engine
        if engine is None or engine.clock.elapsed() - self._backlog_at < BACKLOG_AGE_S:
            return
        self._backlog_at = engine.clock.elapsed()
        try:
            found = await engine.store.backlog(
                now=engine.clock.now(), partitions_max=BACKLOG_PARTITIONS_MAX, count_max=BACKLOG_COUNTED_MAX
            )
        except StoreError as error:
            log.debug("metrics.no_backlog", error=str(error))
            self._backlog.clear()
            self._backlog_at = float("-inf")
            return
        tally: Tally[str] = Tally()
        for partition, count in found:
            tally[self._queue(engine, partition)] += count
        self._backlog.clear()
        for queue, count in tally.items():
            self._backlog.labels(queue).set(count)

    def _queue(self, engine: Engine, partition: str) -> str:
        if partition in (TIMERS, FETCHES):
            return partition
        function = engine.registries.of_partition(partition)
        return self._label(function.slug) if function is not None else _OTHER


class _Families:
    """What is measured of each function."""

    def __init__(self, registry: CollectorRegistry) -> None:
        of_each = ["function"]
        self.started = Counter("stepwell_runs_started_total", "Runs that were started", of_each, registry=registry)
        self.ended = Counter(
            "stepwell_runs_ended_total",
            "Runs that ended, by how; skipped ones were never started",
            [*of_each, "status"],
            registry=registry,
        )
        self.step = Histogram(
            "stepwell_step_duration_seconds",
            "From the start of a step's last attempt to its end; sleeps, waits and invoked functions left out",
            of_each,
            buckets=_STEP_S,
            registry=registry,
        )
        self.run = Histogram(
            "stepwell_run_duration_seconds",
            "From when a run was queued to its end",
            of_each,
            buckets=_RUN_S,
            registry=registry,
        )


class _OfFunction:
    """The series of one function."""

    __slots__ = ("ended", "run", "started", "step")

    def __init__(self, families: _Families, label: str) -> None:
        self.started = families.started.labels(label)
        self.ended = {status: families.ended.labels(label, status.value) for status in RunStatus if status.is_final}
        self.step = families.step.labels(label)
        self.run = families.run.labels(label)


class _Shown(Collector):
    """What a registry has, without the times at which its series began.

    To Prometheus they are of no use, and would double the number of series. The library's own switch for them is the
    whole process's, in which a user's metrics may be as well.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def collect(self) -> Iterator[Metric]:
        for family in self._registry.collect():
            family.samples = [one for one in family.samples if one.name != f"{family.name}_created"]
            yield family


def routes(metrics: Metrics) -> list[BaseRoute]:
    """Return the route that Prometheus reads. Who may is decided outside (``auth.ApiGuard``)."""
    shown = _Shown(metrics.registry)

    async def show(request: Request) -> Response:
        await metrics.refresh()
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(shown), headers={"Content-Type": content_type, "Cache-Control": "no-store"})

    return [Route("/metrics", show)]
