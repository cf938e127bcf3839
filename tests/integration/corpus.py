"""Every DICOM file at hand, what pydicom makes of each, and all of them stored in one server.

The shared collection is used where it lies beside the repository; pydicom's bundled files always.
"""

from __future__ import annotations

import asyncio
import logging
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import httpx
import pydicom
from pydicom.data import DATA_ROOT

from lamella.archive.installation import open_archive
from lamella.files.exporter import export_view, prepare_destination
from lamella.files.importer import open_importer
from lamella.files.tally import FileResult, Tally
from lamella.settings import Settings
from lamella.vcs.datasets import create_dataset, ensure_default
from lamella.vcs.repository import Repository
from lamella.vcs.view import open_view
from tests.harness.server import RunningServer
from tests.harness.stack import choose_stack

ROOTS = (Path(__file__).parents[3] / "shared" / "data" / "dicom", Path(str(DATA_ROOT)))
IDENTITY = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
_UID = re.compile(r"(0|[1-9][0-9]*)(\.(0|[1-9][0-9]*))*")


@contextmanager
def quiet_pydicom() -> Iterator[None]:
    """Silence warnings and logs about the odd files, which are here on purpose."""
    logging.disable(logging.CRITICAL)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
    logging.disable(logging.NOTSET)


@dataclass
class Sample:
    """One file of the corpus.

    Attributes:
        name: Its path below the root it was found in.
        dataset: The dataset it has for itself.
        result: What the import into that dataset said.
        exported: The file that an export of that dataset wrote.
    """

    path: Path
    name: str
    dataset: str
    result: FileResult | None = None
    exported: Path | None = None

    @cached_property
    def data(self) -> bytes:
        """Its bytes."""
        return self.path.read_bytes()

    @cached_property
    def ds(self) -> pydicom.FileDataset:
        """What pydicom reads, strictly as to the file format."""
        with quiet_pydicom():
            return pydicom.dcmread(self.path)

    @cached_property
    def must_be_stored(self) -> bool:
        """Whether pydicom reads it, walks all of it, and finds its three UIDs."""
        with quiet_pydicom():
            try:
                for element in self.ds.iterall():
                    assert element.VR
                uids = [self.ds[name].value for name in IDENTITY]
            except Exception:  # noqa: BLE001  # pydicom raises anything on what it cannot read
                return False
        return all(len(uid) <= 64 and _UID.fullmatch(uid) for uid in map(str, uids))

    @property
    def is_stored(self) -> bool:
        """Whether the import took it."""
        return self.exported is not None

    def urls(self, http: str) -> tuple[str, str]:
        """Return the URL of its DICOMweb resource, and that of its original file."""
        assert self.exported is not None
        study, series, sop = self.exported.with_suffix("").parts[-3:]
        web = f"{http}/dicomweb/{self.dataset}/main/studies/{study}/series/{series}/instances/{sop}"
        return web, f"{http}/api/v1/datasets/{self.dataset}/instances/{sop}/file"


def find_samples() -> list[Sample]:
    """Return all files of all roots."""
    found = []
    for root in ROOTS:
        for path in sorted(root.rglob("*")):
            if path.is_file():
                name = str(path.relative_to(root))
                found.append(Sample(path, name, f"file-{len(found):04}"))
    return found


async def import_apart(data_dir: Path, samples: list[Sample], folder: Path) -> None:
    """Import each file into a dataset of its own, and export that dataset to `folder`."""
    archive = await open_archive(Settings(data_dir=data_dir, **choose_stack(data_dir)))
    try:
        await archive.database.write(ensure_default)
        repository = Repository(archive)
        for sample in samples:
            await _import_one(repository, sample, folder / sample.dataset)
    finally:
        await archive.close()


async def _import_one(repository: Repository, sample: Sample, folder: Path) -> None:
    database, results = repository.archive.database, list[FileResult]()
    await database.write(lambda c: create_dataset(c, sample.dataset))
    importer = await open_importer(
        repository, sample.dataset, None, author="test", on_result=results.append
    )
    await importer.run([sample.path])
    sample.result = results[0]
    view = await database.read(lambda c: open_view(c, repository, sample.dataset, None))
    await asyncio.to_thread(prepare_destination, folder)
    await export_view(repository, view, folder)
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert len(files) <= 1
    sample.exported = files[0] if files else None


async def import_together(data_dir: Path, dataset: str) -> tuple[Tally, list[FileResult]]:
    """Import all roots into one dataset, made if it is new; return the sum and each fate."""
    archive = await open_archive(Settings(data_dir=data_dir, **choose_stack(data_dir)))
    results: list[FileResult] = []
    try:
        await archive.database.write(ensure_default)
        repository = Repository(archive)
        if dataset != "default":
            await archive.database.write(lambda c: create_dataset(c, dataset))
        importer = await open_importer(
            repository, dataset, None, author="test", on_result=results.append
        )
        roots = [root for root in ROOTS if root.is_dir()]
        return await importer.run(roots), results
    finally:
        await archive.close()


@dataclass
class Corpus:
    """The corpus, stored and served."""

    samples: list[Sample]
    server: RunningServer
    client: httpx.Client

    @property
    def stored(self) -> list[Sample]:
        """The files that were stored."""
        return [sample for sample in self.samples if sample.is_stored]

    def get(self, url: str, accept: str = "*/*") -> httpx.Response:
        """Ask for one resource."""
        return self.client.get(url, headers={"Accept": accept})
