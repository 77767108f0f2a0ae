"""What ``import stepwell`` gives, and what it costs."""

from __future__ import annotations

import doctest
import subprocess
import sys
from pathlib import Path

import stepwell
from stepwell.sdk import app, step, step_sync
from stepwell.sdk.version import SDK, VERSION

PUBLIC = {
    "Batch",
    "CancelOn",
    "Concurrency",
    "ConfigError",
    "Debounce",
    "Event",
    "EventError",
    "Failure",
    "FetchResponse",
    "Function",
    "FunctionConfigError",
    "Interrupted",
    "InvokeTimeoutError",
    "NonRetriableError",
    "RateLimit",
    "RetryAfterError",
    "Run",
    "RunningStep",
    "SendError",
    "Signal",
    "Singleton",
    "Step",
    "StepError",
    "StepUsageError",
    "Stepwell",
    "StepwellError",
    "SyncStep",
    "Throttle",
    "Timeouts",
    "cron",
    "current_step",
    "trigger",
}


def test_the_public_names_are_these() -> None:
    assert set(stepwell.__all__) == PUBLIC
    assert all(getattr(stepwell, name).__doc__ for name in PUBLIC)


def test_the_examples_in_docstrings_run() -> None:
    found = [doctest.testmod(module) for module in (app, step, step_sync)]

    assert [result.failed for result in found] == [0, 0, 0]
    assert all(result.attempted for result in found)


def test_the_version_is_that_of_the_package() -> None:
    project = Path(__file__).parents[3] / "pyproject.toml"

    assert f'\nversion = "{VERSION}"\n' in project.read_text()


def test_servers_read_language_and_version_of_the_sdk_header() -> None:
    """Protocol 1.4: drop an optional ``inngest-``, then split at the first colon."""
    assert SDK.removeprefix("inngest-").split(":", 1) == ["stepwell-py", f"v{VERSION}"]


def test_importing_the_package_imports_no_server_framework_or_http_client() -> None:
    code = (
        "import sys, stepwell\n"
        "print(sorted({name.partition('.')[0] for name in sys.modules} & {"
        "'httpx2', 'starlette', 'fastapi', 'flask', 'django', 'litestar', 'pydantic', 'sqlite3', 'aiohttp', 'typer'}))\n"
        "print(sorted(name for name in sys.modules if name.startswith(("
        "'stepwell.engine', 'stepwell.store', 'stepwell.server', 'stepwell.cli'))))"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout == "[]\n[]\n"
