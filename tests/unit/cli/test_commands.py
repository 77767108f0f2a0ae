"""The commands, against an API that answers as a test says."""

from __future__ import annotations

import functools
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import pytest
from typer.testing import CliRunner, Result

from stepwell.cli.commands import app
from stepwell.cli.main import missing_extra
from stepwell.errors import ConfigError, StoreError
from stepwell.server import main as server
from stepwell.server.settings import Settings

ID = "01KAT3Z6W00000000000000001"
SUMMARY = {
    "id": ID,
    "status": "completed",
    "function": "shop-f",
    "event_id": "01KAT3Z6W00000000000000000",
    "event_name": "a",
    "queued_at": "2026-01-01T00:00:00.000Z",
    "started_at": "2026-01-01T00:00:00.100Z",
    "ended_at": "2026-01-01T00:00:01.500Z",
    "reason": None,
    "output": {"ok": True},
    "error": None,
    "waiting": None,
}
ROW = {
    "kind": "attempt",
    "status": "completed",
    "title": "load",
    "attempt": 0,
    "started_at": "2026-01-01T00:00:00.100Z",
    "ended_at": "2026-01-01T00:00:01.500Z",
    "due_at": None,
    "retry_at": None,
    "error": None,
    "waiting": None,
}
EMPTY_ENV = {name: "" for name in os.environ if name.startswith(("STEPWELL_", "INNGEST_"))}


class Stub:
    """The API: ``answers`` by method and path; a list is given out one by one, its last again and again."""

    def __init__(self) -> None:
        self.answers: dict[str, Any] = {}
        self.requests: list[httpx2.Request] = []

    def handle(self, request: httpx2.Request) -> httpx2.Response:
        self.requests.append(request)
        answer = self.answers.get(f"{request.method} {request.url.path}")
        if isinstance(answer, list):
            answer = answer.pop(0) if len(answer) > 1 else answer[0]
        if isinstance(answer, BaseException):
            raise answer
        if isinstance(answer, httpx2.Response):
            return answer
        if answer is None:
            return refusal(404, "no_such_path", f"there is no {request.url.path}")
        return httpx2.Response(200, content=msgspec.json.encode(answer))

    @property
    def body(self) -> Any:
        return msgspec.json.decode(self.requests[-1].content)


def refusal(status: int, code: str, message: str, **more: str) -> httpx2.Response:
    return httpx2.Response(status, json={"error": {"code": code, "message": message, **more}})


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Stub:
    stub = Stub()
    client = functools.partial(httpx2.Client, transport=httpx2.MockTransport(stub.handle))
    monkeypatch.setattr(httpx2, "Client", client)
    monkeypatch.setattr("stepwell.cli.runs._LOOK_S", 0)
    return stub


def run(*words: str, stdin: str | None = None, **env: str) -> Result:
    return CliRunner().invoke(app, list(words), input=stdin, env=EMPTY_ENV | env)


def fails(*words: str, status: int = 1, **env: str) -> str:
    """Expect one line on standard error, and no traceback."""
    result = run(*words, **env)
    assert result.exit_code == status, result.output
    assert result.stdout == ""
    assert result.stderr.startswith("stepwell: ")
    assert result.stderr.count("\n") == 1
    return result.stderr


# -- talking to a server ----------------------------------------------------------------------------------------


def test_without_a_server_it_says_how_to_start_one(api: Stub) -> None:
    api.answers["GET /api/apps"] = httpx2.ConnectError("refused")

    message = fails("apps")

    assert "http://127.0.0.1:8288" in message
    assert "stepwell dev" in message


@pytest.mark.parametrize("url", ["localhost:8288", "ftp://x", "http://", "http://[", "http://x:port"])
def test_a_url_that_is_none_is_said(api: Stub, url: str) -> None:
    assert "--url" in fails("apps", "--url", url, status=2)
    assert api.requests == []


def test_the_token_and_the_url_come_from_the_environment(api: Stub) -> None:
    api.answers["GET /api/apps"] = {"items": []}

    run("apps", STEPWELL_URL="https://jobs.example.com/", STEPWELL_API_TOKEN="secret")

    [request] = api.requests
    assert str(request.url) == "https://jobs.example.com/api/apps"
    assert request.headers["Authorization"] == "Bearer secret"


