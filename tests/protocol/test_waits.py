"""Waits, signals, invokes, requests made for steps, and the events about ends (protocol 2.6, 4.8, 4.4, 10)."""

from __future__ import annotations

import json

import pytest

from tests.e2e.harness import EVENT_KEY, eventually
from tests.protocol.world import (
    Answer,
    Call,
    Function,
    World,
    by_memo,
    done,
    error,
    failed,
    invokes,
    op,
    ops,
    planned,
    ran,
    sha1,
    sleep,
    waits,
)

W, INVOKED = sha1("w"), sha1("i")


# -- events ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "given",
    [
        lambda name: waits("w", name),
        lambda name: waits("w", name, **{"if": None}),
        lambda name: waits("w", name, **{"if": ""}),
        lambda name: op("WaitForEvent", "w", name=None, opts={"event": name, "timeout": "1h"}),
        lambda name: waits("w", name, **{"if": "event.data.order == async.data.order"}),
        lambda name: waits("w", name, **{"if": "async.data.order == 'o1' && size(async.data.list) == 2"}),
        lambda name: waits("w", name, **{"if": "async.data.total > event.data.missing.deep || async.data.n == 1.0"}),
    ],
)
def test_a_wait_gets_the_event_itself(world: World, given: object) -> None:
    function = world.function(lambda call: ops(given(f"{call.body['event']['name']}.paid")), done())  # type: ignore[operator]
    run = function.start({"order": "o1"})
    assert run["status"] == "Running"
    data = {"order": "o1", "list": [1, 2], "n": 1}
    [id] = world.send({"name": f"{function.event}.paid", "data": data, "ts": 1763985600000, "v": "2"})
    assert world.run(run)["status"] == "Completed"
    event = {"name": f"{function.event}.paid", "data": data, "ts": 1763985600000, "id": id, "v": "2", "user": {}}
    assert function.memo == {W: event}
    assert function.stack == {"stack": [W], "current": 1}


def test_an_event_that_does_not_match_ends_no_wait(world: World) -> None:
    function = world.function(
        lambda call: ops(
            waits("w", f"{call.body['event']['name']}.paid", "1h", **{"if": "event.data.order == async.data.order"})
        ),
        done(),
    )
    function.start({"order": "o1"})
    world.send({"name": f"{function.event}.paid", "data": {"order": "o2"}}, {"name": f"{function.event}.paid"})
    assert len(function.calls) == 1
    world.skip("61m")
    assert function.memo == {W: None}


def test_an_event_from_before_the_wait_does_not_match(world: World) -> None:
    function = world.function(lambda call: ops(waits("w", f"{call.body['event']['name']}.paid")), done())
    world.send({"name": f"{function.event}.paid"}, {"name": function.event}, {"name": f"{function.event}.paid"})
    assert len(function.calls) == 1


def test_an_event_ends_all_waits_for_it(world: World) -> None:
    functions = world.app(
        a=(ops(waits("w", "all/of.them")), done()),
        b=(ops(waits("w", "all/of.them"), waits("x", "all/of.them", "2h", **{"if": "async.data.n == 2"})), done()),
    )
    for function in functions:
        function.start()
    world.send({"name": "all/of.them", "data": {"n": 1}})
    assert [len(function.calls) for function in functions] == [2, 1]
    world.send({"name": "all/of.them", "data": {"n": 2}})
    assert [len(function.calls) for function in functions] == [2, 2]
    assert {key: value["data"] for key, value in functions[1].memo.items()} == {W: {"n": 1}, sha1("x"): {"n": 2}}


@pytest.mark.parametrize(
    ("opts", "late"),
    [
        ({"timeout": "90s"}, "91s"),
        ({"timeout": "1.5m"}, "91s"),
        ({"timeout": ""}, "1s"),
        ({"timeout": None}, "1s"),
        ({}, "1s"),
        ({"timeout": "2001-01-01T00:00:00Z"}, "1s"),
    ],
)
def test_a_wait_times_out(world: World, opts: dict[str, object], late: str) -> None:
    function = world.function(ops(op("WaitForEvent", "w", name="never", opts=opts)), done())
    function.start()
    assert (len(function.calls) == 1) == (late == "91s")
    world.skip("88s")
    assert (len(function.calls) == 1) == (late == "91s")
    world.skip("3s")
    assert function.memo == {W: None}


def test_a_wait_until_a_time(world: World) -> None:
    function = world.function(lambda _: ops(waits("w", "never", at(world, 3600))), done())
    function.start()
    world.skip("59m50s")
    assert len(function.calls) == 1
    world.skip("20s")
    assert function.memo == {W: None}


