"""How an endpoint of the REST API is declared, and what all of them share.

An endpoint says its method, path, query, body and answer as types. From these come the checks of each request (unknown
fields are refused, not ignored: they are typos), the routes, and the OpenAPI document. Handlers see decoded structs
and raise ``ApiError``; every error has the shape ``{"error": {"code", "message", "path"}}``.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Annotated, Any, Final, Generic, NamedTuple, TypeAlias, TypeVar

import msgspec
import structlog
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from stepwell.errors import EventError, QueryTimeout, StoreError, UsageError
from stepwell.limits import API_BODY_BYTES_MAX
from stepwell.protocol.event import NULL
from stepwell.server.context import JSON_TYPE, ApiError, Context, error_response, json_response, read_body

Q = TypeVar("Q")
B = TypeVar("B")

_CHOSEN_NAME: Final = re.compile(r"\{(slug|name)\}")

log = structlog.get_logger("stepwell.api")


JsonObject: TypeAlias = Annotated[msgspec.Raw, msgspec.Meta(extra_json_schema={"type": ["object", "null"]})]
"""A JSON object, or null, that stays undecoded until its rules are checked."""


def absent() -> msgspec.Raw:
    """Return what stands for a member that isn't there. (A factory: the OpenAPI document can't show such a default.)"""
    return NULL


class Nothing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """No parameters."""


class Call(NamedTuple, Generic[Q, B]):
    """One decoded request."""

    context: Context
    path: Mapping[str, str]
    query: Q
    body: B
    request: Request
    """For what is in its headers alone."""


def decode_body(raw: bytes, shape: type[B]) -> B:
    """Decode a JSON body; an empty one counts as ``{}``.

    Raises ``ApiError`` 400 that names the place: malformed, nested too deeply, or not of that type.
    """
    try:
        return msgspec.json.decode(raw.strip() or b"{}", type=shape)
    except RecursionError:
        raise ApiError(400, "invalid_json", "the body is nested too deeply") from None
    except msgspec.ValidationError as error:
        raise _misfit("invalid_body", error) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ApiError(400, "invalid_json", f"the body can't be read: {error}") from None


class Endpoint(NamedTuple, Generic[Q, B]):
    """One method of one path."""

    method: str
    path: str
    summary: str
    answer: Any
    """The type of the JSON that ``handle`` returns, or that is in the ``Response`` which it makes for its headers."""
    handle: Callable[[Call[Q, B]], Awaitable[object]]
    query: type[Q]
    body: type[B]
    read: Callable[[bytes, type[B]], B] = decode_body
    body_schema: Any = None
    """The type of the body in the OpenAPI document, where ``read`` takes other forms than ``body``."""
    body_bytes_max: int = API_BODY_BYTES_MAX
    media_type: str = JSON_TYPE
    """Of what is answered; where it isn't JSON, ``handle`` returns a ``Response``, and ``answer`` is what it carries."""


AnyEndpoint: TypeAlias = Endpoint[Any, Any]


def make_routes(context: Context, endpoints: Sequence[AnyEndpoint]) -> list[BaseRoute]:
    """Make a route for each path; a method that it doesn't have is answered with 405 in the common shape.

    Names that users choose may hold slashes, so that the longer paths are tried first.
    """
    by_path: dict[str, dict[str, AnyEndpoint]] = {}
    for endpoint in endpoints:
        by_path.setdefault(endpoint.path, {})[endpoint.method] = endpoint
    routes: list[BaseRoute] = [
        Route(_CHOSEN_NAME.sub(r"{\1:path}", path), _Path(context, by_path[path]))
        for path in sorted(by_path, key=lambda path: -path.count("/"))
    ]
    routes.append(Route("/api/{path:path}", _Path(context, {})))
    return routes


class _Path:
    """The methods of one path, as an ASGI application: Starlette's routes then leave all methods to it."""

    def __init__(self, context: Context, methods: Mapping[str, AnyEndpoint]) -> None:
        self._context = context
        self._methods = methods

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        response = await self._answer(request)
        # What is behind a login is for whoever asked, not for a proxy on the way, nor for the next one at the browser.
        response.headers.setdefault("Cache-Control", "no-store")
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        method = "GET" if request.method == "HEAD" else request.method
        endpoint = self._methods.get(method)
        if endpoint is None:
            return self._no_such(request)
        try:
            raw = await read_body(request, endpoint.body_bytes_max)
            call: Call[Any, Any] = Call(
                context=self._context,
                path=request.path_params,
                query=_decode_query(request, endpoint.query),
                body=endpoint.read(raw, endpoint.body),
                request=request,
            )
            answer = await endpoint.handle(call)
            return answer if isinstance(answer, Response) else json_response(answer)
        except ApiError as error:
            return error_response(error)
        except EventError as error:
            return error_response(ApiError(400, error.code, str(error), path=error.path))
        except UsageError as error:
            return error_response(ApiError(400, error.code, str(error)))
        except QueryTimeout as error:
            return error_response(ApiError(503, error.code, str(error)))
        except StoreError as error:
            return error_response(ApiError(503, error.code, f"nothing was changed, try again: {error}"))
        except ClientDisconnect:
            return Response(status_code=400)  # nobody is there to read it
        except Exception:
            log.exception("api.broke", path=request.url.path)
            return error_response(ApiError(500, "internal_error", "the server has a bug; its log has the details"))

    def _no_such(self, request: Request) -> Response:
        shown = request.url.path[:200]
        if not self._methods:
            return error_response(ApiError(404, "no_such_path", f"there is no {shown}: see /api/openapi.json"))
        allowed = ", ".join(sorted(self._methods))
        response = error_response(
            ApiError(405, "method_not_allowed", f"{request.method[:20]} is not for {shown}: it takes {allowed}")
        )
        response.headers["Allow"] = allowed
        return response


def _decode_query(request: Request, shape: type[Q]) -> Q:
    fields: dict[str, str] = {}
    for key, value in request.query_params.multi_items():
        if key in fields:
            raise ApiError(400, "invalid_query", f"the parameter {key[:100]!r} is there twice", path=f"$.{key[:100]}")
        if "\0" in value:
            raise ApiError(400, "invalid_query", "no text here has the character U+0000", path=f"$.{key[:100]}")
        fields[key] = value
    try:
        return msgspec.convert(fields, shape, strict=False)
    except msgspec.ValidationError as error:
        raise _misfit("invalid_query", error) from None


_PATH_MARK: Final = " - at `"


def _misfit(code: str, error: msgspec.ValidationError) -> ApiError:
    message, _, path = str(error).partition(_PATH_MARK)
    return ApiError(400, code, message, path=path.removesuffix("`") or "$")