def test_a_wrong_token_names_the_flag(api: Stub) -> None:
    api.answers["GET /api/apps"] = refusal(401, "unauthorized", "no")

    assert "--api-token" in fails("apps")


def test_a_refusal_is_one_line_with_its_place(api: Stub) -> None:
    api.answers["GET /api/runs"] = refusal(400, "invalid_query", "Invalid enum value 'x'", path="$.status")

    assert fails("runs", "list", "--status", "x") == "stepwell: Invalid enum value 'x' (at $.status)\n"


@pytest.mark.parametrize(
    "answer",
    [httpx2.Response(502, text="<html>"), httpx2.Response(200, text="<html>"), httpx2.ReadError("gone")],
)
def test_another_program_is_not_taken_for_a_server(api: Stub, answer: Any) -> None:
    api.answers["GET /api/apps"] = answer

    fails("apps")


# -- events and functions ---------------------------------------------------------------------------------------


def test_an_event_is_sent(api: Stub) -> None:
    runs = [
        {"id": ID, "function": "shop-f", "is_skipped": False},
        {"id": "R2", "function": "shop-g", "is_skipped": True},
    ]
    api.answers["POST /api/events"] = {"events": [{"id": "E", "event_id": "mine", "name": "a", "runs": runs}]}

    result = run("send", "a", '{"n": 12345678901234567890123}', "--id", "mine", "--ts", "5")

    assert result.exit_code == 0
    assert api.body == {"name": "a", "data": {"n": 12345678901234567890123}, "id": "mine", "ts": 5}
    assert result.stdout.splitlines() == [
        "event E a",
        f"  shop-f  run {ID}",
        "  shop-g  skipped: this event id started it before",
    ]


def test_an_event_that_starts_nothing_says_so(api: Stub) -> None:
    api.answers["POST /api/events"] = {"events": [{"id": "E", "event_id": "E", "name": "a", "runs": []}]}

    assert "starts nothing" in run("send", "a").stdout
    assert api.body == {"name": "a", "data": {}}


def test_data_comes_from_standard_input(api: Stub) -> None:
    api.answers["POST /api/events"] = {"events": [{"id": "E", "event_id": "E", "name": "a", "runs": []}]}

    run("send", "a", "-", stdin='{"x": 1}')

    assert api.body["data"] == {"x": 1}


@pytest.mark.parametrize("data", ["", "{", "[1]", "null", "{'x': 1}", "[" * 100_000])
def test_data_that_is_no_object_is_refused_before_anything_is_sent(api: Stub, data: str) -> None:
    assert "data" in fails("send", "a", data, status=2)
    assert api.requests == []


def test_functions_are_listed_with_what_starts_them(api: Stub) -> None:
    triggers = [
        {"event": "a", "expression": "event.data.x > 1", "cron": None, "next_at": None},
        {"event": None, "expression": None, "cron": "0 3 * * *", "next_at": "2026-01-01T03:00:00.000Z"},
    ]
    function = {"slug": "shop-f", "app": "shop", "version": 2, "triggers": triggers, "max_attempts": 5}
    api.answers["GET /api/functions"] = {"items": [function, function | {"slug": "shop-g", "triggers": []}]}

    heading, f, g = run("functions", TZ="UTC").stdout.splitlines()

    assert heading.split() == ["function", "app", "version", "started", "by"]
    assert "a if event.data.x > 1, 0 3 * * * (next 2026-01-01 " in f
    assert g.rstrip().endswith("invoked only")


def test_a_function_is_invoked(api: Stub) -> None:
    api.answers["POST /api/functions/shop-f/invoke"] = SUMMARY

    assert run("invoke", "shop-f", '{"x": 1}').stdout == f"run {ID}\n"
    assert api.body == {"data": {"x": 1}}


def test_words_in_a_path_are_escaped(api: Stub) -> None:
    fails("invoke", "a/b?c")

    assert api.requests[0].url.raw_path == b"/api/functions/a%2Fb%3Fc/invoke"


