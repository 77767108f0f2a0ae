"""Every command, flag, setting, path, parameter, error code, log line and public name is documented, and limits are as said."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
import pytest
import typer.main

import stepwell
from stepwell import errors, limits
from stepwell.cli.commands import app as cli
from stepwell.engine.core.retry import BACKOFF_MS
from stepwell.protocol.signature import SIGNATURE_AGE_S_MAX
from stepwell.sdk.settings import read_settings
from stepwell.sdk.step import Ai
from stepwell.server.api import endpoints
from stepwell.server.settings import Settings
from tests.docs.pages import ROOT

REFERENCE = ROOT / "docs" / "reference"
CLI, SDK, API, SETTINGS = ((REFERENCE / f"{name}.md").read_text() for name in ("cli", "sdk", "api", "settings"))
CONCEPTS, OPERATIONS = ((ROOT / "docs" / f"{name}.md").read_text() for name in ("concepts", "operations"))


def commands(command: Any, path: tuple[str, ...] = ("stepwell",)) -> Iterator[tuple[str, Any]]:
    """Yield each command of a tree with its words. Typer has a click of its own, without public types."""
    yield " ".join(path), command
    for name, inner in getattr(command, "commands", {}).items():
        yield from commands(inner, (*path, name))


COMMANDS = dict(commands(typer.main.get_command(cli)))


@pytest.mark.parametrize("path", [path for path, command in COMMANDS.items() if not hasattr(command, "commands")])
def test_each_command_and_its_flags_are_documented(path: str) -> None:
    assert f"`{path}" in CLI

    for parameter in COMMANDS[path].params:
        if parameter.param_type_name == "option" and not parameter.hidden:
            for flag in (*parameter.opts, *parameter.secondary_opts):
                assert f"`{flag}" in CLI, flag


def test_each_variable_of_the_server_and_the_command_line_is_documented() -> None:
    for command in COMMANDS.values():
        for parameter in command.params:
            names = [parameter.envvar] if isinstance(parameter.envvar, str) else parameter.envvar or []
            for name in names:
                assert f"`{name.replace('INNGEST_', 'STEPWELL_')}`" in SETTINGS, name


class Asked(Mapping[str, str]):
    """An empty environment that notes what is asked for."""

    def __init__(self) -> None:
        self.names: set[str] = set()

    def get(self, key: str, default: Any = None) -> Any:
        self.names.add(key)
        return default

    def __getitem__(self, key: str) -> str:
        raise KeyError(key)

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


def test_each_variable_of_apps_is_documented() -> None:
    environ = Asked()

    read_settings(environ)

    assert len(environ.names) > 20
    for name in environ.names:
        assert f"`{name.replace('INNGEST_', 'STEPWELL_')}`" in SETTINGS, name


@pytest.mark.parametrize("name", stepwell.__all__)
def test_each_public_name_is_documented(name: str) -> None:
    assert re.search(rf"`[^`]*\b{name}\b[^`]*`", SDK)


TOOLS = [
    stepwell.Stepwell,
    stepwell.Stepwell.function,
    stepwell.Stepwell.send_signal,
    *(tool for name, tool in vars(stepwell.Step).items() if not name.startswith("_") and callable(tool)),
    Ai.infer,
    *(getattr(stepwell, name) for name in ("Batch", "CancelOn", "Concurrency", "Debounce")),
    *(getattr(stepwell, name) for name in ("RateLimit", "Singleton", "Throttle", "Timeouts")),
]


@pytest.mark.parametrize("tool", TOOLS)
def test_each_argument_is_documented(tool: Any) -> None:
    for parameter in inspect.signature(tool).parameters:
        assert parameter == "self" or re.search(rf"`[^`]*\b{parameter}\b[^`]*`", SDK), parameter


@pytest.mark.parametrize("tools", [stepwell.Stepwell, stepwell.Step, stepwell.SyncStep])
def test_each_public_method_is_documented(tools: type) -> None:
    internal = {"find", "slugs"} if tools is stepwell.Stepwell else set[str]()
    for name in vars(tools):
        assert name.startswith("_") or name in internal or re.search(rf"\.{name}\b", SDK), name


def test_each_path_of_the_api_and_its_parameters_are_documented() -> None:
    rows = {line.split("`")[1]: line for line in API.splitlines() if line.startswith("| `")}
    for endpoint in endpoints(Settings(is_dev=True)):
        row = rows[f"{endpoint.method} {endpoint.path}"]
        for parameter in msgspec.structs.fields(endpoint.query):
            assert f"`{parameter.encode_name}`" in row


def test_each_error_code_is_documented() -> None:
    sources = [path.read_text() for path in (ROOT / "src" / "stepwell" / "server").rglob("*.py")]
    codes = {
        code for source in sources for code in re.findall(r'(?:ApiError\(\s*\d+,|SyncOutcome\()\s*"(\w+)"', source)
    }
    assert len(codes) > 15
    for code in codes:
        assert f"`{code}`" in API, code
    for error in vars(errors).values():
        if isinstance(error, type) and issubclass(error, errors.StepwellError):
            assert f"`{error.code}`" in API + SDK, error.code


def test_limits_are_what_the_reference_says() -> None:
    text = SETTINGS[SETTINGS.index("## Limits") :]
    for phrase in (
        f"{limits.EVENT_BYTES_MAX // limits.MIB} MiB; a name of {limits.EVENT_NAME_CHARS_MAX} characters",
        f"an id of {limits.EVENT_ID_CHARS_MAX}",
        f"{limits.REQUEST_HEAD_BYTES_MAX // limits.KIB} KiB of address and headers, within {limits.REQUEST_HEAD_S:g} s",
        f"{limits.EVENTS_PER_REQUEST_MAX:,} events, {limits.INGEST_BODY_BYTES_MAX // limits.MIB} MiB",
        f"nesting of JSON | {limits.JSON_DEPTH_MAX}",
        f"{limits.FUNCTIONS_PER_APP_MAX:,} functions; {limits.TRIGGERS_PER_FUNCTION_MAX} triggers",
        f"retries | {limits.RETRIES_MAX}",
        f"{limits.STEPS_PER_RUN_MAX:,} steps (a setting), {limits.STATE_BYTES_MAX // limits.MIB} MiB of results",
        f"; {limits.STEP_OUTPUT_BYTES_MAX // limits.MIB} MiB for one step",
        f"a sleep, a wait | {limits.SLEEP_MS_MAX // limits.DAY_MS} days",
        f"the oldest {limits.LOOK_BACK_EVENTS_MAX:,} events of the name",
        f"a name of {limits.SIGNAL_NAME_CHARS_MAX} characters; kept for {limits.SIGNAL_KEPT_MS // limits.DAY_MS} days",
        f"a batch of {limits.BATCH_SIZE_MAX} events or {limits.BATCH_BYTES_MAX // limits.MIB} MiB",
        f"{limits.CALL_TIMEOUT_MS // limits.HOUR_MS} hours; {limits.CALLS_PER_APP_MAX} at a time",
    ):
        assert phrase in text


def test_retries_wait_as_long_as_the_concepts_say() -> None:
    units = ((limits.HOUR_MS, "h"), (limits.MINUTE_MS, "min"), (limits.SECOND_MS, "s"))
    waits = [next(f"{ms // size} {unit}" for size, unit in units if ms >= size) for ms in BACKOFF_MS]

    assert f"after {', '.join(waits[:-1])}, then {waits[-1]}," in CONCEPTS.replace("\n", " ")


def test_flags_and_variables_on_the_page_about_operations_exist() -> None:
    prose = re.sub(r"^```.*?^```$", "", OPERATIONS, flags=re.MULTILINE | re.DOTALL)
    flags = {flag for command in COMMANDS.values() for option in command.params for flag in option.opts}
    flags |= {flag for command in COMMANDS.values() for option in command.params for flag in option.secondary_opts}

    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", prose))
    variables = set(re.findall(r"\bSTEPWELL_\w+", OPERATIONS))

    assert len(named) > 5
    assert named <= flags
    assert len(variables) > 3
    assert all(f"`{variable}`" in SETTINGS for variable in variables)


def test_each_line_that_the_server_logs_is_documented_and_no_other() -> None:
    sources = [path.read_text() for path in (ROOT / "src" / "stepwell").rglob("*.py") if "sdk" not in path.parts]
    logged = {
        name
        for source in sources
        for name in re.findall(r'\blog\.(?:info|warning|error|exception)\(\s*"([\w.]+)"', source)
        if not name.endswith("broke")  # bugs of ours, which are one row
    }
    table = OPERATIONS[OPERATIONS.index("| line | level |") : OPERATIONS.index("Two numbers tell")]
    first_cells = [row.split("|")[1] for row in table.splitlines() if row.startswith("|")]
    documented = {name for cell in first_cells for name in re.findall(r"`([a-z]+\.[a-z_]+)`", cell)}

    assert len(logged) > 10
    assert documented - {"scheduler.broke"} == logged


def test_times_of_operations_are_what_the_page_says() -> None:
    usual = Settings(is_dev=False)
    for phrase in (
        f"`--take-over` ({usual.take_over_s:.0f} s by default)",
        f"Calls that apps are still working on get {usual.grace_s:.0f} s more",
        f"one for notifications: {usual.db_connections + 1} by default",
        f"up to `--calls-per-app` ({usual.calls_per_app_max}) calls",
        f"**more than {SIGNATURE_AGE_S_MAX // 60} minutes** off",
        f"Runs are deleted {limits.RETENTION_MS // limits.DAY_MS} days after their end",
        f"(`{limits.RETENTION_MS_MIN // limits.HOUR_MS}h` at least)",
        f"bodies of {limits.INGEST_BODY_BYTES_MAX // limits.MIB} MiB",
        f"up to {limits.STATE_BYTES_MAX // limits.MIB} MiB each",
    ):
        assert phrase in OPERATIONS.replace("\n", " "), phrase
