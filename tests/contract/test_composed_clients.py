"""Clients composed of others: the contract for a cache and a federation, and what is theirs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import requests

from lamella.clients import ComposedClient, LocalClient, WebClient
from lamella.clients.calls import AS_STORED
from tests.contract.client_data import CT, DOCUMENT, MULTI_FRAME, SECRET, TAG, Archive, make_slice
from tests.contract.dicom_client import WritableClientContract, read_instance
from tests.contract.test_clients import open_local

# of how handlers declare parameters; the application is built in this very process
pytestmark = [
    pytest.mark.filterwarnings("ignore::litestar.exceptions.LitestarDeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Deprecated 'query' parameter:DeprecationWarning"),
]
NOWHERE = "http://127.0.0.1:1/dicomweb/default/v1"


@pytest.fixture
def near(archive: Archive) -> LocalClient:
    """An empty place on this machine."""
    return open_local(archive, archive.make_dataset(), "main")


@pytest.fixture
def source(archive: Archive) -> Iterator[WebClient]:
    with archive.connect() as connected:
        yield connected


@pytest.fixture(scope="module")
def halves(archive: Archive) -> tuple[str, str]:
    """Two datasets whose tags have together what the archive's tag has, one study twice."""
    names = archive.make_dataset(), archive.make_dataset()
    for name, study_uids in zip(names, [("1.2.3",), ("1.2.3", "1.2.4")], strict=True):
        with archive.connect("main", name) as client:
            client.store_instances(
                [
                    ds
                    for ds in map(read_instance, archive.files.values())
                    if ds.StudyInstanceUID in study_uids
                ]
            )
        archive.make_tag(name)
    return names


class TestCache(WritableClientContract):
    @pytest.fixture(scope="class")
    @classmethod
    def client(cls, archive: Archive) -> Iterator[ComposedClient]:
        near = open_local(archive, archive.make_dataset(), "main")
        with archive.connect() as source:
            yield ComposedClient([near, source], sequential=True, fill="any")

    @pytest.fixture
    def branch(self, archive: Archive, near: LocalClient) -> Iterator[ComposedClient]:
        with archive.connect("main", archive.make_dataset()) as far:
            yield ComposedClient([near, far])

    def test_what_is_read_once_is_read_without_the_source(
        self, near: LocalClient, source: WebClient
    ) -> None:
        client = ComposedClient([near, source])
        read = client.retrieve_study("1.2.3", media_types=AS_STORED)
        cut_off = ComposedClient([near, WebClient(NOWHERE)])
        cut_off.clients[1].set_http_retry_params(retry=False)
        again = cut_off.retrieve_study("1.2.3", media_types=AS_STORED)
        assert [ds.SOPInstanceUID for ds in again] == [ds.SOPInstanceUID for ds in read]
        assert [failure.url for failure in cut_off.failures] == [NOWHERE]
        assert cut_off.retrieve_instance(*CT) == client.retrieve_instance(*CT)
        assert cut_off.failures == ()
        assert len(cut_off.search_for_studies()) == 1
        with pytest.raises(requests.ConnectionError):
            cut_off.retrieve_instance(*DOCUMENT)

    def test_a_part_is_not_taken_for_the_whole(self, near: LocalClient, source: WebClient) -> None:
        near.store_instances([source.retrieve_instance(*CT)])
        client = ComposedClient([near, source], fill="never")
        assert len(client.retrieve_series(*CT[:2])) == 3
        assert len(client.retrieve_series_metadata(*CT[:2])) == 3
        assert len(client.search_for_instances(*CT[:2])) == 3
        assert len(near.search_for_instances()) == 1

    @pytest.mark.parametrize(("fill", "expected"), [("never", 0), ("whole", 0), ("any", 1)])
    def test_what_a_frame_brings_into_the_cache(
        self, near: LocalClient, source: WebClient, fill: Any, expected: int
    ) -> None:
        client = ComposedClient([near, source], fill=fill)
        assert client.retrieve_instance_frames(*MULTI_FRAME, [2]) == (
            source.retrieve_instance_frames(*MULTI_FRAME, [2])
        )
        assert len(near.search_for_instances()) == expected

    def test_it_is_kept_as_it_is(self, near: LocalClient, source: WebClient) -> None:
        ComposedClient([near, source]).retrieve_instance(*SECRET)
        kept = near.retrieve_instance(*SECRET, media_types=AS_STORED)
        assert kept == source.retrieve_instance(*SECRET, media_types=AS_STORED)
        assert kept.file_meta.TransferSyntaxUID.is_compressed

    def test_a_cache_that_cannot_be_filled_is_no_hindrance(
        self, archive: Archive, source: WebClient
    ) -> None:
        near = open_local(archive, archive.make_dataset(), "main")
        client = ComposedClient([near.pin(), source], fill="any")
        assert client.retrieve_instance(*CT) == source.retrieve_instance(*CT)
        assert [failure.error.response.status_code for failure in client.failures] == [405]

    @pytest.mark.parametrize(("writes", "expected"), [("through", 1), ("source", 0)])
    def test_where_stores_go(
        self, archive: Archive, near: LocalClient, writes: Any, expected: int
    ) -> None:
        with archive.connect("main", archive.make_dataset()) as far:
            client = ComposedClient([near, far], writes=writes)
            client.store_instances([read_instance(make_slice(1))])
            assert len(far.search_for_instances()) == 1
            assert len(near.search_for_instances()) == expected
            client.delete_study("1.2.3")
            assert far.search_for_instances() == near.search_for_instances() == []

    def test_a_chain_fills_all_caches(
        self, archive: Archive, near: LocalClient, source: WebClient
    ) -> None:
        nearer = open_local(archive, archive.make_dataset(), "main")
        client = ComposedClient([nearer, near, source])
        client.retrieve_series(*CT[:2])
        assert len(nearer.search_for_instances()) == len(near.search_for_instances()) == 3

    def test_a_pinned_cache_is_of_the_sources_commit(
        self, branch: ComposedClient, near: LocalClient
    ) -> None:
        branch.store_instances([read_instance(make_slice(1))])
        pinned = branch.pin()
        branch.store_instances([read_instance(make_slice(2))])
        assert len(pinned.retrieve_series(*CT[:2])) == 1
        assert len(branch.retrieve_series(*CT[:2])) == 2


