"""Ops, memo, stack and groups (protocol 4.2 to 4.12)."""

from __future__ import annotations

import datetime
import email.utils
import json
from collections.abc import Callable

import pytest

from tests.protocol.world import (
    Answer,
    World,
    by_memo,
    done,
    error,
    failed,
    op,
    ops,
    planned,
    ran,
    sha1,
    sleep,
    targeted,
)

A, B, C = sha1("a"), sha1("b"), sha1("c")


def test_a_first_call(world: World) -> None:
    function = world.function(ops(ran("a", {"x": 1})), done({"ok": True}), attempts=2)
    run = function.start({"n": 1.0, "ü": "ü\n"}, id="own", ts=1763985600000, v="1", user={"u": 1})
    call = function.calls[0]
    assert (call.method, call.query) == ("POST", {"fnId": function.slug, "stepId": "step"})
    headers = call.headers
    assert headers["content-type"] == "application/json"
    assert headers["user-agent"] == "Inngest"
    assert headers["x-inngest-req-version"] == "-1"
    assert headers["x-run-id"] == run["run_id"]
    assert headers["x-inngest-step-id"] == "step"
    assert headers["x-request-id"] == call.ctx["request_id"]
    assert "x-inngest-signature" not in headers
    body = call.body
    event = {
        "name": function.event,
        "id": "own",
        "ts": 1763985600000,
        "data": {"n": 1, "ü": "ü\n"},
        "v": "1",
        "user": {"u": 1},
    }
    assert body["event"] == event
    assert body["events"] == [event]
    assert (body["version"], body["use_api"], body["steps"]) == (-1, False, {})
    ctx = body["ctx"]
    assert ctx["run_id"] == run["run_id"]
    assert ctx["fn_id"] == run["function_id"]
    assert (ctx["attempt"], ctx["max_attempts"], ctx["step_id"]) == (0, 3, "step")
    assert ctx["stack"] == {"stack": [], "current": 0}
    assert ctx["disable_immediate_execution"] is False
    assert ctx["use_api"] is False
    assert ctx["generation_id"] == 1
    assert all(isinstance(ctx[key], str) for key in ("env", "qi_id", "request_id", "job_id"))
    # Canonical JSON: sorted, no white space, numbers as ECMAScript writes them.
    assert call.raw == json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()

    second = function.calls[1]
    assert second.headers["x-inngest-req-version"] == "2"
    assert second.body["version"] == 2
    assert second.body["steps"] == {A: {"data": {"x": 1}}}
    assert second.ctx["stack"] == {"stack": [A], "current": 1}
    assert (run["status"], run["output"]) == ("Completed", {"ok": True})


@pytest.mark.parametrize(
    ("given", "memo"),
    [
        (ran("a", 12), {"data": 12}),
        (ran("a"), {"data": None}),
        ({"id": A, "op": "StepRun"}, {"data": None}),
        (op("steprun", "a", data=[1]), {"data": [1]}),
        (op("STEPRUN", "a", data={"error": 1}), {"data": {"error": 1}}),
        (op("Step", "a", data={"raw": 1}), {"raw": 1}),
        (
            op("StepRun", "a", data=1, opts=None, mode="x", rawArgs=[1], metadata=[{}], userland={"id": "a"}),
            {"data": 1},
        ),
        (
            op(
                "StepFailed",
                "a",
                error={**error("x"), "cause": {"c": 1}, "data": [1], "code": "unknown"},
                data={"z": 1},
            ),
            {"error": {**error("x"), "cause": {"c": 1}, "data": [1]}},
        ),
        (op("StepFailed", "a", error="plain"), {"error": {"name": "Error", "message": "plain"}}),
        (op("StepFailed", "a", error={"message": 5}), {"error": {"name": "Error", "message": "step 'a' failed"}}),
        (sleep("a", "10s"), None),
        (op("Sleep", "a", name=None, opts={"duration": "10s"}), None),
        (op("Sleep", "a", name="nonsense", opts={"duration": "10s"}), None),
        (sleep("a", "2001-01-01T00:00:00.000Z"), None),
        (sleep("a", "1.5s500ms"), None),
    ],
)
def test_memo_of(world: World, given: object, memo: object) -> None:
    function = world.function(ops(given), done())
    run = function.start()
    world.skip("11s")
    assert function.calls[1].body["steps"] == {A: memo}
    assert function.calls[1].ctx["stack"] == {"stack": [A], "current": 1}
    assert function.calls[1].ctx["attempt"] == 0
    assert function.steps == ["step", "step"]
    assert world.run(run)["status"] == "Completed"