def test_apps_are_listed_synced_and_removed(api: Stub) -> None:
    shop = {
        "name": "shop",
        "url": "http://localhost:3000/x",
        "sdk": "py:v1",
        "framework": "flask",
        "function_count": 3,
        "synced_at": "2026-01-01T00:00:00.000Z",
    }
    api.answers["GET /api/apps"] = {"items": [shop]}
    api.answers["POST /api/apps/sync"] = [{"app": shop, "is_modified": True}, {"app": None, "is_modified": False}]
    api.answers["DELETE /api/apps/shop"] = shop

    assert "http://localhost:3000/x" in run("apps").stdout
    assert run("apps", "sync", "http://localhost:3000/x").stdout == "shop: 3 functions, changed\n"
    assert "no app has this URL" in run("apps", "sync", "http://localhost:3000/x").stdout
    assert run("apps", "remove", "shop").stdout == "shop is removed\n"


def test_time_is_skipped(api: Stub) -> None:
    api.answers["POST /api/skip"] = {"now": "2026-01-04T00:00:00.000Z", "skipped_ms": 1}

    assert run("skip", "3d").stdout == "it is now 2026-01-04T00:00:00.000Z\n"
    assert api.body == {"duration": "3d"}


def test_a_production_server_skips_no_time(api: Stub) -> None:
    assert "dev server only" in fails("skip", "3d")


# -- runs -------------------------------------------------------------------------------------------------------


def test_runs_are_listed_whole_where_nobody_looks(api: Stub) -> None:
    long = SUMMARY | {"function": "f" * 100, "event_name": "e" * 100}
    api.answers["GET /api/runs"] = {"items": [long], "next_cursor": ID}

    lines = run("runs").stdout.splitlines()

    assert lines[0].split() == ["run", "status", "function", "event", "queued", "took"]
    assert lines[1].split()[:4] == [ID, "completed", "f" * 100, "e" * 100]
    assert lines[1].rstrip().endswith("1.5s")
    assert lines[2] == f"more: --cursor {ID}"


def test_filters_are_passed_on(api: Stub) -> None:
    api.answers["GET /api/runs"] = {"items": [], "next_cursor": None}

    result = run("runs", "list", "-f", "f", "-s", "failed", "-e", "a", "--event-id", "E", "-n", "3", "--cursor", ID)

    assert result.stdout == "no runs\n"
    assert dict(api.requests[0].url.params) == {
        "function": "f",
        "status": "failed",
        "event_name": "a",
        "event_id": "E",
        "limit": "3",
        "cursor": ID,
    }


@pytest.mark.parametrize(
    ("words", "path"),
    [
        (["runs", "list"], "GET /api/runs"),
        (["runs", "show", ID], f"GET /api/runs/{ID}/timeline"),
        (["functions"], "GET /api/functions"),
        (["apps"], "GET /api/apps"),
        (["send", "a"], "POST /api/events"),
    ],
)
def test_scripts_get_the_answer_as_it_is(api: Stub, words: list[str], path: str) -> None:
    api.answers[path] = {"anything": [1, "ü"]}

    assert run(*words, "--json").stdout == '{"anything":[1,"ü"]}\n'


def test_a_run_is_drawn(api: Stub) -> None:
    api.answers[f"GET /api/runs/{ID}/timeline"] = {"now": SUMMARY["ended_at"], "run": SUMMARY, "rows": [ROW]}

    text = run("runs", "show", ID).stdout

    assert "shop-f  completed in 1.5s" in text
    assert re.search(r"✓ load +━+ +1\.4s", text)
    assert '"ok": true' in text
    assert "\x1b" not in text


def test_the_newest_run_is_drawn_when_none_is_named(api: Stub) -> None:
    api.answers["GET /api/runs"] = {"items": [SUMMARY], "next_cursor": None}
    api.answers[f"GET /api/runs/{ID}/timeline"] = {"now": SUMMARY["ended_at"], "run": SUMMARY, "rows": [ROW]}

    assert ID in run("runs", "show").stdout


def test_without_any_run_there_is_none_to_draw(api: Stub) -> None:
    api.answers["GET /api/runs"] = {"items": [], "next_cursor": None}

    assert "no run yet" in fails("runs", "show")


def test_a_run_in_progress_is_followed_to_its_end_when_asked(api: Stub) -> None:
    running = SUMMARY | {"status": "running", "ended_at": None, "output": None}
    moments = [{"now": SUMMARY["ended_at"], "run": which, "rows": [ROW]} for which in (running, running, SUMMARY)]
    api.answers[f"GET /api/runs/{ID}/timeline"] = moments

    text = run("runs", "show", ID, "--follow").stdout

    assert len(api.requests) == 3
    assert text.count("shop-f") == 1
    assert "completed" in text


