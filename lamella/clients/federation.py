"""Several clients as one that has what any of them has."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import requests
from dicomweb_client.protocol import DICOMClient
from pydicom import Dataset

from lamella.clients.calls import (
    UID_TAGS,
    Call,
    Failure,
    Found,
    choose_error,
    identify,
    note_failure,
)


class Federation:
    """Asks all of its clients; of what several have, the first one's counts.

    Args:
        clients: In the order in which they count.
        strict: Whether a client that cannot answer fails the call; else it is reported. (One
            that has not got what is asked for does not fail.)
    """

    def __init__(self, clients: Sequence[DICOMClient], strict: bool) -> None:
        self._clients = tuple(clients)
        self._is_strict = strict

    def search(self, call: Call, failures: list[Failure]) -> list[Found]:
        """Return what any client finds, each thing once, in the order of the clients."""
        skipped = call.options.get("offset") or 0
        limit = None if call.options.get("get_remaining") else call.options.get("limit")
        wanted = call.change(offset=None)
        if limit is not None:
            wanted = wanted.change(limit=skipped + limit)
        found = self._ask_all(wanted, failures)
        merged = _merge(found, UID_TAGS[call.level])
        return merged[skipped : None if limit is None else skipped + limit]

    def collect(self, call: Call, failures: list[Failure]) -> list[Any]:
        """Return what any client has of a study or series, each instance once."""
        return _merge(self._ask_all(call, failures), UID_TAGS["instances"])

    def iterate(self, call: Call, failures: list[Failure]) -> Iterator[Dataset]:
        """Yield what any client has of a study or series, each instance once."""
        seen = set[str]()
        failed = list[Failure]()
        for client in self._clients:
            try:
                for ds in call.ask(client):
                    if ds.SOPInstanceUID not in seen:
                        seen.add(ds.SOPInstanceUID)
                        yield ds
            except requests.RequestException as error:
                failed.append(note_failure(client, error))
        self._judge(failed, failures, is_answered=bool(seen))

    def retrieve(self, call: Call, failures: list[Failure]) -> Any:
        """Return what the first client has that has it."""
        failed = list[Failure]()
        for client in self._clients:
            try:
                answer = call.ask(client)
            except requests.RequestException as error:
                failed.append(note_failure(client, error))
            else:
                self._judge(failed, failures, is_answered=True)
                return answer
        raise choose_error(failed)

    def store(self, call: Call, failures: list[Failure]) -> Dataset:
        """Store with the first client."""
        answer: Dataset = call.ask(self._clients[0])
        return answer

    def delete(self, call: Call, failures: list[Failure]) -> None:
        """Delete with every client that has it; what one cannot delete is raised in the end."""
        failed = list[Failure]()
        for client in self._clients:
            try:
                call.ask(client)
            except requests.RequestException as error:
                failed.append(note_failure(client, error))
        if len(failed) == len(self._clients) or not all(one.is_missing for one in failed):
            raise choose_error(failed)

    def _ask_all(self, call: Call, failures: list[Failure]) -> list[list[Any]]:
        """Ask all clients at once; return the answers in their order."""
        answers, failed = list[list[Any]](), list[Failure]()
        with ThreadPoolExecutor(len(self._clients)) as threads:
            for answer in threads.map(lambda client: _try(call, client), self._clients):
                if isinstance(answer, Failure):
                    failed.append(answer)
                else:
                    answers.append(answer)
        self._judge(failed, failures, is_answered=bool(answers))
        return answers

    def _judge(self, failed: list[Failure], failures: list[Failure], is_answered: bool) -> None:
        """Report failures, or raise what they come to."""
        worse = [failure for failure in failed if not failure.is_missing]
        if failed and (not is_answered or (worse and self._is_strict)):
            raise choose_error(failed)
        failures += worse


def _try(call: Call, client: DICOMClient) -> list[Any] | Failure:
    try:
        return list(call.ask(client))
    except requests.RequestException as error:
        return note_failure(client, error)


def _merge(answers: Sequence[list[Any]], tag: str) -> list[Any]:
    """Return the members of all answers, of those with one UID the first."""
    merged: dict[str, Any] = {}
    for answer in answers:
        for found in answer:
            merged.setdefault(identify(found, tag), found)
    return list(merged.values())
