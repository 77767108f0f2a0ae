"""Serves a Python app to its test: the functions, the record, the controls. Not part of any SDK."""

from __future__ import annotations

import json
import sys
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Generic, TypeVar

import flask
import uvicorn
import werkzeug.serving
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route
from starlette.types import ASGIApp
from werkzeug.middleware.dispatcher import DispatcherMiddleware

from tests.sdks.apps.recorder import VARIANTS, WORK

Json = Any
AppType = TypeVar("AppType", bound=Callable[..., Any])


class Switch(Generic[AppType]):
    """An ASGI or WSGI application that is another one after ``turn``."""

    def __init__(self, variants: Mapping[str, AppType]) -> None:
        self._variants = variants
        self._app = variants[VARIANTS[0]]

    def turn(self, variant: str) -> None:
        """Be another application from now on."""
        self._app = self._variants[variant]

    def __call__(self, *args: Any) -> Any:
        """Answer as the current application does."""
        return self._app(*args)


def serve_asgi(
    app: ASGIApp, moving: Switch[Any], send: Callable[[list[dict[str, Json]]], Awaitable[list[str]]]
) -> None:
    """Serve an app, the moving app and the controls on the port of the command line, until killed."""

    async def log(request: Request) -> JSONResponse:
        return JSONResponse(WORK.of_run(request.query_params.get("run")))

    async def send_events(request: Request) -> JSONResponse:
        return JSONResponse(await send(await request.json()))

    async def turn(request: Request) -> JSONResponse:
        moving.turn(request.path_params["variant"])
        return JSONResponse(None)

    controls = [
        Route("/log", log),
        Route("/send", send_events, methods=["POST"]),
        Route("/turn/{variant}", turn, methods=["POST"]),
        Mount("/moving", moving),
    ]
    uvicorn.run(
        Starlette(routes=[*controls, Mount("/", app)]),
        host="127.0.0.1",
        port=int(sys.argv[1]),
        log_level="warning",
        access_log=False,
    )


def serve_wsgi(
    app: flask.Flask,
    moving: Switch[Any],
    send: Callable[[list[dict[str, Json]]], list[str]],
    mounts: Mapping[str, Callable[..., Iterable[bytes]]] | None = None,
) -> None:
    """Serve a Flask app with the controls, the moving app and ``mounts`` on the port of the command line."""

    @app.get("/log")
    def log() -> flask.Response:
        return flask.Response(json.dumps(WORK.of_run(flask.request.args.get("run"))), mimetype="application/json")

    @app.post("/send")
    def send_events() -> flask.Response:
        return flask.Response(json.dumps(send(flask.request.get_json())), mimetype="application/json")

    @app.post("/turn/<variant>")
    def turn(variant: str) -> str:
        moving.turn(variant)
        return ""

    whole = DispatcherMiddleware(app.wsgi_app, {"/moving": moving, **(mounts or {})})
    werkzeug.serving.make_server(
        "127.0.0.1", int(sys.argv[1]), whole, threaded=True, request_handler=_KeepAlive
    ).serve_forever()


class _KeepAlive(werkzeug.serving.WSGIRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Say nothing of each request."""