def test_a_failed_run_shows_its_error(api: Stub) -> None:
    failure = {"name": "ValueError", "message": "no address", "stack": "Traceback\n  here"}
    failed = SUMMARY | {"status": "failed", "reason": "function_error", "error": failure}
    row = ROW | {"status": "failed", "error": failure}
    api.answers[f"GET /api/runs/{ID}/timeline"] = {"now": SUMMARY["ended_at"], "run": failed, "rows": [row]}

    lines = run("runs", "show", ID).stdout.splitlines()

    assert "ValueError: no address" in lines
    assert "  here" in lines


def test_a_waiting_run_says_why(api: Stub) -> None:
    asleep = SUMMARY | {"status": "running", "ended_at": None, "waiting": "sleeping until noon"}
    api.answers[f"GET /api/runs/{ID}/timeline"] = {"now": SUMMARY["ended_at"], "run": asleep, "rows": []}

    assert "not running: sleeping until noon" in run("runs", "show", ID).stdout


def test_runs_are_followed(api: Stub) -> None:
    begun = SUMMARY | {"status": "running", "ended_at": None}
    newer = SUMMARY | {"id": ID[:-1] + "2"}
    pages = [{"items": [begun], "next_cursor": None}, {"items": [newer, begun], "next_cursor": None}]

    api.answers["GET /api/runs"] = [*pages, KeyboardInterrupt()]
    api.answers[f"GET /api/runs/{ID}"] = SUMMARY

    result = run("runs", "tail")

    assert [line.split()[-2] for line in result.stdout.splitlines()] == [ID, ID, newer["id"]]
    assert result.exit_code == 130


def test_runs_are_cancelled_and_done_again(api: Stub) -> None:
    api.answers[f"POST /api/runs/{ID}/cancel"] = SUMMARY | {"status": "cancelled"}
    api.answers[f"POST /api/runs/{ID}/rerun"] = SUMMARY | {"id": "R2"}

    assert run("cancel", ID).stdout == f"run {ID} is cancelled\n"
    assert run("rerun", ID).stdout == "run R2\n"


# -- running a server -------------------------------------------------------------------------------------------


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Settings]:
    """The settings with which servers would have been started."""
    made: list[Settings] = []

    def note(settings: Settings) -> int:
        made.append(settings)
        return 0

    monkeypatch.setattr(server, "run", note)
    return made


def test_dev_needs_nothing(started: list[Settings]) -> None:
    assert run("dev").exit_code == 0

    assert started == [Settings(is_dev=True)]


def test_dev_takes_flags(started: list[Settings]) -> None:
    words = "dev -u http://a/x --sdk-url http://b/x --host 0.0.0.0 -p 9 --db x.db --no-discovery --no-poll --quiet"
    more = "--poll-interval 2 --retry-interval 1 --calls-per-app 7 --steps-per-run 9"

    result = run(*words.split(), *more.split())

    assert result.exit_code == 0
    assert started == [
        Settings(
            is_dev=True,
            sdk_urls=("http://a/x", "http://b/x"),
            host="0.0.0.0",
            port=9,
            db=Path("x.db"),
            is_discovery_on=False,
            is_polling_on=False,
            poll_interval_s=2.0,
            retry_interval_s=1.0,
            calls_per_app_max=7,
            steps_per_run_max=9,
            is_quiet=True,
        )
    ]


def test_dev_in_memory_has_no_file(started: list[Settings]) -> None:
    run("dev", "--in-memory")

    assert started[0].db is None
    assert "exclude each other" in fails("dev", "--in-memory", "--db", "x.db", status=2)


@pytest.mark.parametrize("prefix", ["STEPWELL", "INNGEST"])
def test_flags_come_from_the_environment(started: list[Settings], prefix: str) -> None:
    env = {"PORT": "9", "SDK_URL": "http://a/x http://b/x", "NO_DISCOVERY": "1", "RETRY_INTERVAL": "2"}

    run("dev", **{f"{prefix}_{name}": value for name, value in env.items()})

    [settings] = started
    assert (settings.port, settings.sdk_urls, settings.is_discovery_on, settings.retry_interval_s) == (
        9,
        ("http://a/x", "http://b/x"),
        False,
        2.0,
    )


