"""Flow control, cancel rules and time-outs (protocol 3.4, 10, 11)."""

from __future__ import annotations

import threading

import pytest

from tests.protocol.world import Answer, Call, Function, World, done, failed, invokes, op, ops, ran, sha1, sleep, waits

Json = dict[str, object]


def started(function: Function) -> list[object]:
    """What the first calls of its runs were about, in order."""
    return [
        call.body["event"]["data"].get("n") for call in function.calls if not call.body["steps"] and call.step == "step"
    ]


def many(world: World, function: Function, *data: Json) -> list[str]:
    return world.send(*({"name": function.event, "data": one} for one in data))


def numbers(count: int, **more: object) -> list[Json]:
    return [{"n": n, **more} for n in range(count)]


# -- what is refused --------------------------------------------------------------------------------------------------

RATE = {"limit": 1, "period": "1h"}
BATCH = {"maxSize": 2, "timeout": "10s"}
CANCEL = [{"event": "x"}]


@pytest.mark.parametrize(
    "config",
    [
        {"batchEvents": BATCH, "cancel": CANCEL},
        {"batchEvents": BATCH, "debounce": {"period": "1m"}},
        {"batchEvents": BATCH, "singleton": {"mode": "skip"}},
        {"batchEvents": BATCH, "priority": {"run": "1"}},
        {"batchEvents": {"maxSize": 1, "timeout": "10s"}},
        {"batchEvents": {"maxSize": 101, "timeout": "10s"}},
        {"batchEvents": {"maxSize": 2, "timeout": "500ms"}},
        {"batchEvents": {"maxSize": 2, "timeout": "11m"}},
        {"batchEvents": {**BATCH, "key": "((("}},
        {"cancel": [{"event": "x", "if": "async.data.list.exists(x, x == 1)"}]},
        {"cancel": [{"event": "x", "if": "size(async.data.x) == 1"}]},
        {"cancel": [{"event": "x", "if": "async.data.x + 1 == 2"}]},
        {"cancel": [{"event": "x", "if": "((("}]},
        {"cancel": [{"event": "x"}] * 6},
        {"cancel": [{"event": "x", "timeout": "nonsense"}]},
        {"concurrency": [{"limit": 1}] * 3},
        {"concurrency": {"limit": -1}},
        {"concurrency": {"limit": 1, "scope": "env"}},
        {"concurrency": {"limit": 1, "scope": "account"}},
        {"concurrency": {"limit": 1, "scope": "nobody", "key": "event.name"}},
        {"concurrency": {"limit": 1, "key": "((("}},
        {"throttle": {"limit": 0, "period": "1m"}},
        {"throttle": {"limit": 1, "period": "500ms"}},
        {"throttle": {"limit": 1, "period": "8d"}},
        {"rateLimit": {"limit": 0, "period": "1m"}},
        {"rateLimit": {"limit": 1, "period": "500ms"}},
        {"rateLimit": {"limit": 1, "period": "25h"}},
        {"rateLimit": {"limit": 1, "period": "soon"}},
        {"debounce": {"period": "500ms"}},
        {"debounce": {"period": "8d"}},
        {"singleton": {"mode": "never"}},
        {"idempotency": "((("},
        {"priority": {"run": "((("}},
        {"timeouts": {"start": "soon"}},
        {"triggers": [{"event": "x"}] * 2},
        {"triggers": [{"event": f"x{n}"} for n in range(11)]},
        {"triggers": [{"event": "x" * 256}]},
        {"triggers": [{}]},
        {"triggers": [{"cron": "nonsense"}]},
        {"triggers": [{"cron": "* * * * *", "jitter": "6m"}]},
        {"triggers": [{"event": "x", "expression": "((("}]},
        {"attempts": 21},
        {"attempts": -1},
        {"steps": {}},
    ],
)
def test_a_configuration_is_refused(world: World, config: Json) -> None:
    response = world.register(world.registration("refused", world.config("refused-fn", "refused/fn", **config)))
    assert response.status_code == 400, response.text
    body = response.json()
    assert (body["status"], body["data"]) == (400, None)
    assert body["error"].startswith("At least one function is invalid: ")
    assert all(function["slug"] != "refused-fn" for function in world.get("/dev")["functions"])


