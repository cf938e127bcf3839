"""Clients of what was published: the contract in a folder; in a bucket and on a web server."""

from __future__ import annotations

import gc
import multiprocessing
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from lamella.clients import S3Client
from tests.contract.client_data import CT, MULTI_FRAME, TAG, Archive
from tests.contract.dicom_client import DicomClientContract, summarise
from tests.harness.range_site import RangeSite, serve_folder
from tests.harness.s3_server import CREDENTIALS, S3Server, make_client
from tests.harness.server import run_cli

# of how handlers declare parameters; the application is built in this very process
pytestmark = [
    pytest.mark.filterwarnings("ignore::litestar.exceptions.LitestarDeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Deprecated 'query' parameter:DeprecationWarning"),
]


@pytest.fixture(scope="module")
def packs(archive: Archive) -> Path:
    """The folder of packs, with the tag's index."""
    published = run_cli(archive.server.data_dir, "publish", TAG)
    assert published.returncode == 0, published.stderr
    return archive.server.data_dir / "packs"


class TestFolder(DicomClientContract):
    @pytest.fixture(scope="class")
    @classmethod
    def client(cls, packs: Path) -> Iterator[S3Client]:
        with S3Client(packs, TAG) as opened:
            yield opened

    def test_it_knows_its_commit(self, archive: Archive, client: S3Client) -> None:
        assert client.resolve_commit() == archive.connect().resolve_commit()
        assert client.pin() is client

    def test_what_was_not_published(self, packs: Path) -> None:
        with S3Client(packs, "v9") as client, pytest.raises(requests.HTTPError, match="404"):
            client.search_for_studies()
        with S3Client(packs, "nobody@v1") as client, pytest.raises(requests.HTTPError, match="404"):
            client.search_for_studies()

    def test_no_folder(self, tmp_path: Path) -> None:
        with S3Client(tmp_path / "gone") as client, pytest.raises(requests.HTTPError, match="400"):
            client.search_for_studies()

    def test_its_own_folder_goes_with_it(self, packs: Path) -> None:
        client = S3Client(packs, TAG)
        assert client.retrieve_instance_metadata(*CT)
        folder = client._site.folder
        assert folder.is_dir()
        client.close()
        del client
        gc.collect()
        assert not folder.exists()

    def test_a_folder_for_what_was_read(self, packs: Path, tmp_path: Path) -> None:
        for _ in range(2):
            with S3Client(packs, TAG, cache_folder=tmp_path) as client:
                assert len(client.retrieve_series_metadata(*CT[:2])) == 3
        assert len(list(tmp_path.iterdir())) == 1


@pytest.fixture(scope="module")
def site(packs: Path) -> Iterator[RangeSite]:
    with serve_folder(packs) as serving:
        yield serving


class TestWebServer:
    def test_it_answers_as_a_server(self, archive: Archive, site: RangeSite) -> None:
        with S3Client(site.url, TAG) as client, archive.connect() as oracle:
            assert summarise(client) == summarise(oracle)
            assert client.retrieve_study("1.2.4") == oracle.retrieve_study("1.2.4")
            with multiprocessing.get_context("fork").Pool(1) as pool:
                assert pool.apply(summarise, (client,)) == summarise(oracle)

    def test_it_reads_what_it_needs_and_that_once(self, site: RangeSite) -> None:
        asked = site.asked
        with S3Client(site.url, TAG) as client:
            asked.clear()
            client.retrieve_series_metadata(*CT[:2])
            assert len(asked) == 4  # length and end of the index, a chunk of studies, a section
            client.retrieve_series_metadata(*CT[:2])
            client.search_for_instances(*CT[:2])
            assert len(asked) == 4
            client.retrieve_instance_frames(*MULTI_FRAME, [1])
            n_asked = len(asked)
            client.retrieve_instance_frames(*MULTI_FRAME, [2, 3])
            assert len(asked) == n_asked


def test_a_bucket(
    archive: Archive, packs: Path, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    bucket, s3 = s3_server.make_bucket(), make_client(s3_server.url)
    for path in packs.rglob("*.*"):
        key = str(path.relative_to(packs))
        key = key if path.suffix == ".idx" else f"packs/{key}"
        s3.put_object(Bucket=bucket, Key=f"some/prefix/{key}", Body=path.read_bytes())
    url = f"s3://{bucket}/some/prefix"
    with S3Client(url, TAG, s3_endpoint_url=s3_server.url) as client, archive.connect() as oracle:
        assert summarise(client) == summarise(oracle)
        assert client.retrieve_study("1.2.4") == oracle.retrieve_study("1.2.4")
        with multiprocessing.get_context("fork").Pool(1) as pool:
            assert pool.apply(summarise, (client,)) == summarise(oracle)