@pytest.mark.parametrize(
    ("given", "name"),
    [
        (op("Sleep", "a", name="soon"), "InvalidSleep"),
        (op("Sleep", "a", name="367d"), "InngestErrTimeoutTooLong"),
        (op("WaitForEvent", "a", name="e", opts={"timeout": "367d"}), "InngestErrTimeoutTooLong"),
        (op("WaitForEvent", "a", name="e", opts={"timeout": "1h", "if": "((("}), "InvalidExpression"),
        (op("WaitForSignal", "a", name="e", opts={"signal": "e", "timeout": "367d"}), "InngestErrTimeoutTooLong"),
        (op("InvokeFunction", "a", opts={"function_id": "x", "timeout": "367d"}), "InngestErrTimeoutTooLong"),
        (op("StepRun", "a", data="x" * (4 * 1024 * 1024 + 1)), "output_too_large"),
    ],
)
def test_an_op_that_fails_the_run_at_once(world: World, given: object, name: str) -> None:
    function = world.function(ops(given), done())
    run = function.start()
    assert run["status"] == "Failed"
    found = run["output"]["error"]
    assert found["name"] == name
    assert isinstance(found["message"], str)
    assert found["error"] == f"{name}: {found['message']}"
    assert len(function.calls) == 1


@pytest.mark.parametrize("given", [op("Dance", "a"), op("SyncRunComplete", "complete", data={"data": {"status": 200}})])
def test_an_unknown_op_is_a_clear_error(world: World, given: dict[str, object]) -> None:
    function = world.function(ops(given), done(), attempts=0)
    run = function.start()
    assert run["status"] == "Failed"
    assert str(given["op"]) in run["output"]["error"]["message"]


def test_more_than_1000_steps_fail_a_run(world: World) -> None:
    function = world.function(ops(*(ran(f"s{n}") for n in range(1000))), ops(ran("one more")), done())
    run = function.start()
    assert run["status"] == "Failed"
    assert run["output"]["error"]["name"] == "InngestErrFunctionOverflowed"
    assert len(function.calls) == 2


def test_large_state_is_fetched(world: World) -> None:
    data = "x" * 2_000_000
    function = world.function(ops(ran("a", data)), ops(ran("b", data)), ops(ran("c", data)), sleepy(), done())
    run = function.start()
    last = function.calls[-1]
    assert (last.body["use_api"], last.ctx["use_api"], last.body["steps"]) == (True, True, {})
    assert last.body["event"]["name"] == function.event
    assert last.body["events"] == [last.body["event"]]
    assert last.ctx["stack"] == {"stack": [A, B, C], "current": 3}
    memo = world.get(f"/v0/runs/{run['run_id']}/actions")
    assert memo == {A: {"data": data}, B: {"data": data}, C: {"data": data}}
    assert world.get(f"/v0/runs/{run['run_id']}/batch") == [last.body["event"]]
    assert world.http.delete(f"/v0/runs/{run['run_id']}").status_code == 204
    for path in ("actions", "batch"):
        refused = world.http.get(f"/v0/runs/{run['run_id']}/{path}")
        assert refused.status_code in (404, 410)
        assert refused.json()["status"] == refused.status_code
        assert isinstance(refused.json()["error"], str)
        assert world.http.get(f"/v0/runs/nonsense/{path}").status_code == 400


def sleepy() -> Answer:
    return ops(sleep("nap", "1h"))


