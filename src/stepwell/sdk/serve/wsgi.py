"""Serve an app in any WSGI framework.

Flask:  ``app.wsgi_app = DispatcherMiddleware(app.wsgi_app, {"/api/stepwell": sw.wsgi()})`` (of ``werkzeug.middleware``)
alone:  ``gunicorn module:app`` with ``app = sw.wsgi()``

Flask and Django can also have it as a view: ``stepwell.sdk.serve.flask``, ``stepwell.sdk.serve.django``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Any, TypeAlias
from urllib.parse import quote

from stepwell.limits import CALL_BODY_BYTES_MAX
from stepwell.sdk.handler import Handler
from stepwell.sdk.http import Request, Response, is_too_long

Environ: TypeAlias = dict[str, Any]


class WsgiApp:
    """A WSGI application that answers on the path where it is mounted."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler

    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Answer one request."""
        response = self.respond(environ, framework="wsgi")
        status = f"{response.status} {HTTPStatus(response.status).phrase}"
        length = ("Content-Length", str(len(response.body)))
        start_response(status, [*response.headers.items(), length])
        return [response.body]

    def respond(self, environ: Environ, *, framework: str) -> Response:
        """Answer the request of a WSGI environment; for frameworks whose views know theirs."""
        headers = {
            key.removeprefix("HTTP_").replace("_", "-").lower(): value
            for key, value in environ.items()
            if key.startswith("HTTP_") or key in ("CONTENT_TYPE", "CONTENT_LENGTH")
        }
        return self._handler.handle_sync(
            Request(
                method=environ["REQUEST_METHOD"],
                url=_url(environ),
                headers=headers,
                body=_body(environ),
                framework=framework,
            )
        )


def _body(environ: Environ) -> bytes | None:
    length: str = environ.get("CONTENT_LENGTH") or ""
    if is_too_long(length):
        return None
    if not length.isdecimal() and not environ.get("wsgi.input_terminated"):
        # Without a length, reading could block for ever, unless the server says that the input ends.
        return b""
    body: bytes = environ["wsgi.input"].read(int(length) if length.isdecimal() else CALL_BODY_BYTES_MAX + 1)
    return None if len(body) > CALL_BODY_BYTES_MAX else body


def _url(environ: Environ) -> str:
    host = environ.get("HTTP_HOST") or f"{environ['SERVER_NAME']}:{environ['SERVER_PORT']}"
    path = quote(f"{environ.get('SCRIPT_NAME', '')}{environ.get('PATH_INFO', '')}".encode("latin-1"))
    query = environ.get("QUERY_STRING", "")
    return f"{environ['wsgi.url_scheme']}://{host}{path}{'?' + query if query else ''}"
