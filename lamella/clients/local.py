"""A client of a data folder, without a server or beside one."""

from __future__ import annotations

import copy
import os
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Self
from urllib.parse import quote

from lamella.archive.installation import open_archive
from lamella.clients.client import RequestingClient
from lamella.clients.doors import open_session
from lamella.clients.household import HOUSEHOLD, OpenHouse
from lamella.errors import InvalidRequest
from lamella.settings import Settings


class LocalClient(RequestingClient):
    """A client of a dataset at a revision, in a data folder.

    It sees, stores and deletes as a client of a server on that folder would; there may be one.
    A store makes one commit, durable when it returns.

    `base_url` names the folder by a host that exists nowhere (RFC 2606 §2); URLs of bulk data in
    metadata begin with it, and are for this client, or another one of the same folder, to read.

    Args:
        path: The data folder, of `LAMELLA_DATA_DIR`.
        dataset: Name of the dataset.
        revision: Branch, tag, commit id or what else a revision can be; one that moves is
            resolved at each request.
        database_url: As `LAMELLA_DATABASE_URL`, where the database is not in the folder.
        storage_url: As `LAMELLA_STORAGE_URL`, where packs are not in the folder.
        s3_endpoint_url: As `LAMELLA_S3_ENDPOINT_URL`.

    Raises:
        InvalidRequest: There is no data folder.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        dataset: str = "default",
        revision: str = "main",
        *,
        database_url: str = "",
        storage_url: str = "",
        s3_endpoint_url: str = "",
    ) -> None:
        folder = Path(path).expanduser().resolve()
        if not (folder / "format").is_file():
            raise InvalidRequest(f"There is no Lamella data folder at {folder}.")
        self.dataset, self.revision = dataset, revision
        settings = Settings(
            data_dir=folder,
            database_url=database_url,
            storage_url=storage_url,
            s3_endpoint_url=s3_endpoint_url,
            dimse="off",
        )
        self._host = f"http://{sha256(os.fsencode(folder)).hexdigest()[:16]}.lamella.invalid"
        self._place = DataFolder(settings)
        session = open_session(self._host, self._place)
        super().__init__(self._name_root(revision), session, timeout=None)
        self.set_http_retry_params(retry=False)

    def pin(self) -> Self:
        """Return a client of the commit that this one sees now.

        Raises:
            RequestFailed: The revision is not known.
        """
        commit_id = self.resolve_commit()
        assert commit_id is not None, "its revisions are commits"
        pinned = copy.copy(self)
        pinned.revision, pinned.base_url = commit_id, self._name_root(commit_id)
        pinned.url_prefix = pinned.base_url.removeprefix(self._host)
        return pinned

    def close(self) -> None:
        """Close what this process has open of the folder; the next request opens it again."""
        HOUSEHOLD.close(self._place)

    def _name_root(self, revision: str) -> str:
        return f"{self._host}/dicomweb/{quote(self.dataset)}/{quote(revision, safe='~:@')}"


@dataclass(frozen=True, slots=True)
class DataFolder:
    """The place of an installation, as its settings say."""

    settings: Settings

    async def open(self) -> OpenHouse:
        """Open it, which brings its schema to head.

        Raises:
            LamellaError: It cannot be.
        """
        return OpenHouse.build(await open_archive(self.settings), self.settings)