@pytest.mark.parametrize(
    "config",
    [
        {"batchEvents": {**BATCH, "key": None, "if": "event.data.ok == true"}, "cancel": [], "concurrency": []},
        {"batchEvents": {"maxSize": 100, "timeout": "60s"}, "cancel": None, "priority": None},
        {"concurrency": 5},
        {"concurrency": {"limit": 0}},
        {"concurrency": [{"limit": 1}, {"limit": 1, "key": "event.data.x", "scope": "Env"}]},
        {"concurrency": [{"limit": 1, "key": "event.data.x", "scope": "ACCOUNT"}, {"limit": 2, "scope": 0}]},
        {"concurrency": {"fn": [{"limit": 2}], "step": [{"limit": 1, "key": "event.data.x"}]}},
        {"throttle": {"limit": 1, "period": "7d", "burst": 0}},
        {"rateLimit": {"limit": 1, "period": "24h"}},
        {"debounce": {"period": "7d", "timeout": None, "key": None}},
        {"singleton": {"mode": 0}},
        {"singleton": {"mode": 1, "key": "event.data.x"}},
        {
            "cancel": [
                {"event": "x", "if": "event.data.a == async.data.a && !(int(async.data.b) in [1, 2])", "timeout": "1d"}
            ]
        },
        {"timeouts": {"start": "10m", "finish": None}},
        {"checkpoint": {"batch_steps": 10, "batch_interval": "3s", "max_runtime": "60s"}, "unknown": 1},
        {"triggers": []},
        {"triggers": [{"cron": "TZ=Europe/Paris 0 9 * * 1-5", "jitter": "30s"}]},
        {"triggers": [{"event": "a/*", "expression": None}]},
        {"triggers": [{"event": f"x{n}"} for n in range(10)]},
        {"attempts": 20},
        {"name": None, "retries": 1},
    ],
)
def test_a_configuration_is_taken(world: World, config: Json) -> None:
    response = world.register(world.registration("taken", world.config("taken-fn", "taken/fn", **config)))
    assert response.status_code == 200, response.text


# -- concurrency ------------------------------------------------------------------------------------------------------


class Gate:
    """Calls that last until as many are under way as may be, and then until one too many could have come."""

    def __init__(self, most: int) -> None:
        self.seen: list[int] = []
        """How many were under way, at each call."""
        self._most, self._now, self._lock = most, 0, threading.Lock()
        self._is_full, self._is_overrun = threading.Event(), threading.Event()

    def __call__(self, _: Call) -> Answer:
        with self._lock:
            self._now += 1
            self.seen.append(self._now)
            if self._now >= self._most:
                self._is_full.set()
            if self._now > self._most:
                self._is_overrun.set()
        assert self._is_full.wait(10), f"there were never {self._most} calls at once"
        self._is_overrun.wait(0.03)
        with self._lock:
            self._now -= 1
        return done()


@pytest.mark.parametrize(
    ("concurrency", "most"),
    [
        (2, 2),
        ({"limit": 1}, 1),
        ([{"limit": 3}, {"limit": 1, "key": "event.data.same"}], 1),
        ([{"limit": 2}, {"limit": 1, "key": "event.data.n"}], 2),
        ({"limit": 1, "key": "event.data.same", "scope": "env"}, 1),
        ({"limit": 1, "key": "event.data.missing", "scope": "account"}, 1),
    ],
)
def test_concurrency(world: World, concurrency: object, most: int) -> None:
    gate = Gate(most)
    function = world.function(gate, concurrency=concurrency)
    many(world, function, *numbers(5, same="s"))
    assert len(gate.seen) == 5
    assert max(gate.seen) == most
    if most == 1:
        assert started(function) == [0, 1, 2, 3, 4]


def test_concurrency_of_an_environment_is_shared(world: World) -> None:
    gate = Gate(1)
    rule = {"concurrency": {"limit": 1, "key": "event.data.shared", "scope": "env"}}
    functions = world.app(a=(gate, rule), b=(gate, rule))
    world.send(*({"name": function.event, "data": {"shared": "x"}} for function in functions for _ in range(2)))
    assert len(gate.seen) == 4
    assert max(gate.seen) == 1


