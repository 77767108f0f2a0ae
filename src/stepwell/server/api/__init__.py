"""Our own REST API under ``/api``, for the dashboard, the command line and users; described by an OpenAPI document."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from stepwell.server.api import (
    apps,
    clock,
    demo,
    doctor,
    event_names,
    events,
    explain,
    function_stats,
    functions,
    logs,
    openapi,
    runs,
    session,
    stats,
    stream,
)
from stepwell.server.api.endpoint import AnyEndpoint, make_routes
from stepwell.server.context import Context, json_response
from stepwell.server.settings import Settings


def endpoints(settings: Settings) -> list[AnyEndpoint]:
    """Return all endpoints that a server with these settings has."""
    return [
        *event_names.endpoints(),
        *events.endpoints(),
        *stats.endpoints(),
        *runs.endpoints(),
        *explain.endpoints(),
        *function_stats.endpoints(),
        *functions.endpoints(),
        *apps.endpoints(),
        *logs.endpoints(),
        *doctor.endpoints(),
        *session.endpoints(),
        *demo.endpoints(),
        *stream.endpoints(),
        *clock.sleep_endpoints(),
        *(clock.endpoints() if settings.is_dev else ()),
    ]


def routes(context: Context) -> list[BaseRoute]:
    """Return the routes of the API. Who may use them is decided outside (``auth.ApiGuard``)."""
    declared = endpoints(context.settings)
    document = openapi.document(declared, context.settings)

    async def describe(_request: Request) -> Response:
        return json_response(document)

    return [Route("/api/openapi.json", describe), *make_routes(context, declared)]
