"""Importing: outcomes, batches, repeats, trouble half-way."""

from __future__ import annotations

import asyncio
import os
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa
from pydicom.data import get_testdata_file

from lamella.archive.database import read_clock_us
from lamella.errors import OutOfResources, RevisionNotFound
from lamella.files import importer as importer_module
from lamella.files import units
from lamella.files.discovery import FoundFile
from lamella.files.importer import Importer, open_importer
from lamella.files.tally import FileOutcome, FileResult, Tally
from lamella.vcs.commits import commit_abandoned, list_abandoned
from lamella.vcs.log import read_log
from lamella.vcs.refs import find_dataset, read_head
from lamella.vcs.repository import Repository
from lamella.vcs.tables import session, staged

MakeFile = Callable[..., Path]


async def run_import(
    repository: Repository, *paths: Path, branch: str | None = None
) -> tuple[Tally, list[FileResult]]:
    results: list[FileResult] = []
    importer = await open_importer(
        repository, "default", branch, author="tester", on_result=results.append
    )
    return await importer.run(paths), results


async def count_commits(repository: Repository) -> int:
    def read(connection: sa.Connection) -> int:
        dataset = find_dataset(connection, "default")
        return len(read_log(connection, dataset.id, read_head(connection, dataset.id, "main")))

    return await repository.archive.database.read(read)


async def count_rows(repository: Repository, table: sa.Table) -> int:
    query = sa.select(sa.func.count()).select_from(table)
    return int(await repository.archive.database.read(lambda c: c.execute(query).scalar_one()))


async def test_each_file_has_an_outcome(
    repository: Repository, tmp_path: Path, make_file: MakeFile
) -> None:
    folder = tmp_path / "in"
    make_file(folder / "1.dcm", "1.5.1")
    make_file(folder / "2.dcm", "1.5.2")
    make_file(folder / "3-again.dcm", "1.5.1")
    make_file(folder / "4-version.dcm", "1.5.1", PatientComments="new")
    make_file(folder / "5-conflict.dcm", "1.5.2", PixelData=b"\1" * 16)
    make_file(folder / "6-no-study.dcm", "1.5.3", StudyInstanceUID="")
    (folder / "7.txt").write_text("not DICOM")
    tally, results = await run_import(repository, folder)
    assert [(os.path.basename(r.path), str(r.outcome)) for r in results] == [
        ("1.dcm", "stored"),
        ("2.dcm", "stored"),
        ("3-again.dcm", "unchanged"),
        ("4-version.dcm", "stored"),
        ("5-conflict.dcm", "conflict"),
        ("6-no-study.dcm", "refused"),
        ("7.txt", "ignored"),
    ]
    line = f"stored=3 unchanged=1 conflicts=1 refused=1 ignored=1 commit={tally.commit_id}"
    assert str(tally) == line
    assert tally.has_problems
    assert await count_rows(repository, staged) == await count_rows(repository, session) == 0


async def test_a_second_run_stores_nothing(
    repository: Repository, tmp_path: Path, make_file: MakeFile
) -> None:
    folder = tmp_path / "in"
    make_file(folder / "1.dcm", "1.5.1")
    make_file(folder / "2.dcm", "1.5.1", PatientComments="a second version in one folder")
    make_file(folder / "3.dcm", "1.5.2")
    first, _ = await run_import(repository, folder)
    second, _ = await run_import(repository, folder)
    assert (second.stored, second.unchanged) == (0, 3)
    assert second.commit_id == first.commit_id
    make_file(folder / "4.dcm", "1.5.3")
    third, results = await run_import(repository, folder)
    assert (third.stored, third.unchanged) == (1, 3)
    assert results[-1].outcome is FileOutcome.STORED


