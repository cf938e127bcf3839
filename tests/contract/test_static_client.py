"""S3Client of a static export: the contract in a folder; on a web server and in a bucket."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pydicom
import pytest
import requests

from lamella.clients import S3Client
from tests.contract.client_data import CT, MULTI_FRAME, TAG, Archive, make_slice
from tests.contract.dicom_client import DicomClientContract, summarise
from tests.harness.range_site import serve_folder
from tests.harness.s3_server import CREDENTIALS, S3Server, make_client
from tests.harness.server import run_command

# of how handlers declare parameters; the application is built in this very process
pytestmark = [
    pytest.mark.filterwarnings("ignore::litestar.exceptions.LitestarDeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Deprecated 'query' parameter:DeprecationWarning"),
]


@pytest.fixture(scope="module")
def tree(archive: Archive, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tag as a static export."""
    folder = tmp_path_factory.mktemp("export") / "dicomweb"
    export(archive, TAG, folder)
    return folder


def export(archive: Archive, revision: str, destination: Path | str, **settings: str) -> None:
    command = ("export", revision, str(destination), "--static", "--no-pictures")
    ran = run_command(archive.server.data_dir, *command, **settings)
    assert ran.returncode == 0, ran.stderr


class TestFolder(DicomClientContract):
    @pytest.fixture(scope="class")
    @classmethod
    def client(cls, tree: Path) -> Iterator[S3Client]:
        with S3Client(tree, TAG) as opened:
            yield opened

    def test_it_knows_its_commit(self, archive: Archive, client: S3Client, tree: Path) -> None:
        commit_id = client.resolve_commit()
        assert commit_id == archive.connect().resolve_commit()
        with S3Client(tree, f"default@{commit_id}") as by_commit:
            assert len(by_commit.search_for_studies()) == 2

    @pytest.mark.parametrize("revision", ["v9", "main", f"nobody@{TAG}"])
    def test_an_export_of_something_else(self, tree: Path, revision: str) -> None:
        with (
            S3Client(tree, revision) as client,
            pytest.raises(requests.HTTPError, match=rf"404: .* static export is of default@{TAG}"),
        ):
            client.search_for_studies()


def test_an_export_that_is_under_way(tree: Path, tmp_path: Path) -> None:
    shutil.copytree(tree, tmp_path / "out")
    manifest = tmp_path / "out" / "lamella.json"
    told = json.loads(manifest.read_bytes())
    manifest.write_text(json.dumps({**told, "complete": False}))
    with S3Client(tmp_path / "out", TAG) as client:
        with pytest.raises(requests.HTTPError, match=r"503: .* is not complete"):
            client.search_for_studies()
        manifest.write_text(json.dumps(told))
        assert len(client.search_for_studies()) == 2


def test_an_export_that_has_no_index(tree: Path, tmp_path: Path) -> None:
    shutil.copytree(tree, tmp_path / "out")
    manifest = tmp_path / "out" / "lamella.json"
    told = json.loads(manifest.read_bytes())
    del told["index"]
    manifest.write_text(json.dumps(told))
    with S3Client(tmp_path / "out", TAG) as client, pytest.raises(requests.HTTPError, match="500"):
        client.search_for_studies()


def test_an_export_that_follows_its_branch(archive: Archive, tmp_path: Path) -> None:
    dataset, folder = archive.make_dataset(), tmp_path / "out"
    target = f"{dataset}@main"
    with archive.connect("main", dataset) as branch:
        branch.store_instances([_read(make_slice(1))])
        export(archive, target, folder)
        with S3Client(folder, target) as early:
            assert len(early.search_for_studies()) == 1
            branch.store_instances([_read(make_slice(2))])
            export(archive, target, folder)
            assert len(early.retrieve_series_metadata(*CT[:2])) == 1  # as it was read before
        with S3Client(folder, target) as late:
            assert len(late.retrieve_series_metadata(*CT[:2])) == 2
            late.close()
        with S3Client(folder, target) as later:
            assert later.resolve_commit()  # has the index, and no section
            branch.store_instances([_read(make_slice(3))])
            export(archive, target, folder)
            with pytest.raises(requests.HTTPError, match=r"503: .* has been written to"):
                later.retrieve_series_metadata(*CT[:2])
            later.close()
            assert len(later.retrieve_series_metadata(*CT[:2])) == 3


def test_a_web_server(archive: Archive, tree: Path) -> None:
    with serve_folder(tree) as site, S3Client(site.url, TAG) as client:
        site.asked.clear()
        client.retrieve_series_metadata(*CT[:2])
        # manifest; length, end and chunk of the index; length and all of a section
        assert [path.rpartition("/")[2] for path, _ in site.asked] == (
            ["lamella.json"] + 3 * ["lamella.idx"] + 2 * ["lamella.section"]
        )
        client.retrieve_series_metadata(*CT[:2])
        client.search_for_instances(*CT[:2])
        assert len(site.asked) == 6
        client.retrieve_instance_frames(*MULTI_FRAME, [1])
        n_asked = len(site.asked)
        client.retrieve_instance_frames(*MULTI_FRAME, [2, 3])
        assert len(site.asked) == n_asked
        with archive.connect() as oracle:
            assert summarise(client) == summarise(oracle)
            assert client.retrieve_study("1.2.4") == oracle.retrieve_study("1.2.4")


def test_a_bucket(archive: Archive, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    bucket = s3_server.make_bucket()
    url = f"s3://{bucket}/site"
    export(archive, TAG, url, s3_endpoint_url=s3_server.url)
    found = make_client(s3_server.url).head_object(Bucket=bucket, Key="site/lamella.idx")
    assert "ContentEncoding" not in found
    with S3Client(url, TAG, s3_endpoint_url=s3_server.url) as client, archive.connect() as oracle:
        assert summarise(client) == summarise(oracle)
        assert client.retrieve_study("1.2.4") == oracle.retrieve_study("1.2.4")


def _read(content: bytes) -> pydicom.Dataset:
    return pydicom.dcmread(io.BytesIO(content))
