"""Texts that SQLite stores and PostgreSQL doesn't: refused at the edge, or made storable, on both alike."""

from __future__ import annotations

import random
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path

import msgspec
import pytest

from stepwell.engine.core.model import App, ErrorBody, ErrorReply, Outcome, Reply, RunStatus
from stepwell.engine.core.registration import plan_sync
from stepwell.engine.core.trigger import Registry
from stepwell.engine.transport import OutgoingCall
from stepwell.errors import EventError, FunctionConfigError
from stepwell.protocol.canonical import encode
from stepwell.protocol.ids import ReplicaId
from stepwell.protocol.ops import Op
from stepwell.protocol.sync import SyncBody, read_sync
from stepwell.server.ingest import read_events
from stepwell.store.found import RunDetail
from stepwell.store.request import SyncRequest
from stepwell.store.sqlite import SQLiteStore
from tests.outages.site import Site, running, store_at
from tests.server.world import World, function_json
from tests.server.world import running as serving
from tests.unit.engine.making import DEV, T0, op, ops, result, ulid

NUL = "a\0b"


@pytest.fixture(params=["sqlite", "postgres"])
async def site(request: pytest.FixtureRequest, tmp_path: Path, url: str) -> AsyncGenerator[Site]:
    if request.param == "sqlite":
        made = Site(SQLiteStore(tmp_path / "stepwell.db", ReplicaId("replica-1"), is_durable=False))
    else:
        made = Site(store_at(url))
    async with running(made):
        await made.start()
        yield made


async def run(site: Site, *replies: Reply) -> RunDetail:
    """Run a function whose app answers so, one after the other."""
    waiting = list(replies)

    async def answer(_call: OutgoingCall) -> Reply:
        return waiting.pop(0)

    site.answer = answer
    run_id = await site.send_one()
    await site.ended(run_id)
    detail = await site.store.load_run(run_id)
    assert detail is not None
    return detail


# -- what apps answer ---------------------------------------------------------------------------------------------------


async def test_a_step_with_such_a_title_is_shown_with_another_character(site: Site) -> None:
    inline = msgspec.structs.replace(op("StepRun", "a", data=1), display_name=NUL)
    planned = [msgspec.structs.replace(op("StepPlanned", name), display_name=f"{NUL}{name}") for name in "bc"]
    done = [msgspec.structs.replace(op("StepRun", name, data=1), display_name=f"{NUL}{name}") for name in "bc"]

    detail = await run(site, ops(inline), ops(*planned), *(ops(one) for one in done), result())

    assert detail.run.status is RunStatus.COMPLETED
    assert sorted(step.title for step in detail.steps) == ["a\ufffdb", "a\ufffdbb", "a\ufffdbc"]
    assert {attempt.title for attempt in detail.attempts} == {"", "a\ufffdb", "a\ufffdbb", "a\ufffdbc"}


async def test_a_step_with_such_an_id_fails_the_run_and_says_so(site: Site) -> None:
    bad = msgspec.structs.replace(op("StepRun", "a", data=1), id=NUL)

    detail = await run(site, ops(bad))

    assert (detail.run.status, detail.run.reason) == (RunStatus.FAILED, "InvalidOp")
    assert [attempt.outcome for attempt in detail.attempts] == [Outcome.FAILED]
    assert detail.steps == []


async def test_errors_and_results_are_bytes_and_stay_as_they_are(site: Site) -> None:
    failed = op("StepFailed", "a", error={"name": NUL, "message": NUL, "stack": NUL})
    body = ErrorBody(name=NUL, message=NUL, stack=NUL)
    end = ErrorReply(error=body, output=encode({"message": NUL}), no_retry=True)

    detail = await run(site, ops(failed), ops(op("StepRun", "b", data={NUL: NUL})), end)

    assert detail.run.status is RunStatus.FAILED
    assert detail.run.output is not None
    assert msgspec.json.decode(detail.run.output)["message"] == NUL
    assert [msgspec.json.decode(step.memo) for step in detail.steps][1] == {"data": {NUL: NUL}}