# -- request versions ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "asked"),
    [
        (ops(ran("a"), version="1"), 1),
        (ops(ran("a")), 2),
        (ops(ran("a"), version=None), 0),
        (ops(ran("a"), version="0"), 0),
    ],
)
def test_the_request_version_is_that_of_the_first_206(world: World, first: Answer, asked: int) -> None:
    function = world.function(failed(), first, ops(ran("b"), version="2"), done())
    function.start()
    world.skip("1m")
    assert [call.body["version"] for call in function.calls] == [-1, -1, asked, asked]
    assert [call.headers["x-inngest-req-version"] for call in function.calls] == ["-1", "-1", str(asked), str(asked)]


# -- groups -------------------------------------------------------------------------------------------------------


def pair(version: str, **opts: object) -> Answer:
    return ops(planned("a", **opts), planned("b", **opts), version=version)


def test_a_group_of_version_2_has_one_discovery(world: World) -> None:
    function = world.function(
        targeted(
            {"a": ops(ran("a", 1)), "b": ops(ran("b", 2)), "c": ops(ran("c"))},
            by_memo(("b", pair("2")), ("c", ops(ran("c", 3))), otherwise=done("end")),
        )
    )
    run = function.start()
    assert (run["status"], run["output"]) == ("Completed", "end")
    assert sorted(function.steps[1:3]) == sorted([A, B])
    assert function.steps[3:] == ["step", "step"]
    for call in function.calls[1:3]:
        assert call.ctx["disable_immediate_execution"] is True
        assert call.ctx["step_id"] == "step"
        assert call.headers["x-inngest-step-id"] == call.step
        assert call.ctx["stack"] == {"stack": [], "current": 0} or call.ctx["stack"]["current"] == 0
    assert function.calls[3].ctx["disable_immediate_execution"] is False
    assert sorted(function.calls[3].ctx["stack"]["stack"]) == sorted([A, B])
    assert function.calls[3].ctx["stack"]["current"] == 2
    assert function.calls[3].body["steps"] == {A: {"data": 1}, B: {"data": 2}}
    assert function.calls[4].ctx["stack"]["current"] == 3


@pytest.mark.parametrize("version", ["0", "1"])
def test_a_group_of_older_versions_has_a_discovery_for_each(world: World, version: str) -> None:
    pending = by_memo(
        ("a", pair(version)), ("b", ops(planned("b"), version=version)), ("c", ops(planned("c"), version=version))
    )
    function = world.function(
        targeted(
            {"a": ops(ran("a"), version=version), "b": Answer(206, [sleep("b", "1h")], version=version)},
            targeted({"c": ops(ran("c"), version=version)}, pending),
        )
    )
    run = function.start()
    # b, asked alone, sleeps: the discovery after a reports it once more, which changes nothing.
    assert sorted(function.steps[1:3]) == sorted([A, B])
    assert function.steps.count(B) == 1
    assert function.steps[3:] == ["step"]
    assert function.calls[3].ctx["disable_immediate_execution"] is True
    world.skip("2h")
    assert function.steps[4:] == ["step", C, "step"]
    assert function.calls[4].ctx["disable_immediate_execution"] is True  # the plan stays forced
    assert world.run(run)["status"] == "Completed"


def test_a_race_of_version_2_has_a_discovery_for_each(world: World) -> None:
    raced = ops(planned("a", parallelMode="race"), sleep("b", "1h") | {"opts": {"parallelMode": "race"}})
    function = world.function(targeted({"a": ops(ran("a", 1))}, by_memo(("a", raced), otherwise=done("won"))))
    run = function.start()
    assert (run["status"], run["output"]) == ("Completed", "won")
    assert function.steps == ["step", A, "step"]
    assert function.calls[2].ctx["disable_immediate_execution"] is False
    world.skip("2h")
    assert len(function.calls) == 3


