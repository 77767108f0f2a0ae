"""Writes the dashboard's types, ``ui/src/api/api.gen.ts``, from the OpenAPI document: ``python -m tools.api_types``.

It needs no server: the document is made from the endpoints' types. ``tests/unit/test_api_types.py`` fails when the file
is stale.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from stepwell.server import api
from stepwell.server.api import openapi
from stepwell.server.settings import Settings

TARGET: Final = Path(__file__).parents[1] / "ui" / "src" / "api" / "api.gen.ts"

_HEAD: Final = """\
// Made by `python -m tools.api_types` from the server's OpenAPI document. Not to be edited.

/** JSON of any shape: what users' code has sent. */
export type Json = unknown;
"""
_SCALARS: Final = {"string": "string", "integer": "number", "number": "number", "boolean": "boolean", "null": "null"}

Schema = Mapping[str, Any]


def main() -> None:
    """Write the file."""
    TARGET.write_text(typescript())


def typescript() -> str:
    """Return the text of the file, from the document of a development server: it has every endpoint."""
    settings = Settings(is_dev=True)
    document = json.loads(openapi.document(api.endpoints(settings), settings))
    parts = [_HEAD]
    parts += (_named(name, schema) for name, schema in sorted(document["components"]["schemas"].items()))
    parts.append(_endpoints(document["paths"]))
    return "\n".join(parts)


def _named(name: str, schema: Schema) -> str:
    comment = _comment(schema.get("description"))
    if schema.get("type") == "object" and "properties" in schema:
        return f"{comment}export interface {name} {_members(schema)}\n"
    return f"{comment}export type {name} = {_type(schema)};\n"


def _endpoints(paths: Mapping[str, Mapping[str, Any]]) -> str:
    lines = [
        "/** Each endpoint by method and path: what it takes and what it answers. */",
        "export interface Endpoints {",
    ]
    for path, methods in paths.items():
        for method, operation in methods.items():
            parameters = operation.get("parameters", ())
            content = operation.get("requestBody", {}).get("content", {})
            body = _type(content["application/json"]["schema"]) if content else "undefined"
            # What isn't JSON is a stream, which is read elsewhere.
            answered = operation["responses"]["200"]["content"].get("application/json")
            answer = _type(answered["schema"]) if answered is not None else "never"
            lines += [
                f"  /** {operation['summary']}. */",
                f'  "{method.upper()} {path}": {{',
                f"    path: {_parameters(p for p in parameters if p['in'] == 'path')};",
                f"    query: {_parameters(p for p in parameters if p['in'] == 'query')};",
                f"    body: {body};",
                f"    answer: {answer};",
                "  };",
            ]
    return "\n".join([*lines, "}", ""])


def _parameters(parameters: Iterable[Schema]) -> str:
    members = [f"{p['name']}{'' if p.get('required') else '?'}: {_type(p['schema'])}" for p in parameters]
    return f"{{ {'; '.join(members)} }}" if members else "Record<string, never>"


def _members(schema: Schema) -> str:
    required = set(schema.get("required", ()))
    lines: list[str] = []
    for name, field in schema["properties"].items():
        mark = "" if name in required else "?"
        lines.append(f"{_comment(field.get('description'), '  ')}  {name}{mark}: {_type(field)};")
    return "{\n" + "\n".join(lines) + "\n}" if lines else "{}"


def _type(schema: Schema) -> str:
    """Return a schema as a TypeScript type."""
    if "$ref" in schema:
        return schema["$ref"].rpartition("/")[2]
    if "anyOf" in schema:
        members = list(dict.fromkeys(_type(part) for part in schema["anyOf"]))
        return "Json" if "Json" in members else " | ".join(members)
    if "enum" in schema:
        return " | ".join(json.dumps(value) for value in schema["enum"])
    if "const" in schema:
        return json.dumps(schema["const"])
    kind = schema.get("type")
    if isinstance(kind, list):
        return " | ".join(_type({**schema, "type": one}) for one in kind)
    match kind:
        case "array" if "prefixItems" in schema:
            return f"[{', '.join(_type(item) for item in schema['prefixItems'])}]"
        case "array":
            item = _type(schema["items"]) if isinstance(schema.get("items"), Mapping) else "Json"
            return f"({item})[]" if " | " in item else f"{item}[]"
        case "object":
            values = schema.get("additionalProperties")
            return f"Record<string, {_type(values) if isinstance(values, Mapping) and values else 'Json'}>"
        case None:
            return "Json"
        case _:
            return _SCALARS[kind]


def _comment(text: str | None, indent: str = "") -> str:
    return f"{indent}/** {' '.join(text.split())} */\n" if text else ""


if __name__ == "__main__":
    main()
