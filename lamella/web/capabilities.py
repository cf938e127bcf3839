"""What a DICOMweb root offers, told by the routes themselves: WADL or JSON.

Source:
    PS3.18 §8.9 (Retrieve Capabilities) and Annex H; W3C submission "Web Application Description
    Language".
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from litestar import Request, route
from litestar.handlers import HTTPRouteHandler
from litestar.routes import HTTPRoute
from litestar.types import ASGIApp

from lamella import __version__
from lamella.dicomweb.answers import Answer
from lamella.dicomweb.media_types import JSON
from lamella.dicomweb.negotiation import negotiate_json
from lamella.dicomweb.pinned import pin
from lamella.dicomweb.transactions import Transaction, transaction_of

WADL = "application/vnd.sun.wadl+xml"
ROOTS = ("/dicomweb/{dataset:str}", "/dicomweb/{dataset:str}/{revision:str}")
_NAMESPACE = "http://wadl.dev.java.net/2009/02"
_BELOW = "/dicomweb/{dataset}/{revision}/"
_READ_ONLY = frozenset({"GET", "HEAD", "OPTIONS"})
_EVERYWHERE = ("accept", "charset")


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one resource.

    Attributes:
        name: The transaction, as the routes name it.
        path: Behind the root, without a slash at its start; `{names}` are variable.
        transaction: What its route says of itself.
        summary: What it does, in one sentence.
    """

    method: str
    name: str
    path: str
    transaction: Transaction
    summary: str

    @property
    def answers(self) -> Sequence[str]:
        """Media types of its answers."""
        is_single = "{instance}" in self.path
        more = self.transaction.single_answers if is_single else ()
        return (*self.transaction.answers, *more)

    @property
    def parameters(self) -> Sequence[str]:
        """Query parameters besides attributes."""
        return (*_EVERYWHERE, *self.transaction.parameters)


@route(list(ROOTS), http_method=["OPTIONS"], name="capabilities")
async def retrieve_capabilities(request: Request[Any, Any, Any]) -> ASGIApp:
    """Tell which resources there are at this revision, and their methods."""
    pinned = await pin(request)
    operations = list_operations(request.app.routes)
    if not pinned.view.revision.branch:
        operations = [one for one in operations if one.method in _READ_ONLY]
    form = negotiate_json(pinned.accept, (WADL, JSON))
    write = write_wadl if form.media_type == WADL else write_json
    headers = [
        ("content-type", form.media_type),
        ("lamella-commit", pinned.view.commit_id),
        ("allow", "OPTIONS"),
        ("vary", "Accept"),
    ]
    return Answer(200, headers, write(pinned.root_url, operations))


ROUTES = (retrieve_capabilities,)


def list_operations(routes: Iterable[Any]) -> list[Operation]:
    """Return what can be done below a DICOMweb root, in order of paths."""
    found = {
        _describe(handler, str(method), one.path_format.removeprefix(_BELOW))
        for one in routes
        if isinstance(one, HTTPRoute) and one.path_format.startswith(_BELOW)
        for handler in one.route_handlers
        for method in handler.http_methods
        if method != "OPTIONS"
    }
    return sorted(found, key=lambda one: (one.path, one.method, one.name))


def _describe(handler: HTTPRouteHandler, method: str, path: str) -> Operation:
    summary = (handler.fn.__doc__ or "").partition("\n")[0]
    return Operation(method, str(handler.name), path, transaction_of(handler.opt), summary)


def write_json(root_url: str, operations: Sequence[Operation]) -> bytes:
    """Return the document as JSON: resources by path, each with its methods."""
    resources: dict[str, dict[str, Any]] = {}
    for one in operations:
        methods = resources.setdefault(one.path, {})
        methods[one.method] = {
            "transaction": one.name,
            "summary": one.summary,
            "mediaTypes": list(one.answers),
            "takes": list(one.transaction.bodies),
            "parameters": list(one.parameters),
        }
    return msgspec.json.encode(
        {
            "service": root_url,
            "server": f"Lamella {__version__}",
            "resources": [{"path": path, "methods": resources[path]} for path in resources],
        }
    )


def write_wadl(root_url: str, operations: Sequence[Operation]) -> bytes:
    """Return the document as WADL."""
    application = ET.Element("application", {"xmlns": _NAMESPACE})
    ET.SubElement(application, "doc", {"title": f"Lamella {__version__}"})
    resources = ET.SubElement(application, "resources", {"base": f"{root_url}/"})
    by_path: dict[str, ET.Element] = {}
    for one in operations:
        if one.path not in by_path:
            by_path[one.path] = _add_resource(resources, one.path)
        _add_method(by_path[one.path], one)
    body: bytes = ET.tostring(application, encoding="utf-8", xml_declaration=True)
    return body


def _add_resource(parent: ET.Element, path: str) -> ET.Element:
    resource = ET.SubElement(parent, "resource", {"path": path})
    for segment in path.split("/"):
        if segment.startswith("{"):
            name = segment.strip("{}")
            ET.SubElement(
                resource, "param", {"name": name, "style": "template", "required": "true"}
            )
    return resource


def _add_method(resource: ET.Element, one: Operation) -> None:
    method = ET.SubElement(resource, "method", {"name": one.method})
    ET.SubElement(method, "doc", {"title": one.name}).text = one.summary
    asked = ET.SubElement(method, "request")
    for name in one.parameters:
        ET.SubElement(asked, "param", {"name": name, "style": "query"})
    for media_type in one.transaction.bodies:
        ET.SubElement(asked, "representation", {"mediaType": media_type})
    answer = ET.SubElement(method, "response", {"status": str(one.transaction.status)})
    for media_type in one.answers:
        ET.SubElement(answer, "representation", {"mediaType": media_type})
