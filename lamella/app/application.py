"""The web application: all doors that speak HTTP, as one ASGI application."""

from __future__ import annotations

from litestar import Litestar
from litestar.datastructures import State
from litestar.openapi.config import OpenAPIConfig
from litestar.types import ASGIApp, ControllerRouterHandler

from lamella.dicomweb.problems import answer_error
from lamella.dicomweb.services import Services
from lamella.qido import routes as qido_routes
from lamella.stow import routes as stow_routes
from lamella.wado import routes as wado_routes
from lamella.web import api, capabilities, first_page, health, openapi
from lamella.web.hosts import Hosts
from lamella.web.methods import Methods
from lamella.web.origins import Origins
from lamella.web.patience import STALL_S, Patience
from lamella.web.shortcut import Shortcut
from lamella.web.watching import RequestWatch


def list_dicomweb_routes() -> list[ControllerRouterHandler]:
    """Return the handlers of DICOMweb roots."""
    return [
        *qido_routes.ROUTES,
        *wado_routes.ROUTES,
        *stow_routes.ROUTES,
        *capabilities.ROUTES,
    ]


def _list_routes() -> list[ControllerRouterHandler]:
    return [
        *list_dicomweb_routes(),
        api.ROUTER,
        *first_page.ROUTES,
        *health.ROUTES,
    ]


def build_application(services: Services, stall_s: float = STALL_S) -> ASGIApp:
    """Return the application over an installation.

    Args:
        services: The house.
        stall_s: How long to wait for the next bytes of a request's body.
    """
    app = _build(services, _list_routes(), openapi.CONFIG)
    doors: ASGIApp = Hosts(Shortcut(Patience(Methods(app), stall_s), services))
    origins = services.settings.allowed_origins
    return RequestWatch(Origins(doors, origins) if origins else doors)


def build_doors(services: Services) -> ASGIApp:
    """Return the DICOMweb doors alone, for callers in this process."""
    return _build(services, list_dicomweb_routes(), None)


def _build(
    services: Services, routes: list[ControllerRouterHandler], openapi_config: OpenAPIConfig | None
) -> Litestar:
    return Litestar(
        route_handlers=routes,
        exception_handlers={Exception: answer_error},
        state=State({"services": services}),
        openapi_config=openapi_config,
        logging_config=None,
        request_max_body_size=1 << 20,
    )
