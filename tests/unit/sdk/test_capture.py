"""What user code logs and prints while it works on a run is passed on to a server of ours, and nothing else changes."""

# ruff: noqa: T201 - what is printed is what this is about
from __future__ import annotations

import asyncio
import contextlib
import io
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx2
import msgspec
import pytest
import structlog

from stepwell import Event, Step, Stepwell, SyncStep
from stepwell.logs import structlog_processor
from stepwell.protocol import headers
from stepwell.protocol.ids import step_hash
from stepwell.protocol.logs import LOGS_PATH, Line, Lines
from stepwell.sdk import capture, courier
from stepwell.sdk.client import Client
from stepwell.sdk.courier import Courier
from stepwell.sdk.http import Request, Response
from tests.unit.sdk.pretend import PretendRun, new_app

RUN_ID = "01JABCDEFGHJKMNPQRSTVWXYZ0"


class Server:
    """Takes lines, or does with them what a test says."""

    def __init__(self) -> None:
        self.lines: list[Line] = []
        self.requests: list[httpx2.Request] = []
        self.status = 200
        self.gate: threading.Event | None = None

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        self.requests.append(request)
        if self.gate is not None:
            self.gate.wait(10)
        assert request.url.path == LOGS_PATH
        if self.status == 200:
            self.lines += msgspec.json.decode(request.content, type=Lines).lines
        return httpx2.Response(self.status, json={})


@pytest.fixture(autouse=True)
def clean() -> Iterator[None]:
    yield
    capture.uninstall()


@pytest.fixture
def server() -> Server:
    return Server()


def app_of(server: Server, **settings: Any) -> Stepwell:
    sw = new_app(**settings)
    sw.courier = Courier(Client(sw.settings, transport=httpx2.MockTransport(server)))
    return sw


def from_us(request: Request) -> Request:
    return msgspec.structs.replace(request, headers={headers.STEPWELL.lower(): "1", **request.headers})


async def run(sw: Stepwell, *, is_sync: bool = False, is_ours: bool = True) -> PretendRun:
    """Run the function ``f`` to its end, called by our server or another, and send its lines."""

    async def respond(request: Request) -> Response:
        request = from_us(request) if is_ours else request
        return sw.handler.handle_sync(request) if is_sync else await sw.handler.handle(request)

    made = PretendRun(sw, "f", respond=respond)
    await made.end()
    sw.courier.leave(5)
    return made


def said(server: Server, *, with_replayed: bool = True) -> list[tuple[str, str]]:
    """The step and the message of each line."""
    return [(line.step, line.message) for line in server.lines if with_replayed or not line.is_replayed]


def fields_of(line: Line) -> Any:
    return msgspec.json.decode(b"{}" if line.fields is msgspec.UNSET else bytes(line.fields))


# -- lines ------------------------------------------------------------------------------------------------------------