def test_ops_reported_again_are_not_begun_again(world: World) -> None:
    nap, wait = sleep("nap", "1h"), op("WaitForEvent", "w", name="never/sent", opts={"timeout": "2h"})
    child = world.function(sleepy(), done(7))
    call = op("InvokeFunction", "i", opts={"function_id": child.slug, "payload": {}})
    everything = [nap, wait, call, planned("a")]
    function = world.function(
        targeted({"a": ops(ran("a"), version="1")}, by_memo(("w", Answer(206, everything, version="1"))))
    )
    run = function.start()
    assert function.steps == ["step", A, "step"]  # and once more after each of the others
    world.skip("1h30m")
    assert len(child.calls) == 2
    assert (
        len(
            [
                event
                for event in world.events("inngest/function.invoked")
                if event["data"]["_inngest"]["fn_id"] == child.slug
            ]
        )
        == 1
    )
    world.skip("1h")
    assert world.run(run)["status"] == "Completed"
    assert function.memo == {A: {"data": None}, sha1("nap"): None, sha1("w"): None, sha1("i"): {"data": 7}}
    assert function.stack["stack"][0] == A
    assert set(function.stack["stack"]) == set(function.memo)
    assert function.stack["stack"][-1] == sha1("w")
    assert function.stack["current"] == 4


def test_several_results_in_one_answer_are_kept_in_order(world: World) -> None:
    function = world.function(ops(ran("b", 1), ran("a", 2), ran("b", 3)), done())
    function.start()
    assert function.calls[1].body["steps"] == {B: {"data": 1}, A: {"data": 2}}  # the first write wins
    assert function.calls[1].ctx["stack"] == {"stack": [B, A], "current": 2}


@pytest.mark.parametrize("is_list", [True, False])
def test_run_complete(world: World, is_list: bool) -> None:
    complete = {"id": sha1("complete"), "op": "RunComplete", "data": {"ok": 1}}
    function = world.function(ops(ran("a", 1), ran("b", 2), complete) if is_list else Answer(206, complete))
    run = function.start()
    assert (run["status"], run["output"]) == ("Completed", {"ok": 1})
    assert len(function.calls) == 1
    [event] = world.about("inngest/function.finished", run)
    assert event["data"]["result"] == {"ok": 1}


def test_a_discovery_request(world: World) -> None:
    function = world.function(ops(ran("a", 1), {"id": sha1("d"), "op": "DiscoveryRequest"}), done(2))
    run = function.start()
    assert run["output"] == 2
    assert function.memo == {A: {"data": 1}}
    alone = world.function(ops({"id": sha1("d"), "op": "DiscoveryRequest"}), done(3))
    assert alone.start()["output"] == 3


def test_a_planned_step_alone_has_a_call_of_its_own(world: World) -> None:
    function = world.function(ops(planned("a")), ops(ran("a", 1)), done())
    function.start()
    assert function.steps == ["step", A, "step"]
    assert function.calls[1].ctx["disable_immediate_execution"] is False  # one op is no group
    assert function.stack == {"stack": [A], "current": 1}


@pytest.mark.parametrize("empty", [[], None, [op("None", "x")]])
def test_an_answer_with_nothing_new(world: World, empty: object) -> None:
    # A targeted step that is known already: the run must not hang.
    nothing = Answer(206, empty) if empty is not None else Answer(206, b"null")
    function = world.function(ops(planned("a")), nothing, done("on"), done("on"))
    run = function.start()
    world.skip("2m")
    assert world.run(run)["output"] == "on"


def test_a_step_that_is_not_found_is_tried_again(world: World) -> None:
    function = world.function(ops(planned("a")), ops(op("StepNotFound", "a")), ops(ran("a")), done())
    run = function.start()
    assert run["status"] == "Running"
    world.skip("1m")
    assert world.run(run)["status"] == "Completed"
    assert [call.ctx["attempt"] for call in function.calls] == [0, 0, 1, 0]


# -- step errors --------------------------------------------------------------------------------------------------