async def test_nothing_to_import_answers_with_the_head(
    repository: Repository, tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    before = await count_commits(repository)
    tally, results = await run_import(repository, tmp_path / "in")
    assert results == []
    assert len(tally.commit_id) == 64
    assert await count_commits(repository) == before


async def test_batches_are_commits(
    repository: Repository,
    tmp_path: Path,
    make_file: MakeFile,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(importer_module, "BATCH_INSTANCES", 4)
    monkeypatch.setattr(units, "UNIT_FILES", 2)
    for number in range(10):
        make_file(tmp_path / "in" / f"{number}.dcm", f"1.5.{number}")
    before = await count_commits(repository)
    tally, results = await run_import(repository, tmp_path / "in")
    assert tally.stored == 10
    assert [os.path.basename(r.path) for r in results] == [f"{n}.dcm" for n in range(10)]
    assert await count_commits(repository) == before + 3


async def test_zips_and_dicomdirs(
    repository: Repository, tmp_path: Path, make_file: MakeFile
) -> None:
    folder = tmp_path / "in"
    path = make_file(tmp_path / "1.dcm", "1.5.1")
    folder.mkdir()
    with zipfile.ZipFile(folder / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(path, "deep/1.dcm")
        archive.writestr("readme", b"text")
    dicomdir = Path(str(get_testdata_file("DICOMDIR", download=False)))
    (folder / "DICOMDIR").write_bytes(dicomdir.read_bytes())
    tally, results = await run_import(repository, folder)
    assert Counter(str(r.outcome) for r in results) == {"stored": 1, "ignored": 2}
    assert results[0].reason == "It is a DICOMDIR."
    assert tally.has_problems is False


async def test_a_damaged_member_is_refused_and_the_rest_goes_in(
    repository: Repository, tmp_path: Path, make_file: MakeFile
) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.write(make_file(tmp_path / "1.dcm", "1.5.1"), "1.dcm")
        archive.write(make_file(tmp_path / "2.dcm", "1.5.2"), "2.dcm")
    data = bytearray(path.read_bytes())
    data[data.index(b"1.5.1")] ^= 1  # the checksum of the first member fails
    path.write_bytes(data)
    _, results = await run_import(repository, path)
    assert [str(r.outcome) for r in results] == ["refused", "stored"]


async def test_an_unreadable_file_is_refused(repository: Repository) -> None:
    """Address 0 of a process is a place that even root cannot read."""
    _, (result,) = await run_import(repository, Path("/proc/self/mem"))
    assert result.outcome is FileOutcome.REFUSED
    assert "cannot be read" in result.reason


async def test_a_file_that_ends_in_an_error_is_refused(repository: Repository) -> None:
    found = FoundFile("mem", 10, lambda: open("/proc/self/mem", "rb"))  # noqa: SIM115
    unit = await units.take_unit(repository.archive, [found], lambda size_bytes: None)
    (result,) = unit.items
    assert isinstance(result, FileResult)
    assert result.outcome is FileOutcome.REFUSED


async def test_an_unknown_branch_or_dataset_is_an_error(
    repository: Repository, tmp_path: Path
) -> None:
    with pytest.raises(RevisionNotFound):
        await run_import(repository, tmp_path, branch="nope")
    with pytest.raises(RevisionNotFound):
        await open_importer(repository, "nope", None, author="tester")


async def test_no_room_keeps_what_was_committed(
    repository: Repository,
    tmp_path: Path,
    make_file: MakeFile,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A file-size limit stands for a full disk: the system refuses the very same write."""
    import resource
    import signal

    monkeypatch.setattr(importer_module, "WORKERS", 1)
    monkeypatch.setattr(units, "UNIT_FILES", 1)
    make_file(tmp_path / "in" / "1.dcm", "1.5.1")
    big = os.urandom(8_000_000)
    make_file(tmp_path / "in" / "2.dcm", "1.5.2", PixelData=big, Rows=2000, Columns=4000)
    results: list[FileResult] = []
    importer = await open_importer(
        repository, "default", None, author="tester", on_result=results.append
    )
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (6_000_000, limits[1]))
    try:
        with pytest.raises(OutOfResources):
            await importer.run([tmp_path / "in"])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert importer.tally.stored == 1
    assert [str(r.outcome) for r in results] == ["stored"]
    assert list(repository.archive.spool_folder.iterdir()) == []
    again, _ = await run_import(repository, tmp_path / "in")
    assert (again.stored, again.unchanged) == (1, 1)


async def test_a_stop_commits_what_is_staged(
    repository: Repository,
    tmp_path: Path,
    make_file: MakeFile,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(units, "UNIT_FILES", 1)
    for number in range(30):
        make_file(tmp_path / "in" / f"{number:02d}.dcm", f"1.5.{number}")
    seen = 0
    stop = asyncio.Event()

    def on_file(_size_bytes: int) -> None:
        nonlocal seen
        seen += 1
        if seen == 8:
            stop.set()

    importer = await open_importer(repository, "default", None, author="t", on_file=on_file)
    task = asyncio.create_task(importer.run([tmp_path / "in"]))
    await stop.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert 1 <= importer.tally.stored < 30
    assert await count_rows(repository, staged) == 0
    assert list(repository.archive.spool_folder.iterdir()) == []
    again, _ = await run_import(repository, tmp_path / "in")
    assert again.stored == 30 - importer.tally.stored


class _CommittedByAnother(Importer):
    """An import whose lease runs out behind its first unit, so that a server commits it."""

    async def _stage(self, unit: units.Unit) -> None:
        await super()._stage(unit)
        database = self._repository.archive.database
        if self._staged == 1:
            statement = sa.update(session).values(lease_us=0)
            await database.write(lambda c: c.execute(statement))
            (left,) = await database.read(lambda c: list_abandoned(c, None))
            await database.write(lambda c: commit_abandoned(c, self._repository, left))


async def test_a_lost_lease_loses_no_outcome(
    repository: Repository,
    tmp_path: Path,
    make_file: MakeFile,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(units, "UNIT_FILES", 1)
    make_file(tmp_path / "in" / "1.dcm", "1.5.1")
    make_file(tmp_path / "in" / "2.dcm", "1.5.2")
    read = repository.archive.database.read
    dataset = await read(lambda c: find_dataset(c, "default"))
    head = await read(lambda c: read_head(c, dataset.id, "main"))
    results: list[FileResult] = []
    importer = _CommittedByAnother(
        repository, dataset, "main", head, author="t", on_result=results.append
    )
    await importer.run([tmp_path / "in"])
    assert [str(r.outcome) for r in results] == ["stored", "stored"]


async def test_the_lease_is_renewed_while_files_are_read(
    repository: Repository,
    tmp_path: Path,
    make_file: MakeFile,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(units, "UNIT_FILES", 1)
    monkeypatch.setattr(importer_module, "RENEW_S", 0.005)
    leases: set[int] = set()

    class Watching(Importer):
        async def _stage(self, unit: units.Unit) -> None:
            await super()._stage(unit)
            database = self._repository.archive.database
            for _ in range(500):  # until the renewal has come by
                rows = await database.read(lambda c: c.execute(sa.select(session.c.lease_us)).all())
                leases.update(row.lease_us for row in rows)
                if len(leases) > 1:
                    return
                await asyncio.sleep(0.005)

    make_file(tmp_path / "in" / "1.dcm", "1.5.1")
    read = repository.archive.database.read
    dataset = await read(lambda c: find_dataset(c, "default"))
    head = await read(lambda c: read_head(c, dataset.id, "main"))
    importer = Watching(repository, dataset, "main", head, author="t")
    await importer.run([tmp_path / "in"])
    assert len(leases) > 1
    assert min(leases) > await read(read_clock_us)
    assert await count_rows(repository, session) == 0


async def test_leftovers_of_a_stopped_run_are_committed_first(
    repository: Repository, tmp_path: Path, make_file: MakeFile
) -> None:
    make_file(tmp_path / "in" / "1.dcm", "1.5.1")
    importer = await open_importer(repository, "default", None, author="t")
    for unit in [
        await units.take_unit(
            repository.archive,
            units.next_unit(iter(importer_module.find_files([tmp_path / "in"]))),
            lambda size_bytes: None,
        )
    ]:
        await importer._stage(unit)  # and then the process dies
    statement = sa.update(session).values(lease_us=0)
    await repository.archive.database.write(lambda c: c.execute(statement))
    tally, _ = await run_import(repository, tmp_path / "in")
    assert (tally.stored, tally.unchanged) == (0, 1)
    assert await count_rows(repository, session) == 0
