"""Several clients as one: a cache in front of a source, or a federation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from dicomweb_client.protocol import DICOMClient
from pydicom import Dataset

from lamella.clients.caching import Cache, Fill, Writes
from lamella.clients.calls import Call, Failure, Found, Plan, Report, owns
from lamella.clients.federation import Federation

MediaTypes = tuple[str | tuple[str, str], ...]


class ComposedClient:
    """Has several clients answer as one; they may be composed themselves.

    `sequential=True`: each client is a cache of those after it, and the last one is the source.
    What a search finds, and whether a study or series is complete, the source says, as long as
    it can be reached; what is read comes from the first client that has it. A cache is right as
    long as instances do not change under their UIDs at the source: pin it, or see to it.

    `sequential=False`: all clients are asked at once and have a say. What several have comes
    from the first of them, each study, series and instance once. (So counts in a study that lies
    with several are those of the first.) Stores go to the first client, deletes to all.

    A client that fails while others answer does not fail the call: see `failures`. What is
    stored and deleted has to succeed at the source, or with the first client.

    Args:
        clients: At least one.
        sequential: See above.
        fill: Of caches: when instances that come from the source are stored in them. `never`;
            `whole`: when they are retrieved whole; `any`: also when a frame, a picture or
            metadata is asked of them.
        writes: Of caches: whether stores go `through` to them, or to the `source` alone.
        strict: Of a federation: whether a client that fails does fail the call.

    Raises:
        ValueError: There is no client.
    """

    def __init__(
        self,
        clients: Sequence[DICOMClient],
        sequential: bool = True,
        *,
        fill: Fill = "whole",
        writes: Writes = "through",
        strict: bool = False,
    ) -> None:
        if not clients:
            raise ValueError("at least one client is needed")
        self.clients = tuple(clients)
        main = self.clients[-1 if sequential else 0]
        self.base_url, self.scheme, self.protocol = main.base_url, main.scheme, main.protocol
        self.url_prefix = main.url_prefix
        self.qido_url_prefix = main.qido_url_prefix
        self.wado_url_prefix = main.wado_url_prefix
        self.stow_url_prefix = main.stow_url_prefix
        self.delete_url_prefix = main.delete_url_prefix
        self._is_sequential, self._fill, self._writes = sequential, fill, writes
        self._is_strict, self._report = strict, Report()
        self._plan: Plan
        if sequential and len(self.clients) > 1:
            rest = self.clients[1:]
            source: DICOMClient = rest[0]
            if len(rest) > 1:
                source = ComposedClient(rest, fill=fill, writes=writes)
            self._plan = Cache(self.clients[0], source, fill, writes)
        else:
            self._plan = Federation(self.clients, strict)

    @property
    def failures(self) -> tuple[Failure, ...]:
        """What went wrong with single clients in this thread's last call, which was answered.

        Of an iterator: once it has come to its end.
        """
        return self._report.read()

    def search_for_studies(
        self,
        fuzzymatching: bool | None = None,
        limit: int | None = None,
        offset: int | None = None,
        fields: Sequence[str] | None = None,
        search_filters: dict[str, Any] | None = None,
        get_remaining: bool = False,
    ) -> list[Found]:
        """Search for studies."""
        options = _list_search(fuzzymatching, limit, offset, fields, search_filters, get_remaining)
        return self._search(Call("search_for_studies", (), options))

    def search_for_series(
        self,
        study_instance_uid: str | None = None,
        fuzzymatching: bool | None = None,
        limit: int | None = None,
        offset: int | None = None,
        fields: Sequence[str] | None = None,
        search_filters: dict[str, Any] | None = None,
        get_remaining: bool = False,
    ) -> list[Found]:
        """Search for series, of one study or of all."""
        options = _list_search(fuzzymatching, limit, offset, fields, search_filters, get_remaining)
        options["study_instance_uid"] = study_instance_uid
        return self._search(Call("search_for_series", (), options))

    def search_for_instances(
        self,
        study_instance_uid: str | None = None,
        series_instance_uid: str | None = None,
        fuzzymatching: bool | None = None,
        limit: int | None = None,
        offset: int | None = None,
        fields: Sequence[str] | None = None,
        search_filters: dict[str, Any] | None = None,
        get_remaining: bool = False,
    ) -> list[Found]:
        """Search for instances, of one series, of one study, or of all."""
        options = _list_search(fuzzymatching, limit, offset, fields, search_filters, get_remaining)
        options["study_instance_uid"] = study_instance_uid
        options["series_instance_uid"] = series_instance_uid
        return self._search(Call("search_for_instances", (), options))

    def retrieve_bulkdata(
        self,
        url: str,
        media_types: MediaTypes | None = None,
        byte_range: tuple[int, int] | None = None,
    ) -> list[bytes]:
        """Retrieve bulk data at a URL, from the client that gave it."""
        options = {"url": url, "media_types": media_types, "byte_range": byte_range}
        found: list[bytes] = Call("retrieve_bulkdata", (), options).ask(self._find_owner(url))
        return found

    def iter_bulkdata(
        self,
        url: str,
        media_types: MediaTypes | None = None,
        byte_range: tuple[int, int] | None = None,
    ) -> Iterator[bytes]:
        """Iterate over bulk data at a URL, from the client that gave it."""
        options = {"url": url, "media_types": media_types, "byte_range": byte_range}
        found: Iterator[bytes] = Call("iter_bulkdata", (), options).ask(self._find_owner(url))
        return found

    def retrieve_study(
        self, study_instance_uid: str, media_types: MediaTypes | None = None
    ) -> list[Dataset]:
        """Retrieve all instances of a study."""
        uids = (study_instance_uid,)
        return self._collect(Call("retrieve_study", uids, {"media_types": media_types}))

    def iter_study(
        self, study_instance_uid: str, media_types: MediaTypes | None = None
    ) -> Iterator[Dataset]:
        """Iterate over all instances of a study."""
        return self._iterate(
            Call("iter_study", (study_instance_uid,), {"media_types": media_types})
        )

    def retrieve_study_metadata(self, study_instance_uid: str) -> list[Found]:
        """Retrieve the metadata of all instances of a study."""
        return self._collect(Call("retrieve_study_metadata", (study_instance_uid,)))

    def delete_study(self, study_instance_uid: str) -> None:
        """Delete a study."""
        self._delete(Call("delete_study", (study_instance_uid,)))

    def retrieve_series(
        self,
        study_instance_uid: str,
        series_instance_uid: str,
        media_types: MediaTypes | None = None,
    ) -> list[Dataset]:
        """Retrieve all instances of a series."""
        uids = (study_instance_uid, series_instance_uid)
        return self._collect(Call("retrieve_series", uids, {"media_types": media_types}))

    def iter_series(
        self,
        study_instance_uid: str,
        series_instance_uid: str,
        media_types: MediaTypes | None = None,
    ) -> Iterator[Dataset]:
        """Iterate over all instances of a series."""
        uids = (study_instance_uid, series_instance_uid)
        return self._iterate(Call("iter_series", uids, {"media_types": media_types}))

    def retrieve_series_metadata(
        self, study_instance_uid: str, series_instance_uid: str
    ) -> list[Found]:
        """Retrieve the metadata of all instances of a series."""
        uids = (study_instance_uid, series_instance_uid)
        return self._collect(Call("retrieve_series_metadata", uids))

    def retrieve_series_rendered(
        self,
        study_instance_uid: str,
        series_instance_uid: str,
        media_types: MediaTypes | None = None,
        params: dict[str, str] | None = None,
    ) -> bytes:
        """Retrieve pictures of a series."""
        uids = (study_instance_uid, series_instance_uid)
        options = {"media_types": media_types, "params": params}
        return self._retrieve_bytes(Call("retrieve_series_rendered", uids, options))

    def delete_series(self, study_instance_uid: str, series_instance_uid: str) -> None:
        """Delete a series."""
        self._delete(Call("delete_series", (study_instance_uid, series_instance_uid)))

    def retrieve_instance(
        self,
        study_instance_uid: str,
        series_instance_uid: str,
        sop_instance_uid: str,
        media_types: MediaTypes | None = None,
    ) -> Dataset:
        """Retrieve an instance."""
        uids = (study_instance_uid, series_instance_uid, sop_instance_uid)
        call = Call("retrieve_instance", uids, {"media_types": media_types})
        found: Dataset = self._plan.retrieve(call, self._report.begin())
        return found

    def store_instances(
        self, datasets: Sequence[Dataset], study_instance_uid: str | None = None
    ) -> Dataset:
        """Store instances; return what became of them."""
        options = {"datasets": list(datasets), "study_instance_uid": study_instance_uid}
        return self._plan.store(Call("store_instances", (), options), self._report.begin())

    def delete_instance(
        self, study_instance_uid: str, series_instance_uid: str, sop_instance_uid: str
    ) -> None:
        """Delete an instance."""
        uids = (study_instance_uid, series_instance_uid, sop_instance_uid)
        self._delete(Call("delete_instance", uids))

    def retrieve_instance_metadata(
        self, study_instance_uid: str, series_instance_uid: str, sop_instance_uid: str
    ) -> Found:
        """Retrieve the metadata of an instance."""
        uids = (study_instance_uid, series_instance_uid, sop_instance_uid)
        call = Call("retrieve_instance_metadata", uids)
        found: Found = self._plan.retrieve(call, self._report.begin())
        return found

    def retrieve_instance_rendered(
        self,
        study_instance_uid: str,
        series_instance_uid: str,
        sop_instance_uid: str,
        media_types: MediaTypes | None = None,
        params: dict[str, str] | None = None,
    ) -> bytes:
        """Retrieve a picture, movie or document of an instance."""
        uids = (study_instance_uid, series_instance_uid, sop_instance_uid)
        options = {"media_types": media_types, "params": params}
        return self._retrieve_bytes(Call("retrieve_instance_rendered", uids, options))

    def retrieve_instance_frames(
        self,
        study_instance_uid: str,
        series_instance_uid: str,
        sop_instance_uid: str,
        frame_numbers: Sequence[int],
        media_types: MediaTypes | None = None,
    ) -> list[bytes]:
        """Retrieve frames of an instance, by their numbers from 1 on."""
        uids = (study_instance_uid, series_instance_uid, sop_instance_uid)
        options = {"frame_numbers": frame_numbers, "media_types": media_types}
        call = Call("retrieve_instance_frames", uids, options)
        frames: list[bytes] = self._plan.retrieve(call, self._report.begin())
        return frames

    def iter_instance_frames(
        self,
        study_instance_uid: str,
        series_instance_uid: str,
        sop_instance_uid: str,
        frame_numbers: Sequence[int],
        media_types: MediaTypes | None = None,
    ) -> Iterator[bytes]:
        """Iterate over frames of an instance, by their numbers from 1 on."""
        uids = (study_instance_uid, series_instance_uid, sop_instance_uid)
        options = {"frame_numbers": frame_numbers, "media_types": media_types}
        call = Call("iter_instance_frames", uids, options)
        frames: Iterator[bytes] = self._plan.retrieve(call, self._report.begin())
        return frames

    def retrieve_instance_frames_rendered(
        self,
        study_instance_uid: str,
        series_instance_uid: str,
        sop_instance_uid: str,
        frame_numbers: Sequence[int],
        media_types: MediaTypes | None = None,
        params: dict[str, str] | None = None,
    ) -> bytes:
        """Retrieve pictures of frames of an instance."""
        uids = (study_instance_uid, series_instance_uid, sop_instance_uid)
        options = {"frame_numbers": frame_numbers, "media_types": media_types, "params": params}
        return self._retrieve_bytes(Call("retrieve_instance_frames_rendered", uids, options))

    def pin(self) -> ComposedClient:
        """Return the same of clients that stay at the commits which they see now.

        Of caches and a source, the source is pinned; caches go on being filled.

        Raises:
            ValueError: A client cannot be pinned.
        """
        last = len(self.clients) - 1
        return ComposedClient(
            [
                client if self._is_sequential and number < last else _pin(client)
                for number, client in enumerate(self.clients)
            ],
            self._is_sequential,
            fill=self._fill,
            writes=self._writes,
            strict=self._is_strict,
        )

    def _search(self, call: Call) -> list[Found]:
        return self._plan.search(call, self._report.begin())

    def _collect(self, call: Call) -> list[Any]:
        return self._plan.collect(call, self._report.begin())

    def _iterate(self, call: Call) -> Iterator[Dataset]:
        return self._plan.iterate(call, self._report.begin())

    def _retrieve_bytes(self, call: Call) -> bytes:
        found: bytes = self._plan.retrieve(call, self._report.begin())
        return found

    def _delete(self, call: Call) -> None:
        self._plan.delete(call, self._report.begin())

    def _find_owner(self, url: str) -> DICOMClient:
        """Return the client that a URL is of; where none is, the one that asks far away."""
        owners = [client for client in self.clients if owns(client, url)]
        return owners[0] if owners else self.clients[-1]


def _pin(client: DICOMClient) -> DICOMClient:
    pin = getattr(client, "pin", None)
    if pin is None:
        raise ValueError(f"{type(client).__name__} cannot be pinned")
    pinned: DICOMClient = pin()
    return pinned


def _list_search(
    fuzzymatching: bool | None,
    limit: int | None,
    offset: int | None,
    fields: Sequence[str] | None,
    search_filters: dict[str, Any] | None,
    get_remaining: bool,
) -> dict[str, Any]:
    return {
        "fuzzymatching": fuzzymatching,
        "limit": limit,
        "offset": offset,
        "fields": fields,
        "search_filters": search_filters,
        "get_remaining": get_remaining,
    }
