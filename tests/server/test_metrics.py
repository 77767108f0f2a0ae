"""What Prometheus reads at /metrics."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, Counter, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from stepwell.engine.core.trigger import Registry, start
from stepwell.errors import StoreUnavailable
from stepwell.limits import BACKLOG_AGE_S, MEASURED_FUNCTIONS_MAX
from stepwell.server.live.changes import Topics
from stepwell.server.metrics import Metrics
from stepwell.store.request import Result, Verdict
from tests.server.world import PRODUCTION, World, error, ops, ran, running, sleep
from tests.unit.engine.making import DEV, T0, event_of, function_of

OPERATIONS = Path(__file__).parents[2] / "docs" / "operations.md"


async def read(world: World) -> dict[str, float]:
    """Read all samples, each by its name and labels."""
    answer = await world.client.get("/metrics")
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    return samples(answer.text)


def samples(text: str) -> dict[str, float]:
    return {
        sample.name + "".join(f" {key}={value}" for key, value in sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def test_runs_and_steps_are_counted_by_function(either: World) -> None:
    await either.register("f", "g", g={"singleton": {"mode": "skip"}})
    either.apps.answers["f"] = lambda call: ops(ran("a")) if b'"steps":{}' in call.body else error("no", no_retry=True)
    either.apps.answers["g"] = lambda _call: ops(sleep("wait", "1d"))
    await either.run("f")
    await either.send("g.go")
    await either.send("g.go")
    await either.quiet()

    shown = await read(either)

    assert shown["stepwell_events_received_total"] == 3
    assert shown["stepwell_runs_started_total function=f"] == 1
    assert shown["stepwell_runs_ended_total function=f status=failed"] == 1
    assert shown["stepwell_runs_ended_total function=f status=completed"] == 0
    assert shown["stepwell_runs_started_total function=g"] == 1
    assert shown["stepwell_runs_ended_total function=g status=skipped"] == 1
    assert shown["stepwell_step_duration_seconds_count function=f"] == 1
    assert shown["stepwell_step_duration_seconds_count function=g"] == 0
    assert shown["stepwell_run_duration_seconds_count function=f"] == 1
    assert shown["stepwell_queue_lag_seconds_count"] == 3
    assert shown["stepwell_store_commit_seconds_count"] >= 4
    assert shown["stepwell_store_batch_requests_sum"] >= shown["stepwell_store_batch_requests_count"] >= 4


async def test_what_is_so_now_is_shown(world: World) -> None:
    calm = await read(world)
    page = world.context.hub.join(Topics(runs=True))
    busy = await read(world)
    page.leave()

    assert (calm["stepwell_sse_streams"], busy["stepwell_sse_streams"]) == (0, 1)
    assert (calm["stepwell_outage"], calm["stepwell_calls_in_flight"]) == (0, 0)
    assert calm["process_open_fds"] > 0
    assert any(name.startswith("stepwell_build_info version=") for name in calm)


async def test_a_call_under_way_is_in_flight(world: World) -> None:
    await world.register("f")
    began, may_end = asyncio.Event(), asyncio.Event()

    async def answer(_call: Any) -> Any:
        began.set()
        await may_end.wait()
        return ops(ran("a"))

    world.apps.answers["f"] = answer
    await world.send("f.go")
    await began.wait()
    shown = await read(world)
    may_end.set()

    assert shown["stepwell_calls_in_flight"] == 1


async def test_the_backlog_is_shown_by_function(either: World) -> None:
    await either.register("f", "g")
    await either.post("/api/functions/f/pause", {"mode": "hold"})
    for _ in range(3):
        await either.send("f.go")

    shown = await read(either)

    assert shown["stepwell_backlog_jobs queue=f"] == 3
    assert "stepwell_backlog_jobs queue=g" not in shown


async def test_the_backlog_is_read_no_more_often_than_it_changes_slowly(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    elapsed = [1_000.0]
    reads: list[int] = []
    backlog = world.engine.store.backlog

    async def counting(**given: Any) -> Any:
        reads.append(1)
        return await backlog(**given)

    monkeypatch.setattr(world.engine.clock, "elapsed", lambda: elapsed[0])
    monkeypatch.setattr(world.engine.store, "backlog", counting)
    await read(world)
    await read(world)
    elapsed[0] += BACKLOG_AGE_S
    await read(world)

    assert len(reads) == 2


async def test_a_database_that_fails_takes_only_the_backlog(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(**_: object) -> None:
        raise StoreUnavailable("it is away")

    monkeypatch.setattr(world.engine.store, "backlog", fail)

    shown = await read(world)

    assert shown["stepwell_outage"] == 0
    assert not [name for name in shown if name.startswith("stepwell_backlog_jobs")]


async def test_metrics_need_a_token_in_production(tmp_path: Path) -> None:
    async with running(tmp_path, PRODUCTION) as world:
        assert (await world.client.get("/metrics")).status_code == 200
        del world.client.headers["Authorization"]

        await world.refused(401, "unauthorized", "GET", "/metrics")


async def test_functions_beyond_the_limit_are_counted_together() -> None:
    metrics = Metrics()
    taken = Result(Verdict.COMMITTED)
    for number in range(MEASURED_FUNCTIONS_MAX + 2):
        function = function_of(f"f{number}")
        metrics.took_in(
            start(event_of(), Registry(DEV, 1, [function]), now=T0, new_id=lambda: "R1", only=function),
            [function],
            taken,
        )

    counts = {
        sample.labels["function"]: sample.value
        for family in metrics.registry.collect()
        for sample in family.samples
        if sample.name == "stepwell_runs_started_total"
    }
    assert len(counts) == MEASURED_FUNCTIONS_MAX + 1
    assert counts["other"] == 2


async def test_the_documentation_names_every_metric_and_no_other(world: World) -> None:
    await world.register("f")
    await world.run("f")
    shown = await read(world)
    families = {re.split(r"[ ]", name)[0] for name in shown if name.startswith("stepwell_")}
    families = {re.sub(r"_(bucket|count|sum)$", "", name) for name in families}

    named = set(re.findall(r"\bstepwell_[a-z_]+[a-z]\b", OPERATIONS.read_text().partition("## Metrics")[2]))

    assert {re.sub(r"_(bucket|count|sum)$", "", name) for name in named} == families | {"stepwell_backlog_jobs"}


@pytest.mark.parametrize("accept", ["", "application/openmetrics-text; version=1.0.0"])
async def test_when_series_began_is_left_out_of_ours_and_of_no_others(world: World, accept: str) -> None:
    """A user's process may have the server in it, and metrics of its own."""
    registry = CollectorRegistry()
    Counter("theirs", "A metric of the user's", registry=registry)
    await world.register("f")
    await world.run("f")

    ours = (await world.client.get("/metrics", headers={"Accept": accept})).text

    assert "stepwell_runs_started_total" in ours
    assert "_created" not in ours
    assert "theirs_created" in generate_latest(registry).decode()