def test_a_sleeping_run_uses_no_concurrency(world: World) -> None:
    function = world.function(lambda call: done() if call.body["steps"] else ops(sleep("s", "1h")), concurrency=1)
    many(world, function, *numbers(3))
    assert set(started(function)) == {0, 1, 2}


# -- starts -----------------------------------------------------------------------------------------------------------


def test_throttle(world: World) -> None:
    function = world.function(done(), throttle={"limit": 2, "period": "10m"})
    many(world, function, *numbers(4))
    assert started(function) == [0]
    world.skip("5m1s")
    assert started(function) == [0, 1]
    world.skip("10m")
    assert started(function) == [0, 1, 2, 3]


def test_throttle_by_key_with_burst(world: World) -> None:
    function = world.function(
        ops(ran("a")), throttle={"limit": 1, "period": "10m", "burst": 2, "key": "event.data.who"}
    )
    function.script = (lambda call: done() if call.body["steps"] else ops(ran("a")),)
    many(world, function, *numbers(3, who="a"), *numbers(1, who="b"))
    assert sorted(map(str, started(function))) == ["0", "0", "1"]
    assert len(function.calls) == 6  # the second calls of runs aren't throttled
    world.skip("10m1s")
    assert len(started(function)) == 4


def test_rate_limit(world: World) -> None:
    function = world.function(done(), rateLimit={"limit": 1, "period": "1h", "key": "event.data.who"})
    ids = many(
        world, function, {"n": 0, "who": "a"}, {"n": 1, "who": "a"}, {"n": 2, "who": "b"}, {"n": 3, "who": False}
    )
    ids += many(world, function, {"n": 4, "who": False}, {"n": 5, "who": "b"})
    assert sorted(map(str, started(function))) == ["0", "2", "3", "4"]
    assert [len([run for run in world.runs(id) if run["status"] != "Skipped"]) for id in ids] == [1, 0, 1, 1, 1, 0]
    world.skip("61m")
    many(world, function, {"n": 6, "who": "a"})
    assert started(function)[-1] == 6


def test_idempotency(world: World) -> None:
    function = world.function(done(), idempotency="event.data.order + '-' + event.data.line")
    many(
        world,
        function,
        {"n": 0, "order": "o", "line": 1},
        {"n": 1, "order": "o", "line": 1},
        {"n": 2, "order": "o", "line": 2},
    )
    assert set(started(function)) == {0, 2}
    world.skip("23h59m")
    many(world, function, {"n": 3, "order": "o", "line": 1})
    world.skip("2m")
    many(world, function, {"n": 4, "order": "o", "line": 1})
    assert set(started(function)) == {0, 2, 4}


def test_an_events_id_starts_a_function_once_in_24_hours(world: World) -> None:
    a, b = world.app(a=(done(), {"triggers": [{"event": "once/a"}]}), b=(done(), {"triggers": [{"event": "once/*"}]}))
    first, second = world.send({"name": "once/a", "id": "x"}, {"name": "once/a", "id": "x"})
    assert first != second
    assert (len(a.calls), len(b.calls)) == (1, 1)
    assert world.get(f"/v1/events/{second}")["data"]["id"] == "x"
    waiting = world.function(ops(waits("w", "once/a")), done())
    waiting.start()
    world.send({"name": "once/a", "id": "x"})
    assert len(waiting.calls) == 2  # it is seen by waits
    world.skip("24h1m")
    world.send({"name": "once/a", "id": "x"})
    assert (len(a.calls), len(b.calls)) == (2, 2)


def test_debounce(world: World) -> None:
    function = world.function(done(), debounce={"period": "1m", "key": "event.data.who", "timeout": "3m"})
    many(world, function, {"n": 0, "who": "a"}, {"n": 1, "who": "a"}, {"n": 2, "who": "b"})
    world.skip("50s")
    many(world, function, {"n": 3, "who": "a"})
    assert started(function) == []
    world.skip("11s")
    assert started(function) == [2]
    world.skip("50s")
    assert started(function) == [2, 3]
    assert len(function.calls[-1].body["events"]) == 1
    for n in range(10, 16):  # each within a minute of the one before
        many(world, function, {"n": n, "who": "c"})
        world.skip("35s")
    assert started(function)[2:] == [15]


