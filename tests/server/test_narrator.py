"""The narrator: a line for each thing that happens, for next to nothing."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
import structlog

from stepwell.engine.core.model import Attempt, Function, Intake, Outcome, Run, RunStatus, Start, Transition
from stepwell.engine.core.registration import plan_sync
from stepwell.engine.core.trigger import Registry, invoked_event, start, start_job
from stepwell.protocol.ids import AppId, AttemptId, EnvironmentId, EventId, FunctionId, RunId
from stepwell.protocol.sync import FunctionConfig, read_sync
from stepwell.server.ingest import read_events
from stepwell.server.narrator import Narrator
from stepwell.server.settings import Settings
from stepwell.store.request import Result, Verdict
from tests.server.fake_app import registration
from tests.server.world import DEV, PRODUCTION, T0, World, error, function_json, ops, ran, result, sleep, steps_done

ENVIRONMENT = EnvironmentId("dev")
TAKEN = Result(Verdict.COMMITTED)


class Stream(io.StringIO):
    """A stream that may be a terminal."""

    def __init__(self, *, is_terminal: bool = False) -> None:
        super().__init__()
        self._is_terminal = is_terminal

    def isatty(self) -> bool:
        return self._is_terminal


def function_of(slug: str) -> Function:
    config = msgspec.convert(function_json(slug, retries=4), FunctionConfig)
    return Function(FunctionId(slug), AppId("shop"), ENVIRONMENT, slug, 1, config, config.max_attempts)


def intake_of(name: str, *functions: Function, **event: Any) -> Intake:
    numbers = iter(range(100))
    [made] = read_events(
        msgspec.json.encode({"name": name, **event}),
        seed=None,
        new_id=lambda: f"E{next(numbers)}",
        environment=ENVIRONMENT,
        now=T0,
    )
    runs = (Run(RunId(f"R{f.slug}"), ENVIRONMENT, f.id, 1, made.id, T0) for f in functions)
    starts = tuple(Start(run, start_job(run, f, due_at=T0)) for run, f in zip(runs, functions, strict=True))
    return Intake(event=made, starts=starts)


def ended(status: RunStatus, output: bytes = b"null", **more: Any) -> Transition:
    run = Run(RunId("R1"), ENVIRONMENT, FunctionId("f"), 1, EventId("E1"), T0, status, ended_at=T0 + 1500)
    return Transition(run=msgspec.structs.replace(run, output=output, **more), at=T0 + 1500)


async def told(tell: Callable[[Narrator], object], settings: Settings = DEV, *, is_terminal: bool = False) -> str:
    """Return what is written when ``tell`` has told the narrator what happened."""
    stream = Stream(is_terminal=is_terminal)
    narrator = Narrator(settings, stream)
    await narrator.start()
    tell(narrator)
    await narrator.stop()
    return stream.getvalue()


async def rows(tell: Callable[[Narrator], object]) -> list[str]:
    """Return the lines without their times, their columns one space apart; those of new days are left out."""
    text = await told(tell)
    return [re.sub(r"\s+", " ", line[10:]) for line in text.splitlines() if not line.startswith("──")]


async def test_an_event_says_what_it_starts() -> None:
    f, g = function_of("f"), function_of("g")

    said = await rows(
        lambda narrator: (
            narrator.took_in(intake_of("a", f, g), [f, g], TAKEN),
            narrator.took_in(intake_of("b"), [], TAKEN),
            narrator.took_in(intake_of("c", f, ts=T0 + 3_600_000), [f], TAKEN),
            narrator.took_in(
                intake_of("d", f, g, id="e1"), [f, g], TAKEN._replace(skipped={RunId("Rf"): "duplicate_event_id"})
            ),
        )
    )

    assert said == [
        "event a starts f, g",
        "event b starts nothing: no function has this trigger",
        "event c starts f in 1h",
        "event d starts g",
        "skipped f the event id 'e1' started it before, within 24 hours",
    ]


async def test_many_functions_are_not_all_named() -> None:
    many = [function_of(f"f{number}") for number in range(7)]

    assert await rows(lambda narrator: narrator.took_in(intake_of("a", *many), many, TAKEN)) == [
        "event a starts f0, f1, f2, f3 and 3 more"
    ]


async def test_internal_events_are_said_where_they_start_something() -> None:
    f = function_of("f")
    event = invoked_event({}, slug="f", id="E1", environment=ENVIRONMENT, now=T0)
    invoked = start(event, Registry(ENVIRONMENT, 1, [f]), now=T0, new_id=lambda: "R1", only=f)

    said = await rows(
        lambda narrator: (
            narrator.took_in(invoked, [f], TAKEN),
            narrator.took_in(Intake(event=event), [], TAKEN),
        )
    )

    assert said == ["event f was invoked"]


async def test_ends_of_runs() -> None:
    f = function_of("f")
    failure = b'{"name":"ValueError","message":"no e-mail\\naddress"}'

    said = await rows(
        lambda narrator: (
            narrator.changed(ended(RunStatus.COMPLETED), f),
            narrator.changed(ended(RunStatus.FAILED, failure), f),
            narrator.changed(ended(RunStatus.CANCELLED, b"{}", reason="api"), f),
        )
    )

    assert said == [
        "completed f in 1.5s · R1",
        "failed f after 1.5s · ValueError: no e-mail address · R1",
        "cancelled f after 1.5s (api) · R1",
    ]


async def test_a_run_is_told_from_its_event_to_its_end(world: World) -> None:
    await world.register("f", f={"retries": 3})
    failing = iter([True, False])

    def answer(call: Any) -> Any:
        match len(steps_done(call)):
            case 0:
                return error("503") if next(failing) else ops(ran("load"))
            case 1:
                return ops(sleep("wait", "1d"))
            case _:
                return result("end")

    world.apps.answers["f"] = answer
    id = (await world.send("f.go"))["runs"][0]["id"]
    await world.post("/api/skip", {"duration": "2d"})
    function = world.engine.registry.by_slug["f"]

    def tell(narrator: Narrator) -> None:
        for transition in world.signals.transitions:
            narrator.changed(transition, function)

    said = await rows(tell)

    assert [re.sub(r"[0-9]+m?s", "Ns", line) for line in said] == [
        "retry f the function: attempt 1 of 4 failed, again in Ns · ValueError: 503",
        "step f load done in Ns",
        said[2],
        "step f wait is over, after 1d",
        said[4],
    ]
    assert said[2].startswith("sleep f wait until 2026-01-02T")
    assert said[2].endswith("(1d)")
    assert said[4].startswith("completed f in 1d")
    assert said[4].endswith(id)


async def test_an_app_that_was_synced_and_what_to_look_at_in_it() -> None:
    functions = [function_json("shop-f") | {"cancel": [{"event": "a/*"}]}, function_json("shop-g")]
    body = read_sync(
        msgspec.json.encode(
            {"url": "http://localhost:3000/x", "appName": "shop", "sdk": "py:v0.5.19", "functions": functions}
        )
    )
    plan = plan_sync(body, Registry(ENVIRONMENT, 1, []), [], now=T0)

    said = await rows(lambda narrator: narrator.synced(plan))

    assert said == [
        "app shop synced 2 functions, 2 new or changed · http://localhost:3000/x (py:v0.5.19)",
        "warning function 'shop-f' is cancelled by events named 'a/*' alone: a cancel rule has no wildcards",
    ]


async def test_of_very_much_the_rest_is_counted() -> None:
    f = function_of("f")
    done = ended(RunStatus.COMPLETED)

    def tell(narrator: Narrator) -> None:
        for _ in range(3_000):
            narrator.took_in(intake_of("a", f), [f], TAKEN)
            narrator.changed(done, f)

    said = await rows(tell)

    assert len(said) == 201
    assert said[-1] == "… and 5,800 more: 2,900 event, 2,900 completed"


async def test_of_very_much_that_goes_on_even_less_is_said_until_it_is_calm() -> None:
    done, f = ended(RunStatus.COMPLETED), function_of("f")
    stream = Stream()
    narrator = Narrator(DEV, stream)
    await narrator.start()

    for count in (1_000, 1_000, 10, 100):
        for _ in range(count):
            narrator.changed(done, f)
        narrator._flush(is_last=True)
    await narrator.stop()

    said = stream.getvalue().splitlines()
    assert [index for index, line in enumerate(said) if "… and" in line] == [200, 221]
    assert len(said) == 201 + 21 + 10 + 100


async def test_quiet_says_only_what_concerns_the_server() -> None:
    f = function_of("f")

    def tell(narrator: Narrator) -> None:
        narrator.took_in(intake_of("a", f), [f], TAKEN)
        narrator.changed(ended(RunStatus.COMPLETED), f)
        narrator.note("listening")
        narrator.warn("sync failed")

    text = await told(tell, msgspec.structs.replace(DEV, is_quiet=True))

    assert [line.split()[1:] for line in text.splitlines()] == [["server", "listening"], ["warning", "sync", "failed"]]


async def test_payloads_are_never_shown() -> None:
    f = function_of("f")

    text = await told(
        lambda narrator: (
            narrator.took_in(intake_of("a", f, data={"card": "4111"}), [f], TAKEN),
            narrator.changed(ended(RunStatus.COMPLETED, b'{"card":"4111"}'), f),
        )
    )

    assert "4111" not in text


async def test_what_comes_from_outside_cannot_drive_the_terminal() -> None:
    text = await told(lambda narrator: narrator.took_in(intake_of("a\x1b[2J\r\nb\x9b"), [], TAKEN))

    assert text.count("\n") == 1
    assert not {"\x1b", "\r", "\x9b"} & set(text)


async def test_colours_are_for_terminals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)

    assert "\x1b[1;31m" in await told(
        lambda narrator: narrator.changed(ended(RunStatus.FAILED), function_of("f")), is_terminal=True
    )
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in await told(
        lambda narrator: narrator.changed(ended(RunStatus.FAILED), function_of("f")), is_terminal=True
    )


async def test_a_new_day_has_a_line() -> None:
    def tell(narrator: Narrator) -> None:
        for day in range(3):
            intake = intake_of("a")
            event = msgspec.structs.replace(intake.event, received_at=T0 + day * 86_400_000)
            narrator.took_in(Intake(event=event), [], TAKEN)

    text = await told(tell)

    assert [line.startswith("──") for line in text.splitlines()] == [False, True, False, True, False]


async def test_a_stream_that_nobody_reads_stops_nothing() -> None:
    class Closed(Stream):
        def write(self, _text: str) -> int:
            raise BrokenPipeError

    narrator = Narrator(DEV, Closed())
    await narrator.start()
    narrator.note("hello")
    await narrator.stop()


# -- production -------------------------------------------------------------------------------------------------


def attempt(outcome: Outcome) -> Attempt:
    return Attempt(RunId("R1"), AttemptId("0.0.1"), "x", "pay", 0, T0, T0 + 5, outcome, b'{"name":"E","message":"503"}')


async def logged(tell: Callable[[Narrator], object]) -> list[Any]:
    with structlog.testing.capture_logs() as entries:
        assert await told(tell, PRODUCTION) == ""
    return list(entries)


async def test_production_logs_failures_and_syncs_only() -> None:
    f = function_of("f")
    body = read_sync(registration("http://localhost:3000/x", "shop-g"))
    plan = plan_sync(body, Registry(ENVIRONMENT, 1, []), [], now=T0)
    running = Transition(
        run=Run(RunId("R1"), ENVIRONMENT, f.id, 1, EventId("E1"), T0), at=T0, attempt=attempt(Outcome.ERROR)
    )

    entries = await logged(
        lambda narrator: (
            narrator.took_in(intake_of("a", f), [f], TAKEN),
            narrator.changed(ended(RunStatus.COMPLETED), f),
            narrator.changed(running, f),
            narrator.changed(ended(RunStatus.FAILED, b'{"name":"E","message":"no"}'), f),
            narrator.synced(plan),
        )
    )

    assert [(entry["event"], entry["log_level"]) for entry in entries] == [
        ("attempt.failed", "warning"),
        ("run.failed", "error"),
        ("app.synced", "info"),
    ]
    assert entries[0]["error"] == "E: 503"
    assert entries[0]["max_attempts"] == 5
    assert entries[1]["run_id"] == "R1"
    assert entries[1]["error"] == "E: no"


async def test_a_storm_of_failures_does_not_flood_the_log() -> None:
    failed = ended(RunStatus.FAILED, b"{}")

    def tell(narrator: Narrator) -> None:
        for _ in range(1_000):
            narrator.changed(failed, function_of("f"))

    entries = await logged(tell)

    assert len(entries) == 21
    assert entries[-1]["event"] == "failures.left_out"
    assert entries[-1]["run_failed"] == 980
