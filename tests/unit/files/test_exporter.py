"""Exporting: bytes as they came, whole files only, damage told."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from pydicom.data import get_testdata_file

from lamella.archive.installation import open_archive
from lamella.errors import IntegrityError
from lamella.files.exporter import (
    DestinationInUse,
    count_instances,
    export_view,
    name_file,
    prepare_destination,
)
from lamella.files.importer import open_importer
from lamella.files.tally import FileOutcome, FileResult
from lamella.settings import Settings
from lamella.vcs.repository import Repository
from lamella.vcs.view import View, open_view

MakeFile = Callable[..., Path]
BUNDLED = ("CT_small.dcm", "MR_small_RLE.dcm", "JPEG2000.dcm", "rtplan.dcm", "image_dfl.dcm")


async def run_import(repository: Repository, *paths: Path) -> list[FileResult]:
    results: list[FileResult] = []
    importer = await open_importer(
        repository, "default", None, author="t", on_result=results.append
    )
    await importer.run(paths)
    return results


async def open_main(repository: Repository) -> View:
    return await repository.archive.database.read(
        lambda c: open_view(c, repository, "default", "main")
    )


async def test_files_come_back_byte_for_byte(repository: Repository, tmp_path: Path) -> None:
    paths = [Path(str(get_testdata_file(name, download=False))) for name in BUNDLED]
    results = await run_import(repository, *paths)
    assert {r.outcome for r in results} == {FileOutcome.STORED}
    view = await open_main(repository)
    prepare_destination(tmp_path / "out")
    report = await export_view(repository, view, tmp_path / "out")
    found = {path.read_bytes() for path in (tmp_path / "out").rglob("*.dcm")}
    assert report.exported == await count_instances(repository, view) == len(found)
    assert found == {path.read_bytes() for path in paths}
    assert not list((tmp_path / "out").rglob("*.partial"))


async def test_the_path_is_made_of_uids(
    repository: Repository, tmp_path: Path, make_file: MakeFile
) -> None:
    source = make_file(tmp_path / "in" / "x", "1.5.1")
    await run_import(repository, tmp_path / "in")
    await export_view(repository, await open_main(repository), tmp_path / "out")
    exported = tmp_path / "out" / "1.2.3" / "1.2.3.1" / "1.5.1.dcm"
    assert exported.read_bytes() == source.read_bytes()


async def test_a_pinned_view_exports_what_it_saw(
    repository: Repository, tmp_path: Path, make_file: MakeFile
) -> None:
    make_file(tmp_path / "in" / "1", "1.5.1")
    await run_import(repository, tmp_path / "in")
    view = await open_main(repository)
    make_file(tmp_path / "in" / "2", "1.5.2")
    await run_import(repository, tmp_path / "in")
    report = await export_view(repository, view, tmp_path / "out")
    assert report.exported == 1


async def test_damaged_bytes_are_told_and_not_written(
    repository: Repository, tmp_path: Path, make_file: MakeFile
) -> None:
    make_file(tmp_path / "a" / "1", "1.5.1")
    await run_import(repository, tmp_path / "a")
    make_file(tmp_path / "b" / "2", "1.5.2", PixelData=b"marked pixel!!!!")
    await run_import(repository, tmp_path / "b")
    await repository.archive.close()
    (pack,) = [
        path
        for path in (tmp_path / "data" / "packs").rglob("*.pack")
        if b"marked pixel!!!!" in path.read_bytes()
    ]
    pack.write_bytes(pack.read_bytes().replace(b"marked pixel!!!!", b"Marked pixel!!!!"))
    archive = await open_archive(Settings(data_dir=tmp_path / "data"))
    try:
        fresh = Repository(archive)
        report = await export_view(fresh, await open_main(fresh), tmp_path / "out")
    finally:
        await archive.close()
    assert [failure.key[2] for failure in report.failed] == ["1.5.2"]
    assert [path.name for path in (tmp_path / "out").rglob("*") if path.is_file()] == ["1.5.1.dcm"]


def test_a_destination_is_empty(tmp_path: Path) -> None:
    prepare_destination(tmp_path / "new" / "deep")
    prepare_destination(tmp_path / "new" / "deep")
    with pytest.raises(DestinationInUse):
        prepare_destination(tmp_path / "new")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DestinationInUse):
        prepare_destination(tmp_path / "file")


@pytest.mark.parametrize("uid", ["..", ".", "", "1/2", "1" * 65, "a"])
def test_a_uid_that_is_no_file_name_is_not_used(uid: str, tmp_path: Path) -> None:
    with pytest.raises(IntegrityError):
        name_file(tmp_path, ("1.2", uid, "1.3"))
