"""The OpenAPI document, with the URL under which clients reach this server.

litestar writes down paths and what handlers declare in their signatures. Added here is what it
cannot know: media types, parameters and statuses of DICOMweb's transactions, as the routes
declare them, the shapes of JSON answers, and that every refusal is a problem.

Source:
    OpenAPI 3.1.0 §4.8.5 (Server Object), §4.8.10 (Operation Object).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from litestar import Request
from litestar.handlers import HTTPRouteHandler
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.routes import HTTPRoute

from lamella import __version__
from lamella.dicomweb.locations import base_url
from lamella.dicomweb.media_types import DICOM, DICOM_JSON, JSON, OCTET_STREAM
from lamella.dicomweb.transactions import Transaction, transaction_of
from lamella.web.capabilities import ROOTS, WADL
from lamella.web.shapes import ANSWERS, SHAPES, Schema, refer_to

_READ = ("get", "head")
_FILES = ("original-file", "conflict-file")
_TYPES = {
    "first-page": "text/html",
    "metrics": "text/plain",
    "deid-report": "text/html",
    "review-picture": "image/png",
    "original-picture": "image/png",
}
_STORED = (200, 202)
_PARAMETER_TYPES: dict[str, Schema] = {
    "limit": {"type": "integer", "minimum": 0},
    "offset": {"type": "integer", "minimum": 0},
    "fuzzymatching": {"type": "boolean"},
    "emptyvaluematching": {"type": "boolean"},
    "multiplevaluematching": {"type": "boolean"},
    "quality": {"type": "integer", "minimum": 1, "maximum": 100},
}


class ApiDocument(JsonRenderPlugin):
    """The document as JSON; pages that show it would load their scripts from elsewhere."""

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:
        """Return the document as this client sees it, behind whatever proxy it stands."""
        document = complete(openapi_schema, request.app.routes)
        return super().render(request, {**document, "servers": [{"url": base_url(request)}]})


CONFIG = OpenAPIConfig(
    title="Lamella",
    version=__version__,
    description="A DICOMweb archive in which every view is pinned to a commit.",
    render_plugins=[ApiDocument()],
)


def complete(document: dict[str, Any], routes: Iterable[Any]) -> dict[str, Any]:
    """Return the document with all that is known of each operation.

    Args:
        document: As litestar makes it.
        routes: Of the application.
    """
    paths = {path: dict(operations) for path, operations in document["paths"].items()}
    for one in routes:
        if not isinstance(one, HTTPRoute) or one.path_format not in paths:
            continue
        operations = paths[one.path_format]
        for handler in one.route_handlers:
            for method in map(str.lower, handler.http_methods):
                if method in operations:
                    operations[method] = _describe(
                        operations[method], handler, method, "{instance}" in one.path_format
                    )
    components = dict(document.get("components", {}))
    components["schemas"] = {**components.get("schemas", {}), **SHAPES}
    return {**document, "paths": paths, "components": components}


def _describe(
    operation: dict[str, Any], handler: HTTPRouteHandler, method: str, is_single: bool
) -> dict[str, Any]:
    name = str(handler.name)
    if name == "capabilities":
        answers: tuple[str, ...] = (WADL, JSON)
        transaction = Transaction("8.9", answers)
    elif any(path.startswith(ROOTS[0]) for path in handler.paths):
        transaction = transaction_of(handler.opt)
        answers = (*transaction.answers, *(transaction.single_answers if is_single else ()))
    else:
        transaction, answers = None, (DICOM if name in _FILES else _TYPES.get(name, JSON),)
    status = handler.status_code if transaction is None else transaction.status
    described = {**operation, "responses": _describe_responses(name, method, status, answers)}
    if transaction is not None:
        known = operation.get("parameters", [])
        described["parameters"] = [*known, *_describe_parameters(transaction)]
        if transaction.bodies:
            described["requestBody"] = {"content": _describe_bodies(transaction.bodies)}
    return described


def _describe_parameters(transaction: Transaction) -> list[dict[str, Any]]:
    text: Schema = {"type": "string"}
    asked = [("Accept", "header"), ("accept", "query"), ("charset", "query")]
    asked += [(name, "query") for name in transaction.parameters]
    return [
        {
            "name": name,
            "in": place,
            "required": False,
            "schema": _PARAMETER_TYPES.get(name, text),
        }
        for name, place in asked
    ]


def _describe_bodies(media_types: Sequence[str]) -> dict[str, Any]:
    return {one: {"schema": {"type": "string", "format": "binary"}} for one in media_types}


def _describe_responses(
    name: str, method: str, status: int | None, media_types: Sequence[str]
) -> dict[str, Any]:
    success = status or 200
    content = {one: {"schema": _find_schema(name, one)} for one in media_types}
    answer: dict[str, Any] = {"description": "Done."}
    if media_types and success != 204 and method != "head":
        answer["content"] = content
    statuses = _STORED if name == "store" else (success,)
    problem = {"application/json": {"schema": refer_to("Problem")}}
    refusal: dict[str, Any] = {"description": "Refused."}
    failure: dict[str, Any] = {"description": "It cannot be done now."}
    if method != "head":
        refusal["content"] = failure["content"] = problem
    described = {str(one): answer for one in statuses}
    if method in _READ:
        described["206"] = {**answer, "description": "A part of it."}
        described["304"] = {"description": "The client has it."}
    if name == "store":
        described["409"] = {"description": "Nothing was stored.", "content": {**content, **problem}}
        described["409"]["content"][JSON] = {
            "schema": {"anyOf": [refer_to("Attributes"), refer_to("Problem")]}
        }
    if name == "readiness":
        described["503"] = {**answer, "description": "It would take no work now."}
    described |= {"4XX": refusal, "5XX": failure}
    return described


def _find_schema(name: str, media_type: str) -> Schema:
    if media_type in (JSON, DICOM_JSON):
        return ANSWERS.get(name, {})
    if media_type.startswith(("text/", "application/xml")):
        return {"type": "string"}
    return {"type": "string", "format": "binary"} if media_type != OCTET_STREAM else {}