def test_a_step_error_is_tried_again_in_place(world: World) -> None:
    function = world.function(
        targeted(
            {"b": by_attempt(ops(op("StepError", "b", error=error("x"))), ops(ran("b", 2))), "a": ops(ran("a", 1))},
            by_memo(("b", pair("2")), otherwise=done("end")),
        )
    )
    run = function.start()
    assert run["status"] == "Running"
    assert function.steps.count("step") == 1
    world.skip("14s")
    assert len(function.calls) == 3
    world.skip("31s")
    assert world.run(run)["output"] == "end"
    assert [(call.step, call.ctx["attempt"]) for call in function.calls[3:]] == [(B, 1), ("step", 0)]
    assert function.calls[3].ctx["stack"] == {"stack": [A], "current": 0}
    assert function.calls[3].ctx["generation_id"] == 2
    assert function.stack == {"stack": [A, B], "current": 2}


def by_attempt(*answers: Answer):
    return lambda call: answers[min(call.ctx["attempt"], len(answers) - 1)]


def test_a_step_error_of_the_last_attempt_is_the_steps_result(world: World) -> None:
    raised = {**error("x", "ValueError"), "noRetry": False, "__serialized": True}
    function = world.function(
        by_memo(("a", ops(op("StepError", "a", error=raised))), otherwise=done("caught")), attempts=1
    )
    run = function.start()
    world.skip("1m")
    assert world.run(run)["output"] == "caught"
    assert [call.ctx["attempt"] for call in function.calls] == [0, 1, 0]
    assert function.memo == {A: {"error": error("x", "ValueError")}}
    assert function.stack == {"stack": [A], "current": 1}


def test_no_retry_makes_a_step_error_final(world: World) -> None:
    function = world.function(
        ops(op("StepError", "a", error=error("x")), X_Inngest_No_Retry="true"), done("caught"), attempts=5
    )
    assert function.start()["output"] == "caught"
    assert function.memo == {A: {"error": error("x")}}


def test_no_retry_false_does_not_undo_step_failed(world: World) -> None:
    function = world.function(
        ops(op("StepFailed", "a", error=error("x")), X_Inngest_No_Retry="false"), done("caught"), attempts=5
    )
    assert function.start()["output"] == "caught"


def test_a_buffered_result_before_a_step_error_is_kept(world: World) -> None:
    function = world.function(ops(ran("a", 1), op("StepError", "b", error=error("x"))), ops(ran("b", 2)), done())
    run = function.start()
    world.skip("1m")
    assert world.run(run)["status"] == "Completed"
    assert function.calls[1].body["steps"] == {A: {"data": 1}}
    assert function.calls[1].ctx["attempt"] == 1
    assert function.memo == {A: {"data": 1}, B: {"data": 2}}


@pytest.mark.parametrize(
    ("answer", "late"),
    [
        (ops(op("StepError", "a", error=error("x")), Retry_After="100"), "101s"),
        (failed(Retry_After="100"), "101s"),
        (failed(Retry_After="0"), "2s"),
        (failed(status=429, Retry_After="100"), "101s"),
    ],
)
def test_retry_after(world: World, answer: Answer, late: str) -> None:
    function = world.function(answer, done("ok"))
    run = function.start()
    assert len(function.calls) == 1
    if late != "2s":
        world.skip("98s")
        assert len(function.calls) == 1
        late = "3s"
    world.skip(late)
    assert world.run(run)["output"] == "ok"
    assert function.calls[1].ctx["attempt"] == 1


def test_retry_after_has_at_most_24_hours(world: World) -> None:
    function = world.function(failed(Retry_After="9999999"), done("ok"))
    run = function.start()
    world.skip("23h59m")
    assert len(function.calls) == 1
    world.skip("2m")
    assert world.run(run)["output"] == "ok"


# -- function errors ----------------------------------------------------------------------------------------------

SERIALIZED = error("boom") | {"__serialized": True}
PROXY = {
    "name": "Server returned a fatal error",
    "message": "Your server returned HTTP 502 before the SDK responded.",
}


