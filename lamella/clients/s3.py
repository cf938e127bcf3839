"""A client of what was published or exported: no server, no database, only storage."""

from __future__ import annotations

import os
import shutil
import weakref
from hashlib import sha256
from pathlib import Path
from typing import Self
from urllib.parse import quote

from lamella.clients.client import RequestingClient
from lamella.clients.doors import open_session
from lamella.clients.household import HOUSEHOLD
from lamella.clients.releases.mirror import BRANCH
from lamella.clients.releases.objects import StoreUrl
from lamella.clients.releases.site import ReleaseSite, make_folder

DEFAULT_DATASET = "default"


class S3Client(RequestingClient):
    """A client of what `lamella publish` wrote beside the packs, or `lamella export --static`.

    It reads the index and what it needs of the packs, by ranges; nothing can be stored or
    deleted (405). What was published stays as it is; so this client is of one commit.

    What it has read of the index it keeps in a folder, with pieces of packs: so it answers again
    without asking, and processes share it. A search without a study finds its way through the
    whole index; what it finds is read.

    Args:
        url: The storage, or the export: `s3://bucket/prefix`, `https://host/path`,
            `file:///folder`, or a folder's path. (Of an installation with packs in its data
            folder: `DATA/packs`.)
        revision: What was published or exported, as it was typed: `main`, `v1`, `other@v1`; or
            the name that was chosen for it; of an export, also the id of its commit. Without a
            dataset it is of `default`.
        s3_endpoint_url: Of an S3 store that is not AWS's own. Credentials come as AWS's tools
            have them.
        cache_folder: Where to keep what was read; None: in a temporary folder that is removed
            with the client.
    """

    def __init__(
        self,
        url: str | os.PathLike[str],
        revision: str = "main",
        *,
        s3_endpoint_url: str = "",
        cache_folder: str | os.PathLike[str] | None = None,
    ) -> None:
        dataset, separator, name = revision.partition("@")
        if not separator:
            dataset, name = DEFAULT_DATASET, revision
        place = StoreUrl(os.fspath(url), s3_endpoint_url)
        identity = sha256(repr((place, dataset, name)).encode()).hexdigest()[:16]
        folder = make_folder() if cache_folder is None else Path(cache_folder) / identity
        if cache_folder is None:
            weakref.finalize(self, _remove, folder, os.getpid())
        self._site = ReleaseSite(place, dataset, name, folder)
        host = f"http://{identity}.lamella.invalid"
        root = f"{host}/dicomweb/{quote(dataset)}/{BRANCH}"
        super().__init__(root, open_session(host, self._site), timeout=None)
        self.set_http_retry_params(retry=False)

    def pin(self) -> Self:
        """Return the client: what was published does not change."""
        return self

    def close(self) -> None:
        """Close what this process has open; the next request opens it again."""
        HOUSEHOLD.close(self._site)


def _remove(folder: Path, owner: int) -> None:
    """Remove a temporary folder, in the process that made it."""
    if os.getpid() == owner:
        shutil.rmtree(folder, ignore_errors=True)
