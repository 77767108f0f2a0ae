"""How runs and their calls are named in traces (W3C Trace Context), so that spans find them by their names alone.

A run is a trace: its ULID, as the 128 bits that it is. A call is a span, whose name comes from its request id.
"""

from __future__ import annotations

from functools import lru_cache
from hashlib import blake2b

from ulid import base32

from stepwell.protocol.ids import RunId, SpanId


@lru_cache(maxsize=4096)  # most runs have several calls in a row
def trace_id(run_id: RunId | str) -> str:
    """Return the trace of a run: 32 hexadecimal digits."""
    return base32.decode(run_id).hex()


def run_of(trace_id: str) -> RunId | None:
    """Return the run of a trace; None for one that can't be of a run. Any other may be of none, too."""
    try:
        raw = bytes.fromhex(trace_id)
    except ValueError:
        return None
    return RunId(base32.encode(raw)) if len(raw) == 16 and any(raw) else None


def call_span(run_id: RunId | str, attempt_id: str) -> SpanId:
    """Return the span of an attempt's call: 16 hexadecimal digits."""
    return SpanId(blake2b(f"{run_id}.{attempt_id}".encode(), digest_size=8).hexdigest())


def trace_fields(run_id: str, attempt_id: str, function_id: str, app_id: str) -> str:
    """Return the header lines of a call that say where its spans belong (protocol 4.2)."""
    span = call_span(run_id, attempt_id)
    return (
        f"traceparent: 00-{trace_id(run_id)}-{span}-01\r\n"
        f"tracestate: inngest@traceref=%7B%22run_id%22%3A%22{run_id}%22%2C%22span_id%22%3A%22{span}%22%7D,"
        f"inngest@fn={function_id},inngest@app={app_id}\r\n"
    )
