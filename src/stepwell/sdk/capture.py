"""What user code logs and prints while it works on a run, seen on its way.

Nothing is replaced or reconfigured: a handler is added to the root logger, and ``sys.stdout`` gets a cover that passes
everything on. Both do nothing outside of attempts. They are put in place when an attempt begins, and again if the program
has set up its logging anew, or exchanged ``sys.stdout``, since then.
"""

from __future__ import annotations

import contextlib
import logging
import sys
import threading
import traceback
from collections.abc import Iterable, MutableMapping
from typing import Any, Final, TextIO, cast

from stepwell.sdk.outcome import TRACEBACK_CHARS_MAX
from stepwell.sdk.unheard import IS_OURS
from stepwell.sdk.writing import WRITER, Writer

_OURS: Final = "stepwell"
"""The SDK's own logger. What it says of a run is in the run."""

_STANDARD: Final = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}
_OF_RUN: Final = ("run_id", "function_id", "attempt", "step")
"""What the handler's ``logger`` adds to each record, and each line says anyway."""

_EMIT: Final = cast("Any", logging.StreamHandler).emit.__code__
_LEVELS: Final = {"trace": 5, "debug": 10, "info": 20, "warn": 30, "warning": 30, "error": 40, "exception": 40}
_TRACEBACK_CHARS_MAX: Final = TRACEBACK_CHARS_MAX // 4


class _Handler(logging.Handler):
    """Passes records on to the attempt that they are from."""

    def handle(self, record: logging.LogRecord) -> bool:  # without the lock: there is nothing to be locked
        self.emit(record)
        return True

    def emit(self, record: logging.LogRecord) -> None:
        writer = WRITER.get()
        if writer is not None and writer.takes_logs and record.name != _OURS and not IS_OURS.get():
            try:
                message, fields = _read(record)
                if fields.get("run_id") == writer.run_id:
                    fields = {name: value for name, value in fields.items() if name not in _OF_RUN}
                if not writer.was_processed(message):
                    writer.write(message, level=record.levelno, logger=record.name, fields=fields)
            except Exception:  # noqa: BLE001 - logging's own way: a wrong argument, say, must not break the program
                self.handleError(record)
        _last_resort(record, self)


def _read(record: logging.LogRecord) -> tuple[str, dict[str, Any]]:
    fields = {name: value for name, value in record.__dict__.items() if name not in _STANDARD and name[:1] != "_"}
    if isinstance(record.msg, dict):  # structlog's ProcessorFormatter renders it later
        fields |= cast("dict[str, Any]", record.msg)
        for name in ("level", "logger", "timestamp"):
            fields.pop(name, None)
        message = str(fields.pop("event", ""))
    else:
        message = record.getMessage()
    if record.exc_info and record.exc_info[1] is not None:
        fields["exception"] = _traceback(record.exc_info[1])
    if record.stack_info:
        fields["stack"] = record.stack_info
    return message, fields


def _traceback(error: BaseException) -> str:
    text = "".join(traceback.format_exception(error))
    return text if len(text) <= _TRACEBACK_CHARS_MAX else f"…{text[-_TRACEBACK_CHARS_MAX:]}"


def _last_resort(record: logging.LogRecord, ours: logging.Handler) -> None:
    """Do what logging does for a program that has set up nothing: our handler must not keep its warnings from stderr."""
    if logging.lastResort is None or record.levelno < logging.lastResort.level:
        return
    logger: logging.Logger | None = logging.getLogger(record.name)
    while logger is not None:
        if any(handler is not ours for handler in logger.handlers):
            return
        logger = logger.parent if logger.propagate else None
    logging.lastResort.handle(record)


class _Cover:
    """Stands before ``sys.stdout``: passes everything on, and lines of attempts to these as well."""

    def __init__(self, covered: TextIO) -> None:
        self.covered = covered

    def write(self, text: str) -> int:
        written = self.covered.write(text)
        writer = WRITER.get()
        # What a handler of logging writes to the console is a line already.
        if writer is not None and writer.takes_prints and sys._getframe(1).f_code is not _EMIT:  # pyright: ignore[reportPrivateUsage] - documented
            with contextlib.suppress(Exception):  # what was covered may take more than text
                writer.print(text)
        return written

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.covered, name)

    def __iter__(self) -> Any:
        return iter(self.covered)

    def __enter__(self) -> Any:
        return self.covered.__enter__()

    def __exit__(self, *raised: Any) -> Any:
        return self.covered.__exit__(*raised)


class _Handlers(list[logging.Handler]):
    """The root logger's handlers, of which ours doesn't count.

    ``logging.basicConfig`` sets logging up only where there is none: a program that calls it in a step must not find that
    somebody else was there before.
    """

    def __len__(self) -> int:
        return super().__len__() - super().__contains__(_handler)


_handler: Final = _Handler()
_lock: Final = threading.Lock()


def install(*, logs: bool, prints: bool) -> None:
    """Put the handler and the cover in place, unless they are."""
    if logs and _handler not in logging.root.handlers:
        with _lock:
            if not isinstance(logging.root.handlers, _Handlers):
                logging.root.handlers = _Handlers(logging.root.handlers)
            logging.root.addHandler(_handler)
    if prints and not isinstance(sys.stdout, _Cover):
        with _lock:
            if sys.stdout is not None and not isinstance(sys.stdout, _Cover):
                sys.stdout = cast("TextIO", _Cover(sys.stdout))


def uninstall() -> None:
    """Take both away again."""
    logging.root.removeHandler(_handler)
    logging.root.handlers = list(logging.root.handlers)
    if isinstance(sys.stdout, _Cover):
        sys.stdout = sys.stdout.covered


def structlog_processor(_logger: Any, method: str, event_dict: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Pass structlog's lines on with their fields; see ``stepwell.logs``."""
    writer = WRITER.get()
    if writer is not None and writer.takes_logs:
        with contextlib.suppress(Exception):  # an object that can't be written as text, say: it isn't ours to complain
            _pass_on(writer, method, event_dict)
    return event_dict


def _pass_on(writer: Writer, method: str, event_dict: MutableMapping[str, Any]) -> None:
    fields = {name: value for name, value in event_dict.items() if name[:1] != "_"}
    event = str(fields.pop("event", ""))
    level = str(fields.pop("level", method))
    logger = str(fields.pop("logger", "structlog"))
    fields.pop("timestamp", None)
    raised = fields.pop("exc_info", None)
    error = sys.exc_info()[1] if raised is True or (raised is None and method == "exception") else raised
    if isinstance(error, tuple):
        error = cast("tuple[Any, ...]", error)[1]
    if isinstance(error, BaseException):
        fields["exception"] = _traceback(error)
    number = _LEVELS.get(level.lower(), 50 if level.lower() in ("critical", "fatal") else 20)
    writer.write(event, level=number, logger=logger, fields=fields)
    writer.processed(event)
