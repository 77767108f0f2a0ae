"""Serve an app by a Django view: ``urlpatterns = [path("api/stepwell", view(sw))]``.

Use ``async_view`` where Django runs under ASGI: there a plain view has one thread for all, and a long step would hold it.
"""

from __future__ import annotations

import importlib
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from stepwell.limits import CALL_BODY_BYTES_MAX
from stepwell.sdk.http import Request, Response, is_too_long

if TYPE_CHECKING:
    from stepwell.sdk.app import Stepwell


class DjangoRequest(Protocol):
    """What is used of a ``django.http.HttpRequest``; Django ships no types."""

    @property
    def method(self) -> str | None:
        """The method, in capitals."""
        ...

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers."""
        ...

    def read(self, size: int, /) -> bytes:
        """Read of the body."""
        ...

    def build_absolute_uri(self) -> str:
        """Return the whole URL."""
        ...


def view(sw: Stepwell) -> Callable[[DjangoRequest], Any]:
    """Return a view for ``sw``, exempt from Django's CSRF check: calls are signed."""

    def stepwell(request: DjangoRequest) -> Any:
        return _answer(sw.handler.handle_sync(_request(request)))

    return _csrf_exempt(stepwell)


def async_view(sw: Stepwell) -> Callable[[DjangoRequest], Awaitable[Any]]:
    """Return an async view for ``sw``, exempt from Django's CSRF check: calls are signed."""

    async def stepwell(request: DjangoRequest) -> Any:
        return _answer(await sw.handler.handle(_request(request)))

    return _csrf_exempt(stepwell)


def _csrf_exempt(function: Any) -> Any:
    return importlib.import_module("django.views.decorators.csrf").csrf_exempt(function)


def _request(request: DjangoRequest) -> Request:
    # read(), since Django's limit for `body` is for what browsers upload, and lower than a run's state.
    body = None
    if not is_too_long(request.headers.get("content-length")):
        body = request.read(CALL_BODY_BYTES_MAX + 1)
    return Request(
        method=request.method or "",
        url=request.build_absolute_uri(),
        headers={name.lower(): value for name, value in request.headers.items()},
        body=None if body is None or len(body) > CALL_BODY_BYTES_MAX else body,
        framework="django",
    )


def _answer(response: Response) -> Any:
    http = importlib.import_module("django.http")
    return http.HttpResponse(response.body, status=response.status, headers=response.headers)
