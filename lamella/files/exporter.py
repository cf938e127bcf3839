"""Exporting a view: `DEST/{study}/{series}/{sop}.dcm`, byte for byte as stored.

Each file appears whole or not at all (written under another name, then renamed), and only if
the SHA-256 of each of its segments is what the tree says.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import sqlalchemy as sa

from lamella.archive.blobs import Location
from lamella.archive.packs.store import PackStore
from lamella.archive.threads import run_in_thread
from lamella.errors import IntegrityError, LamellaError, OutOfResources
from lamella.vcs.repository import Repository
from lamella.vcs.tree import Entry, InstanceKey
from lamella.vcs.view import View

PAGE = 500
WRITERS = 2
CHUNK_BYTES = 1 << 20
_UID = re.compile(r"(?=.*[0-9])[0-9.]{1,64}")  # PS3.5 §9.1, read leniently; never "..", "."


class DestinationInUse(LamellaError):
    """The destination of an export is not an empty folder."""

    http_status, title = 409, "Destination in use"


@dataclass(frozen=True, slots=True)
class FailedFile:
    """An instance that could not be exported."""

    key: InstanceKey
    reason: str

    def describe(self) -> dict[str, str]:
        """Return it as `--json` shows it."""
        study_uid, series_uid, sop_uid = self.key
        return {
            "study": study_uid,
            "series": series_uid,
            "instance": sop_uid,
            "reason": self.reason,
        }


@dataclass(slots=True)
class ExportReport:
    """The sum of an export.

    Attributes:
        commit_id: The commit that was exported, 64 hex digits.
    """

    commit_id: str
    exported: int = 0
    size_bytes: int = 0
    failed: list[FailedFile] = field(default_factory=list)

    def describe(self) -> dict[str, object]:
        """Return the report as `--json` shows it."""
        return {
            "commit": self.commit_id,
            "exported": self.exported,
            "bytes": self.size_bytes,
            "failed": [failure.describe() for failure in self.failed],
        }

    def __str__(self) -> str:
        return (
            f"exported={self.exported} failed={len(self.failed)} bytes={self.size_bytes} "
            f"commit={self.commit_id}"
        )


def prepare_destination(folder: Path) -> None:
    """Make the destination folder, or check that it is empty.

    Raises:
        DestinationInUse: It is a file, or a folder that holds something.
        OutOfResources: It cannot be made.
    """
    try:
        if folder.exists() and not folder.is_dir():
            raise DestinationInUse(f"{folder} is not a folder.")
        folder.mkdir(parents=True, exist_ok=True)
        if next(folder.iterdir(), None) is not None:
            raise DestinationInUse(f"{folder} is not empty.")
    except OSError as error:
        raise OutOfResources(f"{folder} cannot be used: {error.strerror}.") from error


async def export_view(
    repository: Repository,
    view: View,
    folder: Path,
    on_file: Callable[[int], None] = lambda size_bytes: None,
) -> ExportReport:
    """Write every instance of a view.

    Args:
        repository: The installation.
        view: What to export.
        folder: From `prepare_destination`.
        on_file: Called for each file once it is written, with its length in bytes.

    Returns:
        What was written; instances whose bytes are damaged are among the failed.

    Raises:
        OutOfResources: The destination is full.
        IntegrityError: A node of the tree is missing or damaged.
    """
    report = ExportReport(view.commit_id)
    turns = asyncio.Semaphore(WRITERS)

    async def write_one(key: InstanceKey, entry: Entry) -> None:
        async with turns:
            try:
                await _export_instance(repository, folder, key, entry)
            except IntegrityError as error:
                report.failed.append(FailedFile(key, error.detail))
                return
        report.exported += 1
        report.size_bytes += entry.size_bytes
        on_file(entry.size_bytes)

    after: InstanceKey | None = None
    while page := await _read_page(repository, view, after):
        await _locate_page(repository, page)
        await _run_all([write_one(key, entry) for key, entry in page])
        after = page[-1][0]
    return report


async def count_instances(repository: Repository, view: View) -> int:
    """Return how many instances a view has."""
    read = repository.archive.database.read
    return (await read(lambda c: view.tree(c, repository).summary())).n_instances


async def _run_all(work: Sequence[Coroutine[None, None, None]]) -> None:
    tasks = [asyncio.ensure_future(item) for item in work]
    try:
        await asyncio.gather(*tasks)
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise


async def _read_page(
    repository: Repository, view: View, after: InstanceKey | None
) -> list[tuple[InstanceKey, Entry]]:
    def read(connection: sa.Connection) -> list[tuple[InstanceKey, Entry]]:
        walk = view.tree(connection, repository).walk(after)
        return [((study, series, sop), entry) for study, series, sop, entry in islice(walk, PAGE)]

    return await repository.archive.database.read(read)


async def _locate_page(repository: Repository, page: Sequence[tuple[InstanceKey, Entry]]) -> None:
    """Look up all locations of a page at once; they are cached for its instances."""
    segments = [segment for _, entry in page for segment in entry.segments]
    with suppress(IntegrityError):  # a missing one is told of when its instance's turn comes
        await repository.blobs.locate(segments)


async def _export_instance(
    repository: Repository, folder: Path, key: InstanceKey, entry: Entry
) -> None:
    target = name_file(folder, key)
    places = await repository.blobs.locate(entry.segments)
    digests = [digest for digest, _ in entry.segments]
    await run_in_thread(_write_file, repository.archive.packs, target, places, digests)


def name_file(folder: Path, key: InstanceKey) -> Path:
    """Return where an instance goes.

    Raises:
        IntegrityError: One of its UIDs cannot be a file's name.
    """
    if not all(map(is_file_name, key)):
        raise IntegrityError(f"A UID of instance {key[2]} cannot be the name of a file.")
    study_uid, series_uid, sop_uid = key
    return folder / study_uid / series_uid / f"{sop_uid}.dcm"


def is_file_name(uid: str) -> bool:
    """Tell whether a UID can be the name of a file."""
    return _UID.fullmatch(uid) is not None


def _write_file(
    packs: PackStore, target: Path, places: Sequence[Location], digests: Sequence[bytes]
) -> None:
    draft = target.with_name(f".{target.name}.partial")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            with draft.open("wb") as file:
                copy_segments(packs, places, digests, file.write)
            os.replace(draft, target)
        except BaseException:
            draft.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise OutOfResources(f"The destination cannot be written: {error.strerror}.") from error


def copy_segments(
    packs: PackStore,
    places: Sequence[Location],
    digests: Sequence[bytes],
    write: Callable[[bytes], object],
) -> None:
    """Read an instance, piece by piece, in the calling thread.

    Raises:
        IntegrityError: It is not what was stored.
    """
    for place, digest in zip(places, digests, strict=True):
        _copy_segment(packs, place, digest, write)


def _copy_segment(
    packs: PackStore, place: Location, digest: bytes, write: Callable[[bytes], object]
) -> None:
    hasher = hashlib.sha256()
    end = place.offset_bytes + place.length_bytes
    for start in range(place.offset_bytes, end, CHUNK_BYTES):
        chunk = packs.read_now(place.pack_name, start, min(CHUNK_BYTES, end - start))
        hasher.update(chunk)
        write(chunk)
    if hasher.digest() != digest:
        raise IntegrityError(f"Stored bytes {digest.hex()[:16]} have another digest now.")
