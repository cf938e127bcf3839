"""A client in front of another one: what the nearer has need not come from the farther."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any, Literal

import requests
from dicomweb_client.protocol import DICOMClient
from pydicom import Dataset

from lamella.clients.calls import (
    AS_STORED,
    Call,
    Failure,
    Found,
    choose_error,
    identify,
    note_failure,
)

logger = logging.getLogger("lamella.clients")

Fill = Literal["never", "whole", "any"]
Writes = Literal["through", "source"]
FILL_BYTES = 64 << 20


class Cache:
    """Asks a near client first, and a source if that has not got it.

    What a search finds, and whether a study or series is complete, only the source knows; so it
    is asked for that, as long as it can be reached.

    Args:
        near: The cache.
        source: Has everything.
        fill: When instances from the source are stored in the cache: `never`; `whole`: those
            that are retrieved whole; `any`: also those of which something is asked for.
        writes: Whether a store goes to the cache, too (`through`), or to the `source` alone.
    """

    def __init__(self, near: DICOMClient, source: DICOMClient, fill: Fill, writes: Writes) -> None:
        self._near, self._source = near, source
        self._fill, self._writes = fill, writes

    def search(self, call: Call, failures: list[Failure]) -> list[Found]:
        """Return what the source finds; what the cache finds if the source cannot be asked."""
        found: list[Found] = self._ask_source_first(call, failures)
        return found

    def collect(self, call: Call, failures: list[Failure]) -> list[Any]:
        """Return what there is of a study or series, from the cache if it has all of it."""
        answer: list[Any] = call.ask(self._choose(call, failures))
        return answer

    def iterate(self, call: Call, failures: list[Failure]) -> Iterator[Dataset]:
        """Yield the instances of a study or series, from the cache if it has all of them."""
        yield from call.ask(self._choose(call, failures))

    def retrieve(self, call: Call, failures: list[Failure]) -> Any:
        """Return what is asked of one instance, from the cache if it has it."""
        if len(call.uids) == 2:  # a picture of a series
            return call.ask(self._choose(call, failures))
        try:
            return call.ask(self._near)
        except requests.RequestException as error:
            missed = note_failure(self._near, error)
        if not missed.is_missing:
            failures.append(missed)
        elif self._wants(call) and call.uids:
            self._fetch(call.uids[0], [(call.uids[1], call.uids[2])], failures)
            near = self._try_near(call)
            if near is not None:
                return near
        try:
            return call.ask(self._source)
        except requests.RequestException as error:
            raise choose_error([note_failure(self._source, error), missed]) from None

    def store(self, call: Call, failures: list[Failure]) -> Dataset:
        """Store in the source, and what it took in the cache."""
        answer: Dataset = call.ask(self._source)
        refused = {item.ReferencedSOPInstanceUID for item in answer.get("FailedSOPSequence", ())}
        taken = [ds for ds in call.options["datasets"] if ds.SOPInstanceUID not in refused]
        if self._writes == "through" and taken:
            self._keep(taken, failures)
        return answer

    def delete(self, call: Call, failures: list[Failure]) -> None:
        """Delete from the source, and from the cache."""
        try:
            call.ask(self._source)
        finally:
            try:
                call.ask(self._near)
            except requests.RequestException as error:
                failed = note_failure(self._near, error)
                if not failed.is_missing:
                    failures.append(failed)

    def _ask_source_first(self, call: Call, failures: list[Failure]) -> Any:
        try:
            return call.ask(self._source)
        except requests.RequestException as error:
            failed = note_failure(self._source, error)
            if failed.is_of_the_call or failed.is_missing:
                raise
            failures.append(failed)
            try:
                return call.ask(self._near)
            except requests.RequestException:
                raise error from None

    def _choose(self, call: Call, failures: list[Failure]) -> DICOMClient:
        """Return who answers for a study or series, which is fetched first if that is wanted."""
        study_uid = call.uids[0]
        search = Call("search_for_instances", call.uids, {"get_remaining": True})
        try:
            wanted = _list_instances(search.ask(self._source), study_uid)
        except requests.RequestException as error:
            failed = note_failure(self._source, error)
            if failed.is_of_the_call:
                raise
            failures.append(failed)
            return self._near
        kept = self._list_near(search, study_uid, failures)
        if wanted - kept and self._wants(call):
            self._fetch(study_uid, sorted(wanted - kept), failures)
            kept = self._list_near(search, study_uid, failures)
        return self._near if wanted and kept == wanted else self._source

    def _wants(self, call: Call) -> bool:
        return self._fill == "any" or (self._fill == "whole" and call.is_of_whole_instances)

    def _list_near(
        self, search: Call, study_uid: str, failures: list[Failure]
    ) -> set[tuple[str, str]]:
        try:
            return _list_instances(search.ask(self._near), study_uid)
        except requests.RequestException as error:
            failures.append(note_failure(self._near, error))
            return set()

    def _fetch(
        self, study_uid: str, instances: list[tuple[str, str]], failures: list[Failure]
    ) -> None:
        """Store instances of the source in the cache, as they are, some at a time."""
        batch, size_bytes = list[Dataset](), 0
        for uids in instances:
            call = Call("retrieve_instance", (study_uid, *uids), {"media_types": AS_STORED})
            try:
                ds = call.ask(self._source)
            except requests.RequestException as error:
                failures.append(note_failure(self._source, error))
                continue
            batch.append(ds)
            size_bytes += len(ds.get("PixelData", b""))
            if size_bytes >= FILL_BYTES:
                self._keep(batch, failures)
                batch, size_bytes = [], 0
        if batch:
            self._keep(batch, failures)

    def _keep(self, datasets: list[Dataset], failures: list[Failure]) -> None:
        """Store in the cache; where that fails, the answer comes from the source."""
        try:
            self._near.store_instances(datasets)
        except requests.RequestException as error:
            logger.warning("the cache %s cannot be filled: %s", self._near.base_url, error)
            failures.append(note_failure(self._near, error))

    def _try_near(self, call: Call) -> Any:
        try:
            return call.ask(self._near)
        except requests.RequestException:
            return None  # it could not be filled, which is on record


def _list_instances(found: list[Found], study_uid: str) -> set[tuple[str, str]]:
    """Return series and SOP Instance UIDs of search results."""
    return {(identify(one, "0020000E"), identify(one)) for one in found}
