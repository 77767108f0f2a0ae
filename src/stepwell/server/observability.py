"""Logging, configured once: key=value on a terminal, JSON lines otherwise. Events are named, not sentences."""

from __future__ import annotations

import logging
import sys

import structlog


def configure_logging(*, is_dev: bool) -> None:
    """Send log lines to standard error. Payloads and secrets are never logged."""
    is_readable = is_dev or sys.stderr.isatty()
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
        if is_readable
        else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