def at(world: World, later_s: float) -> str:
    import datetime

    return (
        datetime.datetime.fromtimestamp(BASE["now"] + later_s, datetime.UTC)
        .isoformat(timespec="milliseconds")
        .replace("+00:00", "Z")
    )


BASE: dict[str, float] = {}


@pytest.fixture(autouse=True)
def _now(world: World) -> None:
    BASE["now"] = world.now()


def test_waits_of_366_days_are_allowed(world: World) -> None:
    function = world.function(ops(waits("w", "never", "366d")), done())
    assert function.start()["status"] == "Running"


# -- signals --------------------------------------------------------------------------------------------------------


def signal(world: World, name: str, data: object, status: int = 200) -> object:
    response = world.http.post("/v1/signals", json={"signal": name, "data": data})
    assert response.status_code == status, response.text
    world.quiet()
    return response.json()


def test_a_signal(world: World) -> None:
    name = "approve-1"
    missing = signal(world, name, 1, status=404)
    assert isinstance(missing, dict)
    assert (missing["error"], missing["status"], missing["data"]) == ("No signal found", 404, None)
    waiting = ops(op("WaitForSignal", "w", name=name, opts={"signal": name, "timeout": "1d", "conflict": "fail"}))
    function = world.function(waiting, done())
    run = function.start()
    sent = signal(world, name, {"by": "ann"})
    assert isinstance(sent, dict)
    assert sent["data"] == {"run_id": run["run_id"]}
    assert "fetched_at" in sent["metadata"]
    assert function.memo == {W: {"data": {"signal": name, "data": {"by": "ann"}}}}
    signal(world, name, 1, status=404)


def test_a_signal_times_out(world: World) -> None:
    function = world.function(ops(op("WaitForSignal", "w", opts={"signal": "s2", "timeout": "1m"})), done())
    function.start()
    world.skip("61s")
    assert function.memo == {W: None}
    signal(world, "s2", 1, status=404)


@pytest.mark.parametrize("conflict", ["fail", None, "replace"])
def test_two_that_wait_for_one_signal(world: World, conflict: str | None) -> None:
    name = f"s3-{conflict}"
    waiting = ops(op("WaitForSignal", "w", opts={"signal": name, "timeout": "1h", "conflict": conflict}))
    function = world.function(waiting, waiting, done(), attempts=0)
    first, second = function.start(), function.start()
    if conflict == "replace":
        sent = signal(world, name, 1)
        assert isinstance(sent, dict)
        assert sent["data"] == {"run_id": second["run_id"]}
        assert world.run(first)["status"] == "Running"
        world.skip("61m")
        assert world.run(first)["status"] == "Completed"
        assert function.memo == {W: None}
    else:
        assert second["status"] == "Failed"
        message = "Signal conflict; signal wait already exists for another run"
        assert second["output"]["error"]["message"] == message
        signal(world, name, 1)
        assert world.run(first)["status"] == "Completed"


# -- invokes --------------------------------------------------------------------------------------------------------


def parent_of(world: World, child: Function, **opts: object) -> Function:
    return world.function(ops(invokes("i", child.slug, **opts)), done("parent"))


@pytest.mark.parametrize(
    ("opts", "data"),
    [
        ({"payload": {"data": {"amount": 7}, "v": "1", "meta": {}}}, {"amount": 7}),
        ({"payload": {}}, {}),
        ({"payload": {"data": None, "v": None}}, {}),
        ({"payload": None}, {}),
        ({"payload": {"data": {"a": 1}}, "timeout": "1h"}, {"a": 1}),
        ({"payload": {"data": {"a": 1}}, "timeout": None}, {"a": 1}),
        ({"payload": {"data": {"a": 1}}, "timeout": ""}, {"a": 1}),
    ],
)
def test_an_invoke(world: World, opts: dict[str, object], data: dict[str, object]) -> None:
    child = world.function(done({"ok": True}), expression="event.data.never == 1")
    parent = world.function(
        ops(op("InvokeFunction", "i", name="call", displayName="call", opts={"function_id": child.slug, **opts})),
        done(),
    )
    run = parent.start()
    assert run["status"] == "Completed"
    assert parent.memo == {INVOKED: {"data": {"ok": True}}}
    assert parent.stack == {"stack": [INVOKED], "current": 1}
    [call] = child.calls
    event = call.body["event"]
    assert event["name"] == "inngest/function.invoked"
    payload = opts["payload"]
    assert event.get("v") == (payload.get("v") if isinstance(payload, dict) else None)
    own = event["data"].pop("_inngest")
    assert event["data"] == data
    assert own["fn_id"] == child.slug
    assert own["correlation_id"] == f"{run['run_id']}.{INVOKED}"
    assert own["source_fn_id"] == run["function_id"]
    assert isinstance(own["source_app_id"], str)
    assert isinstance(own["source_fn_v"], int)
    assert isinstance(own["gid"], str)
    assert own["name"] == "call"
    expected = BASE["now"] + (3600 if opts.get("timeout") == "1h" else 366 * 86400)
    assert abs(own["expire"] / 1000 - expected) < 2 * 86400 if opts.get("timeout") != "1h" else 60
    [event] = [one for one in world.ends if one["data"].get("correlation_id") == own["correlation_id"]]
    assert event["data"]["result"] == {"ok": True}
    assert event["data"]["function_id"] == child.slug
    assert event["data"]["_inngest"] == {"status": "Completed"}


