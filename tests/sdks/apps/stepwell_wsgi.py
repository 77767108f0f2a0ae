"""The functions of ``recorder``, as plain handlers of our SDK under WSGI, beside a Flask app."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import flask

from stepwell import (
    Event,
    Failure,
    NonRetriableError,
    RetryAfterError,
    Run,
    StepError,
    Stepwell,
    SyncStep,
    cron,
    trigger,
)
from tests.sdks.apps.recorder import HEAVY_CHARS, HEAVY_STEPS, WORK
from tests.sdks.apps.serving import Switch, serve_wsgi

Json = Any
PATH = "/api/stepwell"

sw = Stepwell("shop")


@sw.function("steps", on="test/steps")
def steps(step: SyncStep, run: Run) -> Json:
    def add_one(number: int) -> int:
        WORK.add(run.id, "b", run.attempt)
        return number + 1

    a = step.run("a", WORK.step(run.id, "a", run.attempt, 1))
    b = step.run("b", add_one, a)
    again = [step.run("again", WORK.step(run.id, f"again {i}", run.attempt, i)) for i in range(2)]
    return {"a": a, "b": b, "again": again}


@sw.function("parallel", on="test/parallel", retries=2)
def parallel(step: SyncStep, run: Run) -> Json:
    parts = step.parallel(
        [
            lambda: step.run("a", WORK.step(run.id, "a", run.attempt, "a")),
            lambda: step.run("b", WORK.step(run.id, "b", run.attempt, "b", failures=1)),
            lambda: step.run("c", WORK.step(run.id, "c", run.attempt, "c")),
        ]
    )
    return step.run("join", WORK.step(run.id, "join", run.attempt, "".join(parts)))


@sw.function("mixed", on="test/mixed")
def mixed(step: SyncStep, run: Run) -> Json:
    def branch() -> Json:
        first = step.run("b1", WORK.step(run.id, "b1", run.attempt, "b1"))
        return [first, step.run("b2", WORK.step(run.id, "b2", run.attempt, "b2"))]

    results: Sequence[Json] = step.parallel(
        [
            lambda: step.run("a", WORK.step(run.id, "a", run.attempt, "a")),
            lambda: step.sleep("nap", "1s"),
            branch,
        ]
    )
    a, _, branched = results
    return [a, *branched]


@sw.function("nap", on="test/nap")
def nap(event: Event, step: SyncStep, run: Run) -> None:
    step.run("before", WORK.step(run.id, "before", run.attempt))
    step.sleep("nap", event.data["nap_ms"] / 1000)
    step.sleep_until("alarm", event.data["alarm"])
    step.run("after", WORK.step(run.id, "after", run.attempt))


@sw.function("flaky", on="test/flaky", retries=3)
def flaky(step: SyncStep, run: Run) -> Json:
    done = step.run("work", WORK.step(run.id, "work", run.attempt, "done", failures=2))
    return step.run("then", WORK.step(run.id, "then", run.attempt, f"{done}, then"))


@sw.function("catch", on="test/catch", retries=1)
def catch(step: SyncStep, run: Run) -> Json:
    def no_stock() -> Exception:
        return ValueError("no stock")

    try:
        step.run("doomed", WORK.step(run.id, "doomed", run.attempt, failures=99, error=no_stock))
    except StepError as error:
        return step.run("compensate", WORK.step(run.id, "compensate", run.attempt, f"caught: {error.message}"))


def on_broken(event: Event, error: Failure, step: SyncStep, run: Run) -> None:
    value = {"message": error.message, "event": {"name": event.name, "data": event.data}}
    step.run("report", WORK.step(error.run_id, "on failure", run.attempt, value))


@sw.function("broken", on="test/broken", retries=1, on_failure=on_broken)
def broken(step: SyncStep, run: Run) -> None:
    step.run("first", WORK.step(run.id, "first", run.attempt))
    WORK.add(run.id, "raise", run.attempt)
    raise ValueError("boom")


@sw.function("final", on="test/final", retries=3)
def final(run: Run) -> None:
    WORK.add(run.id, "raise", run.attempt)
    raise NonRetriableError("never again")


@sw.function("final-step", on="test/final-step", retries=3)
def final_step(step: SyncStep, run: Run) -> None:
    def never() -> Exception:
        return NonRetriableError("never again")

    step.run("raise", WORK.step(run.id, "raise", run.attempt, failures=99, error=never))


@sw.function("later", on="test/later", retries=1)
def later(step: SyncStep, run: Run) -> Json:
    def in_3_s() -> Exception:
        return RetryAfterError("busy", 3)

    return step.run("work", WORK.step(run.id, "work", run.attempt, "at last", failures=1, error=in_3_s))


@sw.function("tell", on="test/tell")
def tell(step: SyncStep) -> Json:
    return step.send("tell", [{"name": "test/told", "data": {"n": n}} for n in (1, 2)])


@sw.function("told", on="test/told")
def told(event: Event) -> Json:
    return event.data["n"]


def fan(id: str, *, failures: int) -> None:
    @sw.function(id, on="test/fan", retries=1)
    def one(step: SyncStep, run: Run) -> Json:
        return step.run("work", WORK.step(run.id, "work", run.attempt, id, failures=failures))


fan("fan-a", failures=0)
fan("fan-b", failures=1)
fan("fan-c", failures=0)


@sw.function("large", on=trigger("test/amount", if_="event.data.amount > 100"))
def large(event: Event) -> Json:
    return event.data["amount"]


@sw.function("any", on="test/wild.*")
def any_wild(event: Event) -> Json:
    return event.name


@sw.function("either", on=["test/this", "test/that"])
def either(event: Event) -> Json:
    return event.name


@sw.function("echo", on="test/echo")
def echo(event: Event, step: SyncStep, run: Run) -> Json:
    return step.run("copy", WORK.step(run.id, "copy", run.attempt, event.data))


@sw.function("heavy", on="test/heavy")
def heavy(step: SyncStep, run: Run) -> Json:
    parts = [
        step.run(f"part {n}", WORK.step(run.id, f"part {n}", run.attempt, str(n) * HEAVY_CHARS))
        for n in range(HEAVY_STEPS)
    ]
    return [len(part) for part in parts]


@sw.function("tick", on=cron("* * * * *"))
def tick(event: Event, step: SyncStep, run: Run) -> Json:
    return step.run("tick", WORK.step(run.id, "tick", run.attempt, event.data))


first, second = Stepwell("moving"), Stepwell("moving")


@first.function("stays", on="moving/event")
def stays_first() -> str:
    return "first"


@first.function("goes", on="moving/event")
def goes() -> str:
    return "first"


@second.function("stays", on=["moving/event", "moving/more"])
def stays_second() -> str:
    return "second"


@second.function("comes", on="moving/event")
def comes() -> str:
    return "second"


def send(events: list[dict[str, Json]]) -> list[str]:
    return sw.send_sync(events)


def main() -> None:
    moving = Switch({"first": first.wsgi(), "second": second.wsgi()})
    serve_wsgi(flask.Flask(__name__), moving, send, {PATH: sw.wsgi()})


if __name__ == "__main__":
    main()
