"""Calls of a client as data: what is asked for, apart from whom."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import requests
from dicomweb_client.protocol import DICOMClient
from pydicom import Dataset

AS_STORED = (("application/dicom", "*"),)
UID_TAGS = {"studies": "0020000D", "series": "0020000E", "instances": "00080018"}

Found = dict[str, Any]
"""DICOM JSON: of a search, or of an instance's metadata."""


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a client.

    Attributes:
        method: Its name in the protocol.
        uids: Of study, series and instance, as far as there are.
        options: The other arguments, by name.
    """

    method: str
    uids: tuple[str, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def level(self) -> str:
        """What a search finds."""
        return self.method.removeprefix("search_for_")

    @property
    def is_of_whole_instances(self) -> bool:
        """Whether the answer is instances, all of each."""
        verb, _, noun = self.method.partition("_")
        return verb in ("retrieve", "iter") and noun in ("study", "series", "instance")

    def ask(self, client: DICOMClient) -> Any:
        """Make the call.

        Raises:
            RequestFailed, requests.RequestException: What the client raises.
        """
        return getattr(client, self.method)(*self.uids, **self.options)

    def change(self, **options: Any) -> Call:
        """Return the call with other options."""
        return replace(self, options=self.options | options)


@dataclass(frozen=True, slots=True)
class Failure:
    """What one of several clients could not do.

    Attributes:
        url: Of the client.
        error: What it raised.
    """

    url: str
    error: requests.RequestException

    @property
    def is_missing(self) -> bool:
        """Whether the client is well, and has not got it."""
        response = self.error.response
        return response is not None and response.status_code in (404, 410)

    @property
    def is_of_the_call(self) -> bool:
        """Whether the call is at fault, not the client, nor what it has."""
        response = self.error.response
        return response is not None and 400 <= response.status_code < 500 and not self.is_missing


class Report:
    """The failures of a thread's last call that was answered all the same."""

    def __init__(self) -> None:
        self._of_thread = threading.local()

    def begin(self) -> list[Failure]:
        """Return a new list, to be filled while a call goes on."""
        self._of_thread.failures = failures = list[Failure]()
        return failures

    def read(self) -> tuple[Failure, ...]:
        """Return the failures."""
        return tuple(getattr(self._of_thread, "failures", ()))

    def __reduce__(self) -> tuple[type[Report], tuple[()]]:
        return Report, ()


class Plan(Protocol):
    """A way to have several clients answer a call; what fails besides goes into `failures`."""

    def search(self, call: Call, failures: list[Failure]) -> list[Found]:
        """Return what is found."""

    def collect(self, call: Call, failures: list[Failure]) -> list[Any]:
        """Return instances, or metadata of instances, of a study or series."""

    def iterate(self, call: Call, failures: list[Failure]) -> Iterator[Dataset]:
        """Yield instances of a study or series."""

    def retrieve(self, call: Call, failures: list[Failure]) -> Any:
        """Return what is asked of one instance, or a picture."""

    def store(self, call: Call, failures: list[Failure]) -> Dataset:
        """Store; return what became of it."""

    def delete(self, call: Call, failures: list[Failure]) -> None:
        """Delete."""


def identify(found: Dataset | Found, tag: str = UID_TAGS["instances"]) -> str:
    """Return the UID of a result, of metadata or of an instance."""
    if isinstance(found, Dataset):
        return str(found.SOPInstanceUID)
    return str(found[tag]["Value"][0])


def note_failure(client: DICOMClient, error: requests.RequestException) -> Failure:
    """Return what a client could not do."""
    return Failure(client.base_url, error)


def choose_error(failures: list[Failure]) -> requests.RequestException:
    """Return what to raise when nobody has an answer: what is worse than not having it."""
    worse = [failure.error for failure in failures if not failure.is_missing]
    return worse[0] if worse else failures[0].error


def owns(client: DICOMClient, url: str) -> bool:
    """Tell whether a URL is of what a client reads."""
    parts = getattr(client, "clients", None)
    if parts is not None:
        return any(owns(part, url) for part in parts)
    return url.startswith(f"{client.base_url}/")
