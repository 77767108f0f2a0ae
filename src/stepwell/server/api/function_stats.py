"""How functions do: runs over time, how long they take, what waits, what they fail with."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated, Final

import msgspec

from stepwell.engine.core.model import Function, Run, RunStatus
from stepwell.engine.core.partition import Scope, Token, TokenKind, slot_key
from stepwell.engine.core.rules import PLAIN, SlotRule
from stepwell.engine.sampler import count_calls
from stepwell.limits import BUCKETS_MAX, HOUR_MS, HOURS_MAX, MINUTE_MS
from stepwell.protocol.duration import time_text
from stepwell.protocol.ids import FunctionId
from stepwell.server.api.endpoint import AnyEndpoint, Call, Endpoint, Nothing
from stepwell.server.api.filters import find_function
from stepwell.server.api.fingerprint import fingerprint
from stepwell.server.api.percentile import percentile
from stepwell.server.api.stats import RunsBucket
from stepwell.server.context import Context
from stepwell.server.failure import error_line, read_failure
from stepwell.store.found import Sample

_LIST_BUCKETS: Final = 24
_BUCKETS: Final = 48
_RUNS_NAMED_MAX: Final = 5


class LastFailure(msgspec.Struct, frozen=True):
    """The last run of a function that failed."""

    run_id: str
    at: str
    error: str


class FunctionSummary(msgspec.Struct, frozen=True, kw_only=True):
    """How a function did lately."""

    slug: str
    runs: int
    """That ended."""
    failed: int
    p50_ms: int | None
    """Half of the runs that completed took no longer, from start to end. Of very many runs, the newest count."""
    p95_ms: int | None
    backlog: int
    """Calls that are due, and wait for their turn."""
    running: int
    """Calls in progress."""
    last_failed: LastFailure | None
    buckets: list[tuple[int, int]]
    """For each 24th of the time: how many runs ended well, or were skipped or cancelled, and how many failed."""


class FunctionSummaries(msgspec.Struct, frozen=True):
    """All functions, by their ids; with ``is_partial`` the oldest runs of the time weren't counted."""

    items: list[FunctionSummary]
    is_partial: bool


class FunctionBucket(RunsBucket, frozen=True, kw_only=True):
    """Runs of a function that ended from ``at`` on, up to the next bucket; and the most that it had to do at once."""

    p50_ms: int | None
    p95_ms: int | None
    backlog: int
    """Calls that were due, and waited for their turn. It is looked at every few seconds, and kept by the minute."""
    running: int
    """Calls in progress."""
    runs_running: int
    """Runs that the function's limit of runs without a key counts, from their first call to their end."""


class LimitUse(msgspec.Struct, frozen=True, kw_only=True):
    """How much of a concurrency limit is used. With a key, each value that is used most has its own."""

    key: str | None
    """The rule's expression."""
    value: str | None
    """A hash of the expression's value."""
    of: str
    """``steps``, calls in progress; or ``runs``, from their first call to their end."""
    scope: Scope
    limit: int
    used: int


class FunctionStats(msgspec.Struct, frozen=True, kw_only=True):
    """How a function did over time, and what it has to do now."""

    bucket_ms: int
    buckets: list[FunctionBucket]
    backlog: int
    running: int
    limits: list[LimitUse]
    counted_from: str | None
    """Set where there were more runs than may be counted: those that ended before weren't."""


class FailureGroup(msgspec.Struct, frozen=True, kw_only=True):
    """Failed runs with the same error, but for ids and numbers in it."""

    fingerprint: str
    error: str
    """Of the newest."""
    count: int
    first_at: str
    last_at: str
    run_ids: list[str]
    """The newest five."""


class Failures(msgspec.Struct, frozen=True, kw_only=True):
    """What a function's newest runs failed with, the most frequent first."""

    groups: list[FailureGroup]
    counted_from: str | None
    """Set where older failed runs were left out."""


class FunctionsStatsQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How far back to count."""

    hours: Annotated[int, msgspec.Meta(ge=1, le=HOURS_MAX)] = 24


class FunctionStatsQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How far back to count, and into how many buckets."""

    hours: Annotated[int, msgspec.Meta(ge=1, le=HOURS_MAX)] = 24
    buckets: Annotated[int, msgspec.Meta(ge=1, le=BUCKETS_MAX)] = _BUCKETS


