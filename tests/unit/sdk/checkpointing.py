"""A pretended run whose server takes checkpoints (protocol 7.2)."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import httpx2
import msgspec

from stepwell import Stepwell
from stepwell.protocol.checkpoint import Checkpoint
from stepwell.protocol.ids import DISCOVER
from stepwell.protocol.ops import OpCode
from stepwell.sdk.client import Client
from stepwell.sdk.serialise import decode
from tests.unit.sdk.pretend import Answer, PretendRun

CTX = {"fn_id": "fn-1", "qi_id": "qi-1", "request_id": "req-1", "generation_id": 1}


class CheckpointedRun(PretendRun):
    """One run of a function, whose calls go on after a step. It takes the place of the app's network.

    ``statuses`` are the answers to the first checkpoints; all others are stored and answered with 200, when ``before`` has
    been called. ``ctx`` is what calls have besides.
    """

    def __init__(self, sw: Stepwell, function_id: str, *, ctx: dict[str, Any] = CTX, **options: Any) -> None:
        super().__init__(sw, function_id, **options)
        self.ctx = ctx
        self.statuses: deque[int] = deque()
        self.requests: list[httpx2.Request] = []
        self.before: Callable[[Checkpoint], object] = lambda _: None
        sw.client = Client(sw.settings, transport=httpx2.MockTransport(self._answer))

    @property
    def checkpoints(self) -> list[Checkpoint]:
        """What was sent, refused or not."""
        return [msgspec.json.decode(request.content, type=Checkpoint) for request in self.requests]

    def body(self, attempt: int = 0) -> bytes:
        call = msgspec.json.decode(super().body(attempt))
        return msgspec.json.encode({**call, "ctx": {**call["ctx"], **self.ctx}})

    def _answer(self, request: httpx2.Request) -> httpx2.Response:
        self.requests.append(request)
        status = self.statuses.popleft() if self.statuses else 200
        if status != 200:
            return httpx2.Response(status, json={"error": "refused", "status": status})
        checkpoint = msgspec.json.decode(request.content, type=Checkpoint)
        self.before(checkpoint)
        for op in checkpoint.steps:
            assert op.code is OpCode.STEP_RUN
            if op.id not in self.steps:
                self.steps[op.id] = {"data": decode(op.data)}
                self.stack.append(op.id)
        return httpx2.Response(200, json={})

    def _report(self, answer: Answer, target: str, attempt: int) -> None:
        if [op.code for op in answer.ops] == [OpCode.DISCOVERY_REQUEST]:
            self._due.append((DISCOVER, 0))
        else:
            super()._report(answer, target, attempt)