@pytest.mark.parametrize(
    ("answer", "calls", "output", "shown"),
    [
        (failed(), 2, SERIALIZED, error("boom") | {"error": "invalid status code: 500"}),
        (failed(status=400), 2, SERIALIZED, None),
        (failed(X_Inngest_No_Retry="false", status=400), 2, SERIALIZED, None),
        (failed(X_Inngest_No_Retry="true"), 1, SERIALIZED, error("boom") | {"error": "NonRetriableError"}),
        (failed(X_Inngest_No_Retry="true", status=400), 1, SERIALIZED, error("boom") | {"error": "NonRetriableError"}),
        (failed(X_Inngest_No_Retry="true", status=200), 1, SERIALIZED, error("boom") | {"error": "NonRetriableError"}),
        (
            Answer(500, json.dumps(json.dumps(error("twice"))).encode()),
            2,
            None,
            error("twice") | {"error": "invalid status code: 500"},
        ),
        (
            Answer(500, b"no JSON"),
            2,
            "no JSON",
            {"name": "Error", "message": "no JSON", "error": "invalid status code: 500"},
        ),
        (
            Answer(500, b""),
            2,
            None,
            {"name": "Error", "message": "Unknown error", "error": "invalid status code: 500"},
        ),
        (
            Answer(500, {"message": "go"}),
            2,
            {"message": "go"},
            {"name": "Error", "message": "go", "error": "invalid status code: 500"},
        ),
        (Answer(502, b"<html>", is_sdk=False), 2, PROXY, PROXY | {"error": f"{PROXY['name']}: {PROXY['message']}"}),
    ],
)
def test_an_error_of_the_function(world: World, answer: Answer, calls: int, output: object, shown: object) -> None:
    function = world.function(answer, attempts=1)
    run = function.start()
    world.skip("1m")
    run = world.run(run)
    assert run["status"] == "Failed"
    assert [call.ctx["attempt"] for call in function.calls] == list(range(calls))
    if output is not None:
        assert run["output"] == output
    [finished] = world.about("inngest/function.finished", run)
    [gone] = world.about("inngest/function.failed", run)
    assert gone["id"] == run["run_id"]
    assert finished["data"] == gone["data"]
    if shown is not None:
        assert gone["data"]["error"] == shown
    assert gone["data"]["result"] == run["output"]
    assert gone["data"]["_inngest"] == {"status": "Failed"}
    assert set(gone["data"]) == {"function_id", "run_id", "event", "events", "error", "result", "_inngest"}


def test_an_answer_of_no_sdk(world: World) -> None:
    function = world.function(Answer(200, {"hi": 1}, is_sdk=False), Answer(206, [ran("a")], is_sdk=False), done("on"))
    run = function.start()
    world.skip("2m")
    assert world.run(run)["output"] == "on"
    assert [call.ctx["attempt"] for call in function.calls] == [0, 1, 2]
    last = world.function(Answer(200, {"hi": 1}, is_sdk=False), attempts=0)
    found = last.start()["output"]["error"]
    assert found["name"] == "not_sdk"
    assert found["error"] == f"not_sdk: {found['message']}"


def test_an_app_that_is_not_there(world: World) -> None:
    function = world.function(done())
    config = world.config(function.slug, function.event, attempts=0)
    config["steps"]["step"]["runtime"]["url"] = f"http://127.0.0.1:1/api/inngest?fnId={function.slug}&stepId=step"
    assert world.register(world.registration(function.app, config)).status_code == 200
    found = function.start()["output"]["error"]
    assert found["name"] == "http_unreachable"
    assert found["message"].startswith("Unable to reach SDK URL")


def test_the_delays_of_retries(world: World) -> None:
    function = world.function(failed())
    function.start()
    delays: list[float] = []
    for _ in range(3):
        called = len(function.calls)
        at = world.now()
        world.skip(f"{[15, 30, 60][len(delays)] - 1}s")
        assert len(function.calls) == called
        while len(function.calls) == called:
            world.skip("1s")
        delays.append(world.now() - at)
    assert all(base <= delay <= base + 32 for base, delay in zip((15, 30, 60), delays, strict=True))


