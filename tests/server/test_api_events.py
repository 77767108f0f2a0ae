"""``/api/events``: send, list, show."""

from __future__ import annotations

from typing import Any

import pytest

from stepwell.limits import EVENTS_PER_REQUEST_MAX
from stepwell.protocol.ids import step_hash
from stepwell.protocol.ops import Op
from tests.server.world import World, ops, ran, result, steps_done

BIG = 123456789012345678901234567890


async def test_an_event_says_which_functions_it_starts(world: World) -> None:
    await world.register("mail", "crm", mail={"triggers": [{"event": "a"}]}, crm={"triggers": [{"event": "a"}]})

    event = await world.send("a", {"x": 1})

    assert event["name"] == "a"
    assert event["event_id"] == event["id"]
    assert [(run["function"], run["is_skipped"]) for run in event["runs"]] == [("crm", False), ("mail", False)]


async def test_an_event_id_that_comes_again_is_taken_and_skips_the_run(world: World) -> None:
    await world.register("mail")

    first, second = [await world.send("mail.go", id="e1") for _ in range(2)]

    assert not first["runs"][0]["is_skipped"]
    assert second["runs"][0]["is_skipped"]
    skipped = await world.get(f"/api/runs/{second['runs'][0]['id']}")
    assert (skipped["status"], skipped["reason"]) == ("skipped", "duplicate_event_id")


async def test_several_events_are_taken_in_order(world: World) -> None:
    taken = await world.post("/api/events", [{"name": "a"}, {"name": "b"}])

    assert [event["name"] for event in taken["events"]] == ["a", "b"]


async def test_an_event_is_shown_as_it_was_sent(world: World) -> None:
    sent = await world.send("a", {"big": BIG}, id="mine", ts=1_767_225_000_000, user={"id": 7}, v="2")

    shown = await world.get(f"/api/events/{sent['id']}")

    assert shown == {
        "id": sent["id"],
        "event_id": "mine",
        "name": "a",
        "ts": "2025-12-31T23:50:00.000Z",
        "received_at": "2026-01-01T00:00:00.000Z",
        "is_internal": False,
        "data": {"big": BIG},
        "user": {"id": 7},
        "v": "2",
        "meta": None,
        "resolved_waits": [],
        "sent_by": None,
    }


async def test_pages_hold_each_event_once_newest_first(world: World) -> None:
    sent = [(await world.send("a"))["id"] for _ in range(5)]

    seen: list[str] = []
    cursor: str | None = None
    while True:
        page = await world.get("/api/events", limit=2, **({"cursor": cursor} if cursor else {}))
        seen += [event["id"] for event in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break

    assert seen == sent[::-1]


async def test_events_are_filtered_by_name_and_time(world: World) -> None:
    await world.send("a")
    await world.post("/api/skip", {"duration": "1h"})
    late = await world.send("a")
    await world.send("b")

    page = await world.get("/api/events", name="a", received_after="2026-01-01T00:30:00Z")
    early = await world.get("/api/events", received_before="2026-01-01T01:30:00+01:00")

    assert [event["id"] for event in page["items"]] == [late["id"]]
    assert [event["name"] for event in early["items"]] == ["a"]


async def test_internal_events_are_listed_when_asked_for(world: World) -> None:
    await world.register("mail")
    await world.post("/api/functions/mail/invoke")

    assert (await world.get("/api/events"))["items"] == []
    names = [event["name"] for event in (await world.get("/api/events", internal="true"))["items"]]
    assert "inngest/function.invoked" in names


@pytest.mark.parametrize(
    ("body", "place"),
    [
        (b"", "name"),
        (b"[]", "no event"),
        (b"{", "read"),
        (b"\xff", "read"),
        (b"null", "Expected"),
        (b'{"name":7}', "$.name"),
        (b'{"name":""}', "$.name"),
        (b'{"name":"a","oops":1}', "oops"),
        (b'{"name":"inngest/x"}', "$.name"),
        (b'[{"name":"a"},{"name":"a","data":[]}]', "$[1].data"),
        (b'{"name":"a","ts":17}', "$.ts"),
        (b'{"name":"a","data":' + b'{"a":' * 100_000, "nested"),
        (b'{"name":"a","data":{"a":' + b"[" * 900 + b"]" * 900 + b"}}", "nested"),
    ],
)
async def test_a_bad_event_is_refused_naming_the_place(world: World, body: bytes, place: str) -> None:
    answer = await world.client.post("/api/events", content=body)

    error = answer.json()["error"]
    assert answer.status_code == 400
    assert place in error["message"] + error.get("path", "")
    assert (await world.get("/api/events"))["items"] == []


async def test_too_many_events_are_refused(world: World) -> None:
    events = [{"name": "a"}] * (EVENTS_PER_REQUEST_MAX + 1)

    await world.refused(400, "too_many_events", "POST", "/api/events", json=events)


async def test_a_huge_body_is_refused_before_it_is_read(world: World) -> None:
    headers = {"Content-Length": str(10**12)}

    await world.refused(413, "body_too_large", "POST", "/api/events", content=b"{}", headers=headers)


@pytest.mark.parametrize("id", ["nope", "01KAT3Z6W0000000000000000", "01KAT3Z6W00000000000000000", "%00", "%ED%A0%80"])
async def test_an_unknown_event_is_not_found(world: World, id: str) -> None:
    await world.refused(404, "event_not_found", "GET", f"/api/events/{id}")


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ({"limit": 0}, "invalid_query"),
        ({"limit": 101}, "invalid_query"),
        ({"limit": "many"}, "invalid_query"),
        ({"limit": "9" * 400}, "invalid_query"),
        ({"cursor": "nope"}, "invalid_cursor"),
        ({"received_after": "yesterday"}, "invalid_query"),
        ({"oops": "1"}, "invalid_query"),
        ([("name", "a"), ("name", "b")], "invalid_query"),
    ],
)
async def test_a_bad_query_is_refused(world: World, query: Any, code: str) -> None:
    await world.refused(400, code, "GET", "/api/events", params=query)


