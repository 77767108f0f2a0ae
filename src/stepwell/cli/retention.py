"""How long history is kept: flags that ``dev`` and ``start`` share."""

from __future__ import annotations

from typing import Annotated, Any

from stepwell.cli.client import fail
from stepwell.cli.database import option

Retention = Annotated[
    str | None,
    option("--retention", metavar="TIME", text="Keep what has ended so long; or off, for ever. [default: 30d]"),
]
FunctionRetention = Annotated[
    list[str] | None,
    option(
        "--function-retention",
        metavar="FUNCTION=TIME",
        text="Keep a function's runs for another time, such as app-fn=7d; may be repeated.",
    ),
]


def retention(environment: str | None, functions: list[str] | None) -> dict[str, Any]:
    """Return the settings that flags give, which are checked with the rest; ends the command where they can't be read."""
    given: dict[str, Any] = {}
    if environment is not None:
        given["retention_ms"] = _time("--retention", environment)
    named = [text for value in functions or () for text in value.split(",") if text]
    if named:
        given["function_retention_ms"] = tuple(_of_function(text) for text in named)
    return given


def _of_function(text: str) -> tuple[str, int | None]:
    name, separator, time = text.rpartition("=")
    if not name or not separator:
        fail(f"--function-retention must be FUNCTION=TIME, such as app-fn=7d, not {text!r}", status=2)
    return name, _time(f"--function-retention {name}", time)


def _time(flag: str, text: str) -> int | None:
    """Read a duration to ms; None for ever."""
    from stepwell.errors import DurationError
    from stepwell.protocol.duration import duration_ms

    if text in ("0", "off"):
        return None
    try:
        return duration_ms(text)
    except DurationError as error:
        fail(f"{flag}: {error}; or off, to keep it for ever", status=2)