def test_attempts_are_those_of_each_step(world: World) -> None:
    function = world.function(failed(), ops(ran("a")), failed(), ops(ran("b")), failed(), done(), attempts=1)
    run = function.start()
    world.skip("5m")
    assert world.run(run)["status"] == "Completed"
    assert [call.ctx["attempt"] for call in function.calls] == [0, 1, 0, 1, 0, 1]
    assert [call.ctx["max_attempts"] for call in function.calls] == [2] * 6


# -- streamed answers ---------------------------------------------------------------------------------------------


def envelope(status: int, body: object, headers: dict[str, str] | None = None, pad: bytes = b"  \n") -> Answer:
    inner = {"x-inngest-sdk": "inngest-js:v4.24.0", "x-inngest-req-version": "1"} | (headers or {})
    text = json.dumps({"status": status, "headers": inner, "body": body, "version": 2}).encode()
    return Answer(201, pad + text + pad, version=None)


@pytest.mark.parametrize("is_text", [True, False])
def test_a_streamed_answer(world: World, is_text: bool) -> None:
    written = json.dumps if is_text else lambda value: value
    function = world.function(
        envelope(206, written([ran("a", 1)])),
        envelope(500, written(error("x")), {"x-inngest-no-retry": "false", "retry-after": "100"}),
        envelope(200, written({"ok": 1})),
    )
    run = function.start()
    world.skip("98s")
    assert len(function.calls) == 2
    world.skip("4s")
    assert world.run(run)["output"] == {"ok": 1}
    assert function.calls[2].body["version"] == 1
    assert function.calls[2].ctx["attempt"] == 1
    final = world.function(envelope(400, written(error("x")), {"x-inngest-no-retry": "true"}))
    assert final.start()["status"] == "Failed"
    assert len(final.calls) == 1


# -- limits of answers and states ---------------------------------------------------------------------------------


def test_an_answer_that_is_too_large(world: World) -> None:
    function = world.function(Answer(200, "x" * (8 * 1024 * 1024 + 100)), done())
    run = function.start()
    assert run["status"] == "Failed"
    assert run["output"]["error"]["name"] == "output_too_large"
    assert len(function.calls) == 1


def test_an_input_that_is_too_large(world: World) -> None:
    payload = {"data": {"x": "x" * (4 * 1024 * 1024)}}
    function = world.function(ops(op("InvokeFunction", "i", opts={"function_id": "x", "payload": payload})), done())
    assert function.start()["status"] == "Failed"


def test_large_events_are_fetched(world: World) -> None:
    data = {"x": "x" * 2_500_000}
    function = world.function(sleepy(), done(), batchEvents={"maxSize": 2, "timeout": "10s"})
    world.send({"name": function.event, "data": data}, {"name": function.event, "data": data})
    [call] = function.calls
    assert (call.body["use_api"], call.ctx["use_api"]) == (True, True)
    assert (call.body["events"], call.body["steps"]) == ([], {})
    assert call.body["event"]["data"] == data
    found = world.get(f"/v0/runs/{call.ctx['run_id']}/batch")
    assert [event["data"] for event in found] == [data, data]
    assert found[0] == call.body["event"]
    assert world.get(f"/v0/runs/{call.ctx['run_id']}/actions") == {}
    world.http.delete(f"/v1/runs/{call.ctx['run_id']}")


# -- mixed groups -------------------------------------------------------------------------------------------------