def test_flags_of_the_protocols_dev_server_are_accepted_without_effect(started: list[Settings]) -> None:
    result = run("dev", "--tick", "10", "--queue-workers", "5", "--connect-gateway-port", "1", "--persist")

    assert started == [Settings(is_dev=True)]
    assert result.stderr.count("\n") == 1
    assert "--tick, --queue-workers, --connect-gateway-port, --persist have no effect" in result.stderr


START = ["start", "--signing-key", "ab" * 32, "--event-key", "event-key-1", "--api-token", "api-token-1"]


def test_start_takes_keys(started: list[Settings]) -> None:
    run(*START, "--event-key", "event-key-2", "--signing-key-fallback", "cd" * 32, "--poll-interval", "60")

    assert started == [
        Settings(
            is_dev=False,
            signing_key="ab" * 32,
            signing_key_fallback="cd" * 32,
            event_keys=("event-key-1", "event-key-2"),
            api_tokens=("api-token-1",),
            is_discovery_on=False,
            poll_interval_s=60.0,
        )
    ]


def test_start_takes_keys_from_the_environment(started: list[Settings]) -> None:
    env = {
        "STEPWELL_SIGNING_KEY": "ab" * 32,
        "STEPWELL_EVENT_KEY": "event-key-1 event-key-2",
        "STEPWELL_API_TOKEN": "api-token-1",
    }

    run("start", **env)

    assert started[0].event_keys == ("event-key-1", "event-key-2")
    assert not started[0].is_polling_on


URL = "postgresql://stepwell:hunter2@h1:5432,h2:5432/db"


@pytest.mark.parametrize("command", [["dev"], START])
def test_a_server_takes_a_postgresql(started: list[Settings], command: list[str]) -> None:
    flags = ["--db", URL, "--db-schema", "blue", "--db-pooled", "--db-listen", "postgres://h1/db"]

    run(*command, *flags, "--db-connections", "9", "--take-over", "1m")

    [settings] = started
    assert (settings.db, settings.db_schema, settings.is_db_pooled, settings.db_listen) == (
        URL,
        "blue",
        True,
        "postgres://h1/db",
    )
    assert (settings.db_connections, settings.take_over_s, settings.is_migrating) == (9, 60.0, True)


@pytest.mark.parametrize("command", [["dev"], START])
def test_calls_get_the_grace_that_is_said(started: list[Settings], command: list[str]) -> None:
    run(*command)
    run(*command, "--grace", "5m")
    run(*command, STEPWELL_GRACE="0.5")

    assert [settings.grace_s for settings in started] == [10.0, 300.0, 0.5]


def test_the_database_comes_from_the_environment(started: list[Settings]) -> None:
    env = {"DB": URL, "DB_POOLED": "1", "DB_LISTEN": "postgres://h1/db", "TAKE_OVER": "2.5", "MIGRATE": "0"}

    run(*START, **{f"STEPWELL_{name}": value for name, value in env.items()})

    [settings] = started
    assert (settings.db, settings.is_db_pooled, settings.db_listen) == (URL, True, "postgres://h1/db")
    assert (settings.take_over_s, settings.is_migrating) == (2.5, False)


@pytest.mark.parametrize("command", [["dev"], START])
def test_history_is_kept_as_long_as_is_said(started: list[Settings], command: list[str]) -> None:
    flags = ["--function-retention", "app-f=7d", "--function-retention", "app-g=off", "--function-retention=app-h=0"]

    run(*command)
    run(*command, "--retention", "1d12h", *flags)
    run(*command, STEPWELL_RETENTION="off", STEPWELL_FUNCTION_RETENTION="app-f=1h,app-g=2h app=h=3h")

    usual, given, env = started
    assert (usual.retention_ms, usual.function_retention_ms) == (30 * 86_400_000, ())
    assert given.retention_ms == 36 * 3_600_000
    assert given.function_retention_ms == (("app-f", 7 * 86_400_000), ("app-g", None), ("app-h", None))
    assert env.retention == (None, {"app-f": 3_600_000, "app-g": 7_200_000, "app=h": 10_800_000})


