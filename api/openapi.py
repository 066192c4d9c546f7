# SPDX-License-Identifier: Apache-2.0
"""The OpenAPI document: what FastAPI derives, with units, errors, and the bodies that endpoints read themselves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from api.fields import describe
from api.schemas import EntriesPatch
from xdpfw.model.views import EntryView

DESCRIPTION = """Block IP ranges in the network driver, and see who is talking.

Counts are integers; rates are per second; times are RFC 3339 in UTC; durations are seconds, or text such as 90s, 15m,
1h, 7d. Every write takes `?dry_run=true` and `?force=true`, and answers with `revision` and `changed`. Errors are
problem documents (RFC 9457)."""

PROBLEM = {
    "type": "object",
    "description": "Problem document (RFC 9457)",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string", "format": "uri-reference"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "What is wrong, and what to do about it"},
        "errors": {
            "type": "array",
            "maxItems": 100,
            "items": {
                "type": "object",
                "required": ["pointer", "detail"],
                "properties": {
                    "pointer": {"type": "string", "description": "JSON pointer, `line N`, or `?parameter`"},
                    "detail": {"type": "string"},
                },
            },
        },
    },
    "examples": [
        {
            "type": "urn:problem-type:xdpfw:invalid-input",
            "title": "Invalid input",
            "status": 422,
            "detail": "'10.0.0.1/8' has host bits set; did you mean 10.0.0.0/8?",
        }
    ],
}
ANSWER = {
    "description": "Refused; nothing was changed",
    "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
}
READ_ERRORS = ("400", "401", "403", "404", "422", "429", "503")
WRITE_ERRORS = ("400", "401", "403", "404", "409", "412", "413", "415", "422", "429", "503", "507")


def document(app: FastAPI) -> dict[str, Any]:
    if app.openapi_schema is None:
        schema = get_openapi(title=app.title, version=app.version, description=DESCRIPTION, routes=app.routes)
        _add_components(schema)
        for path, method, operation in _operations(schema):
            _drop_null(operation)
            if method == "put" and path.endswith("}"):
                operation["responses"]["201"] = operation["responses"]["200"] | {"description": "Made"}
            _add_errors(operation, WRITE_ERRORS if method != "get" else READ_ERRORS)
            operation["security"] = [] if path == "/healthz" else [{"token": []}]
        app.openapi_schema = schema
    return app.openapi_schema


def _operations(schema: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in schema["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


def _add_components(schema: dict[str, Any]) -> None:
    components = schema.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    # Prefix: FastAPI lists every dataclass that it meets, also one that travels as text.
    for name in ("HTTPValidationError", "ValidationError", "Prefix"):
        schemas.pop(name, None)
    patch = EntriesPatch.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas.update(patch.pop("$defs", {}))
    schemas["EntriesPatch"] = patch
    schemas["Problem"] = PROBLEM
    assert EntryView.__name__ in schemas
    for title, model in schemas.items():
        for name, field in model.get("properties", {}).items():
            describe(title, name, field)
    components["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer", "description": "On TCP only"}}


def _drop_null(operation: dict[str, Any]) -> None:
    """A parameter of type "string or null" is one that may be left out: a URL and a header say no null."""
    for parameter in operation.get("parameters", ()):
        kinds = parameter["schema"].pop("anyOf", None)
        if kinds is None:
            continue
        said = [kind for kind in kinds if kind != {"type": "null"}]
        parameter["schema"] |= said[0] if len(said) == 1 else {"anyOf": said}


def _add_errors(operation: dict[str, Any], statuses: tuple[str, ...]) -> None:
    for status in statuses:
        operation["responses"][status] = ANSWER
