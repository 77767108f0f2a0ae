"""Calls over HTTP (protocol 4.2): what is sent to an app, and what each failure is called."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from importlib.metadata import version
from typing import Final

import msgspec

from stepwell.engine.clock import real_ms
from stepwell.engine.core.model import Exchange, Reply
from stepwell.engine.core.reply import read_reply, server_error, too_large
from stepwell.engine.transport import EndpointRequest, OutgoingCall
from stepwell.engine.transport.client import Client, TooManyRedirects, plain
from stepwell.engine.transport.connection import NotHttp, TooLarge
from stepwell.engine.transport.dial import ConnectTimeout
from stepwell.engine.transport.target import call_target, shown_url, step_in_url, target_of
from stepwell.limits import CALL_CONNECT_TIMEOUT_MS, CALL_TIMEOUT_MS
from stepwell.protocol import headers as names
from stepwell.protocol.endpoint import signed_content
from stepwell.protocol.signature import sign

OFF_LOOP_BYTES: Final = 256 * 1024
"""Larger answers are parsed on a thread, so that one doesn't delay the calls of others."""

_IDLE_S: Final = 4
"""Idle connections are dropped before apps drop them (uvicorn and Node after 5 s): a call on a connection that is being
closed could not be told from one that broke in the middle, and would count as a failed attempt."""

_FOLLOWED: Final = (307, 308)
_VERSION: Final = version("stepwell")
_FIELDS: Final = (
    f"Content-Type: application/json\r\nUser-Agent: Inngest\r\n{names.STEPWELL}: {_VERSION}\r\n{names.REQ_VERSION}: "
)


class HttpTransport:
    """Calls apps over HTTP, signed when there is a key. Follows 307 and 308 only: they keep method and body."""

    def __init__(self, *, signing_key: str | None = None, now_ms: Callable[[], int] = real_ms) -> None:
        self._signing_key = signing_key
        self._now_ms = now_ms
        self._client: Client | None = None

    async def start(self) -> None:
        """Open the pool. The limit on calls is that of each app's slots, not the pool's."""
        self._client = Client(idle_s=_IDLE_S, connect_timeout_ms=CALL_CONNECT_TIMEOUT_MS)

    async def stop(self) -> None:
        """Close the pool; calls under way are broken off."""
        if self._client is not None:
            await self._client.stop()
            self._client = None

    async def call(self, call: OutgoingCall) -> Reply:
        """Make a call. Whatever goes wrong becomes a retriable error that says what was tried."""
        client = self._client
        assert client is not None, "the transport isn't started"
        shown = shown_url(call.url)
        try:
            if call.endpoint is None:
                target = call_target(call.url)
                method, path, fields = "POST", target.path + step_in_url(call.step_id), self._fields(call)
            else:
                target = target_of(call.url)
                method, path, fields = call.endpoint.method, target.path, self._endpoint_fields(call, call.endpoint)
            status, answered, body, _ = await client.exchange(
                method,
                target,
                path,
                fields,
                call.body,
                deadline=client.pool.time() + CALL_TIMEOUT_MS / 1000,
                follows=_FOLLOWED,
            )
        except ConnectTimeout:
            return server_error(
                "http_unreachable", f"{shown} could not be reached within {CALL_CONNECT_TIMEOUT_MS // 1000} s"
            )
        except TimeoutError:
            return server_error(
                "request_duration_too_long", f"{shown} did not answer within {CALL_TIMEOUT_MS // 1000} s"
            )
        except TooLarge:
            return too_large(shown)
        except TooManyRedirects:
            return server_error(
                "http_not_ok", f"{shown} redirects again and again: register the app with the URL that it leads to"
            )
        except NotHttp as error:
            return server_error("invalid_reply", f"{shown} can't be understood: {error}")
        except (OSError, ValueError) as error:
            return server_error("http_unreachable", f"Unable to reach SDK URL {shown}: {_why(error)}")
        exchange = Exchange(status, len(call.body), len(body))
        now_ms = self._now_ms()
        if len(body) > OFF_LOOP_BYTES:
            reply = await asyncio.to_thread(read_reply, status, answered, body, now_ms=now_ms, url=shown)
        else:
            reply = read_reply(status, answered, body, now_ms=now_ms, url=shown)
        return msgspec.structs.replace(reply, exchange=exchange)

    def _fields(self, call: OutgoingCall) -> str:
        fields = (
            f"{_FIELDS}{call.request_version}\r\n{names.RUN_ID}: {plain(call.run_id)}\r\n"
            f"{names.REQUEST_ID}: {plain(call.request_id)}\r\n{names.STEP_ID}: {plain(call.step_id)}\r\n{call.trace}"
        )
        if self._signing_key is not None:
            fields += f"{names.SIGNATURE}: {sign(self._signing_key, call.body, real_ms() // 1000)}\r\n"
        return fields

    def _endpoint_fields(self, call: OutgoingCall, request: EndpointRequest) -> str:
        """Make the fields of a call to a durable endpoint. It knows the server by them: all are there, without a key, too."""
        content = signed_content(request.method, call.body)
        fields = {
            "User-Agent": "Inngest",
            names.REQ_VERSION: str(call.request_version),
            names.RUN_ID: call.run_id,
            names.REQUEST_ID: call.request_id,
            names.STEP_ID: call.step_id,
            names.FORCE_STEP_PLAN: "true" if request.is_plan_forced else "false",
            names.SIGNATURE: sign(self._signing_key or "", content, real_ms() // 1000),
        }
        if request.content_type:
            fields["Content-Type"] = request.content_type
        return call.trace + "".join(f"{name}: {plain(value)}\r\n" for name, value in fields.items())


def _why(error: Exception) -> str:
    match error:
        case ConnectionRefusedError():
            return "connection refused: is the app running?"
        case socket.gaierror():
            return "its host name isn't known"
        case ssl.SSLCertVerificationError():
            return f"its certificate isn't trusted: {error.verify_message}"
        case _:
            return str(error) or type(error).__name__
