"""Clients of a soak run: each does one small piece of work again and again, and checks it."""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

import httpx
from pydicom import dcmread
from pydicom.data import get_testdata_file

from tests.harness.collection import (
    FAILED,
    REFERENCED,
    Collection,
    join_parts,
    list_uids,
)
from tests.harness.samples import make_instance
from tests.harness.server import RunningServer, run_cli
from tests.soak.book import Book, StoredSeries, digest

KEPT_TAGS = 20
OCTETS = "application/octet-stream"
EXPLICIT = "1.2.840.10008.1.2.1"
SIDES = (*(16,) * 30, *(64,) * 18, *(256,) * 2)  # a few have pixel data that are kept apart
_NUMBERS = count(1)


@dataclass
class Site:
    """What a client works with.

    Attributes:
        archive: The dataset that all clients fill.
        shelf: A small dataset that nobody changes, for exports and decoded frames.
        folder: Of this client alone.
    """

    server: RunningServer
    archive: Collection
    shelf: Collection
    book: Book
    random: Random
    folder: Path
    storescu: str

    def get(self, path: str, revision: str = "main", **headers: str) -> httpx.Response:
        """GET what must be there."""
        answer = self.archive.get(path, revision, headers)
        assert answer.status_code == 200, f"{path}: {answer.status_code} {answer.text[:300]}"
        return answer

    def make_series(self, most: int) -> tuple[StoredSeries, list[bytes]]:
        """Return a new series and its files."""
        study_uid = f"2.25.{next(_NUMBERS)}"
        series_uid = f"{study_uid}.1"
        pixels, files = {}, {}
        for number in range(1, self.random.randint(1, most) + 1):
            side, sop_uid = self.random.choice(SIDES), f"{series_uid}.{number}"
            pixel_data = self.random.randbytes(2 * side * side)
            file = make_instance(
                study_uid,
                series_uid,
                sop_uid,
                patient_id=f"P{study_uid[-3:]}",
                rows=side,
                columns=side,
                InstanceNumber=number,
                PixelData=pixel_data,
            )
            pixels[sop_uid], files[sop_uid] = digest(pixel_data), file
        digests = {sop_uid: digest(file) for sop_uid, file in files.items()}
        return StoredSeries(study_uid, series_uid, pixels, digests), list(files.values())


class Client:
    """Does a piece of work again and again, with a pause between."""

    def __init__(self, work: Callable[[Site], None], site: Site, pause_s: float) -> None:
        self._work, self._site, self._pause_s = work, site, pause_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=work.__name__)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def finish(self) -> None:
        """Do no more, and wait for the end of what is under way."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(self._pause_s * self._site.random.uniform(0.5, 1.5)):
            try:
                self._work(self._site)
            except Exception:  # noqa: BLE001 - whatever it is, the run has failed
                self._site.book.complain(f"{self._thread.name}: {traceback.format_exc()}")
            else:
                self._site.book.note(self._thread.name)


def store_by_stow(site: Site) -> None:
    """Store a series, sometimes a second time."""
    series, files = site.make_series(8)
    for _ in range(1 + (site.random.random() < 0.1)):
        answer = site.archive.store(*files)
        assert answer.status_code == 200, answer.text[:300]
        assert sorted(list_uids(answer, REFERENCED)) == sorted(series.pixels)
        assert list_uids(answer, FAILED) == []
    site.book.add(series)


def store_by_dimse(site: Site) -> None:
    """Push a series in one association; it can be seen when that has ended."""
    series, files = site.make_series(12)
    shutil.rmtree(site.folder, ignore_errors=True)
    site.folder.mkdir()
    for number, file in enumerate(files):
        (site.folder / f"{number}.dcm").write_bytes(file)
    done = subprocess.run(
        [
            *(site.storescu, "-aec", site.server.aet, "+sd"),
            *("127.0.0.1", str(site.server.dimse_port), str(site.folder)),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    listed = site.get(f"{series.path}/instances").json()
    assert sorted(read_uids(listed)) == sorted(series.pixels)
    site.book.add(StoredSeries(series.study_uid, series.series_uid, series.pixels))


def search(site: Site) -> None:
    """Find a study by its UID, by its patient, and the first page of all."""
    series = site.book.draw(site.random)
    if series is None:
        return
    study_uid = series.study_uid
    (found,) = site.get(f"/studies?StudyInstanceUID={study_uid}&includefield=00201208").json()
    assert found["00201208"]["Value"] == [len(series.pixels)]
    by_patient = site.get(f"/studies?PatientID=P{study_uid[-3:]}&limit=1000").json()
    assert study_uid in [one["0020000D"]["Value"][0] for one in by_patient]
    assert len(site.get("/studies?limit=50&StudyDate=20260101-20260201").json()) >= 1


def read_metadata(site: Site) -> None:
    """Read a series's metadata, as viewers do."""
    series = site.book.draw(site.random)
    if series is None:
        return
    metadata = site.get(f"{series.path}/metadata", **{"Accept-Encoding": "gzip"}).json()
    assert sorted(read_uids(metadata)) == sorted(series.pixels)


