"""Makes the requests of steps: ``step.fetch`` and ``step.ai.infer`` (protocol 4.8).

Users' code says whom to ask, so this is the one place where the server could be led to what only it can reach. Unless
that is allowed, connections go to addresses of the public internet alone: at each redirect names are looked up, the
addresses found are checked, and the connection goes to one of these.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from urllib.parse import urljoin

from stepwell.engine.clock import real_ms
from stepwell.engine.core.fetch import (
    Answer,
    FetchRequest,
    FetchResult,
    answer_too_large,
    fetch_failed,
    memo_of,
    plain_url,
)
from stepwell.engine.transport.address import is_public
from stepwell.engine.transport.client import Client
from stepwell.engine.transport.connection import LOCATION, NotHttp, TooLarge
from stepwell.engine.transport.dial import AddressRefused, ConnectTimeout, Resolve, system_resolve
from stepwell.engine.transport.http import OFF_LOOP_BYTES
from stepwell.engine.transport.target import Target, shown_url, target_of
from stepwell.limits import CALL_CONNECT_TIMEOUT_MS, FETCH_TIMEOUT_MS, REDIRECTS_MAX, STEP_OUTPUT_BYTES_MAX


class _Unasked(Exception):
    """The request, or where it was led, can't or may not be asked; no attempt can mend that."""


class Fetcher:
    """Makes requests for steps, each on a connection of its own.

    ``allows_private`` lets them go to any address. How many are made at once is the caller's to bound.
    """

    def __init__(
        self,
        *,
        allows_private: bool,
        timeout_ms: int = FETCH_TIMEOUT_MS,
        resolve: Resolve = system_resolve,
        tls: ssl.SSLContext | None = None,
        now_ms: Callable[[], int] = real_ms,
    ) -> None:
        self._may_dial = None if allows_private else is_public
        self._timeout_ms, self._resolve, self._tls, self._now_ms = timeout_ms, resolve, tls, now_ms
        self._client: Client | None = None

    async def start(self) -> None:
        """Get ready, on the running loop."""
        self._client = Client(
            idle_s=0,
            body_bytes_max=STEP_OUTPUT_BYTES_MAX,
            keeps_fields=True,
            tls=self._tls,
            resolve=self._resolve,
            may_dial=self._may_dial,
        )

    async def stop(self) -> None:
        """Break off requests under way."""
        if self._client is not None:
            await self._client.stop()
            self._client = None

    async def fetch(self, request: FetchRequest) -> FetchResult:
        """Make a request and return the step's memo, or its failure. Never raises for what the other side does."""
        assert self._client is not None, "the fetcher isn't started"
        try:
            answer = await self._answer(self._client, request)
        except _Unasked as error:
            return fetch_failed(request.op, str(error), is_retriable=False)
        except TooLarge:
            return answer_too_large(request.op)
        except (OSError, NotHttp) as error:
            return fetch_failed(request.op, f"{shown_url(request.url)} {self._why(error)}", is_retriable=True)
        if len(answer.body) > OFF_LOOP_BYTES:
            return await asyncio.to_thread(memo_of, request, answer, now_ms=self._now_ms())
        return memo_of(request, answer, now_ms=self._now_ms())

    async def _answer(self, client: Client, request: FetchRequest) -> Answer:
        """Ask, and follow redirects. Raises ``_Unasked``, and otherwise as ``Client.exchange`` does."""
        deadline = client.pool.time() + self._timeout_ms / 1000
        target = _target(request.url)
        for _ in range(REDIRECTS_MAX + 1):
            try:
                response = await client.exchange(
                    request.method,
                    target,
                    target.path,
                    _fields(request),
                    request.body,
                    deadline=deadline,
                    follows=(),
                )
            except AddressRefused:
                raise _Unasked(
                    f"{shown_url(request.url)} leads to an address that isn't public, which this server doesn't fetch"
                    " from: --allow-private-fetches lets it"
                ) from None
            location = response.headers.get(LOCATION)
            if location is None or not request.follows(response.status):
                return Answer(request.url, response.status, response.fields, response.body)
            url, origin = _joined(request.url, location), target.origin
            target = _target(url)
            request = request.redirected(response.status, url, is_same_origin=target.origin == origin)
        raise _Unasked(f"more than {REDIRECTS_MAX} redirects, the last to {shown_url(request.url)}")

    def _why(self, error: OSError | NotHttp) -> str:
        match error:
            case ConnectTimeout():
                return f"could not be reached within {CALL_CONNECT_TIMEOUT_MS // 1000} s"
            case TimeoutError():
                return f"did not answer within {self._timeout_ms / 1000:g} s"
            case NotHttp():
                return f"can't be understood: {error}"
            case ConnectionRefusedError():
                return "refuses connections"
            case socket.gaierror():
                return "has a host name that isn't known"
            case ssl.SSLCertVerificationError():
                return f"has a certificate that isn't trusted: {error.verify_message}"
            case _:
                return f"can't be reached: {str(error) or type(error).__name__}"


def _target(url: str) -> Target:
    try:
        return target_of(url)
    except ValueError:  # its message has parts of the URL, which may be secret
        raise _Unasked(f"{shown_url(url)} is no URL that can be asked") from None


def _joined(url: str, location: str) -> str:
    """Return where a redirect leads; a user in it is passed over."""
    try:
        return plain_url(urljoin(url, location))
    except ValueError:
        raise _Unasked(f"{shown_url(url)} redirects to what is no URL") from None


def _fields(request: FetchRequest) -> str:
    """Join header lines. Nothing in them ends a line: they are checked where they are read."""
    return "".join(f"{name}: {value}\r\n" for name, value in request.headers.items())