async def test_a_text_that_slips_through_all_the_same_never_stops_a_run(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What can't be stored, however often it is tried, becomes a failed attempt."""
    monkeypatch.setattr(Op, "title", property(lambda _op: "\ud800"))

    detail = await run(site, ops(op("StepRun", "a", data=1)), result())

    assert detail.run.status is RunStatus.COMPLETED
    assert detail.attempts[0].outcome is Outcome.ERROR
    assert b"not_stored" in (detail.attempts[0].error or b"")
    assert site.store.outage is None


# -- what comes in ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("field", ["name", "id"])
def test_an_event_with_such_a_text_is_refused(field: str) -> None:
    body = msgspec.json.encode([{"name": "a"}, {"name": "a", "data": {"text": NUL}, field: NUL}])

    with pytest.raises(EventError, match="U\\+0000") as refused:
        read_events(body, seed=None, new_id=lambda: ulid(1), environment=DEV, now=T0)

    assert refused.value.path == f"$[1].{field}"


@pytest.mark.parametrize("field", ["name", "id", "data", "user", "v"])
def test_half_a_character_is_no_json(field: str) -> None:
    text = b'{"text":"\\ud800"}' if field in ("data", "user") else b'"\\ud800"'

    with pytest.raises(EventError):
        read_events(
            b'{"name":"a","%b":%b}' % (field.encode(), text),
            seed=None,
            new_id=lambda: ulid(1),
            environment=DEV,
            now=T0,
        )


def registration(**changes: object) -> SyncBody:
    body = {"url": "http://localhost:3000/shop", "appName": "shop", "sdk": "py:v1", "framework": "flask"}
    return read_sync(msgspec.json.encode({"functions": [function_json("f")]} | body | changes))


@pytest.mark.parametrize("field", ["appName", "url", "sdk", "framework", "appVersion"])
def test_an_app_with_such_a_text_is_refused(field: str) -> None:
    with pytest.raises(FunctionConfigError, match="U\\+0000"):
        plan_sync(registration(**{field: f"http://localhost/{NUL}"}), Registry(DEV, 0, []), [], now=T0)


@pytest.mark.parametrize(
    "changes",
    [{"id": NUL}, {"name": NUL}, {"triggers": [{"event": NUL}]}, {"triggers": [{"cron": "0 0 * * *\0"}]}],
    ids=["id", "name", "event", "cron"],
)
def test_a_function_with_such_a_text_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(FunctionConfigError):
        plan_sync(registration(functions=[function_json("f") | changes]), Registry(DEV, 0, []), [], now=T0)


@pytest.mark.parametrize(("length", "is_good"), [(255, True), (256, False)])
def test_the_name_of_an_app_has_a_limit(length: int, is_good: bool) -> None:
    """It is an index key, which PostgreSQL bounds."""
    body = registration(appName="\U0001f4a1" * length)
    if is_good:
        plan_sync(body, Registry(DEV, 0, []), [], now=T0)
    else:
        with pytest.raises(FunctionConfigError, match="255 characters"):
            plan_sync(body, Registry(DEV, 0, []), [], now=T0)


async def test_the_longest_keys_fit_into_the_indexes(site: Site) -> None:
    """Each of their characters takes four bytes, and chance keeps them from being made small."""
    chance = random.Random(1)

    def text(length: int) -> str:
        return "".join(chr(chance.randrange(0x10000, 0x110000)) for _ in range(length))

    function = function_json("f", triggers=[{"event": "x/*"}]) | {"id": text(255)}
    body = registration(appName=text(255), functions=[function])

    def plan(registry: Registry, apps: Sequence[App], now: int) -> SyncRequest:
        made = plan_sync(body, registry, apps, now=now)
        return SyncRequest(made.app, registry.revision, made.changes, made.archived, now)

    await site.engine.sync(plan)
    events = read_events(
        msgspec.json.encode({"name": f"x/{text(510)}", "id": text(512)}),
        seed=None,
        new_id=site.engine.ids,
        environment=DEV,
        now=site.engine.clock.now(),
    )
    [intake] = (await site.engine.ingest(events)).intakes

    await site.ended(intake.runs[0].id)


# -- what is asked ------------------------------------------------------------------------------------------------------


@pytest.fixture
async def world(tmp_path: Path) -> AsyncGenerator[World]:
    async with serving(tmp_path) as made:
        yield made


@pytest.mark.parametrize("path", ["/api/events?name=a%00b", "/api/runs?event_name=a%00b", "/api/runs?function=a%00b"])
async def test_a_question_with_such_a_text_is_refused(world: World, path: str) -> None:
    assert "U+0000" in await world.refused(400, "invalid_query", "GET", path)


async def test_so_it_is_in_the_protocols_own_lists(world: World) -> None:
    answer = await world.client.get("/v1/events?name=a%00b")

    assert answer.status_code == 400
    assert "U+0000" in answer.json()["error"]