async def test_an_event_names_the_waits_that_it_ended_and_the_step_that_sent_it(either: World) -> None:
    await either.register("f", "sender", "child")
    wait = Op(id=step_hash("wait"), op="WaitForEvent", name="paid", display_name="wait", opts={"timeout": "1h"})
    either.apps.answers["f"] = lambda call: result(1) if steps_done(call) else ops(wait)
    waiting = (await either.send("f.go"))["runs"][0]["id"]
    await either.quiet()
    sent = [(await either.send(name))["id"] for name in ("first", "paid", "third")]
    await either.ended(waiting)
    invoke = Op(id=step_hash("call"), op="InvokeFunction", name="call", opts={"function_id": "child"})
    either.apps.answers["sender"] = lambda call: (
        result(1) if len(steps_done(call)) == 2 else ops(ran("send", sent), invoke)
    )
    sender = await either.run("sender")

    first, paid, third = [await either.get(f"/api/events/{id}") for id in sent]

    assert paid["resolved_waits"] == [{"run_id": waiting, "step": "wait", "function": "f"}]
    assert first["resolved_waits"] == []
    assert first["sent_by"] == paid["sent_by"] == third["sent_by"] == {"run_id": sender["id"], "step": "send"}
    timeline = await either.get(f"/api/runs/{waiting}/timeline")
    [row] = [row for row in timeline["rows"] if row["title"] == "wait"]
    assert row["links"] == {"event_id": sent[1], "event_name": "paid"}
    [child] = (await either.get("/api/runs", function="child"))["items"]
    invoked = await either.get(f"/api/events/{child['event_id']}")
    assert invoked["sent_by"] == {"run_id": sender["id"], "step": "call"}
    own = await either.get(f"/api/events/{sender['event_id']}")
    assert (own["resolved_waits"], own["sent_by"]) == ([], None)


async def test_a_list_of_events_names_the_runs_that_they_caused(either: World) -> None:
    await either.register("f", "g", g={"triggers": [{"event": "f.go"}]})
    run = await either.run("f")
    await either.send("other")
    await either.quiet()

    other, event = (await either.get("/api/events"))["items"]
    some = (await either.get("/api/events", ids=f"{event['id']},01KAT3Z6W00000000000000000"))["items"]

    assert other["runs"] == []
    assert {(one["function"], one["status"]) for one in event["runs"]} == {("f", "completed"), ("g", "completed")}
    assert run["id"] in [one["id"] for one in event["runs"]]
    assert some == [event]


@pytest.mark.parametrize(
    ("flow", "kind"),
    [({"batchEvents": {"maxSize": 10, "timeout": "10m"}}, "batch"), ({"debounce": {"period": "10m"}}, "debounce")],
)
async def test_a_list_of_events_names_what_they_wait_in_and_then_the_run(
    either: World, flow: dict[str, Any], kind: str
) -> None:
    await either.register("f", f=flow)
    await either.send("f.go")
    await either.send("f.go")

    before = (await either.get("/api/events"))["items"]
    [outcome] = (await either.get(f"/api/events/{before[0]['id']}/explain"))["functions"]
    found = (await either.get("/api/events", where="event.name == 'f.go'"))["items"]
    await either.engine.skip(600_000)
    after = (await either.get("/api/events", ids=",".join(event["id"] for event in before)))["items"]

    [waits, others] = [event["gatherings"] for event in before]
    assert waits == others
    [gathering] = waits
    assert (gathering["function"], gathering["kind"], gathering["starts_at"]) == ("f", kind, outcome["fires_at"])
    assert found == before
    assert [event["runs"] for event in before] == [[], []]
    started = [{"id": gathering["run_id"], "function": "f", "status": "completed"}]
    assert [(event["runs"], event["gatherings"]) for event in after] == [(started, []), (started, [])]


async def test_numbers_are_told_as_they_were_sent(either: World) -> None:
    """Also where the canonical form, which apps get, has to round them."""
    data = '{"id":12345678901234567890,"price":1.10}'
    sent = await either.client.post("/api/events", content=f'{{"name":"paid","data":{data}}}')
    id = sent.json()["events"][0]["id"]

    for path, field in ((f"/api/events/{id}", "data"), ("/api/events/names", "example")):
        assert f'"{field}":{data}' in (await either.client.get(path)).text
