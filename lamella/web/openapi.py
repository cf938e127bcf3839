"""The OpenAPI document, with the URL under which clients reach this server.

Source:
    OpenAPI 3.1.0 §4.8.5 (Server Object).
"""

from __future__ import annotations

from typing import Any

from litestar import Request
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin

from lamella import __version__
from lamella.dicomweb.locations import base_url


class ApiDocument(JsonRenderPlugin):
    """The document as JSON; pages that show it would load their scripts from elsewhere."""

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:
        """Return the document as this client sees it, behind whatever proxy it stands."""
        servers = [{"url": base_url(request)}]
        return super().render(request, {**openapi_schema, "servers": servers})


CONFIG = OpenAPIConfig(
    title="Lamella",
    version=__version__,
    description="A DICOMweb archive in which every view is pinned to a commit.",
    render_plugins=[ApiDocument()],
)
