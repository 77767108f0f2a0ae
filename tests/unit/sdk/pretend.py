"""A server of a hundred lines, in memory: calls an app's handler by the rules of the protocol until a run ends."""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple
from urllib.parse import urlencode

import httpx2
import msgspec

from stepwell import Stepwell
from stepwell.protocol import headers
from stepwell.protocol.call import Stack
from stepwell.protocol.ids import DISCOVER
from stepwell.protocol.ops import RACE, Op, OpCode
from stepwell.sdk.handler import Handler
from stepwell.sdk.http import Request, Response
from stepwell.sdk.serialise import decode

SERVE_URL = "http://app.test/api/stepwell"
CALLS_MAX = 200
_SERVERS = {
    OpCode.SLEEP,
    OpCode.WAIT_FOR_EVENT,
    OpCode.WAIT_FOR_SIGNAL,
    OpCode.INVOKE_FUNCTION,
    OpCode.GATEWAY,
    OpCode.AI_GATEWAY,
}
"""What the server does, and no call of the app."""


class Answer(NamedTuple):
    """One reply of the app, as the protocol's structs read it."""

    target: str
    status: int
    ops: list[Op]
    body: Any
    headers: dict[str, str]

    @property
    def titles(self) -> list[str]:
        """``StepRun a``, say."""
        return [f"{op.op} {op.title}" for op in self.ops]