async def test_a_record_is_a_line_of_its_run_and_step(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    sw = app_of(server)
    caplog.set_level(logging.INFO)

    @sw.function("f", on="test/event")
    async def f(step: Step) -> None:
        def pay() -> None:
            logging.getLogger("shop.pay").warning("no %s", "stock", extra={"order": 7, "odd": {1, 2} and object})

        await step.run("pay", pay)

    await run(sw)

    [line] = server.lines
    assert (line.run_id, line.step_id, line.step, line.attempt) == (RUN_ID, step_hash("pay"), "pay", 0)
    assert (line.logger, line.level, line.message, line.is_replayed) == ("shop.pay", 30, "no stock", False)
    fields = fields_of(line)
    assert fields["order"] == 7
    assert "object" in fields["odd"]


@pytest.mark.parametrize("is_sync", [False, True])
async def test_what_replays_write_again_is_marked(
    server: Server, caplog: pytest.LogCaptureFixture, is_sync: bool
) -> None:
    sw = app_of(server)
    caplog.set_level(logging.INFO)
    log = logging.getLogger("shop")

    if is_sync:

        @sw.function("f", on="test/event")
        def plain(step: SyncStep) -> None:
            log.info("start")
            step.run("a", lambda: log.info("in a"))
            log.info("between")
            step.run("b", lambda: log.info("in b"))
            log.info("end")
    else:

        @sw.function("f", on="test/event")
        async def f(step: Step) -> None:
            log.info("start")
            await step.run("a", lambda: log.info("in a"))
            log.info("between")
            await step.run("b", lambda: log.info("in b"))
            log.info("end")

    made = await run(sw, is_sync=is_sync)

    assert len(made.answers) == 3
    assert said(server, with_replayed=False) == [
        ("", "start"),
        ("a", "in a"),
        ("", "between"),
        ("b", "in b"),
        ("", "end"),
    ]
    assert [line.message for line in server.lines if line.is_replayed] == ["start", "start", "between"]


async def test_lines_of_parallel_steps_are_told_apart(server: Server) -> None:
    sw = app_of(server)

    @sw.function("f", on="test/event")
    async def f(step: Step) -> None:
        async def say(word: str) -> None:
            print(word, end="")
            await asyncio.sleep(0)
            print(" and", word)

        await asyncio.gather(step.run("a", say, "x"), step.run("b", say, "y"))

    await run(sw)

    assert sorted(said(server)) == [("a", "x and x"), ("b", "y and y")]


async def test_printed_text_becomes_lines(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    sw = app_of(server)

    @sw.function("f", on="test/event")
    async def f(step: Step) -> None:
        def speak() -> None:
            print("one", "two")
            print("a\n\nb")
            sys.stdout.writelines(["c\n", "d"])
            print("\x1b[31mred\x1b[0m")
            print("10%\r50%\r100%")
            print("no end of line", end="")

        await step.run("speak", speak)

    await run(sw)

    words = ["one two", "a", "b", "c", "dred", "100%", "no end of line"]
    assert [line.message for line in server.lines] == words
    assert {(line.logger, line.level, line.step) for line in server.lines} == {("print", 20, "speak")}
    shown = capsys.readouterr().out
    assert shown == "one two\na\n\nb\nc\nd\x1b[31mred\x1b[0m\n10%\r50%\r100%\nno end of line"


async def test_lines_come_from_threads_that_have_the_context_and_from_no_others(server: Server) -> None:
    sw = app_of(server)

    @sw.function("f", on="test/event")
    async def f(step: Step) -> None:
        async def body() -> None:
            await asyncio.to_thread(print, "with the context")
            stranger = threading.Thread(target=print, args=("without",))
            stranger.start()
            stranger.join()

        await step.run("a", body)

    await run(sw)

    assert said(server) == [("a", "with the context")]


@pytest.mark.parametrize("is_sync", [False, True])
async def test_what_the_http_client_logs_of_our_own_requests_is_left_out(
    server: Server, *, is_sync: bool, caplog: pytest.LogCaptureFixture
) -> None:
    sw = app_of(server)
    sent = httpx2.MockTransport(lambda _: httpx2.Response(200, json={"ids": ["1"], "status": 200}))
    client = Client(sw.settings, transport=sent)
    caplog.set_level(logging.DEBUG)

    @sw.function("f", on="test/event")
    async def f() -> None:
        if is_sync:
            client.send_sync([Event(name="other")])
        else:
            await client.send([Event(name="other")])
        logging.getLogger("httpx2").info("HTTP Request of the user's own")

    await run(sw)

    assert said(server) == [("", "HTTP Request of the user's own")]


async def test_an_exception_has_its_traceback(server: Server) -> None:
    sw = app_of(server)

    @sw.function("f", on="test/event")
    async def f() -> None:
        try:
            raise ValueError("no stock")
        except ValueError:
            logging.getLogger("shop").exception("it failed")

    await run(sw)

    [line] = server.lines
    assert (line.message, line.level) == ("it failed", 40)
    assert "ValueError: no stock" in fields_of(line)["exception"]


async def test_the_handlers_logger_says_nothing_twice(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    sw = app_of(server)
    caplog.set_level(logging.INFO)

    @sw.function("f", on="test/event")
    async def f(step: Step, logger: logging.Logger) -> None:
        logger.info("start")
        await step.run("a", lambda: logger.info("in a", extra={"more": 1}))

    await run(sw)

    assert said(server) == [("", "start"), ("a", "in a")]
    assert server.lines[0].fields is msgspec.UNSET
    assert fields_of(server.lines[1]) == {"more": 1}


async def test_a_console_handler_makes_no_second_line(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    sw = app_of(server)
    log = logging.getLogger("shop.console")

    @sw.function("f", on="test/event")
    async def f() -> None:
        console = logging.StreamHandler(sys.stdout)
        log.addHandler(console)
        log.warning("once")
        log.removeHandler(console)

    await run(sw)

    assert said(server) == [("", "once")]
    assert capsys.readouterr().out == "once\n"


@pytest.mark.parametrize("is_printing", [True, False])
async def test_structlog_keeps_its_fields(server: Server, is_printing: bool, caplog: pytest.LogCaptureFixture) -> None:
    sw = app_of(server)
    caplog.set_level(logging.INFO)
    if is_printing:
        structlog.configure(
            processors=[structlog_processor, structlog.dev.ConsoleRenderer()], cache_logger_on_first_use=False
        )
    else:
        structlog.configure(
            processors=[structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
            logger_factory=structlog.stdlib.LoggerFactory(),
            wrapper_class=structlog.stdlib.BoundLogger,
            cache_logger_on_first_use=False,
        )
    try:

        @sw.function("f", on="test/event")
        async def f() -> None:
            structlog.get_logger().warning("no stock", order=7)
            print("no stock at all")

        await run(sw)
    finally:
        structlog.reset_defaults()

    assert [(line.message, line.level) for line in server.lines] == [("no stock", 30), ("no stock at all", 20)]
    assert fields_of(server.lines[0])["order"] == 7


# -- what stays as it was ---------------------------------------------------------------------------------------------


async def test_nothing_is_captured_for_another_server_or_where_it_is_switched_off(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    def define(sw: Stepwell) -> Stepwell:
        @sw.function("f", on="test/event")
        async def f() -> None:
            print("printed")
            logging.getLogger("shop").warning("logged")

        return sw

    before = (sys.stdout, list(logging.root.handlers))
    await run(define(app_of(server)), is_ours=False)
    assert (sys.stdout, logging.root.handlers) == before
    assert server.requests == []

    await run(define(app_of(server, capture_prints=False)))
    assert said(server) == [("", "logged")]
    monkeypatch.setenv("STEPWELL_CAPTURE_LOGS", "0")
    await run(define(app_of(server)))
    assert said(server) == [("", "logged"), ("", "printed")]


async def test_lines_outside_of_attempts_are_not_captured(server: Server) -> None:
    sw = app_of(server)
    late: list[asyncio.Task[None]] = []
    ended = asyncio.Event()

    @sw.function("f", on="test/event")
    async def f() -> None:
        async def outlive() -> None:
            await ended.wait()
            print("too late")

        late.append(asyncio.create_task(outlive()))
        print("in time")

    await run(sw)
    print("outside")
    ended.set()
    await asyncio.gather(*late)
    sw.courier.leave(5)

    assert said(server) == [("", "in time")]


async def test_a_program_that_exchanges_stdout_is_followed(server: Server) -> None:
    sw = app_of(server)

    @sw.function("f", on="test/event")
    async def f() -> None:
        print("seen")
        with contextlib.redirect_stdout(io.StringIO()) as elsewhere:
            print("not for the console")
        print(len(elsewhere.getvalue()))

    await run(sw)
    capture.uninstall()
    await run(sw)

    assert said(server) == [("", "seen"), ("", "20")] * 2


async def test_warnings_reach_stderr_where_logging_is_not_set_up(
    server: Server, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    sw = app_of(server)
    monkeypatch.setattr(logging.root, "handlers", [])
    monkeypatch.setattr(logging, "lastResort", logging.StreamHandler())
    logging.lastResort.setLevel(logging.WARNING)  # type: ignore[union-attr]

    @sw.function("f", on="test/event")
    async def f() -> None:
        logging.getLogger("shop").warning("in the run")

    await run(sw)
    logging.getLogger("shop").warning("outside")

    assert capsys.readouterr().err == "in the run\noutside\n"
    assert said(server) == [("", "in the run")]


# -- a server in trouble ----------------------------------------------------------------------------------------------


class Unspeakable:
    def __repr__(self) -> str:
        raise RuntimeError("not even this")

    def model_dump(self, *, mode: str) -> object:
        raise RuntimeError(mode)


@pytest.mark.parametrize("by", ["logging", "structlog"])
async def test_an_object_that_cannot_be_shown_fails_no_step(
    server: Server, by: str, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    sw = app_of(server)
    caplog.set_level(logging.INFO)

    @sw.function("f", on="test/event")
    async def f(step: Step) -> str:
        def speak() -> None:
            fields = {"odd": Unspeakable(), "fine": 1, "half\ud800": 2}
            if by == "logging":
                logging.getLogger("shop").info("hello", extra=fields)
            else:
                structlog_processor(None, "info", {"event": "hello", **fields})

        await step.run("speak", speak)
        return "done"

    made = await run(sw)

    assert made.answers[-1].body == "done"
    [line] = server.lines
    shown = fields_of(line)
    assert (line.message, shown["fine"], shown["half?"]) == ("hello", 1, 2)
    assert shown["odd"] == "<a Unspeakable, whose repr failed: RuntimeError>"
    assert "Logging error" not in capsys.readouterr().err


async def test_structlog_goes_on_where_a_line_cannot_be_passed_on(server: Server) -> None:
    sw = app_of(server)
    event = {"event": Unspeakable()}

    @sw.function("f", on="test/event")
    async def f(step: Step) -> bool:
        return await step.run("speak", lambda: structlog_processor(None, "info", event) is event)

    assert (await run(sw)).answers[-1].body is True


async def test_logging_may_be_set_up_in_a_step(server: Server) -> None:
    sw = app_of(server)
    root = logging.getLogger()
    kept, level = root.handlers[:], root.level
    console = io.StringIO()

    @sw.function("f", on="test/event")
    async def f(step: Step) -> None:
        def speak() -> None:
            assert not root.hasHandlers()
            logging.basicConfig(level=logging.INFO, stream=console, format="%(message)s")
            logging.getLogger("shop").info("hello")

        await step.run("speak", speak)

    try:
        root.handlers = []
        await run(sw)
    finally:
        capture.uninstall()
        root.handlers = kept
        root.setLevel(level)

    assert console.getvalue().splitlines()[0] == "hello"
    assert said(server) == [("speak", "hello")]


async def test_stdout_that_takes_more_than_text_is_left_to_itself(server: Server) -> None:
    class Anything(io.StringIO):
        def write(self, text: Any) -> int:
            return super().write(str(text))

    sw = app_of(server)
    odd = Anything()

    @sw.function("f", on="test/event")
    async def f(step: Step) -> str:
        await step.run("speak", lambda: sys.stdout.write(b"bytes"))  # type: ignore[arg-type]
        return "done"

    with contextlib.redirect_stdout(odd):
        made = await run(sw)
        capture.uninstall()

    assert (made.answers[-1].body, odd.getvalue()) == ("done", "b'bytes'")


async def test_any_level_is_brought_into_bounds(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    sw = app_of(server)
    caplog.set_level(1)

    @sw.function("f", on="test/event")
    async def f(step: Step) -> None:
        def speak() -> None:
            for level in (1, 35, 10**30):
                logging.getLogger("shop").log(level, "hello")

        await step.run("speak", speak)

    await run(sw)

    assert [line.level for line in server.lines if line.logger == "shop"] == [1, 35, 100]


async def test_large_fields_are_left_out(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    sw = app_of(server)
    caplog.set_level(logging.INFO)

    @sw.function("f", on="test/event")
    async def f(step: Step) -> None:
        await step.run("speak", lambda: logging.getLogger("shop").info("hello", extra={"order": "x" * 1_000_000}))

    await run(sw)

    assert fields_of(server.lines[0]) == {"stepwell.left_out": "1000012 bytes of fields"}


async def test_a_server_that_hangs_holds_up_no_step(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(courier, "QUEUE_LINES_MAX", 50)
    server.gate = threading.Event()
    sw = app_of(server)

    @sw.function("f", on="test/event")
    async def f(step: Step) -> str:
        def speak() -> None:
            for number in range(1_000):
                print("line", number)

        await step.run("speak", speak)
        return "done"

    async def respond(request: Request) -> Response:
        return await sw.handler.handle(from_us(request))

    made = PretendRun(sw, "f", respond=respond)
    answer = await made.end()
    assert answer.body == "done"
    assert server.lines == []

    server.gate.set()
    assert sw.courier.leave(5)
    print_one = PretendRun(sw, "f", respond=respond)
    await print_one.call()
    assert sw.courier.leave(5)
    dropped = [line.message for line in server.lines if line.logger == "stepwell"]
    assert "lines were dropped" in dropped[0]
    assert sum(line.logger == "print" for line in server.lines) + sum(int(text.split()[0]) for text in dropped) >= 1_000


@pytest.mark.parametrize(("status", "is_asked_again"), [(404, False), (401, False), (503, True)])
async def test_a_server_that_refuses_lines_is_left_in_peace(server: Server, status: int, is_asked_again: bool) -> None:
    now = [0.0]
    sw = app_of(server)
    sw.courier = Courier(Client(sw.settings, transport=httpx2.MockTransport(server)), elapsed=lambda: now[0])
    server.status = status
    line = Line(RUN_ID, 1, "hello")

    def take() -> None:
        sw.courier.take(line)
        sw.courier.leave(5)

    take()
    assert len(server.requests) == 1
    take()
    assert len(server.requests) == 1
    now[0] += courier.BACKOFF_S[0] + 1
    server.status = 200
    take()

    assert len(server.requests) == (2 if is_asked_again else 1)
    if is_asked_again:
        assert [one.message[:22] for one in server.lines] == ["2 lines were dropped h", "hello"]
    now[0] += courier.PAUSE_S
    take()
    assert server.lines[-1].message == "hello"


def test_what_waits_is_bounded_in_bytes(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(courier, "QUEUE_BYTES_MAX", 10_000)
    server.gate = threading.Event()
    sw = app_of(server)

    for _ in range(100):
        sw.courier.take(Line(RUN_ID, 1, "x" * 400, fields=msgspec.Raw(b'{"a":"%b"}' % (b"y" * 592))))
    server.gate.set()
    assert sw.courier.leave(5)
    sw.courier.take(Line(RUN_ID, 1, "last"))
    assert sw.courier.leave(5)

    kept = [line for line in server.lines if line.message.startswith("x")]
    [told] = [line.message for line in server.lines if line.logger == "stepwell"]
    assert 10 <= len(kept) <= 20
    assert int(told.split()[0]) == 100 - len(kept)
    assert server.lines[-1].message == "last"


def test_dropped_lines_are_counted_right_and_told_without_being_asked(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(courier, "BACKOFF_S", (0.05,))
    monkeypatch.setattr(courier, "GATHER_S", 0.01)
    server.status = 503
    sw = app_of(server)
    for number in range(20):
        sw.courier.take(Line(RUN_ID, number, "hello"))
    assert sw.courier.leave(5)

    wait_until(lambda: len(server.requests) >= 3)
    server.status = 200
    wait_until(lambda: bool(server.lines))

    assert [line.message.split(" were")[0] for line in server.lines] == ["20 lines"]


@pytest.mark.parametrize("status", [400, 413])
def test_lines_that_a_server_cannot_read_cost_no_others(
    server: Server, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(courier, "BACKOFF_S", (0.05,))
    server.status = status
    sw = app_of(server)
    sw.courier.take(Line(RUN_ID, 1, "bad"))
    assert sw.courier.leave(5)
    server.status = 200

    wait_until(lambda: bool(server.lines))
    sw.courier.take(Line(RUN_ID, 2, "good"))
    assert sw.courier.leave(5)

    assert [line.message.split(" were")[0] for line in server.lines] == ["1 lines", "good"]


def test_a_forked_process_does_not_wait_for_its_parents_lock(server: Server) -> None:
    sw = app_of(server)
    sw.courier.take(Line(RUN_ID, 1, "hello"))
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with sw.courier._changed:  # as the thread that sends may at any time
            held.set()
            done.wait(10)

    holder = threading.Thread(target=hold)
    holder.start()
    assert held.wait(5)
    pid = os.fork()
    if pid == 0:
        signal.alarm(5)
        os._exit(0 if sw.courier.leave(1) else 1)
    done.set()
    holder.join()

    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def wait_until(holds: Callable[[], bool]) -> None:
    """Wait for what another thread does."""
    end = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_the_rest_is_reached_through_the_cover(capsys: pytest.CaptureFixture[str]) -> None:
    plain = sys.stdout
    capture.install(logs=False, prints=True)

    assert sys.stdout is not plain
    assert sys.stdout.encoding == plain.encoding
    assert sys.stdout.isatty() is plain.isatty()
    with pytest.raises(TypeError):
        sys.stdout.write(b"")  # type: ignore[arg-type]
    print("x", flush=True)
    capture.uninstall()
    assert sys.stdout is plain
    assert capsys.readouterr().out == "x\n"
