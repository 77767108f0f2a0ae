"""Op codes and their payloads: what an SDK answers with status 206 (protocol 4.8)."""

from __future__ import annotations

from enum import StrEnum
from typing import Final, cast

import msgspec

from stepwell.limits import CALL_TIMEOUT_MS
from stepwell.protocol.canonical import Json


class OpCode(StrEnum):
    """The ops of the protocol; on the wire they are compared without case."""

    NONE = "None"
    STEP = "Step"
    STEP_RUN = "StepRun"
    STEP_ERROR = "StepError"
    STEP_PLANNED = "StepPlanned"
    SLEEP = "Sleep"
    WAIT_FOR_EVENT = "WaitForEvent"
    INVOKE_FUNCTION = "InvokeFunction"
    AI_GATEWAY = "AIGateway"
    GATEWAY = "Gateway"
    WAIT_FOR_SIGNAL = "WaitForSignal"
    RUN_COMPLETE = "RunComplete"
    STEP_FAILED = "StepFailed"
    SYNC_RUN_COMPLETE = "SyncRunComplete"
    DISCOVERY_REQUEST = "DiscoveryRequest"
    DEFER_ADD = "DeferAdd"
    DEFER_ABORT = "DeferAbort"
    STEP_NOT_FOUND = "StepNotFound"


_BY_NAME: Final = {code.value.lower(): code for code in OpCode}

ENDS: Final = frozenset((OpCode.RUN_COMPLETE, OpCode.SYNC_RUN_COMPLETE))
"""The function has returned; the second spelling is that of runs which began in the app (protocol 7.4)."""

RACE: Final = "race"
"""The value of ``opts.parallelMode`` that makes each op of a group trigger its own discovery (protocol 4.10)."""

CLOSES: Final = "closes"
"""An option of ours, of any op: ids of steps that have lost a race of their run. Nobody wants their results any more, so
the server may drop what it has to do for them. A server that doesn't know it drops it when the run ends."""


class Op(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """One op. ``data`` stays undecoded; ``opts`` and ``error`` are read by the rule of the op."""

    id: str
    op: str
    name: str | None = None
    display_name: str | None = None
    opts: Json = None
    data: msgspec.Raw = msgspec.Raw(b"null")
    error: Json = None
    timing: Json = None
    """``{"a": start, "b": duration}`` in ns, by the app's clock."""

    @property
    def code(self) -> OpCode | None:
        """The op code, or None for one that the protocol doesn't have."""
        return _BY_NAME.get(self.op.lower())

    @property
    def title(self) -> str:
        """What to show to people; without the character U+0000, which not every database takes."""
        return (self.display_name or self.name or self.id).replace("\0", "\N{REPLACEMENT CHARACTER}")

    @property
    def ran_ms(self) -> int | None:
        """How long a step ran, as the app has measured it; None where it doesn't say."""
        ran_ns = cast("dict[str, Json]", self.timing).get("b") if isinstance(self.timing, dict) else None
        if isinstance(ran_ns, (int, float)) and 0 <= ran_ns <= CALL_TIMEOUT_MS * 1_000_000:
            return round(ran_ns / 1_000_000)
        return None

    def option(self, key: str) -> Json:
        """Return one of ``opts``, or None when there is none or ``opts`` isn't an object."""
        return cast("dict[str, Json]", self.opts).get(key) if isinstance(self.opts, dict) else None