class TestFederation(WritableClientContract):
    @pytest.fixture(scope="class")
    @classmethod
    def client(cls, archive: Archive, halves: tuple[str, str]) -> Iterator[ComposedClient]:
        with archive.connect(TAG, halves[1]) as other:
            yield ComposedClient([open_local(archive, halves[0]), other], sequential=False)

    @pytest.fixture
    def branch(self, archive: Archive, near: LocalClient) -> Iterator[ComposedClient]:
        with archive.connect("main", archive.make_dataset()) as far:
            yield ComposedClient([near, far], sequential=False)

    def test_a_series_that_lies_with_two_is_one(
        self, archive: Archive, near: LocalClient, source: WebClient
    ) -> None:
        other = read_instance(make_slice(7))
        near.store_instances([other, read_instance(archive.files[CT[2]])])
        client = ComposedClient([near, source], sequential=False)
        expected = [other.SOPInstanceUID, *(f"1.2.3.1.{number}" for number in (1, 2, 3))]
        for found in (client.retrieve_series(*CT[:2]), list(client.iter_series(*CT[:2]))):
            assert sorted(ds.SOPInstanceUID for ds in found) == sorted(expected)
        assert len(client.retrieve_series_metadata(*CT[:2])) == 4
        assert len(client.search_for_instances(*CT[:2])) == 4
        pages = [client.search_for_instances(*CT[:2], limit=1, offset=n) for n in range(5)]
        assert [len(page) for page in pages] == [1, 1, 1, 1, 0]

    def test_a_client_that_fails_is_reported(self, source: WebClient) -> None:
        cut_off = WebClient(NOWHERE)
        cut_off.set_http_retry_params(retry=False)
        client = ComposedClient([cut_off, source], sequential=False)
        assert len(client.search_for_studies()) == 2
        (failure,) = client.failures
        assert failure.url == NOWHERE
        assert isinstance(failure.error, requests.ConnectionError)
        assert client.retrieve_instance(*CT) == source.retrieve_instance(*CT)
        assert len(list(client.iter_series(*CT[:2]))) == 3
        assert len(client.failures) == 1
        strict = ComposedClient([cut_off, source], sequential=False, strict=True)
        with pytest.raises(requests.ConnectionError):
            strict.search_for_studies()
        alone = ComposedClient([cut_off], sequential=False)
        with pytest.raises(requests.ConnectionError):
            alone.search_for_studies()

    def test_stores_go_to_the_first_and_deletes_to_all(self, branch: ComposedClient) -> None:
        ds = read_instance(make_slice(1))
        branch.store_instances([ds])
        first, second = branch.clients
        assert (len(first.search_for_studies()), len(second.search_for_studies())) == (1, 0)
        second.store_instances([ds])
        branch.delete_series(*CT[:2])
        assert first.search_for_studies() == second.search_for_studies() == []

    def test_federations_are_cached(
        self, archive: Archive, client: ComposedClient, near: LocalClient, source: WebClient
    ) -> None:
        cached = ComposedClient([near, client])
        assert cached.retrieve_study("1.2.4") == source.retrieve_study("1.2.4")
        assert len(near.search_for_instances()) == 2
        url = cached.retrieve_instance_metadata(*DOCUMENT)["00420011"]["BulkDataURI"]
        (document,) = cached.retrieve_bulkdata(url)
        assert document == read_instance(archive.files[DOCUMENT[2]]).EncapsulatedDocument


def test_at_least_one_client_is_needed() -> None:
    with pytest.raises(ValueError, match="at least one"):
        ComposedClient([])