class PretendRun:
    """One run of a function. Sleeps and waits end as soon as nothing else is to be done; retries wait for nothing."""

    def __init__(
        self,
        sw: Stepwell,
        function_id: str,
        *,
        event: dict[str, Any] | None = None,
        is_sync: bool = False,
        max_attempts: int = 3,
        pick: Callable[[int], int] = lambda _: 0,
        has_joins: bool = True,
        given: Mapping[str, Any] = MappingProxyType({}),
        knows_closes: bool = True,
        respond: Callable[[Request], Awaitable[Response]] | None = None,
    ) -> None:
        """``pick(n)`` chooses which of n calls that are due is made next.

        With ``has_joins`` the run goes on when all ops of a reply are done (request version 2), else after each (version 1).
        ``given`` is what the waits of these names come to; the others time out. With ``knows_closes`` the steps that have
        lost a race are dropped. ``respond`` takes the place of the app's handler.
        """
        self.sw = sw
        self.slug = f"{sw.id}-{function_id}"
        self.event = event or {"name": "test/event", "id": "e1", "ts": 1_700_000_000_000, "data": {}}
        self.respond = respond or functools.partial(respond_by, sw.handler, is_sync=is_sync)
        self.max_attempts = max_attempts
        self.pick = pick
        self.has_joins = has_joins
        self.given = given
        self.knows_closes = knows_closes
        self.steps: dict[str, Any] = {}
        self.stack: list[str] = []
        self.answers: list[Answer] = []
        self._due: deque[tuple[str, int]] = deque([(DISCOVER, 0)])
        self._asleep: list[Op] = []
        self._raced: set[str] = set()
        self._pending: set[str] = set()
        self._seen: set[str] = set()
        self._plans_only = False

    @property
    def titles(self) -> list[list[str]]:
        """What each reply reported."""
        return [answer.titles if answer.status == 206 else [str(answer.status)] for answer in self.answers]

    async def end(self) -> Answer:
        """Go on until the run ends, and return the last answer."""
        for _ in range(CALLS_MAX):
            answer = await self.advance()
            if answer is not None:
                return answer
        raise AssertionError(f"the run didn't end: {self.titles}")

    async def advance(self) -> Answer | None:
        """Make one call; return the answer when it ended the run."""
        if not self._due:
            assert self._asleep, f"the run is stuck: {self.titles}"
            self.wake(self._asleep[0].title)
            return None
        index = self.pick(len(self._due))
        target, attempt = self._due[index]
        del self._due[index]
        answer = await self.call(target, attempt)
        self.answers.append(answer)
        if answer.status == 206:
            self._report(answer, target, attempt)
            return None
        if answer.status == 200:
            return answer
        if answer.headers.get(headers.NO_RETRY) == "true" or attempt + 1 >= self.max_attempts:
            return answer
        self._due.append((target, attempt + 1))
        return None

    def wake(self, title: str) -> None:
        """End the sleep or the wait of this name."""
        op = next(op for op in self._asleep if op.title == title)
        self._asleep.remove(op)
        self._complete(op.id, self.given.get(title))

    async def call(self, target: str = DISCOVER, attempt: int = 0) -> Answer:
        """Make a call with what is known, and change nothing."""
        query = urlencode({"fnId": self.slug, "stepId": target})
        request = Request("POST", f"{SERVE_URL}?{query}", {}, self.body(attempt), "test")
        response = await self.respond(request)
        ops = msgspec.json.decode(response.body, type=list[Op]) if response.status == 206 else []
        return Answer(target, response.status, ops, msgspec.json.decode(response.body), response.headers)

    def body(self, attempt: int = 0) -> bytes:
        """Return the body of a call."""
        return msgspec.json.encode(
            {
                "version": -1,
                "use_api": False,
                "event": self.event,
                "events": [self.event],
                "steps": self.steps,
                "ctx": {
                    "run_id": "01JABCDEFGHJKMNPQRSTVWXYZ0",
                    "attempt": attempt,
                    "max_attempts": self.max_attempts,
                    "stack": Stack(self.stack, len(self.stack)),
                    "disable_immediate_execution": self._plans_only,
                },
            }
        )

    def _report(self, answer: Answer, target: str, attempt: int) -> None:
        for op in answer.ops if self.knows_closes else []:
            self._drop(op.option("closes") or [])
        new = [op for op in answer.ops if op.id not in self.steps and op.id not in self._seen]
        self._raced |= {op.id for op in new if op.option("parallelMode") == RACE}
        if len(new) > 1:
            self._pending |= {op.id for op in new} - self._raced if self.has_joins else set()
            self._plans_only = True
        if not answer.ops and not self._due and not self._asleep:
            self._due.append((DISCOVER, 0))
        for op in answer.ops:
            match op.code:
                case OpCode.STEP_RUN:
                    self._complete(op.id, {"data": decode(op.data)})
                case OpCode.STEP_FAILED:
                    self._complete(op.id, {"error": op.error})
                case OpCode.STEP_ERROR:
                    self._due.append((target, attempt + 1))
                case OpCode.STEP_PLANNED if op in new:
                    self._seen.add(op.id)
                    self._due.append((op.id, 0))
                case code if code in _SERVERS and op in new:
                    self._seen.add(op.id)
                    self._asleep.append(op)
                case _:
                    assert op not in new

    def _complete(self, id: str, entry: Any) -> None:
        if id in self.steps:
            return
        self.steps[id] = entry
        self.stack.append(id)
        self._pending.discard(id)
        if id in self._raced or not self._pending:
            self._plans_only = not self.has_joins
            self._due.append((DISCOVER, 0))

    def _drop(self, ids: list[str]) -> None:
        self._due = deque((target, attempt) for target, attempt in self._due if target not in ids)
        self._asleep = [op for op in self._asleep if op.id not in ids]
        self._pending -= set(ids)


async def respond_by(handler: Handler, request: Request, *, is_sync: bool = False) -> Response:
    """Answer a request by the one entry of the handler or the other."""
    if not is_sync:
        return await handler.handle(request)
    return handler.handle_sync(request)


def new_app(**settings: Any) -> Stepwell:
    """Return an app in dev mode that no environment variable touches."""
    given: dict[str, Any] = {"url": "http://server.test:8288", "is_dev": True, **settings}
    return Stepwell("acme", **given)


class PretendHttp:
    """What answers the app's requests to the server: what the test says, the last answer again and again."""

    def __init__(self, *answers: httpx2.Response | Exception) -> None:
        self.answers = list(answers)
        self.requests: list[httpx2.Request] = []

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        self.requests.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return httpx2.Response(answer.status_code, content=answer.content)