def test_a_batch(world: World) -> None:
    function = world.function(failed("no", X_Inngest_No_Retry="true"), batchEvents={"maxSize": 3, "timeout": "10s"})
    ids = many(world, function, *numbers(2))
    assert function.calls == []
    ids += many(world, function, {"n": 2}, {"n": 3})
    [call] = function.calls
    assert [event["data"]["n"] for event in call.body["events"]] == [0, 1, 2]
    assert call.body["event"] == call.body["events"][0]
    assert [event["id"] for event in call.body["events"]] == ids[:3]
    runs = [world.runs(id) for id in ids[:3]]
    assert runs[0] == runs[1] == runs[2]
    assert len(runs[0]) == 1
    assert isinstance(runs[0][0]["batch_id"], str)
    [event] = world.about("inngest/function.failed", runs[0][0])
    assert event["data"]["event"]["data"] == {"n": 0}
    assert [one["data"]["n"] for one in event["data"]["events"]] == [0, 1, 2]
    world.skip("11s")
    assert [event["data"]["n"] for event in function.calls[1].body["events"]] == [3]


def test_batches_by_key_and_condition(world: World) -> None:
    rule = {"maxSize": 2, "timeout": "10s", "key": "event.data.who", "if": "event.data.ok == true"}
    function = world.function(done(), batchEvents=rule)
    many(world, function, {"n": 0, "who": "a", "ok": True}, {"n": 1, "who": "b", "ok": True}, {"n": 2, "who": "a"})
    assert started(function) == [2]
    many(world, function, {"n": 3, "who": "b", "ok": True})
    assert [event["data"]["n"] for event in function.calls[1].body["events"]] == [1, 3]


def test_ids_do_not_count_in_batches(world: World) -> None:
    function = world.function(done(), batchEvents={"maxSize": 2, "timeout": "10s"})
    world.send({"name": function.event, "id": "b1"}, {"name": function.event, "id": "b2"})
    assert len(function.calls) == 1


def test_invokes_in_a_batch(world: World) -> None:
    child = world.function(done("both"), batchEvents={"maxSize": 2, "timeout": "10s"})
    parents = [world.function(ops(invokes("i", child.slug)), done()) for _ in range(2)]
    for parent in parents:
        parent.start()
    assert [parent.memo for parent in parents] == [{sha1("i"): {"data": "both"}}] * 2
    assert len(child.calls) == 1
    ids = {event["data"].get("correlation_id") for event in world.ends if event["data"]["function_id"] == child.slug}
    assert ids == {f"{parent.calls[0].ctx['run_id']}.{sha1('i')}" for parent in parents}


def test_invokes_of_a_debounced_function(world: World) -> None:
    child = world.function(done("last"), debounce={"period": "1m"})
    parents = [world.function(ops(invokes("i", child.slug)), done()) for _ in range(2)]
    for parent in parents:
        parent.start()
    world.skip("61s")
    assert len(child.calls) == 1
    # The reference lets the first one run into its time-out.
    assert parents[0].memo[sha1("i")]["error"]["message"].startswith("invoked function was debounced")
    assert parents[1].memo == {sha1("i"): {"data": "last"}}


@pytest.mark.parametrize("mode", ["skip", "cancel"])
def test_a_singleton(world: World, mode: str) -> None:
    function = world.function(
        lambda call: done() if call.body["steps"] else ops(sleep("s", "1h")),
        singleton={"mode": mode, "key": "event.data.who"},
    )
    first = function.start({"n": 0, "who": "a"})
    [second] = many(world, function, {"n": 1, "who": "a"})
    many(world, function, {"n": 2, "who": "b"}, {"n": 3, "who": False}, {"n": 4, "who": False})
    if mode == "skip":
        assert [run for run in world.runs(second) if run["status"] != "Skipped"] == []
        assert world.run(first)["status"] == "Running"
    else:
        assert world.run(first)["status"] == "Cancelled"
        assert world.runs(second)[0]["status"] == "Running"
    assert sorted(map(str, started(function))) == ([*"0234"] if mode == "skip" else [*"01234"])
    world.skip("61m")
    assert function.start({"n": 5, "who": "a"})["status"] == "Running"


