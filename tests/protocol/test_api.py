"""Events in, registration, keys, and what SDKs and users ask for (protocol 2, 3, 5, 6, 7, 12)."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re

import pytest

from tests.e2e.harness import EVENT_KEY, SIGNING_KEY, eventually
from tests.protocol.world import (
    BEARER,
    SDK,
    Answer,
    Call,
    World,
    done,
    failed,
    op,
    ops,
    planned,
    ran,
    sha1,
    sleep,
    waits,
)

ULID = re.compile(r"[0-9A-HJKMNP-TV-Z]{26}")
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
KIND = "x-inngest-server-kind"


# -- events in --------------------------------------------------------------------------------------------------------


def test_events(world: World) -> None:
    sent = [
        {"name": "in/a"},
        {"name": "in/b", "data": None, "id": "own", "ts": 1763985600000},
        {"name": "in/c", "v": "1"},
    ]
    response = world.http.post("/e/any-key", json=sent)
    assert response.status_code == 200
    assert response.headers[KIND] == "dev"
    body = response.json()
    assert set(body) == {"ids", "status"}
    assert body["status"] == 200
    assert all(ULID.fullmatch(id) for id in body["ids"])
    found = [world.get(f"/v1/events/{id}")["data"] for id in body["ids"]]
    assert [event["name"] for event in found] == ["in/a", "in/b", "in/c"]
    assert found[0]["id"] == body["ids"][0]
    assert (found[1]["id"], found[1]["ts"]) == ("own", 1763985600000)


@pytest.mark.parametrize("body", [b"", b"[]"])
def test_no_events(world: World, body: bytes) -> None:
    response = world.http.post("/e/k", content=body)
    assert response.status_code == 200
    assert isinstance(response.json()["ids"], list)


@pytest.mark.parametrize(
    "event",
    [
        {"name": ""},
        {"data": {}},
        {"name": "x" * 513},
        {"name": "inngest/function.finished"},
        {"name": "Inngest/x"},
        {"name": "INNGEST/x"},
        {"name": "x", "ts": 100},
        {"name": "x", "ts": 5_000_000_000_000},
        {"name": "x", "ts": "now"},
        {"name": "x", "data": 5},
        {"name": "x", "data": {"big": "x" * (3 * 1024 * 1024 + 1)}},
    ],
)
def test_an_event_is_refused(world: World, event: dict[str, object]) -> None:
    response = world.http.post("/e/k", json=[event])
    assert response.status_code == 400
    body = response.json()
    assert body["status"] == 400
    assert isinstance(body["error"], str)
    assert isinstance(body["ids"], list)


def test_one_bad_event_refuses_them_all(world: World) -> None:
    # The reference takes those before it; then nobody can send the rest again without sending some twice.
    response = world.http.post("/e/k", json=[{"name": "all/or.none"}, {"name": ""}])
    assert response.status_code == 400
    assert world.events("all/or.none") == []


def test_5000_events_and_no_more(world: World) -> None:
    response = world.http.post("/e/k", json=[{"name": "many"}] * 5000)
    assert len(set(response.json()["ids"])) == 5000
    assert world.http.post("/e/k", json=[{"name": "many"}] * 5001).status_code == 400


def test_a_seed_makes_the_ids(signed: World) -> None:
    # In dev, the ids follow the server's clock when it is moved.
    entropy = bytes(range(6)) + b"\xff\xff\xff\xff"
    seed = {"X-Inngest-Event-Id-Seed": f"1763985600000,{base64.b64encode(entropy).decode()}"}
    sent = [{"name": "seeded", "data": {"n": 1}}, {"name": "seeded", "data": {"n": 2}}]
    first, second = (signed.http.post(f"/e/{EVENT_KEY}", json=sent, headers=seed).json()["ids"] for _ in range(2))

    def ulid(number: int) -> str:
        tail = (int.from_bytes(entropy[6:]) + number) % 2**32
        value = (1763985600000 << 80) | int.from_bytes(entropy[:6] + tail.to_bytes(4))
        return "".join("0123456789ABCDEFGHJKMNPQRSTVWXYZ"[(value >> shift) & 31] for shift in range(125, -1, -5))

    assert first == second == [ulid(1), ulid(2)]
    assert len(signed.events("seeded")) == 2
    for bad in ("nonsense", "1763985600000,AAAA", "x,AAAAAAAAAAAAAA=="):
        assert ULID.fullmatch(
            signed.http.post(f"/e/{EVENT_KEY}", json=sent[0], headers={"X-Inngest-Event-Id-Seed": bad}).json()["ids"][0]
        )


def test_reserved_data_is_stripped_and_meta_is_kept(world: World) -> None:
    function = world.function(done())
    world.send({"name": function.event, "data": {"_inngest": {"fn_id": "x"}, "a": 1}, "meta": {"sessions": {"s": "1"}}})
    event = function.calls[0].body["event"]
    assert event["data"] == {"a": 1}
    assert event["meta"] == {"sessions": {"s": "1"}}


def test_a_future_event_starts_then(world: World) -> None:
    function = world.function(done())
    function.send(ts=int((world.now() + 3600) * 1000))
    assert function.calls == []
    world.skip("61m")
    assert len(function.calls) == 1


def test_triggers(world: World) -> None:
    functions = world.app(
        both=(done(), {"triggers": [{"event": "trig/a.b"}, {"event": "trig/*"}]}),
        dot=(done(), {"triggers": [{"event": "trig/a.*"}]}),
        exact=(done(), {"triggers": [{"event": "trig/a"}]}),
        yes=(done(), {"triggers": [{"event": "trig/a.b", "expression": "event.data.n > 1 && event.data.x.y == null"}]}),
        no=(done(), {"triggers": [{"event": "trig/a.b", "expression": "event.data.s < 3"}]}),
    )
    world.send({"name": "trig/a.b", "data": {"n": 2, "s": "text"}})
    assert [len(function.calls) for function in functions] == [1, 1, 0, 1, 0]


def test_cors(world: World) -> None:
    asked = {"Origin": "https://a.example", "Access-Control-Request-Method": "POST"}
    response = world.http.request("OPTIONS", "/e/k", headers=asked)
    assert (response.status_code, response.content) == (200, b"")
    assert response.headers["access-control-allow-origin"] in ("*", "https://a.example")
    assert response.headers["access-control-max-age"] == "3600"
    for method in ("GET", "POST", "PUT", "DELETE", "OPTIONS"):
        assert method in response.headers["access-control-allow-methods"]
    sent = world.http.post("/e/k", json={"name": "cors"}, headers={"Origin": "https://a.example"})
    assert sent.headers["access-control-allow-origin"] in ("*", "https://a.example")


def test_health(world: World) -> None:
    response = world.http.get("/health")
    assert response.json() == {"status": 200, "message": "OK"}
    assert response.headers[KIND] == "dev"


# -- registration -----------------------------------------------------------------------------------------------------


def test_register(world: World) -> None:
    body = world.registration("reg", world.config("reg-fn", "reg/fn"))
    first = world.register(body).json()
    assert set(first) <= {"ok", "modified", "sync_id", "app_id", "skipped"}
    assert (first["ok"], first["modified"]) == (True, True)
    assert UUID.fullmatch(first["app_id"])
    assert UUID.fullmatch(first["sync_id"])
    again = world.register(body | {"deployId": "x", "idempotencyKey": "k", "featureObservations": {}}).json()
    assert (again["modified"], again["app_id"]) == (False, first["app_id"])
    changed = world.register(world.registration("reg", world.config("reg-fn", "reg/fn", attempts=1))).json()
    assert changed["modified"] is True
    python = {
        "appname": "reg-py",
        "deploy_type": "ping",
        "url": body["url"] + "&py",
        "sdk": "py:v0.5.19",
        "framework": "flask",
    }
    response = world.register(python | {"functions": [world.config("reg-py-fn", "reg/py")]})
    assert response.json()["modified"] is True
    for function in world.get("/dev")["functions"]:
        if function["slug"] == "reg-fn":
            assert function["steps"][0]["retries"] == 1


@pytest.mark.parametrize(
    "more",
    [{"appName": ""}, {"appName": None}, {"functions": None}, {"functions": [{}]}, {"functions": [5]}, {"url": None}],
)
def test_a_registration_is_refused(world: World, more: dict[str, object]) -> None:
    response = world.register(world.registration("bad", world.config("bad-fn", "bad/fn")) | more)
    assert response.status_code == 400
    assert (response.json()["status"], response.json()["data"]) == (400, None)
    assert isinstance(response.json()["error"], str)


def test_the_expected_server_kind(world: World, signed: World) -> None:
    for one, right, wrong in ((world, "dev", "cloud"), (signed, "cloud", "dev")):
        body = one.registration("kind", one.config("kind-fn", "kind/fn"))
        assert one.register(body, X_Inngest_Expected_Server_Kind=right).status_code == 200
        response = one.register(body, X_Inngest_Expected_Server_Kind=wrong)
        assert response.status_code == 400
        assert response.json()["error"] == f"Expected server kind {wrong}, got {right}"
        assert response.headers[KIND] == right


def test_functions_that_are_gone_are_archived(world: World) -> None:
    stays, goes = world.app(stays=(done(),), goes=(ops(sleep("s", "1h")), done()))
    run = goes.start()
    body = world.registration(stays.app, world.config(stays.slug, stays.event))
    body["url"] = f"{world.url}/api/inngest/{stays.app}"
    assert world.register(body).json()["modified"] is True
    assert world.runs(goes.send()) == []
    assert [function["slug"] for function in world.get(f"/v1/apps/{stays.app}/functions")] == [stays.slug]
    world.skip("61m")
    assert world.run(run)["status"] == "Completed"
    assert world.register(body | {"functions": []}).status_code == 200
    removed = world.http.delete("/fn/remove", params={"url": body["url"]})
    assert removed.status_code == 200


def test_cron(world: World) -> None:
    function = world.function(done(), triggers=[{"cron": "*/5 * * * *"}])
    world.skip("5m")
    event = function.calls[0].body["event"]
    assert event["name"] == "inngest/scheduled.timer"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d[05]:00Z", event["id"])
    assert event["data"]["cron"] == "*/5 * * * *"
    assert event["data"]["scheduledAt"] == event["data"]["fireAt"] == event["id"]
    assert event["ts"] % 300_000 == 0
    assert len(function.calls) == 1
    world.skip("10m")
    assert len(function.calls) == 3
    run = world.get(f"/v1/runs/{function.calls[0].ctx['run_id']}")["data"]
    assert run["cron"] == "*/5 * * * *"
    world.register(world.registration(function.app) | {"url": f"{world.url}/api/inngest/{function.app}"})


def test_dev(world: World, signed: World) -> None:
    [function] = world.app(fn=(done(), {"name": "A name", "attempts": 7}))
    response = world.http.get("/dev")
    body = response.json()
    assert response.headers[KIND] == "dev"
    assert isinstance(body["version"], str)
    [found] = [one for one in body["functions"] if one["slug"] == function.slug]
    assert UUID.fullmatch(found["id"])
    assert found["name"] == "A name"
    assert found["triggers"] == [{"event": function.event}]
    assert found["steps"][0] | {"uri": ""} == {"id": "step", "name": "step", "uri": "", "retries": 7}
    [handler] = [one for one in body["handlers"] if one["sdk"]["app"] == function.app]
    assert handler["functions"] == [function.slug]
    sdk = handler["sdk"]
    assert (sdk["language"], sdk["version"], sdk["framework"]) == ("js", "4.24.0", "express")
    assert body["isSingleNodeService"] is False
    assert signed.http.get("/dev").status_code == 404


# -- keys -------------------------------------------------------------------------------------------------------------


def test_a_signed_call(signed: World) -> None:
    function = signed.function(ops(ran("ü", {"n": 1.5})), done({"ok": 1}))
    [id] = signed.http.post(
        f"/e/{EVENT_KEY}", json={"name": function.event, "data": {"z": 1e21, "a": "\u2028"}}
    ).json()["ids"]
    [run] = eventually(lambda: ended(signed, id), what="the run has ended")
    assert run["output"] == {"ok": 1}
    key = re.sub(r"^signkey-\w+-", "", SIGNING_KEY).encode()
    for call in function.calls:
        t, _, s = call.headers["x-inngest-signature"].removeprefix("t=").partition("&s=")
        assert hmac.new(key, call.raw + t.encode(), hashlib.sha256).hexdigest() == s
    assert b'"z":1e+21' in function.calls[0].raw


def ended(world: World, id: str) -> list[dict[str, object]]:
    response = world.http.get(f"/v1/events/{id}/runs", headers={"Authorization": BEARER})
    return [run for run in response.json()["data"] if run["ended_at"] is not None]


def test_keys(signed: World) -> None:
    refused = signed.http.post("/e/unknown", json={"name": "x"})
    assert refused.status_code == 401
    assert refused.json() == {"status": 401, "message": "", "error": "Event key not found"}
    assert refused.headers[KIND] == "cloud"
    digest = BEARER.rpartition("-")[2]
    run = "01KAT3ZF000000000000000000"
    body = signed.registration("keys", signed.config("keys-fn", "keys/fn"))
    for given, is_right in (
        (f"Bearer {digest}", True),
        (f"Bearer signkey-prod-{digest}", True),
        (BEARER, True),
        ("Bearer " + "0" * 64, False),
        ("Bearer", False),
        ("Bearer undefined", False),
        ("", False),
    ):
        headers = {"Authorization": given} if given else {}
        registered = signed.http.post("/fn/register", json=body, headers=headers)
        assert registered.status_code == (200 if is_right else 401), given
        for path in ("/v1/events", f"/v1/runs/{run}", f"/v0/runs/{run}/actions", "/v1/apps/keys/functions"):
            status = signed.http.get(path, headers=headers).status_code
            assert (status not in (401, 403)) == is_right, (given, path)
        signal = signed.http.post("/v1/signals", json={"signal": "s", "data": 1}, headers=headers)
        assert signal.status_code == (404 if is_right else 401)
    assert signed.http.get("/health").status_code == 200


def test_dev_asks_for_no_keys(world: World) -> None:
    for given in ("Bearer", "Bearer undefined", "Bearer x"):
        assert world.http.get("/v1/events", headers={"Authorization": given}).status_code == 200


# -- events and runs --------------------------------------------------------------------------------------------------


def test_an_event_and_its_runs(world: World) -> None:
    function = world.function(done({"ok": True}))
    [id] = world.send({"name": function.event, "data": {"a": 1}, "id": "o1", "ts": 1763985600000})
    answer = world.get(f"/v1/events/{id}")
    assert TIME.fullmatch(answer["metadata"]["fetched_at"])
    event = answer["data"]
    assert (event["internal_id"], event["id"], event["name"]) == (id, "o1", function.event)
    assert (event["data"], event["ts"]) == ({"a": 1}, 1763985600000)
    assert TIME.fullmatch(event["received_at"])
    assert event["account_id"] == "00000000-0000-4000-a000-000000000000"
    assert event["environment_id"] == "00000000-0000-4000-b000-000000000000"
    [run] = world.runs(id)
    assert run == world.run(run)
    assert run["event_id"] == id
    assert (run["status"], run["output"]) == ("Completed", {"ok": True})
    assert ULID.fullmatch(run["run_id"])
    assert UUID.fullmatch(run["function_id"])
    assert isinstance(run["function_version"], int)
    assert TIME.fullmatch(run["run_started_at"])
    assert TIME.fullmatch(run["ended_at"])
    assert not {"batch_id", "original_run_id", "cron"} & set(run)


def test_a_run_in_progress(world: World) -> None:
    function = world.function(ops(sleep("s", "1h"), waits("w", "never", "2h")), done())
    run = function.start()
    assert (run["status"], run["ended_at"]) == ("Running", None)
    assert "output" not in run
    jobs = world.get(f"/v1/runs/{run['run_id']}/jobs")["data"]
    assert len(jobs) == 2
    for job in jobs:
        assert TIME.fullmatch(job["at"])
        assert isinstance(job["position"], int)
        assert isinstance(job["kind"], str)
        assert job["attempt"] == 0


def test_pages_of_events(world: World) -> None:
    ids = world.send(*({"name": "page/x", "data": {"n": n}} for n in range(25)))
    first = world.get("/v1/events", name="page/x")["data"]
    assert [event["internal_id"] for event in first] == ids[:4:-1]
    rest = world.get("/v1/events", name="page/x", cursor=first[-1]["internal_id"], limit=3)["data"]
    assert [event["internal_id"] for event in rest] == ids[4:1:-1]
    last = world.get("/v1/events", name="page/x", cursor=rest[-1]["internal_id"], limit=100)["data"]
    assert [event["internal_id"] for event in last] == ids[1::-1]
    assert world.get("/v1/events", name="page/x", received_after="2100-01-01T00:00:00Z")["data"] == []
    assert len(world.get("/v1/events", name="page/x", received_before="2100-01-01T00:00:00Z")["data"]) == 20
    assert all(not event["name"].startswith("inngest/") for event in world.get("/v1/events", limit=100)["data"])


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/runs/01KAT3ZF000000000000000000", 404),
        ("GET", "/v1/runs/nonsense", 404),
        ("GET", "/v1/events/01KAT3ZF000000000000000000", 404),
        ("GET", "/v1/events/01KAT3ZF000000000000000000/runs", 404),
        ("DELETE", "/v1/runs/01KAT3ZF000000000000000000", 404),
        ("DELETE", "/v0/runs/nonsense", 400),
        ("GET", "/v0/runs/nonsense/batch", 400),
        ("GET", "/v1/apps/nobody/functions", 404),
        ("GET", "/v1/nothing", 404),
        ("POST", "/v1/signals", 400),
    ],
)
def test_an_error_has_its_form(world: World, method: str, path: str, status: int) -> None:
    response = world.http.request(method, path)
    assert response.status_code == status, response.text
    body = response.json()
    assert isinstance(body["error"], str)
    assert (body["status"], body["data"]) == (status, None)
    assert response.headers[KIND] == "dev"


# -- checkpoints ------------------------------------------------------------------------------------------------------


def report(world: World, call: Call, *steps: object, **more: object):
    ctx = call.ctx
    body = {key: ctx[key] for key in ("run_id", "fn_id", "qi_id", "request_id", "generation_id")}
    body |= {"request_started_at": 1763985601000, "ts": 1763985601020, "steps": list(steps)} | more
    return world.http.post(f"/v1/checkpoint/{body['run_id']}/async", json=body, headers={"Authorization": BEARER})


def checkpointed(title: str, data: object) -> dict[str, object]:
    inner = {"mode": "x", "rawArgs": [], "fulfilled": True, "timing": {"a": 1763985601000000000, "b": 20000000}}
    return ran(title, data) | {"userland": {"id": title}} | inner


def test_a_checkpointing_call(world: World) -> None:
    seen: list[object] = []

    def first(call: Call) -> Answer:
        for _ in range(2):  # sent again: known
            response = report(world, call, checkpointed("a", 1))
            seen.append((response.status_code, response.content in (b"", b"{}")))
        seen.append(report(world, call, checkpointed("b", 2), checkpointed("a", 9), planned("c")).status_code)
        return ops(sleep("nap", "1m"))

    def second(call: Call) -> Answer:
        report(world, call, checkpointed("d", 4))
        return ops(ran("e", 5), {"id": sha1("complete"), "op": "RunComplete", "data": {"done": 1}})

    function = world.function(first, second)
    run = function.start()
    assert seen == [(200, True), (200, True), 200]
    world.skip("61s")
    assert function.memo == {sha1("a"): {"data": 1}, sha1("b"): {"data": 2}, sha1("nap"): None}
    assert function.stack == {"stack": [sha1("a"), sha1("b"), sha1("nap")], "current": 3}
    run = world.run(run)
    assert (run["status"], run["output"], len(function.calls)) == ("Completed", {"done": 1}, 2)


def test_a_checkpoint_resets_the_attempts(world: World) -> None:
    def fails(call: Call) -> Answer:
        if call.ctx["attempt"] == 1:
            assert report(world, call, checkpointed("a", 1)).status_code == 200
        return failed()

    function = world.function(fails, attempts=1)
    run = function.start()
    for _ in range(4):
        world.skip("1m")
    assert world.run(run)["status"] == "Failed"
    assert [call.ctx["attempt"] for call in function.calls] == [0, 1, 1]


@pytest.mark.parametrize(
    "given", [op("StepError", "a"), sleep("a", "1s"), op("RunComplete", "complete"), waits("a", "x")]
)
def test_an_op_that_cannot_be_checkpointed(world: World, given: object) -> None:
    seen: list[object] = []

    def answer(call: Call) -> Answer:
        response = report(world, call, given)
        seen.append((response.status_code, response.json()["error"], response.json()["status"]))
        return done()

    world.function(answer).start()
    assert seen == [(400, "cannot checkpoint async steps", 400)]


def test_a_stale_checkpoint(world: World) -> None:
    seen: list[int] = []

    def answer(call: Call) -> Answer:
        # The request id says which dispatch it is, so the generation isn't looked at.
        seen.append(report(world, call, checkpointed("a", 1), request_id=call.ctx["request_id"] + "1").status_code)
        seen.append(report(world, call, checkpointed("a", 1), qi_id="another").status_code)
        seen.append(report(world, call, checkpointed("a", 1), request_id="", generation_id=None).status_code)
        return done()

    function = world.function(answer)
    function.start()
    assert seen == [409, 409, 200]
    assert report(world, function.calls[0], checkpointed("b", 1)).status_code in (404, 409)
    gone = report(world, function.calls[0], checkpointed("b", 1), run_id="01KAT3ZF000000000000000000")
    assert gone.status_code in (404, 409)
    assert gone.json()["status"] == gone.status_code


def test_the_call_that_a_stale_dispatch_ends_changes_nothing(world: World) -> None:
    function = world.function(ops(ran("a"), {"id": sha1("d"), "op": "DiscoveryRequest"}), done("once"))
    run = function.start()
    assert run["output"] == "once"
    assert len(function.calls) == 2


def test_puts_carry_the_servers_kind(world: World) -> None:
    asked: list[Call] = []

    def answer(call: Call) -> Answer:
        asked.append(call)
        return Answer(200, {"message": "Successfully registered", "modified": False}, {"X-Inngest-SDK": SDK})

    world.fetched = answer
    world.http.post("/api/apps/sync", json={"url": f"{world.url}/api/other"})
    [put] = [call for call in asked if call.method == "PUT"]
    assert put.headers[KIND] == "dev"
    assert put.headers["content-type"] == "application/json"
    assert json.loads(put.raw) == {"url": f"{world.url}/api/other"}


@pytest.mark.parametrize(
    "path", ["/", "/dev", "/nothing", "/v1/nothing", "/health", "/e/k", "/v1/events", "/fn/register"]
)
@pytest.mark.parametrize("method", ["GET", "OPTIONS", "POST"])
def test_every_answer_says_the_servers_kind(world: World, path: str, method: str) -> None:
    response = world.http.request(method, path, headers={"X-Inngest-Env": "branch-a"})
    assert response.status_code < 500
    assert response.headers[KIND] == "dev"