def endpoints() -> list[AnyEndpoint]:
    """Return the endpoints that count the runs of functions."""
    one = "/api/functions/{slug}"
    return [
        Endpoint(
            "GET",
            "/api/functions/stats",
            "Show how all functions did",
            FunctionSummaries,
            show_functions_stats,
            query=FunctionsStatsQuery,
            body=Nothing,
        ),
        Endpoint(
            "GET",
            f"{one}/stats",
            "Show how a function did",
            FunctionStats,
            show_function_stats,
            query=FunctionStatsQuery,
            body=Nothing,
        ),
        Endpoint(
            "GET",
            f"{one}/failures",
            "Show what a function's runs failed with",
            Failures,
            show_failures,
            query=Nothing,
            body=Nothing,
        ),
    ]


async def show_functions_stats(call: Call[FunctionsStatsQuery, Nothing]) -> FunctionSummaries:
    """Show how all functions that apps have did."""
    engine = call.context.engine
    insight, environment = engine.store.insight, engine.environment
    end = engine.clock.now() + 1
    start = end - call.query.hours * HOUR_MS
    bucket_ms = call.query.hours * HOUR_MS // _LIST_BUCKETS
    counts, counted_from = await insight.count_by_function(environment, start=start, end=end, bucket_ms=bucket_ms)
    totals: dict[FunctionId, list[list[int]]] = defaultdict(lambda: [[0, 0] for _ in range(_LIST_BUCKETS)])
    for function_id, ended in counts:
        totals[function_id][ended.bucket][ended.status is RunStatus.FAILED] += ended.number
    took: dict[FunctionId, list[int]] = defaultdict(list)
    for run in await insight.read_durations(environment, None, start=start, end=end):
        took[run.function_id].append(run.took_ms)
    for times in took.values():
        times.sort()
    failed = {run.function_id: run for run in await insight.last_failures(environment)}
    backlog, running = await count_calls(engine.store, engine.clock.now())
    items = [
        FunctionSummary(
            slug=function.slug,
            runs=sum(map(sum, totals[function.id])),
            failed=sum(bad for _, bad in totals[function.id]),
            p50_ms=percentile(took[function.id], 0.5),
            p95_ms=percentile(took[function.id], 0.95),
            backlog=backlog[function.id],
            running=running[function.id],
            last_failed=_last_failure(failed.get(function.id)),
            buckets=[(good, bad) for good, bad in totals[function.id]],
        )
        for function in engine.registry.by_slug.values()
    ]
    return FunctionSummaries(sorted(items, key=lambda item: item.slug), is_partial=counted_from is not None)