@pytest.mark.parametrize("command", [["dev"], START])
def test_it_can_be_said_whether_fetches_may_go_to_private_addresses(
    started: list[Settings], command: list[str]
) -> None:
    run(*command)
    run(*command, "--allow-private-fetches")
    run(*command, "--no-allow-private-fetches")
    run(*command, STEPWELL_ALLOW_PRIVATE_FETCHES="1")
    run(*command, INNGEST_ALLOW_PRIVATE_FETCHES="0")

    assert [settings.private_fetches for settings in started] == [None, True, False, True, False]


def test_a_server_need_not_migrate(started: list[Settings]) -> None:
    run(*START, "--no-migrate")
    run(*START, "--migrate", STEPWELL_MIGRATE="0")

    assert [settings.is_migrating for settings in started] == [False, True]


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["start"], "--signing-key"),
        (["dev", "--db", "mysql://u:hunter2@h/db"], "--db must be"),
        (["dev", "--db", URL, "--take-over", "soon"], "--take-over: 'soon' is not a duration"),
        (["dev", "--db", URL, "--take-over", "1s"], "--take-over must be"),
        (["dev", "--retention", "soon"], "--retention: 'soon' is not a duration"),
        (["dev", "--retention", "30"], "--retention: '30' is not a duration"),
        (["dev", "--retention", "59m"], "--retention must be at least 1h, or off, not 59m"),
        (["dev", "--function-retention", "app-f"], "--function-retention must be FUNCTION=TIME"),
        (["dev", "--function-retention", "=7d"], "--function-retention must be FUNCTION=TIME"),
        (["dev", "--function-retention", "app-f=never"], "--function-retention app-f: 'never' is not a duration"),
        (["dev", "--function-retention", "app-f=1s"], "--function-retention app-f must be at least 1h, or off"),
        (["dev", "--db-schema", "blue"], "--db-schema is for PostgreSQL"),
        (START[:3], "--event-key"),
        (["start", "--signing-key", "xyz", *START[3:]], "hex"),
        ([*START[:-1], "short"], "--api-token"),
        (["dev", "--port", "70000"], "--port"),
        (["dev", "-u", "localhost:3000"], "--sdk-url"),
        (["dev", "--retry-interval", "-1"], "--retry-interval"),
        (["dev", "--calls-per-app", "0"], "--calls-per-app"),
        (["dev", "--steps-per-run", "0"], "--steps-per-run"),
    ],
)
def test_a_wrong_setting_is_one_clear_line(started: list[Settings], words: list[str], named: str) -> None:
    message = fails(*words, status=2)

    assert named in message
    assert "hunter2" not in message
    assert started == []


@pytest.mark.parametrize(("error", "status"), [(ConfigError("port 1 is taken"), 2), (StoreError("disk full"), 1)])
def test_a_server_that_cannot_start_says_why(monkeypatch: pytest.MonkeyPatch, error: Exception, status: int) -> None:
    def fail(_settings: Settings) -> int:
        raise error

    monkeypatch.setattr(server, "run", fail)

    assert fails("dev", status=status) == f"stepwell: {error}\n"


# -- the command itself -----------------------------------------------------------------------------------------


def stepwell(*words: str, code: str = "from stepwell.cli.main import main; main()") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code, *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


def test_help_imports_no_server_and_no_http_client() -> None:
    code = (
        "import sys\nfrom stepwell.cli.main import main\n"
        "try: main()\nexcept SystemExit: pass\n"
        "heavy = {'rich', 'httpx2', 'starlette', 'uvicorn', 'aiohttp', 'stepwell.engine', 'stepwell.server'}\n"
        "sys.exit(' '.join(sorted(heavy & set(sys.modules))) or 0)"
    )

    result = stepwell("--help", code=code)

    assert (result.returncode, result.stderr) == (0, "")
    assert "Commands:" in result.stdout


def test_without_the_server_extra_it_says_what_to_install() -> None:
    code = "import sys\nsys.modules['typer'] = None\nfrom stepwell.cli.main import main\nmain()"

    result = stepwell("dev", code=code)

    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert 'pip install "stepwell[server]"' in result.stderr


def test_a_missing_module_of_ours_is_a_bug() -> None:
    assert missing_extra(ModuleNotFoundError(name="stepwell.cli.nope")) is None
    assert missing_extra(ModuleNotFoundError(name="uvicorn.config")) is not None


def test_the_version_is_that_of_the_package() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+\S*\n", run("version").stdout)