def test_an_invoke_whose_child_fails(world: World) -> None:
    child = world.function(failed("no", X_Inngest_No_Retry="true"))
    parent = parent_of(world, child)
    assert parent.start()["status"] == "Completed"
    assert parent.memo == {INVOKED: {"error": error("no") | {"error": "NonRetriableError"}}}


def test_an_invoke_whose_child_is_cancelled(world: World) -> None:
    child = world.function(ops(sleep("s", "1h")), cancel=[{"event": "stop/child"}])
    parent = parent_of(world, child)
    parent.start()
    world.send({"name": "stop/child"})
    found = parent.memo[INVOKED]["error"]
    assert {type(found["name"]), type(found["message"])} == {str}


def test_an_invoke_times_out(world: World) -> None:
    child = world.function(ops(sleep("s", "1h")), done())
    parent = parent_of(world, child, timeout="10m")
    parent.start()
    world.skip("9m58s")
    assert len(parent.calls) == 1
    world.skip("3s")
    name, message = "InngestInvokeTimeoutError", "Timed out waiting for invoked function to complete"
    assert parent.memo == {INVOKED: {"error": {"name": name, "message": message, "error": f"{name}: {message}"}}}
    world.skip("1h")
    assert len(child.calls) == 2
    assert len(parent.calls) == 2


def test_an_invoke_until_a_time(world: World) -> None:
    child = world.function(ops(sleep("s", "1h")), done())
    parent = world.function(lambda _: ops(invokes("i", child.slug, timeout=at(world, 600))), done())
    parent.start()
    world.skip("11m")
    assert parent.memo[INVOKED]["error"]["name"] == "InngestInvokeTimeoutError"


def test_an_invoke_of_what_is_not_there(world: World) -> None:
    parent = world.function(ops(invokes("i", "nobody")), done())
    run = parent.start()
    assert run["status"] == "Completed"
    message = "could not find function with ID: nobody"
    found = parent.memo[INVOKED]["error"]
    assert (found["name"], found["message"]) == ("Error", message)
    [event] = [event for event in world.ends if event["data"].get("correlation_id") == f"{run['run_id']}.{INVOKED}"]
    assert (event["data"]["function_id"], event["data"]["run_id"]) == ("", "")
    assert event["data"]["error"]["message"] == message


def test_an_invoke_that_is_rate_limited(world: World) -> None:
    child = world.function(done(1), rateLimit={"limit": 1, "period": "1h"})
    parent = world.function(by_memo(("i", ops(invokes("i", child.slug))), ("j", ops(invokes("j", child.slug)))))
    assert parent.start()["status"] == "Completed"
    assert parent.memo[INVOKED] == {"data": 1}
    found = parent.memo[sha1("j")]["error"]
    assert (found["name"], found["message"]) == ("Error", "invoked function is rate limited")


def test_an_invoke_of_a_singleton_that_runs(world: World) -> None:
    child = world.function(ops(sleep("s", "1h")), done(1), singleton={"mode": "skip"})
    child.start()
    parent = parent_of(world, child)
    assert parent.start()["status"] == "Completed"  # the reference lets it wait for its time-out
    assert isinstance(parent.memo[INVOKED]["error"]["message"], str)


def test_an_invoke_by_the_api(world: World) -> None:
    child = world.function(done(1))
    response = world.http.post(f"/invoke/{child.slug}", json={"data": {"a": 1}})
    assert response.status_code == 200
    assert response.json()["status"] == 200
    world.quiet()
    [call] = child.calls
    assert call.body["event"]["name"] == "inngest/function.invoked"
    assert call.body["event"]["data"]["a"] == 1
    assert call.body["event"]["data"]["_inngest"]["fn_id"] == child.slug
    assert world.runs(response.json()["id"])[0]["status"] == "Completed"