def test_priority(world: World) -> None:
    function = world.function(Gate(1), concurrency=1, priority={"run": "event.data.p"})
    many(world, function, {"n": 0}, {"n": 1, "p": "no"}, {"n": 2, "p": 120}, {"n": 3, "p": 600}, {"n": 4, "p": -5})
    assert started(function)[1:] in ([3, 2, 1, 4], [3, 2, 0, 1, 4][1:])
    assert started(function)[0] in (0, 3)


# -- the order of what is asked ---------------------------------------------------------------------------------------


def test_a_duplicate_takes_nothing_of_a_rate_limit(world: World) -> None:
    function = world.function(done(), rateLimit={"limit": 2, "period": "1h"})
    world.send(*({"name": function.event, "id": "same", "data": {"n": n}} for n in range(3)))
    world.send({"name": function.event, "data": {"n": 9}})
    assert started(function) == [0, 9]


def test_what_is_rate_limited_moves_no_debounce(world: World) -> None:
    function = world.function(done(), rateLimit={"limit": 1, "period": "1h"}, debounce={"period": "1m"})
    many(world, function, {"n": 0})
    world.skip("50s")
    many(world, function, {"n": 1})
    world.skip("11s")
    assert started(function) == [0]


def test_what_is_rate_limited_ends_no_singleton(world: World) -> None:
    function = world.function(
        ops(sleep("s", "1h")), done(), rateLimit={"limit": 1, "period": "1h"}, singleton={"mode": "cancel"}
    )
    run = function.start({"n": 0})
    many(world, function, {"n": 1})
    assert world.run(run)["status"] == "Running"


def test_a_debounced_singleton_is_asked_when_it_starts(world: World) -> None:
    function = world.function(
        lambda call: done() if call.body["steps"] else ops(sleep("s", "1h")),
        debounce={"period": "1m"},
        singleton={"mode": "cancel"},
    )
    [id] = many(world, function, {"n": 0})
    world.skip("61s")
    [run] = world.runs(id)
    many(world, function, {"n": 1})
    assert world.run(run)["status"] == "Running"
    world.skip("61s")
    assert world.run(run)["status"] == "Cancelled"
    assert started(function) == [0, 1]


# -- ends -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "condition", [None, "event.data.order == async.data.order", "async.data.order in ['o1', 'o3']"]
)
@pytest.mark.parametrize("kind", ["sleeping", "waiting", "throttled", "retrying"])
def test_cancel(world: World, condition: str | None, kind: str) -> None:
    answer = {
        "sleeping": ops(sleep("s", "1h")),
        "waiting": ops(waits("w", "never")),
        "throttled": done(),
        "retrying": failed(),
    }[kind]
    name = f"stop/{kind}.{len(condition or '')}"
    config = {"throttle": {"limit": 1, "period": "1h"}} if kind == "throttled" else {}
    function = world.function(answer, cancel=[{"event": name, "if": condition}], **config)
    world.send({"name": name, "data": {"order": "o1"}})  # before it: cancels nothing
    if kind == "throttled":
        function.start({"order": "o0"})
    run = function.start({"order": "o1"})
    assert run["status"] == "Running"
    calls = len(function.calls)
    if condition is not None:
        world.send({"name": name, "data": {"order": "o2"}}, {"name": name})
        assert world.run(run)["status"] == "Running"
    world.send({"name": name, "data": {"order": "o1"}})
    run = world.run(run)
    assert (run["status"], run["output"]) == ("Cancelled", {})
    assert run["ended_at"] is not None
    world.skip("2h")
    assert len(function.calls) == calls
    [event] = world.about("inngest/function.cancelled", run)
    assert event["id"] == run["run_id"]
    assert "error" not in event["data"]


def test_a_cancel_rule_times_out(world: World) -> None:
    function = world.function(ops(sleep("s", "1h")), done(), cancel=[{"event": "stop/late", "timeout": "10m"}])
    run = function.start()
    world.skip("11m")
    world.send({"name": "stop/late"})
    assert world.run(run)["status"] == "Running"


@pytest.mark.parametrize("path", ["/v1/runs/{}", "/v0/runs/{}"])
def test_cancel_by_the_api(world: World, path: str) -> None:
    function = world.function(ops(sleep("s", "1h")), done())
    run = function.start()
    expected = 204 if path.startswith("/v0") else 200
    for _ in range(2):
        response = world.http.delete(path.format(run["run_id"]))
        assert (response.status_code, response.content) == (expected, b"")
    assert world.run(run)["status"] == "Cancelled"


