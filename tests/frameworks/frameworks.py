"""One app in each framework, behind the same small interface: a request in, a response out, in process."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

import django
import django.conf
import django.core.handlers.asgi
import django.core.handlers.wsgi
import django.test
import django.urls
import fastapi
import flask
import httpx2
import litestar
import starlette.applications
import starlette.routing
from werkzeug.middleware.dispatcher import DispatcherMiddleware

from stepwell import Stepwell
from stepwell.sdk.http import Request, Response
from stepwell.sdk.serve.django import async_view, view
from stepwell.sdk.serve.flask import serve

PATH = "/api/stepwell"

Respond = Callable[[Request], Awaitable[Response]]


class Framework(NamedTuple):
    """A framework, and how an app is served in it."""

    name: str
    wire_name: str
    build: Callable[[Stepwell], Respond]
    path: str = PATH


def over_asgi(app: Any) -> Respond:
    """Send requests to an ASGI application."""

    async def respond(request: Request) -> Response:
        async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app)) as client:
            answer = await client.request(
                request.method, request.url, headers=dict(request.headers), content=request.body
            )
        return Response(answer.status_code, dict(answer.headers), answer.content)

    return respond


def over_wsgi(app: Any) -> Respond:
    """Send requests to a WSGI application."""

    async def respond(request: Request) -> Response:
        with httpx2.Client(transport=httpx2.WSGITransport(app=app)) as client:
            answer = client.request(request.method, request.url, headers=dict(request.headers), content=request.body)
        return Response(answer.status_code, dict(answer.headers), answer.content)

    return respond


def starlette_route(sw: Stepwell) -> Respond:
    return over_asgi(starlette.applications.Starlette(routes=[starlette.routing.Route(PATH, sw.asgi())]))


def starlette_mount(sw: Stepwell) -> Respond:
    return over_asgi(starlette.applications.Starlette(routes=[starlette.routing.Mount(PATH, app=sw.asgi())]))


def fastapi_route(sw: Stepwell) -> Respond:
    app = fastapi.FastAPI()
    app.routes.append(starlette.routing.Route(PATH, sw.asgi()))
    return over_asgi(app)


def fastapi_mount(sw: Stepwell) -> Respond:
    app = fastapi.FastAPI()
    app.mount(PATH, sw.asgi())
    return over_asgi(app)


def fastapi_mount_in_mount(sw: Stepwell) -> Respond:
    inner, outer = fastapi.FastAPI(), fastapi.FastAPI()
    inner.mount("/stepwell", sw.asgi())
    outer.mount("/api", inner)
    return over_asgi(outer)


def litestar_route(sw: Stepwell) -> Respond:
    return over_asgi(litestar.Litestar([litestar.asgi(PATH, copy_scope=True)(sw.asgi())]))


def litestar_mount(sw: Stepwell) -> Respond:
    return over_asgi(litestar.Litestar([litestar.asgi(PATH, is_mount=True, copy_scope=True)(sw.asgi())]))


def bare_asgi(sw: Stepwell) -> Respond:
    return over_asgi(sw.asgi())


def flask_view(sw: Stepwell) -> Respond:
    app = flask.Flask("app")
    serve(app, sw, PATH)
    return over_wsgi(app)


def flask_blueprint(sw: Stepwell) -> Respond:
    app, blueprint = flask.Flask("app"), flask.Blueprint("api", "app", url_prefix="/api")
    serve(blueprint, sw, "/stepwell")
    app.register_blueprint(blueprint)
    return over_wsgi(app)


def flask_mount(sw: Stepwell) -> Respond:
    return over_wsgi(DispatcherMiddleware(flask.Flask("app"), {PATH: sw.wsgi()}))


def bare_wsgi(sw: Stepwell) -> Respond:
    return over_wsgi(sw.wsgi())


def django_wsgi(sw: Stepwell) -> Respond:
    return over_django(view(sw), lambda: over_wsgi(django.core.handlers.wsgi.WSGIHandler()))


def django_asgi(sw: Stepwell) -> Respond:
    return over_django(async_view(sw), lambda: over_asgi(django.core.handlers.asgi.ASGIHandler()))


def over_django(stepwell: Any, build: Callable[[], Respond]) -> Respond:
    """Send requests to a Django project that has but one view."""
    if not django.conf.settings.configured:
        django.conf.settings.configure(
            ALLOWED_HOSTS=["*"],
            MIDDLEWARE=["django.middleware.csrf.CsrfViewMiddleware"],
            SECRET_KEY="for tests",
            USE_TZ=True,
        )
        django.setup()
    urls = (django.urls.path(PATH.removeprefix("/"), stepwell),)

    async def respond(request: Request) -> Response:
        with django.test.override_settings(ROOT_URLCONF=urls):
            return await build()(request)

    return respond


FRAMEWORKS = [
    Framework("starlette, route", "starlette", starlette_route),
    Framework("starlette, mount", "starlette", starlette_mount, f"{PATH}/"),
    Framework("fastapi, route", "fast_api", fastapi_route),
    Framework("fastapi, mount", "fast_api", fastapi_mount, f"{PATH}/"),
    Framework("fastapi, mount in mount", "fast_api", fastapi_mount_in_mount, f"{PATH}/"),
    Framework("litestar, route", "litestar", litestar_route),
    Framework("litestar, mount", "litestar", litestar_mount),
    Framework("asgi", "asgi", bare_asgi),
    Framework("flask, view", "flask", flask_view),
    Framework("flask, blueprint", "flask", flask_blueprint),
    Framework("flask, mount", "wsgi", flask_mount),
    Framework("wsgi", "wsgi", bare_wsgi),
    Framework("django, wsgi", "django", django_wsgi),
    Framework("django, asgi", "django", django_asgi),
]
