"""The description of the API (OpenAPI 3.1), from the structs that its routes read and answer with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
from fastapi import FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute

from cloud.api.bodies import ANSWERS, BODIES
from cloud.api.services import action_of, calls
from shared.api import PROBLEM, Problem

JSON = "application/json"
FILE = "application/octet-stream"
PLACE = "#/components/schemas/{name}"


def describe(app: FastAPI, routes: Sequence[APIRoute], *, prefix: str) -> dict[str, Any]:
    """What `/openapi.json` says.

    Args:
        app: what they are included in.
        routes: every route that does something.
        prefix: of all their paths.
    """
    if app.openapi_schema is not None:
        return app.openapi_schema
    document = get_openapi(title=app.title, version=app.version, routes=app.routes)
    kinds = [Problem, *(kind for route in routes for kind in _kinds(route))]
    (_, *shapes), parts = msgspec.json.schema_components(kinds, ref_template=PLACE)
    named = iter(shapes)
    document.setdefault("components", {})["schemas"] = dict(sorted(parts.items()))
    for route in routes:
        for method in route.methods or ():
            _complete(document["paths"][prefix + route.path_format][method.lower()], route, named)
    app.openapi_schema = document
    return document


def _complete(operation: dict[str, Any], route: APIRoute, shapes: Iterator[dict[str, Any]]) -> None:
    """Say what goes in, what comes out, and who may."""
    answers = operation["responses"]
    answers.pop("422", None)  # wrong questions are 400 here
    if _body(route.dependant) is not None:
        operation["requestBody"] = {"required": True, "content": {JSON: {"schema": next(shapes)}}}
    elif route.path_format.endswith("/blobs/{digest}"):
        operation["requestBody"] = {"required": True, "content": {FILE: {"schema": {"type": "string"}}}}
    success = answers[str(route.status_code or 200)]
    success.pop("content", None)
    if route.endpoint in ANSWERS:
        success["content"] = {JSON: {"schema": next(shapes)}}
    elif route.path_format.endswith("/metrics"):
        success["content"] = {"text/plain": {"schema": {"type": "string"}}}
    elif route.path_format.endswith("/ca"):
        success["content"] = {"application/x-pem-file": {"schema": {"type": "string"}}}
    answers["default"] = {
        "description": "A problem (RFC 9457): what happened, and what to do about it",
        "content": {PROBLEM: {"schema": {"$ref": PLACE.format(name="Problem")}}},
    }
    action = action_of(route)
    if action is not None:
        operation["x-action"] = str(action)


def _kinds(route: APIRoute) -> Iterator[Any]:
    """What it reads and answers with, in the order of `_complete`."""
    asked, said = _body(route.dependant), ANSWERS.get(route.endpoint)
    yield from (kind for kind in (asked, said) if kind is not None)


def _body(dependant: Dependant) -> Any:
    return next((BODIES[call] for call in calls(dependant) if call in BODIES), None)