def test_timeouts(world: World) -> None:
    late = world.function(done(), throttle={"limit": 1, "period": "1h"}, timeouts={"start": "10m"})
    late.start()
    run = late.start()
    world.skip("11m")
    assert world.run(run)["status"] == "Cancelled"
    long = world.function(ops(sleep("a", "9m")), ops(sleep("b", "9m")), done(), timeouts={"finish": "10m"})
    run = long.start()
    world.skip("9m30s")
    assert world.run(run)["status"] == "Running"
    world.skip("1m")
    assert world.run(run)["status"] == "Cancelled"


def test_the_answer_of_a_run_that_was_cancelled_is_dropped(world: World) -> None:
    def answer(call: Call) -> Answer:
        assert world.http.delete(f"/v1/runs/{call.ctx['run_id']}").status_code == 200
        return ops(op("StepRun", "a", data=1))

    function = world.function(answer, done())
    assert function.start()["status"] == "Cancelled"
    assert len(function.calls) == 1


def test_a_paused_function_starts_nothing(world: World) -> None:
    child = world.function(done(1))
    response = world.http.post(f"/api/functions/{child.slug}/pause", json={"mode": "drop"})
    assert response.status_code == 200, response.text
    assert [run for run in world.runs(child.send()) if run["status"] != "Skipped"] == []
    parent = world.function(ops(invokes("i", child.slug)), done())
    parent.start()
    assert parent.memo[sha1("i")]["error"]["message"] == "invoked function is paused"
    assert child.calls == []


def test_a_run_again(world: World) -> None:
    function = world.function(done(1), idempotency="event.data.n")
    run = function.start({"n": 1}, id="again")
    response = world.http.post(f"/api/runs/{run['run_id']}/rerun")
    assert response.status_code == 200, response.text
    world.quiet()
    assert len(function.calls) == 2
    again = world.get(f"/v1/runs/{function.calls[1].ctx['run_id']}")["data"]
    assert again["original_run_id"] == run["run_id"]
    assert function.calls[1].body["event"] == function.calls[0].body["event"]


def test_a_batch_is_full_at_100_or_after_its_time(world: World) -> None:
    function = world.function(done(), batchEvents={"maxSize": 100, "timeout": "60s"})
    world.send(*({"name": function.event, "data": {"n": n}} for n in range(250)))
    assert [len(call.body["events"]) for call in function.calls] == [100, 100]
    world.skip("59s")
    assert len(function.calls) == 2
    world.skip("2s")
    assert len(function.calls[2].body["events"]) == 50


def test_what_a_singleton_in_mode_cancel_ends_is_told_its_parent(world: World) -> None:
    child = world.function(
        lambda call: done() if call.body["steps"] else ops(sleep("s", "1h")), singleton={"mode": "cancel"}
    )
    first, second = (world.function(ops(invokes("i", child.slug)), done()) for _ in range(2))
    first.start()
    second.start()
    assert isinstance(first.memo[sha1("i")]["error"]["message"], str)
    assert len(second.calls) == 1


def test_an_event_that_starts_nothing_but_ends_a_wait_and_a_run(world: World) -> None:
    waiting = world.function(ops(waits("w", "one/for.all")), done())
    cancelled = world.function(ops(sleep("s", "1h")), cancel=[{"event": "one/for.all"}])
    first, second = waiting.start(), cancelled.start()
    [id] = world.send({"name": "one/for.all"})
    assert world.runs(id) == []
    assert (world.run(first)["status"], world.run(second)["status"]) == ("Completed", "Cancelled")


def test_an_event_starts_the_run_that_it_must_not_cancel(world: World) -> None:
    function = world.function(ops(sleep("s", "1h")), triggers=[{"event": "both/ways"}], cancel=[{"event": "both/ways"}])
    [first] = world.send({"name": "both/ways"})
    assert world.runs(first)[0]["status"] == "Running"
    [second] = world.send({"name": "both/ways"})
    assert world.runs(first)[0]["status"] == "Cancelled"
    assert world.runs(second)[0]["status"] == "Running"
    assert len(function.calls) == 2