def read_frames(site: Site) -> None:
    """Read frames and files of a series, byte for byte."""
    series = site.book.draw(site.random)
    if series is None:
        return
    for sop_uid in site.random.sample(sorted(series.pixels), min(3, len(series.pixels))):
        frame = site.get(f"{series.path}/instances/{sop_uid}/frames/1", Accept=OCTETS)
        assert digest(frame.content) == series.pixels[sop_uid]
        if sop_uid in series.files:
            assert digest(site.archive.read_file(sop_uid)) == series.files[sop_uid]


def decode_frames(site: Site) -> None:
    """Have a compressed frame decoded."""
    native, compressed = read_pair()
    path = (
        f"/studies/{compressed.StudyInstanceUID}/series/{compressed.SeriesInstanceUID}"
        f"/instances/{compressed.SOPInstanceUID}/frames/1"
    )
    answer = site.shelf.get(path, headers={"Accept": f"{OCTETS}; transfer-syntax={EXPLICIT}"})
    assert answer.status_code == 200, answer.text[:300]
    assert answer.content == native.PixelData


def use_refs(site: Site) -> None:
    """Tag, change a branch, compare, and see that the tag stays what it was."""
    api, number = site.archive, next(_NUMBERS)
    tag, branch = f"tag-{number}", f"branch-{number}"
    assert api.make_ref("tags", tag, "main").status_code == 201
    assert api.make_ref("branches", branch, tag).status_code == 201
    series, files = site.make_series(3)
    commit = api.store_well(*files, revision=branch)
    assert len(site.get(f"/studies?StudyInstanceUID={series.study_uid}", commit).json()) == 1
    assert api.get(f"{series.path}/metadata", tag).status_code == 404
    changes = api.call("GET", f"/diff?from={tag}&to={branch}")
    assert sorted(one["instance"] for one in changes["added"]) == sorted(series.pixels)
    assert changes["removed"] == changes["changed"] == []
    assert api.log(branch)[0]["id"] == commit
    assert api.client.delete(f"{api.api}/branches/{branch}").status_code == 204
    for old in sorted(ref["name"] for ref in api.call("GET", "/tags"))[:-KEPT_TAGS]:
        assert api.client.delete(f"{api.api}/tags/{old}").status_code == 204


def export(site: Site) -> None:
    """Export the small dataset beside the server."""
    shutil.rmtree(site.folder, ignore_errors=True)
    done = run_cli(site.server.data_dir, "export", f"{site.shelf.name}@main", str(site.folder))
    assert done.returncode == 0, done.stderr
    written = sorted(digest(path.read_bytes()) for path in site.folder.rglob("*.dcm"))
    assert written == sorted(digest(file) for file in shelf_files())


def fill_shelf(shelf: Collection) -> None:
    """Store what `decode_frames` and `export` look for."""
    content_type, body = join_parts(shelf_files())
    answer = shelf.client.post(
        f"{shelf.root()}/studies", content=body, headers={"Content-Type": content_type}
    )
    assert answer.status_code == 200, answer.text


def shelf_files() -> list[bytes]:
    """Return the files of the small dataset."""
    return [read_sample("MR_small_jp2klossless.dcm"), read_sample("CT_small.dcm")]


def read_sample(name: str) -> bytes:
    """Return one of pydicom's files."""
    path = get_testdata_file(name, download=False)
    assert isinstance(path, str)
    return Path(path).read_bytes()


def read_pair() -> tuple[Any, Any]:
    """Return an instance and the same one compressed."""
    names = ("MR_small.dcm", "MR_small_jp2klossless.dcm")
    native, compressed = (dcmread(str(get_testdata_file(n, download=False))) for n in names)
    return native, compressed


def read_uids(instances: list[dict[str, Any]]) -> list[str]:
    """Return the SOP Instance UIDs of DICOM JSON objects."""
    tag = "00080018"
    return [one[tag]["Value"][0] for one in instances]


def read_errors(server: RunningServer) -> list[str]:
    """Return what the server logged as an error."""
    levels = ("error", "critical")
    return [line for line in server.errors if json.loads(line)["level"] in levels]
