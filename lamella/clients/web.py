"""A client of a DICOMweb server."""

from __future__ import annotations

import copy
from typing import Any, Self

import requests
from requests.adapters import HTTPAdapter

from lamella.clients.client import RequestingClient

MOST_CONNECTIONS = 32


class WebClient(RequestingClient):
    """A client of a DICOMweb root on the web, Lamella's or another's.

    Args:
        url: Of the root: `http://127.0.0.1:8042/dicomweb/default/v1`.
        session: What sends requests, if it has to know more than `options` say: certificates,
            or how to log in. It must be fit for `copy.deepcopy` and `pickle`, if clients are to
            be used in several processes.
        options: `headers`, `proxies`, `timeout` (seconds), and what else
            `dicomweb_client.DICOMwebClient` takes.
    """

    def __init__(self, url: str, session: requests.Session | None = None, **options: Any) -> None:
        chosen = requests.Session() if session is None else session
        for scheme in ("http://", "https://"):
            if type(chosen.get_adapter(scheme)) is HTTPAdapter:
                chosen.mount(scheme, _Connections(pool_maxsize=MOST_CONNECTIONS))
        super().__init__(url, chosen, **options)

    def pin(self) -> Self:
        """Return a client of the commit that this one sees now.

        Raises:
            ValueError: The server has no commits, or the URL names no revision of Lamella's.
        """
        commit_id = self.resolve_commit()
        head, _, revision = self.base_url.rpartition("/")
        if commit_id is None or not head.rpartition("/")[0].endswith("/dicomweb"):
            raise ValueError("only a root of the form …/dicomweb/DATASET/REVISION can be pinned")
        pinned = copy.copy(self)
        pinned.base_url = f"{head}/{commit_id}"
        pinned.url_prefix = f"{pinned.url_prefix.removesuffix(revision)}{commit_id}"
        return pinned


class _Connections(HTTPAdapter):
    """Sends requests with the whole host in their Host header.

    dicomweb-client names it without its port, so that URLs in answers lead nowhere.
    """

    def send(
        self, request: requests.PreparedRequest, *arguments: Any, **options: Any
    ) -> requests.Response:
        request.headers.pop("Host", None)
        return super().send(request, *arguments, **options)
