"""`lamella export --static`: the tree says what the doors say, and follows the commits."""

from __future__ import annotations

import asyncio
import gzip
import io
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from secrets import token_hex
from time import sleep
from typing import IO

import httpx
import pydicom
import pytest
from dicomweb_client.web import DICOMwebClient
from pydicom.data import get_testdata_file

from lamella.app.application import build_doors
from lamella.archive.packs.local import LocalPackStore
from lamella.cli.main import main
from lamella.dicomweb.services import Services
from lamella.errors import OutOfResources
from lamella.files.exporter import DestinationInUse
from lamella.files.static.bucket import BucketDestination
from lamella.files.static.destination import Destination, FolderDestination
from lamella.files.static.doors import Doors
from lamella.files.static.exporter import StaticReport, export_static
from lamella.settings import Settings
from lamella.vcs.view import View, open_view
from tests.browser.documents import make_pdf
from tests.harness.nginx import nginx
from tests.harness.s3_server import CREDENTIALS, S3Server, make_client
from tests.integration.small_installation import ROOT, Installation, make_file, open_installation

SITE = Path(__file__).parents[2] / "docs" / "examples" / "nginx-static.conf"
BUNDLED = (
    "CT_small.dcm",
    "SC_rgb_rle_2frame.dcm",
    "JPEG2000.dcm",
    "rtplan.dcm",
    "test-SR.dcm",
    "waveform_ecg.dcm",
    "liver_1frame.dcm",
    "MR_small_bigendian.dcm",
    "examples_ybr_color.dcm",
    "image_dfl.dcm",
)
Files = dict[str, bytes]


@cache
def list_samples() -> list[bytes]:
    """Return instances of every kind: pictures, many frames, documents, reports, waveforms."""
    paths = [Path(str(get_testdata_file(name, download=False))) for name in BUNDLED]
    return [*(path.read_bytes() for path in paths), make_pdf()]


@pytest.fixture
async def installation(tmp_path: Path) -> AsyncIterator[Installation]:
    opened = await open_installation(tmp_path / "data")
    yield opened
    await opened.archive.close()


@asynccontextmanager
async def open_doors(installation: Installation, revision: str) -> AsyncIterator[Doors]:
    services = Services(installation.repository, Settings(data_dir=installation.folder))
    try:
        yield Doors(build_doors(services), f"/dicomweb/default/{revision}")
    finally:
        await services.decoders.close()


async def open_revision(installation: Installation, revision: str) -> View:
    repository = installation.repository
    return await installation.archive.database.read(
        lambda c: open_view(c, repository, "default", revision)
    )


async def export(
    installation: Installation,
    destination: Destination | Path,
    revision: str = "main",
    *,
    has_pictures: bool = False,
) -> StaticReport:
    if isinstance(destination, Path):
        destination = FolderDestination(destination)
    view = await open_revision(installation, revision)
    async with open_doors(installation, view.commit_id) as doors:
        return await export_static(
            installation.repository, view, doors, destination, has_pictures=has_pictures
        )


def read_tree(folder: Path) -> Files:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def count_paths(folder: Path) -> int:
    """Return how much there is in a folder; what goes away meanwhile may count or not."""
    return sum(len(folders) + len(files) for _, folders, files in os.walk(folder))


def is_content(name: str) -> bool:
    """Tell files that readers see from notes, which say how a tree came about."""
    return name != "lamella.json"


def assert_same(one: Files, other: Files) -> None:
    assert sorted(one) == sorted(other)
    assert [name for name in one if is_content(name) and one[name] != other[name]] == []


