"""The OpenAPI document, made from the endpoints' types: it can't say what the server doesn't do."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any, Final

import msgspec

from stepwell.server.api.endpoint import AnyEndpoint, Nothing
from stepwell.server.settings import Settings

_REFERENCE: Final = "#/components/schemas/{name}"
_PARAMETER: Final = re.compile(r"\{(\w+)\}")


class ErrorDetail(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is wrong: a stable code, words for people, and the place in the request."""

    code: str
    message: str
    path: str | None = None


class Error(msgspec.Struct, frozen=True):
    """The answer to a request that failed."""

    error: ErrorDetail


def document(endpoints: Sequence[AnyEndpoint], settings: Settings) -> bytes:
    """Return the OpenAPI 3.1 document as JSON."""
    types = [Error]
    for endpoint in endpoints:
        types += [endpoint.answer, endpoint.query, _body_type(endpoint)]
    schemas, components = msgspec.json.schema_components(types, ref_template=_REFERENCE)
    error, rest = schemas[0], iter(schemas[1:])
    queries: set[str] = set()
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in endpoints:
        answer, query, body = next(rest), next(rest), next(rest)
        queries.add(_name(query))
        operation: dict[str, Any] = {
            "summary": endpoint.summary,
            "operationId": endpoint.handle.__name__,
            "responses": {
                "200": {"description": "Done", "content": {endpoint.media_type: {"schema": answer}}},
                "default": {"description": "Refused, or failed", "content": _json(error)},
            },
        }
        parameters = [_path_parameter(name) for name in _PARAMETER.findall(endpoint.path)]
        parameters += _query_parameters(components[_name(query)])
        if parameters:
            operation["parameters"] = parameters
        if _body_type(endpoint) is not Nothing:
            operation["requestBody"] = {"required": True, "content": _json(body)}
        paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = operation
    made: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {"title": "Stepwell", "version": version("stepwell")},
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {"schemas": {name: schema for name, schema in components.items() if name not in queries}},
    }
    if not settings.is_dev:
        made["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        made["security"] = [{"token": []}]
    return msgspec.json.encode(made)


def _body_type(endpoint: AnyEndpoint) -> Any:
    return endpoint.body if endpoint.body_schema is None else endpoint.body_schema


def _name(schema: Mapping[str, Any]) -> str:
    return schema["$ref"].rpartition("/")[2]


def _json(schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}


def _path_parameter(name: str) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}


def _query_parameters(schema: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Make a parameter of each field of a query's struct; its description stands beside the schema."""
    parameters: list[dict[str, Any]] = []
    for name, field in schema["properties"].items():
        parameter: dict[str, Any] = {"name": name, "in": "query", "schema": field}
        if "description" in field:
            parameter["description"] = field.pop("description")
        parameters.append(parameter)
    return parameters