# -- ends -----------------------------------------------------------------------------------------------------------


def test_events_about_ends(world: World) -> None:
    [good, bad, stopped, watcher, handler] = world.app(
        good=(done({"ok": 1}),),
        bad=(failed("no", X_Inngest_No_Retry="true"),),
        stopped=(ops(sleep("s", "1h")), done(), {"cancel": [{"event": "end/stop"}]}),
        watcher=(
            failed(X_Inngest_No_Retry="true"),
            {
                "triggers": [
                    {"event": "inngest/function.finished", "expression": "event.data.event.data.watched"},
                    {"event": "inngest/function.cancelled", "expression": "event.data.event.data.watched"},
                ]
            },
        ),
        handler=(
            done(),
            {"triggers": [{"event": "inngest/function.failed", "expression": "event.data.event.data.watched"}]},
        ),
    )
    runs = [
        function.start({"watched": True}, user={"u": 1}, id=f"e-{function.slug}") for function in (good, bad, stopped)
    ]
    world.send({"name": "end/stop"})
    seen = {
        (call.body["event"]["name"], call.body["event"]["data"]["run_id"]): call.body["event"] for call in watcher.calls
    }
    assert len(seen) == len(watcher.calls) == 4
    for function, run, status in zip((good, bad, stopped), runs, ("Completed", "Failed", "Cancelled"), strict=True):
        event = seen["inngest/function.finished", run["run_id"]]
        data = event["data"]
        assert data["function_id"] == function.slug
        assert data["_inngest"] == {"status": status}
        assert data["event"]["data"] == {"watched": True}
        assert data["event"]["user"] == {"u": 1}
        assert data["event"]["id"] == f"e-{function.slug}"
        assert [one["id"] for one in data["events"]] == [data["event"]["id"]]
        assert ("result" in data, "error" in data, "correlation_id" in data) == (
            status != "Cancelled",
            status == "Failed",
            False,
        )
        assert event["user"] == {}
        assert isinstance(event["ts"], int)
    cancelled = seen["inngest/function.cancelled", runs[2]["run_id"]]
    assert cancelled["id"] == runs[2]["run_id"]
    assert cancelled["data"] == seen["inngest/function.finished", runs[2]["run_id"]]["data"]
    [call] = handler.calls
    assert call.body["event"]["id"] == runs[1]["run_id"]
    assert call.body["event"]["data"]["error"] == error("no") | {"error": "NonRetriableError"}
    # Failed handlers of ends lead to no more events; the end of a run about a cancelled one does.
    about = {event["data"]["function_id"] for event in world.ends}
    assert bad.slug in about
    assert (
        sum(
            event["data"]["function_id"] == watcher.slug and event["name"] == "inngest/function.failed"
            for event in world.ends
        )
        == 1
    )


# -- requests for steps ---------------------------------------------------------------------------------------------


def test_a_gateway(world: World) -> None:
    world.fetched = lambda _: Answer(503, b"<p>no", {"Content-Type": "text/html", "X-A": "1"}, None, is_sdk=False)
    given = {"url": f"{world.url}/page?q=1", "method": "PUT", "headers": {"x-b": "2"}, "body": "hi"}
    function = world.function(ops(op("Gateway", "g", opts=given)), done())
    function.start()
    sent = world.requests[-1]
    assert (sent.method, sent.path, sent.headers["x-b"], sent.raw) == ("PUT", "/page?q=1", "2", b"hi")
    memo = function.memo[sha1("g")]
    assert set(memo) == {"data"}
    assert set(memo["data"]) == {"url", "headers", "body", "status_code"}
    assert (memo["data"]["url"], memo["data"]["body"], memo["data"]["status_code"]) == (given["url"], "<p>no", 503)
    assert {key.lower(): value for key, value in memo["data"]["headers"].items()}["x-a"] == "1"
    default = world.function(ops(op("Gateway", "g", opts={"url": f"{world.url}/x"})), done())
    default.start()
    assert (world.requests[-1].method, world.requests[-1].raw) == ("POST", b"")


def test_a_gateway_that_reaches_nobody(world: World) -> None:
    function = world.function(ops(op("Gateway", "g", opts={"url": "http://127.0.0.1:1/"})), done(), attempts=1)
    function.start()
    world.skip("1m")
    found = function.memo[sha1("g")]
    assert set(found) == {"error"}
    assert found["error"]["name"] == "GatewayError"
    assert found["error"]["message"].startswith("Error making gateway request: ")