@pytest.fixture(scope="module")
def pictured(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return a data folder with one instance of each kind, and its export with pictures."""
    folder = tmp_path_factory.mktemp("static")

    async def make() -> StaticReport:
        opened = await open_installation(folder / "data")
        try:
            await opened.store(list_samples())
            return await export(opened, folder / "srv" / "dicomweb", has_pictures=True)
        finally:
            await opened.archive.close()

    report = asyncio.run(make())
    assert report.failed == []
    assert report.written == len(list_samples())
    return folder / "data", folder / "srv" / "dicomweb"


@pytest.fixture
async def reference(pictured: tuple[Path, Path]) -> AsyncIterator[Doors]:
    """The doors themselves, on the installation that was exported."""
    opened = await open_installation(pictured[0])
    async with open_doors(opened, "main") as doors:
        yield doors
    await opened.archive.close()


async def ask(doors: Doors, path: str, accept: str) -> bytes:
    reply = await doors.get(path, accept)
    assert reply.status == 200, path
    with reply.body as body:
        body.seek(0)
        return body.read()


def list_instances(tree: Path) -> list[Path]:
    return sorted(path.parent for path in tree.glob("studies/*/series/*/instances/*/metadata"))


def read_part(path: Path) -> tuple[str, bytes]:
    """Return the one part of a multipart file: its Content-Type and body."""
    head, _, rest = path.read_bytes().partition(b"\r\n\r\n")
    mark, *lines = head.decode("ascii").split("\r\n")
    body, _, end = rest.rpartition(f"\r\n{mark}--\r\n".encode())
    assert end == b""
    headers = dict(line.split(": ", 1) for line in lines)
    assert int(headers["Content-Length"]) == len(body)
    return headers["Content-Type"], body


async def test_instances_and_frames_are_the_doors_own(
    pictured: tuple[Path, Path], reference: Doors
) -> None:
    tree, n_frames = pictured[1], 0
    samples = {pydicom.dcmread(_open(data)).SOPInstanceUID: data for data in list_samples()}
    for folder in list_instances(tree):
        path = str(folder.relative_to(tree))
        media_type, body = read_part(folder / "index.multipart")
        assert body == samples[folder.name]
        assert media_type.startswith("application/dicom; transfer-syntax=1.2")
        for frame in folder.glob("frames/*"):
            accept = "application/octet-stream; transfer-syntax=*"
            _, body = read_part(frame)
            assert body == await ask(reference, f"{path}/frames/{frame.name}", accept)
            n_frames += 1
    assert n_frames >= 8


def _open(data: bytes) -> IO[bytes]:
    return io.BytesIO(data)


async def test_lists_and_metadata_are_the_doors_own_but_for_their_links(
    pictured: tuple[Path, Path], reference: Doors
) -> None:
    tree = pictured[1]
    for study in (path for path in tree.glob("studies/*") if path.is_dir()):
        root = str(study.relative_to(tree))
        series = [path for path in study.glob("series/*") if path.is_dir()]
        names = [f"{root}/series", f"{root}/instances"]
        names += [f"{root}/series/{one.name}/instances" for one in series]
        for name in names:
            expected = json.loads(await ask(reference, name, "application/dicom+json"))
            found = json.loads((tree / name / "index.json").read_bytes())
            assert len(found) == len(expected) > 0
            for ours, theirs in zip(found, expected, strict=True):
                theirs.pop("00081190")
                assert {tag: ours.get(tag) for tag in theirs} == theirs
        for name in (root, *(f"{root}/series/{one.name}" for one in series)):
            expected = json.loads(
                await ask(reference, f"{name}/metadata", "application/dicom+json")
            )
            found = json.loads((tree / name / "metadata").read_bytes())
            assert [unlink(one) for one in found] == [unlink(one) for one in expected]


def unlink(attributes: dict[str, dict[str, object]]) -> dict[str, dict[str, object]]:
    """Return attributes whose links are all alike."""
    text = json.dumps(attributes)
    return json.loads(
        text, object_hook=lambda o: {**o, "BulkDataURI": ""} if "BulkDataURI" in o else o
    )


def test_every_link_leads_to_a_file(pictured: tuple[Path, Path]) -> None:
    tree, links = pictured[1], set()
    for path in tree.rglob("metadata"):
        for text in path.read_text().split('"BulkDataURI":"')[1:]:
            target = path.parent / text.partition('"')[0]
            links.add(target.name)
            is_frames = target.name == "frames" and (target / "1").is_file()
            assert is_frames or target.is_file(), target
    assert {"frames", "00420011", "54001010"} <= links


def test_what_can_be_seen_has_pictures(pictured: tuple[Path, Path]) -> None:
    tree = pictured[1]
    rendered = {path.suffix for path in tree.rglob("rendered/index.*")}
    assert rendered == {".jpg", ".pdf", ".html", ".svg"}
    thumbnails = {path.parent for path in tree.rglob("thumbnail")}
    for path in tree.rglob("rendered/index.jpg"):
        instance = path.parents[1]
        assert {instance, instance.parents[1], instance.parents[3]} <= thumbnails
    assert all(path.read_bytes()[:2] == b"\xff\xd8" for path in tree.rglob("thumbnail"))


def test_compressed_forms_are_the_same(pictured: tuple[Path, Path]) -> None:
    packed = list(pictured[1].rglob("*.gz"))
    assert len(packed) > 20
    for path in packed:
        assert gzip.decompress(path.read_bytes()) == path.with_suffix("").read_bytes()


@pytest.fixture
def site(pictured: tuple[Path, Path], tmp_path: Path) -> Iterator[str]:
    text = SITE.read_text().replace("/srv/imaging", str(pictured[1].parent))
    with nginx(tmp_path / "nginx", "", text) as url:
        yield url.removesuffix("/imaging") + "/dicomweb"


def test_nginx_gives_it_to_dicomweb_client(site: str, pictured: tuple[Path, Path]) -> None:
    client = DICOMwebClient(site)
    samples = {pydicom.dcmread(_open(data)).SOPInstanceUID: data for data in list_samples()}
    studies = client.search_for_studies()
    seen = 0
    for study_uid in (one["0020000D"]["Value"][0] for one in studies):
        whole = client.retrieve_study_metadata(study_uid)
        for series in client.search_for_series(study_uid):
            series_uid = series["0020000E"]["Value"][0]
            found = client.retrieve_series_metadata(study_uid, series_uid)
            listed = client.search_for_instances(study_uid, series_uid)
            assert len(listed) == len(found) <= len(whole)
            for document in found:
                sop_uid = document["00080018"]["Value"][0]
                names = (study_uid, series_uid, sop_uid)
                expected = pydicom.dcmread(_open(samples[sop_uid]))
                assert client.retrieve_instance(*names) == expected
                single = client.retrieve_instance_metadata(*names)
                assert single["00080018"] == document["00080018"]
                if document.get("7FE00010", {}).get("BulkDataURI", "").endswith("frames"):
                    count = int(expected.get("NumberOfFrames", 1))
                    frames = [
                        client.retrieve_instance_frames(*names, [n + 1]) for n in range(count)
                    ]
                    assert all(len(one) == 1 and one[0] for one in frames)
                seen += 1
    assert seen == len(samples)


def test_nginx_says_what_everything_is(site: str, pictured: tuple[Path, Path]) -> None:
    tree = pictured[1]
    types = {"metadata": "application/dicom+json", "thumbnail": "image/jpeg"}
    with httpx.Client(base_url=site) as client:
        for path in tree.rglob("*"):
            name = str(path.relative_to(tree))
            if path.name in types:
                assert client.get(f"/{name}").headers["content-type"] == types[path.name]
            if path.parent.name == "rendered":
                kind = client.get(f"/{name}".rpartition("/")[0]).headers["content-type"]
                assert {"jpg": "image/jpeg", "pdf": "application/pdf"}.get(
                    path.suffix[1:], kind
                ) == kind
                assert "octet" not in kind
        metadata = next(path for path in tree.rglob("metadata"))
        reply = client.get(f"/{metadata.relative_to(tree)}")
        assert reply.headers["content-encoding"] == "gzip"
        assert reply.content == metadata.read_bytes()
        assert client.get("/ledger.json").status_code == 404
        assert client.get("/studies/1.2.3/series").status_code == 404
        assert client.get("/studies?PatientID=x").headers["access-control-allow-origin"] == "*"


async def make_history(installation: Installation) -> list[str]:
    """Make commits that add, change and remove; return them, the oldest first."""
    commits = [
        await installation.store([make_file(1, s, n) for s in (1, 2) for n in (1, 2, 3)]),
        await installation.store([make_file(2, 1, n) for n in (1, 2)]),
        await installation.store([make_file(1, 1, 2, version=1)]),
        await installation.delete(
            [(f"{ROOT}.1", f"{ROOT}.1.2", f"{ROOT}.1.2.{n}") for n in (1, 2, 3)]
        ),
        await installation.delete([(f"{ROOT}.2", f"{ROOT}.2.1", f"{ROOT}.2.1.1")]),
        await installation.store([make_file(3, 1, 1)]),
        await installation.delete([(f"{ROOT}.2", f"{ROOT}.2.1", f"{ROOT}.2.1.2")]),
    ]
    return [one.commit_id.hex() for one in commits]


async def test_a_tree_that_follows_commits_is_as_one_made_anew(
    installation: Installation, tmp_path: Path
) -> None:
    commits = await make_history(installation)
    for number, commit in enumerate([*commits, *reversed(commits)]):
        await export(installation, tmp_path / "follows", commit)
        await export(installation, tmp_path / f"anew-{number}", commit)
        assert_same(read_tree(tmp_path / "follows"), read_tree(tmp_path / f"anew-{number}"))


async def test_only_what_differs_is_written(installation: Installation, tmp_path: Path) -> None:
    commits = await make_history(installation)
    reports = [await export(installation, tmp_path / "out", commit) for commit in commits]
    assert [(one.written, one.kept, one.removed) for one in reports] == [
        (6, 0, 0),
        (2, 6, 0),
        (1, 7, 0),
        (0, 5, 1),
        (0, 4, 1),
        (1, 4, 0),
        (0, 4, 1),
    ]
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")}
    again = await export(installation, tmp_path / "out", commits[-1])
    assert (again.written, again.kept, again.removed) == (0, 4, 0)
    after = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")}
    changed = {path.name for path in after if path.is_file() and after[path] != before.get(path)}
    assert changed == {"lamella.json"}


async def test_pictures_can_be_added_later(installation: Installation, tmp_path: Path) -> None:
    await installation.store([make_file(1, 1, 1)])
    await export(installation, tmp_path / "out")
    assert not list((tmp_path / "out").rglob("thumbnail"))
    report = await export(installation, tmp_path / "out", has_pictures=True)
    assert report.written == 1
    assert len(list((tmp_path / "out").rglob("thumbnail"))) == 3


class BreakingDestination(FolderDestination):
    """A folder that takes so many files and then no more."""

    def __init__(self, folder: Path, most: int) -> None:
        super().__init__(folder)
        self.left = most

    async def write(self, name: str, body: IO[bytes], content_type: str) -> None:
        self._count()
        await super().write(name, body, content_type)

    async def remove(self, folder: str) -> None:
        self._count()
        await super().remove(folder)

    def _count(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise OutOfResources("The destination is full.")


async def test_a_run_that_breaks_off_anywhere_is_completed_by_the_next(
    installation: Installation, tmp_path: Path
) -> None:
    commits = await make_history(installation)
    await export(installation, tmp_path / "anew", commits[-1])
    expected = read_tree(tmp_path / "anew")
    n_broken = 0
    for most in range(0, 60, 5):
        folder = tmp_path / f"broken-{most}"
        await export(installation, folder, commits[2])
        for commit in (commits[3], commits[4], commits[-1]):  # each may break off, one by one
            try:
                await export(installation, BreakingDestination(folder, most), commit)
            except OutOfResources:
                n_broken += 1
                if most:
                    manifest = json.loads((folder / "lamella.json").read_bytes())
                    assert manifest["complete"] is False
        await export(installation, folder, commits[-1])
        assert_same(read_tree(folder), expected)
    assert n_broken >= 8


def test_a_run_that_was_killed_is_completed_by_the_next(tmp_path: Path) -> None:
    async def prepare() -> None:
        opened = await open_installation(tmp_path / "data")
        await opened.store([make_file(s, 1, n) for s in (1, 2, 3) for n in range(1, 9)])
        await export(opened, tmp_path / "anew", has_pictures=True)
        await opened.archive.close()

    asyncio.run(prepare())
    out, expected = tmp_path / "out", read_tree(tmp_path / "anew")
    command = [sys.executable, "-m", "lamella", "--data-dir", str(tmp_path / "data")]
    command += ["export", "main", str(out), "--static"]
    for share in (0.1, 0.5, 0.9):
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
            while count_paths(out) < share * len(expected) and process.poll() is None:
                sleep(0.005)
            process.kill()
    assert subprocess.run(command, stdout=subprocess.DEVNULL, check=False).returncode == 0
    assert_same(read_tree(out), expected)


async def test_what_is_damaged_is_told_and_tried_again(
    installation: Installation, tmp_path: Path
) -> None:
    await installation.store([make_file(1, 1, n) for n in (1, 2)])
    store = LocalPackStore(installation.folder / "packs")
    (pack,) = [info.name async for info in store.list()]
    path = store.path_of(pack)
    hidden = path.with_suffix(".hidden")
    path.rename(hidden)
    broken = await export(installation, tmp_path / "out")
    assert len(broken.failed) == 2
    assert json.loads((tmp_path / "out" / "lamella.json").read_bytes())["complete"] is False
    hidden.rename(path)
    mended = await export(installation, tmp_path / "out")
    assert (mended.written, mended.failed) == (2, [])
    assert json.loads((tmp_path / "out" / "lamella.json").read_bytes())["complete"] is True
    await store.close()


async def test_other_things_are_not_written_over(
    installation: Installation, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "letter.txt").write_text("dear")
    with pytest.raises(DestinationInUse):
        await export(installation, out)
    (out / "lamella.json").write_text('{"format": "lamella-static 1", "dataset": "other"}')
    with pytest.raises(DestinationInUse):
        await export(installation, out)
    (out / "lamella.json").write_text("{")
    with pytest.raises(DestinationInUse):
        await export(installation, out)


async def test_a_bucket_holds_the_same(
    installation: Installation,
    tmp_path: Path,
    s3_server: S3Server,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    commits = await make_history(installation)
    bucket, prefix = s3_server.make_bucket(), f"some/{token_hex(4)}"
    client = make_client(s3_server.url)
    for commit in (commits[2], commits[-1]):
        destination = BucketDestination(f"s3://{bucket}/{prefix}", s3_server.url)
        await export(installation, destination, commit)
        await destination.close()
        await export(installation, tmp_path / "out", commit)
        keys = [one["Key"] for one in client.list_objects_v2(Bucket=bucket)["Contents"]]
        found: Files = {}
        for key in keys:
            answer = client.get_object(Bucket=bucket, Key=key)
            data = answer["Body"].read()
            is_packed = answer.get("ContentEncoding") == "gzip"
            assert is_packed == (answer["ContentType"] == "application/dicom+json")
            name = key.removeprefix(f"{prefix}/")
            found[name] = gzip.decompress(data) if is_packed else data
            if "/frames/" in name:
                assert answer["ContentType"].startswith("multipart/related; ")
        expected = read_tree(tmp_path / "out")
        assert_same(found, {n: data for n, data in expected.items() if not n.endswith(".gz")})


def test_the_command_says_what_it_did(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async def prepare() -> None:
        opened = await open_installation(tmp_path / "data")
        await make_history(opened)
        await opened.archive.close()

    def run(*arguments: str) -> int:
        return main(["--data-dir", str(tmp_path / "data"), "export", *arguments])

    asyncio.run(prepare())
    out = str(tmp_path / "out")
    assert run("main", out, "--static") == 0
    assert capsys.readouterr().out.startswith("written=4 kept=0 removed=0 failed=0 commit=")
    assert run("main~1", out, "--static", "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["written"], report["kept"], report["removed"]) == (1, 4, 0)
    assert run("main", out) == 2
    assert run("main", str(tmp_path / "other"), "--no-pictures") == 2
    assert run("main", str(tmp_path / "data"), "--static") == 2
    assert "something else" in capsys.readouterr().err