def test_a_mixed_group_of_version_2_has_one_discovery(world: World) -> None:
    child = world.function(ops(sleep("s", "30m")), done("child"))
    everything = [
        ran("r", 1),
        planned("a"),
        sleep("nap", "10m"),
        op("WaitForEvent", "w", name="mixed/event", opts={"timeout": "2h"}),
        op("WaitForSignal", "g", opts={"signal": "mixed", "timeout": "20m"}),
        op("InvokeFunction", "i", opts={"function_id": child.slug, "payload": {}}),
    ]
    function = world.function(
        targeted({"a": ops(ran("a", 2))}, by_memo(("w", ops(*everything)), otherwise=done("end")))
    )
    run = function.start()
    world.skip("1h")
    assert function.steps == ["step", A]
    world.send({"name": "mixed/event", "id": "m1"})
    assert world.run(run)["output"] == "end"
    assert function.steps == ["step", A, "step"]
    assert function.stack["stack"] == [sha1(title) for title in ("r", "a", "nap", "g", "i", "w")]
    assert function.stack["current"] == 6
    assert function.memo[sha1("i")] == {"data": "child"}
    assert function.memo[sha1("g")] is None
    assert function.calls[2].ctx["disable_immediate_execution"] is False


def test_the_second_result_of_a_step_is_ignored(world: World) -> None:
    function = world.function(ops(planned("a"), planned("b")), done())
    function.script = (
        targeted({"a": ops(ran("a", 1), ran("b", 1)), "b": ops(ran("b", 2), ran("a", 2))}, by_memo(("a", pair("1")))),
    )
    run = function.start()
    run = world.run(run)
    assert run["status"] == "Completed"
    values = {value["data"] for value in function.memo.values()}
    assert len(function.stack["stack"]) == 2
    assert values in ({1}, {2})


def test_a_run_ends_once(world: World) -> None:
    first = ops(planned("a", parallelMode="race"), planned("b", parallelMode="race"))
    function = world.function(targeted({"a": done("a"), "b": failed("b", X_Inngest_No_Retry="true")}, first))
    run = world.run(function.start())
    assert len(world.about("inngest/function.finished", run)) == 1
    assert run["status"] in ("Completed", "Failed")


def test_a_targeted_call_that_fails_as_a_whole(world: World) -> None:
    function = world.function(targeted({"a": failed()}, ops(planned("a"))), attempts=1)
    run = function.start()
    world.skip("1m")
    assert world.run(run)["status"] == "Failed"
    assert [(call.step, call.ctx["attempt"]) for call in function.calls] == [("step", 0), (A, 0), (A, 1)]


@pytest.mark.parametrize("answer", [ops(), ops(op("None", "x"))])
def test_a_discovery_with_nothing_new(world: World, answer: Answer) -> None:
    # The reference calls again at once, for ever. Here it counts as a failed attempt, and so has an end.
    function = world.function(answer, done("on"))
    run = function.start()
    world.skip("1m")
    assert world.run(run)["output"] == "on"
    assert len(function.calls) == 2
    never = world.function(answer, attempts=0)
    assert never.start()["status"] == "Failed"


# -- times that an app's own clock says -----------------------------------------------------------------------------


def in_seconds(seconds: float) -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=seconds)


def iso(seconds: float) -> str:
    return in_seconds(seconds).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@pytest.mark.parametrize("form", [iso, lambda late: email.utils.format_datetime(in_seconds(late), usegmt=True)])
def test_retry_after_a_time(world: World, form: Callable[[float], str]) -> None:
    world.skip("1h")  # apps know nothing of time travel
    function = world.function(lambda _: failed(Retry_After=form(100)), done("ok"))
    run = function.start()
    world.skip("97s")
    assert len(function.calls) == 1
    world.skip("5s")
    assert world.run(run)["output"] == "ok"


def test_a_sleep_until_a_time(world: World) -> None:
    # A time of day means the server's, travelled or not. Python's SDK writes durations so, too, by its own clock: in
    # dev, after time travel, they end at once.
    at = datetime.datetime.fromtimestamp(world.now() + 100, datetime.UTC).isoformat(timespec="milliseconds")
    function = world.function(ops(sleep("nap", at.replace("+00:00", "Z"))), done("ok"))
    run = function.start()
    world.skip("97s")
    assert len(function.calls) == 1
    world.skip("5s")
    assert world.run(run)["output"] == "ok"