@pytest.mark.parametrize(
    ("kind", "header", "value", "query"),
    [
        ("openai-chat", "authorization", "Bearer sk-1", ""),
        ("anthropic", "x-api-key", "sk-1", ""),
        ("bedrock", "authorization", "sk-1", ""),
        ("gemini", "authorization", None, "?key=sk-1"),
    ],
)
def test_an_ai_gateway(world: World, kind: str, header: str, value: str | None, query: str) -> None:
    world.fetched = lambda _: Answer(200, {"choices": [1]})
    given = {
        "type": "step.ai.infer",
        "url": f"{world.url}/v1/{kind}",
        "headers": {"x-a": "b"},
        "auth_key": "sk-1",
        "format": kind,
        "body": {"model": "m", "messages": []},
    }
    function = world.function(ops(op("AIGateway", "g", opts=given)), done())
    function.start()
    sent = world.requests[-1]
    assert (sent.method, sent.path) == ("POST", f"/v1/{kind}{query}")
    assert sent.headers.get(header) == value
    assert sent.headers["x-a"] == "b"
    assert sent.headers["content-type"] == "application/json"
    assert sent.body == given["body"]
    assert function.memo == {sha1("g"): {"data": {"choices": [1]}}}


def test_an_ai_gateway_that_is_refused(world: World) -> None:
    asked: list[Call] = []

    def refuse(call: Call) -> Answer:
        asked.append(call)
        return Answer(429, {"error": "slow"})

    world.fetched = refuse
    given = {"url": f"{world.url}/v1", "auth_key": "sk-1", "format": "openai-chat", "body": {"m": 1}}
    function = world.function(ops(op("AIGateway", "g", opts=given)), done(), attempts=1)
    function.start()
    world.skip("1m")
    assert len(asked) == 2
    assert function.memo == {
        sha1("g"): {
            "error": {
                "name": "AIGatewayError",
                "message": "Error making AI request: unsuccessful status code: 429",
                "data": {"error": "slow"},
                "stack": json.dumps({"error": "slow"}),
            }
        }
    }


def test_a_request_in_a_group(world: World) -> None:
    world.fetched = lambda _: Answer(200, {"ok": 1})
    group = ops(op("Gateway", "g", opts={"url": f"{world.url}/x"}), planned("a"))
    function = world.function(group, ops(ran("a")), done())
    function.start()
    assert function.steps == ["step", sha1("a"), "step"]
    assert set(function.memo) == {sha1("g"), sha1("a")}


def test_a_wait_for_the_end_of_a_run(world: World) -> None:
    watched = world.function(done({"n": 1}))
    condition = f"async.data.function_id == '{watched.slug}' && async.data.result.n == 1"
    waiting = world.function(ops(waits("w", "inngest/function.finished", "1h", **{"if": condition})), done())
    waiting.start()
    run = watched.start()
    assert waiting.memo[W]["name"] == "inngest/function.finished"
    assert waiting.memo[W]["data"]["run_id"] == run["run_id"]


def test_triggers_by_internal_events(world: World) -> None:
    child = world.function(done(1))
    by_invoke = world.function(
        done(),
        triggers=[{"event": "inngest/function.*", "expression": f"event.data.function_id == '{child.slug}'"}],
    )
    parent = parent_of(world, child)
    parent.start()
    assert [call.body["event"]["name"] for call in by_invoke.calls] == ["inngest/function.finished"]
    # An invoked event starts the function that it names, and no other.
    by_name = world.function(done(), triggers=[{"event": "inngest/function.invoked"}])
    parent_of(world, child).start()
    assert by_name.calls == []


def test_an_invoke_by_the_functions_uuid(world: World) -> None:
    child = world.function(done(1))
    child.start()
    parent = world.function(ops(invokes("i", child.calls[0].ctx["fn_id"])), done())
    parent.start()
    assert parent.memo == {INVOKED: {"data": 1}}


def test_no_requests_to_private_addresses_in_production(signed: World) -> None:
    function = signed.function(ops(op("Gateway", "g", opts={"url": f"{signed.url}/secret"})), done("safe"), attempts=0)
    [id] = signed.http.post(f"/e/{EVENT_KEY}", json={"name": function.event}).json()["ids"]
    [run] = eventually(lambda: [one for one in signed.runs(id) if one["ended_at"]], what="the run has ended")
    assert run["output"] == "safe"
    assert function.memo[sha1("g")]["error"]["name"] == "GatewayError"
    assert signed.requests == []
