"""The trace of a run, for programs that use OpenTelemetry: spans in an attempt are part of the call that the server made."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Generator, Mapping


@contextlib.contextmanager
def in_trace(headers: Mapping[str, str]) -> Generator[None]:
    """Make what is traced within a part of the call that has these headers.

    Where the web framework is instrumented, its span is that already, and stays the parent. A program that hasn't
    imported OpenTelemetry pays one look-up.
    """
    if "opentelemetry.trace" not in sys.modules or "traceparent" not in headers:
        yield
        return
    from opentelemetry import context, trace
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    if trace.get_current_span().get_span_context().is_valid:
        yield
        return
    token = context.attach(TraceContextTextMapPropagator().extract(headers))
    try:
        yield
    finally:
        context.detach(token)
