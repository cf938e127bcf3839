"""Clients of a folder and of the web: the contract, and what is theirs alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from dicomweb_client.web import DICOMwebClient

from lamella.clients import LocalClient, WebClient
from lamella.errors import InvalidRequest
from tests.contract.client_data import CT, TAG, Archive, make_slice
from tests.contract.dicom_client import WritableClientContract, normalise, read_instance
from tests.harness.stack import choose_stack

# of how handlers declare parameters; the application is built in this very process
pytestmark = [
    pytest.mark.filterwarnings("ignore::litestar.exceptions.LitestarDeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Deprecated 'query' parameter:DeprecationWarning"),
]


def open_local(archive: Archive, dataset: str = "default", revision: str = TAG) -> LocalClient:
    folder = archive.server.data_dir
    return LocalClient(folder, dataset, revision, **choose_stack(folder))


class TestWebClient(WritableClientContract):
    @pytest.fixture(scope="class")
    @classmethod
    def client(cls, archive: Archive) -> Iterator[WebClient]:
        with archive.connect() as connected:
            yield connected

    @pytest.fixture
    def oracle(self, archive: Archive) -> Iterator[DICOMwebClient]:
        """dicomweb-client's own."""
        with requests.Session() as session:
            yield DICOMwebClient(archive.server.root(TAG), session=session)

    @pytest.fixture
    def branch(self, archive: Archive) -> Iterator[WebClient]:
        with archive.connect("main", archive.make_dataset()) as connected:
            yield connected

    def test_a_pinned_client_stays(self, branch: WebClient) -> None:
        check_that_pinning_holds(branch)

    def test_what_has_no_commits_cannot_be_pinned(self, archive: Archive) -> None:
        root = f"{archive.server.http}/dicomweb/default"
        with WebClient(root) as client, pytest.raises(ValueError, match="can be pinned"):
            client.pin()


class TestLocalClient(WritableClientContract):
    @pytest.fixture(scope="class")
    @classmethod
    def client(cls, archive: Archive) -> Iterator[LocalClient]:
        with open_local(archive) as opened:
            yield opened

    @pytest.fixture
    def branch(self, archive: Archive) -> Iterator[LocalClient]:
        with open_local(archive, archive.make_dataset(), "main") as opened:
            yield opened

    def test_a_pinned_client_stays(self, branch: LocalClient) -> None:
        check_that_pinning_holds(branch)

    def test_what_it_stores_a_server_sees_and_the_other_way_round(
        self, archive: Archive, branch: LocalClient
    ) -> None:
        with archive.connect("main", branch.dataset) as web:
            branch.store_instances([read_instance(make_slice(1))])
            web.store_instances([read_instance(make_slice(2))])
            assert len(branch.search_for_instances()) == 2
            assert normalise(branch.search_for_instances()) == normalise(web.search_for_instances())
            assert branch.resolve_commit() == web.resolve_commit()

    def test_it_can_be_used_after_it_was_closed(self, client: LocalClient) -> None:
        before = client.search_for_studies()
        client.close()
        assert client.search_for_studies() == before

    def test_a_body_that_nobody_reads_to_its_end(self, client: LocalClient) -> None:
        begun = client.iter_study(CT[0])
        next(begun)
        begun.close()
        assert client.search_for_studies()

    def test_a_revision_that_does_not_exist(self, archive: Archive) -> None:
        missing = pytest.raises(requests.HTTPError, match="404")
        with open_local(archive, revision="v9") as client, missing:
            client.search_for_studies()

    def test_a_folder_that_is_none(self, tmp_path: Path) -> None:
        with pytest.raises(InvalidRequest, match="no Lamella data folder"):
            LocalClient(tmp_path)

    def test_a_folder_of_another_format(self, tmp_path: Path) -> None:
        (tmp_path / "format").write_text("lamella-data 999\n")
        refused = pytest.raises(requests.HTTPError, match="400: The data folder has format")
        with LocalClient(tmp_path) as client, refused:
            client.search_for_studies()


def check_that_pinning_holds(branch: Any) -> None:
    branch.store_instances([read_instance(make_slice(1))])
    pinned = branch.pin()
    branch.store_instances([read_instance(make_slice(2))])
    assert len(pinned.search_for_instances()) == 1
    assert len(branch.search_for_instances()) == 2
    assert pinned.resolve_commit() != branch.resolve_commit()
    assert pinned.base_url.endswith(pinned.resolve_commit())
    assert f"{pinned.scheme}://" in pinned.base_url
    assert pinned.base_url.endswith(pinned.url_prefix)