async def show_function_stats(call: Call[FunctionStatsQuery, Nothing]) -> FunctionStats:
    """Show how one function did, archived or not."""
    engine, query = call.context.engine, call.query
    function = find_function(call.context, call.path["slug"])
    end = engine.clock.now() + 1
    start = end - query.hours * HOUR_MS
    bucket_ms = -(-query.hours * HOUR_MS // query.buckets)
    insight = engine.store.insight
    counts = await insight.count_runs(engine.environment, [function.id], start=start, end=end, bucket_ms=bucket_ms)
    number = -(-(end - start) // bucket_ms)
    by_status: list[dict[str, int]] = [{} for _ in range(number)]
    for found in counts.ended:
        by_status[found.bucket][found.status.value] = found.number
    took: list[list[int]] = [[] for _ in range(number)]
    for run in await insight.read_durations(engine.environment, function.id, start=start, end=end):
        took[(run.ended_at - start) // bucket_ms].append(run.took_ms)
    for times in took:
        times.sort()
    backlog, running = await count_calls(engine.store, end - 1)
    limits = await _limits(call.context, function)
    samples = [
        *await insight.samples(function.id, start=start, end=end, bucket_ms=bucket_ms),
        *engine.sampler.seen(function.id),
    ]
    work = _at_work(samples, start=start, number=number, bucket_ms=bucket_ms)
    work[-1] = work[-1].joined(Sample(function.id, end, backlog[function.id], running[function.id], _runs_now(limits)))
    return FunctionStats(
        bucket_ms=bucket_ms,
        buckets=[
            FunctionBucket(
                at=time_text(start + place * bucket_ms),
                p50_ms=percentile(took[place], 0.5),
                p95_ms=percentile(took[place], 0.95),
                backlog=work[place].backlog,
                running=work[place].running,
                runs_running=work[place].runs_running,
                **by_status[place],
            )
            for place in range(number)
        ],
        backlog=backlog[function.id],
        running=running[function.id],
        limits=limits,
        counted_from=time_text(counts.counted_from) if counts.counted_from is not None else None,
    )


async def show_failures(call: Call[Nothing, Nothing]) -> Failures:
    """Show what a function's newest failed runs failed with."""
    engine = call.context.engine
    function = find_function(call.context, call.path["slug"])
    runs, counted_from = await engine.store.insight.failures_of(engine.environment, function.id)
    return Failures(groups=_groups(runs), counted_from=time_text(counted_from) if counted_from is not None else None)


def _groups(runs: Iterable[Run]) -> list[FailureGroup]:
    """Group failed runs, of which the newest comes first, by their errors."""
    alike: dict[str, list[Run]] = {}
    for run in runs:
        alike.setdefault(fingerprint(read_failure(run.output or b"null")), []).append(run)
    groups = [
        FailureGroup(
            fingerprint=mark,
            error=error_line(same[0].output or b"null"),
            count=len(same),
            first_at=time_text(min(_ended_at(run) for run in same)),
            last_at=time_text(max(_ended_at(run) for run in same)),
            run_ids=[run.id for run in same[:_RUNS_NAMED_MAX]],
        )
        for mark, same in alike.items()
    ]
    return sorted(groups, key=lambda group: -group.count)


def _ended_at(run: Run) -> int:
    assert run.ended_at is not None, "a failed run has ended"
    return run.ended_at


def _last_failure(run: Run | None) -> LastFailure | None:
    if run is None:
        return None
    return LastFailure(run.id, time_text(_ended_at(run)), error_line(run.output or b"null"))


def _at_work(samples: Iterable[Sample], *, start: int, number: int, bucket_ms: int) -> list[Sample]:
    """Return the most of samples in each bucket: of each in the one that has the middle of its minute.

    Where buckets are less than a minute, each counts in all that it is of.
    """
    work = [Sample(FunctionId(""), start + place * bucket_ms) for place in range(number)]
    span = -(-MINUTE_MS // bucket_ms)
    for sample in samples:
        seen_at = sample.at if span > 1 else sample.at + MINUTE_MS // 2
        first = min((seen_at - start) // bucket_ms, number - 1)  # of the minute under way the middle may be to come
        for place in range(max(0, first), min(number, first + span)):
            work[place] = work[place].joined(sample)
    return work


def _runs_now(limits: Iterable[LimitUse]) -> int:
    """Return how many runs a function's own limit of all of them counts now."""
    return max((one.used for one in limits if (one.of, one.key, one.scope) == ("runs", None, Scope.FN)), default=0)


async def _limits(context: Context, function: Function) -> list[LimitUse]:
    """Return the use of a function's concurrency limits."""
    rules = context.engine.registry.rules(function) or PLAIN
    keyed = [*_keys(TokenKind.STEPS, rules.steps, function), *_keys(TokenKind.RUNS, rules.runs, function)]
    used = await context.engine.store.insight.slots_used([prefix for prefix, _, _ in keyed])
    return [
        LimitUse(
            key=rule.text or None,
            value=key.removeprefix(prefix) or None,
            of=kind.name.lower(),
            scope=rule.scope,
            limit=rule.limit,
            used=number,
        )
        for prefix, kind, rule in keyed
        for key, number in used[prefix] or ([(prefix, 0)] if rule.key is None else [])
    ]


def _keys(kind: TokenKind, rules: Sequence[SlotRule], function: Function) -> Iterator[tuple[str, TokenKind, SlotRule]]:
    for rule in rules:
        yield slot_key(Token(kind, rule.id), function.id, function.environment, rule.scope), kind, rule
