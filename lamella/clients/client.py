"""What the clients that send requests have in common."""

from __future__ import annotations

import copy
import os
from typing import Any, Self

import requests
from dicomweb_client.web import DICOMwebClient

from lamella.clients.failures import named_failures

COMMIT_HEADER = "Lamella-Commit"
NO_STUDY = "0"  # whoever asks for it learns the commit, and nobody has to look far


class RequestingClient(DICOMwebClient):
    """A client that asks a DICOMweb root, wherever that is.

    Args:
        url: Of the root, without a slash at its end.
        session: What sends requests. A process that is forked off sends them through a copy: it
            must not go on with its parent's connections.
        options: What else `dicomweb_client.DICOMwebClient` takes.

    Source:
        PS3.18 §10 (the Studies Service), as dicomweb-client has it.
    """

    def __init__(self, url: str, session: requests.Session, **options: Any) -> None:
        super().__init__(url.rstrip("/"), session=session, **options)

    @property
    def _session(self) -> requests.Session:
        """What sends this process's requests."""
        if self._owner != os.getpid():
            self._session = copy.deepcopy(self._own_session)
        return self._own_session

    @_session.setter
    def _session(self, session: requests.Session) -> None:
        self._own_session, self._owner = session, os.getpid()

    def resolve_commit(self) -> str | None:
        """Return the id of the commit that the client sees now.

        Returns:
            64 hex digits, or None if what answers has no commits.

        Raises:
            RequestFailed: The revision is not known.
        """
        answer = self._http_get(f"{self.base_url}/studies", {"StudyInstanceUID": NO_STUDY})
        commit_id: str | None = answer.headers.get(COMMIT_HEADER)
        return commit_id

    def close(self) -> None:
        """Close connections; they are opened again when needed."""
        self._session.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _http_get(self, *arguments: Any, **options: Any) -> requests.Response:
        with named_failures():
            answer: requests.Response = super()._http_get(*arguments, **options)
            return answer

    def _http_post(self, *arguments: Any, **options: Any) -> requests.Response:
        with named_failures():
            answer: requests.Response = super()._http_post(*arguments, **options)
            return answer

    def _http_delete(self, url: str) -> requests.Response:
        with named_failures():
            answer: requests.Response = super()._http_delete(url)
            return answer
