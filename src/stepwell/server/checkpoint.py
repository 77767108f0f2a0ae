"""Checkpoints: steps that an app reports in the middle of a call (protocol 7)."""

from __future__ import annotations

from typing import Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from stepwell.engine.engine import CheckpointVerdict
from stepwell.limits import OPS_PER_REPLY_MAX, REPLY_BYTES_MAX, STEP_OUTPUT_BYTES_MAX
from stepwell.protocol.checkpoint import CHECKPOINTED, Checkpoint, decode_checkpoint
from stepwell.server.api.page import is_ulid
from stepwell.server.context import ApiError, Context, json_response, read_body

_STORED: Final = b"{}"


async def post_checkpoint(context: Context, request: Request) -> Response:
    """Store steps of a call that goes on. Once it is answered with 200, they are on disk."""
    id: str = request.path_params["id"]
    if not is_ulid(id):
        raise ApiError(400, "invalid_id", f"not a run id: {id[:100]!r}")
    checkpoint = _decode(await read_body(request, REPLY_BYTES_MAX))
    if checkpoint.run_id != id:
        raise ApiError(400, "invalid_body", f"the path names the run {id}, the body {checkpoint.run_id[:100]!r}")
    if len(checkpoint.steps) > OPS_PER_REPLY_MAX:
        raise ApiError(413, "too_many_steps", f"{len(checkpoint.steps)} steps; the limit is {OPS_PER_REPLY_MAX}")
    for op in checkpoint.steps:
        if op.code not in CHECKPOINTED:
            return _not_here(id)
        if len(bytes(op.data)) > STEP_OUTPUT_BYTES_MAX:
            raise ApiError(
                413,
                "output_too_large",
                f"the output of step {op.title!r} has {len(bytes(op.data))} bytes; the limit is {STEP_OUTPUT_BYTES_MAX}",
            )
    match await context.engine.checkpoint(checkpoint):
        case CheckpointVerdict.COMMITTED:
            return json_response(_STORED)
        case CheckpointVerdict.STALE:
            raise ApiError(
                409, "stale_dispatch", "this call is over for the server: another has the job; stop, and report nothing"
            )
        case CheckpointVerdict.GONE:
            raise ApiError(404, "run_not_found", "there is no such run, or it has ended")


def _decode(body: bytes) -> Checkpoint:
    try:
        return decode_checkpoint(body)
    except RecursionError:
        raise ApiError(400, "invalid_json", "the body is nested too deeply") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ApiError(400, "invalid_body", f"the body is no checkpoint: {error}") from None


def _not_here(run_id: str) -> Response:
    body = {"error": "cannot checkpoint async steps", "data": {"run_id": run_id}, "status": 400}
    return json_response(body, 400)
