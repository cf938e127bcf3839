"""What botocore reads about AWS before its first call, cut down to what a server needs of it.

botocore makes its clients from descriptions: where each of AWS's 300 services can be reached, and
what every operation of S3 means, in words. All of it stays in memory, 10 MB in each process.
"""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Callable
from typing import Any

from aiobotocore.session import AioSession, get_session
from botocore.loaders import JSONFileLoader

_SERVICES = frozenset({"s3", "sso", "sso-oidc", "signin", "sts"})
"""S3, and those that give credentials for it."""
_FORMATS: dict[str, Callable[..., Any]] = {".json": open, ".json.gz": gzip.open}


def open_session() -> AioSession:
    """Return a session whose clients know S3 and what gives credentials, and no explanations."""
    session = get_session()
    session.get_component("data_loader").file_loader = _ShortFiles()
    return session


class _ShortFiles(JSONFileLoader):  # type: ignore[misc]  # botocore has no types
    """Loads descriptions without what nobody here asks for."""

    def load_file(self, file_path: str) -> dict[str, Any] | None:
        """Return what a file tells, None if there is no such file.

        Args:
            file_path: Without what tells its format.
        """
        for suffix, open_file in _FORMATS.items():
            if os.path.isfile(file_path + suffix):
                with open_file(file_path + suffix, "rb") as file:
                    found: dict[str, Any] = json.load(file, object_pairs_hook=_shorten)
                return found
        return None


def _shorten(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return a JSON object without explanations and other services."""
    found = {name: "" if name == "documentation" else value for name, value in pairs}
    services = found.get("services")
    if isinstance(services, dict):
        found["services"] = {name: services[name] for name in services if name in _SERVICES}
    return found
