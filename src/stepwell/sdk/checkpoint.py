"""Checkpoints: a call reports a step that ran, waits until the server has it on disk, and goes on (protocol 7).

So a run of a thousand steps in a row is one call, and nothing is replayed. What can't be reported so is answered in the old
way, with status 206, and the server calls again. Reporting is a generator that yields requests and waits; sync and async
code differ only in how they carry these out.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Generator
from typing import Final, TypeAlias

import msgspec

from stepwell.errors import NonRetriableError
from stepwell.protocol.call import CallContext
from stepwell.protocol.canonical import NotJson, canonical
from stepwell.protocol.checkpoint import Checkpoint, async_path
from stepwell.protocol.ids import step_hash
from stepwell.protocol.ops import Op, OpCode
from stepwell.sdk.client import Client, Incoming, Outgoing, with_fallback_key
from stepwell.sdk.memo import Memo
from stepwell.sdk.outcome import Failed, Found, Outcome
from stepwell.sdk.serialise import decode

RETRY_DELAYS_S: Final = (0.1, 0.2, 0.4, 0.8)  # protocol 7
PATIENCE_S: Final = 5.0
"""How long the answer to a report may take, and no further attempt after it. The server that takes reports may hang while
the one that called goes on, and is to have the step before it stops: less than a server's time to drain (10 s)."""

PAUSE_S: Final = 60.0
"""How long an app that couldn't report a step doesn't try to: it may be called by a server that it can't reach, and each
step would wait for all attempts."""

log: Final = logging.getLogger("stepwell")


class StaleDispatchError(NonRetriableError):
    """The call is over for the server, which has made another in its place. Its name is the protocol's (7.2)."""

    code = "stale_dispatch"


class Pause:
    """Until when an app makes no checkpoints."""

    def __init__(self, elapsed: Callable[[], float] = time.monotonic) -> None:
        self._elapsed = elapsed
        self._until = elapsed()

    @property
    def is_on(self) -> bool:
        """Don't try now."""
        return self._elapsed() < self._until

    def begin(self, why: Incoming) -> None:
        """Don't try for a while."""
        if not self.is_on:
            log.warning(
                "steps can't be reported while a call goes on (%s), so the server makes a call for each; next try in %d s",
                f"HTTP {why.status}: {why.text()}" if why.status else why.text(),
                PAUSE_S,
            )
        self._until = self._elapsed() + PAUSE_S


_Reporting: TypeAlias = Generator[Outgoing | float, Incoming | None, Outcome | None]


class Checkpoints:
    """What lets one call go on after a step."""

    def __init__(
        self,
        client: Client,
        context: CallContext,
        pause: Pause,
        *,
        max_runtime_s: float,
        elapsed: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client, self._context, self._pause = client, context, pause
        self._max_runtime_s = max_runtime_s
        self._elapsed = elapsed
        self._started_at = elapsed()
        self._step_at = self._started_at
        self._started_at_ms = time.time_ns() // 1_000_000
        self._count = 0

    def begin(self) -> Outcome | None:
        """Note that a step begins now; or return what to answer instead, when the call has lasted long enough.

        Only a call that has come forward ends so: otherwise the next would begin where it did, and end so, too.
        """
        self._step_at = self._elapsed()
        if self._count and self._step_at - self._started_at >= self._max_runtime_s:
            return call_again()
        return None

    async def keep(self, outcome: Outcome, memo: Memo) -> Outcome | None:
        """Report a step that ran, and put it into the memo. Return None when the call may go on, else what to answer."""
        reporting = self._report(outcome, memo)
        try:
            todo = next(reporting)
            while True:
                if isinstance(todo, Outgoing):
                    todo = reporting.send(await self._client.fetch_fast(todo))
                else:
                    await asyncio.sleep(todo)
                    todo = reporting.send(None)
        except StopIteration as end:
            return end.value

    def keep_sync(self, outcome: Outcome, memo: Memo) -> Outcome | None:
        """Report a step as ``keep`` does, and block meanwhile."""
        reporting = self._report(outcome, memo)
        try:
            todo = next(reporting)
            while True:
                if isinstance(todo, Outgoing):
                    todo = reporting.send(self._client.fetch_fast_sync(todo))
                else:
                    time.sleep(todo)
                    todo = reporting.send(None)
        except StopIteration as end:
            return end.value

    def _report(self, outcome: Outcome, memo: Memo) -> _Reporting:
        if not isinstance(outcome, Found) or len(outcome.ops) != 1:
            return outcome
        op = self._timed(outcome.ops[0])
        outcome = msgspec.structs.replace(outcome, ops=[op])
        if op.code is not OpCode.STEP_RUN:
            return outcome
        data = bytes(op.data)
        try:
            known = canonical(data)
        except NotJson:
            return outcome  # the server has the words for it
        answer = yield from self._sent(op)
        if answer.status == 409:
            return Failed(StaleDispatchError(f"the server has made another call for run {self._context.run_id}"))
        if not answer.is_ok:
            return outcome
        self._count += 1
        # What a replay would give: keys in order, 1.0 as 1.
        memo.add(op.id, known.value if known.encoded == data else decode(known.encoded))
        return None

    def _timed(self, op: Op) -> Op:
        """Note how long the step ran that has just ended."""
        ran_ns = round((self._elapsed() - self._step_at) * 1e9)
        return msgspec.structs.replace(op, timing={"a": time.time_ns() - ran_ns, "b": ran_ns})

    def _sent(self, op: Op) -> Generator[Outgoing | float, Incoming | None, Incoming]:
        """Send a step; again for a while when the server isn't there. It knows a step that it has already."""
        ctx = self._context
        began_at, now_ns = self._elapsed(), time.time_ns()
        body = msgspec.json.encode(
            Checkpoint(
                run_id=ctx.run_id,
                fn_id=ctx.fn_id,
                qi_id=ctx.qi_id,
                request_id=ctx.request_id,
                generation_id=ctx.generation_id,
                steps=[op],
                request_started_at=self._started_at_ms,
                ts=now_ns // 1_000_000,
            )
        )
        requests = self._client.api_requests("POST", async_path(ctx.run_id), body=body, reply_timeout_s=PATIENCE_S)
        for delay_s in (*RETRY_DELAYS_S, None):
            answer = yield from with_fallback_key(requests)
            if not _is_passing(answer.status):
                return answer
            if delay_s is None or self._elapsed() - began_at > PATIENCE_S:
                self._pause.begin(answer)
                return answer
            yield delay_s
        raise AssertionError


def call_again() -> Found:
    """Return the reply that only asks for another call."""
    return Found([Op(id=step_hash(OpCode.DISCOVERY_REQUEST), op=OpCode.DISCOVERY_REQUEST)])


def _is_passing(status: int) -> bool:
    """Tell whether the same request may have another answer soon."""
    return status in (0, 429) or (status >= 500 and status != 501)
