"""Checkpoints (protocol 7.2): what an SDK reports of a call while it goes on. Written by the SDK, read by the server."""

from __future__ import annotations

from typing import Final

import msgspec

from stepwell.protocol.ops import Op, OpCode

CHECKPOINTED: Final = frozenset(
    (OpCode.STEP_RUN, OpCode.STEP, OpCode.STEP_PLANNED, OpCode.DEFER_ADD, OpCode.DEFER_ABORT)
)
"""What may be reported so; all else ends a call."""


class Checkpoint(msgspec.Struct, frozen=True, omit_defaults=True):
    """Steps that ran in a call which goes on. Ids are as the call had them in its ``ctx``."""

    run_id: str
    steps: list[Op]
    fn_id: str = ""
    qi_id: str = ""
    request_id: str = ""
    generation_id: int | None = None
    request_started_at: int = 0
    """When the app got the call, Unix ms by its own clock; ``ts`` is when it sent this."""
    ts: int = 0


# A decoder of its own for each thing that is read, made when the module is imported: see ``protocol/call.py``.
decode_checkpoint: Final = msgspec.json.Decoder(Checkpoint).decode


def async_path(run_id: str) -> str:
    """Return the path that takes checkpoints of a call which the server made."""
    return f"/v1/checkpoint/{run_id}/async"
