"""The web application: all doors that speak HTTP, as one ASGI application."""

from __future__ import annotations

from litestar import Litestar
from litestar.datastructures import State
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
    app = Litestar(
        route_handlers=_list_routes(),
        exception_handlers={Exception: answer_error},
        state=State({"services": services}),
        openapi_config=openapi.CONFIG,
        logging_config=None,
        request_max_body_size=1 << 20,
    )
    doors: ASGIApp = Hosts(Shortcut(Patience(Methods(app), stall_s), services))
    origins = services.settings.allowed_origins
    return RequestWatch(Origins(doors, origins) if origins else doors)
