"""What connects a program's logging with the lines of its runs, where that isn't done by itself.

Records of ``logging`` and printed lines are captured without any setting; so is structlog where it hands its lines to
``logging``. Where it prints them, they are captured as text; with ``structlog_processor`` they keep their fields and levels:

    structlog.configure(processors=[structlog.stdlib.add_log_level, structlog_processor, structlog.dev.ConsoleRenderer()])
"""

from __future__ import annotations

from stepwell.sdk.capture import structlog_processor

__all__ = ["structlog_processor"]
