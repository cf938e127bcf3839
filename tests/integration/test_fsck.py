"""fsck finds each kind of damage, names the object, and mends what can be derived."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
import sqlalchemy as sa
import zstandard

from lamella.archive.catalog import (
    decode_attributes,
    make_study_values,
    series_row,
    study_row,
)
from lamella.archive.packs.local import LocalPackStore
from lamella.archive.tables import dataset, derived, instance, location, pack
from lamella.upkeep.fsck import check
from lamella.upkeep.report import Kind, Report
from lamella.upkeep.resume import FILE_NAME
from lamella.vcs.cache import LeastRecent
from lamella.vcs.nodes import compress, decompress
from lamella.vcs.tables import (
    commit,
    conflict,
    node,
    ref,
    reflog,
    session,
    staged,
    visible_set,
)
from lamella.vcs.visible import load_visible, read_set
from tests.harness.postgresql import run_postgresql
from tests.integration.small_installation import (
    ROOT,
    Installation,
    fill,
    make_file,
    open_installation,
)

FIRST = f"{ROOT}.1.1.1"
SECOND = f"{ROOT}.1.1.2"


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("template") / "data"

    async def build() -> None:
        installation = await open_installation(folder)
        await fill(installation)
        await installation.archive.close()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lamella.archive.packs.growing.FULL_BYTES", 1)  # a pack for each store
        asyncio.run(build())
    return folder


@asynccontextmanager
async def open_copy(template: Path, tmp_path: Path) -> AsyncIterator[Installation]:
    folder = tmp_path / "data"
    shutil.copytree(template, folder)
    installation = await open_installation(folder)
    try:
        yield installation
    finally:
        await installation.archive.close()


@pytest.fixture
async def installation(template: Path, tmp_path: Path) -> AsyncIterator[Installation]:
    async with open_copy(template, tmp_path) as opened:
        yield opened


async def run_fsck(it: Installation, *, rehash: bool = False, repair: bool = False) -> Report:
    return await check(it.repository, bytes=rehash, repair=repair)


async def read_shown(it: Installation) -> dict[str, list[tuple[str, bytes]]]:
    """Return what each commit shows, as (UID, digest of attributes)."""

    def read(connection: sa.Connection) -> dict[str, list[tuple[str, bytes]]]:
        shown = {}
        for commit_id, visible_id in connection.execute(
            sa.select(commit.c.id, commit.c.visible_id)
        ):
            visible = load_visible(connection, visible_id, LeastRecent(1))
            rows = []
            for table, ids in ((study_row, visible.studies), (series_row, visible.series)):
                query = sa.select(table.c[3], table.c.digest).where(table.c.row_id.in_(list(ids)))
                found = [(uid, digest) for uid, digest in connection.execute(query)]
                assert len(found) == len(ids)
                rows += found
            shown[commit_id.hex()] = sorted(rows)
        return shown

    return await it.archive.database.read(read)


def flip(data: bytes, index: int) -> bytes:
    return data[:index] + bytes([data[index] ^ 1]) + data[index + 1 :]


async def find_pack(it: Installation, sop_uid: str) -> tuple[str, int, int, bytes]:
    """Return (pack name, offset, length, digest) of the last segment of an instance."""
    rows = await it.fetch(sa.select(instance.c.segments).where(instance.c.sop_uid == sop_uid))
    digest, length = msgspec.msgpack.decode(rows[0].segments)[-1]
    query = sa.select(pack.c.name, location.c.offset_bytes).join(
        pack, pack.c.id == location.c.pack_id
    )
    [(name, offset)] = await it.fetch(query.where(location.c.digest == digest))
    return name, offset, length, digest


def path_of(it: Installation, name: str) -> Path:
    packs = it.archive.packs
    assert isinstance(packs, LocalPackStore)
    return packs.path_of(name)


async def test_a_sound_installation_has_no_findings(installation: Installation) -> None:
    for rehash in (False, True):
        report = await run_fsck(installation, rehash=rehash)
        assert report.findings == []
        assert report.checked["commits"] == 7
        assert report.to_json()["problems"] == 0


async def test_a_flipped_byte_in_a_pack_is_found_by_reading_it(installation: Installation) -> None:
    name, offset, length, digest = await find_pack(installation, FIRST)
    path = path_of(installation, name)
    path.write_bytes(flip(path.read_bytes(), offset + length // 2))
    assert (await run_fsck(installation)).problems == []
    for repair in (False, True):  # bytes are never guessed
        report = await run_fsck(installation, rehash=True, repair=repair)
        assert {f.kind for f in report.problems} == {Kind.BYTES_DAMAGED, Kind.INSTANCE_LOST}
        damaged = next(f for f in report.problems if f.kind is Kind.BYTES_DAMAGED)
        assert damaged.name == name
        assert digest.hex() in damaged.sentence
        assert FIRST in [f.name for f in report.problems]


async def test_a_lost_pack_is_found_without_reading_bytes(installation: Installation) -> None:
    name, *_ = await find_pack(installation, FIRST)
    path_of(installation, name).unlink()
    report = await run_fsck(installation)
    assert (Kind.PACK_MISSING, name) in [(f.kind, f.name) for f in report.problems]
    lost = {f.name for f in report.problems if f.kind is Kind.INSTANCE_LOST}
    assert {FIRST, SECOND} <= lost
    assert f"{ROOT}.2.1.1" not in lost


async def test_a_short_pack_loses_what_lay_at_its_end(installation: Installation) -> None:
    name, *_ = await find_pack(installation, FIRST)
    path = path_of(installation, name)
    ((size_bytes,),) = await installation.fetch(
        sa.select(pack.c.size_bytes).where(pack.c.name == name)
    )
    os.truncate(path, size_bytes - 1)
    report = await run_fsck(installation)
    assert (Kind.PACK_SIZE, name) in [(f.kind, f.name) for f in report.problems]
    assert len([f for f in report.problems if f.kind is Kind.INSTANCE_LOST]) == 1


async def test_a_pack_that_no_row_knows_is_only_a_note(installation: Installation) -> None:
    stray = path_of(installation, "ab" * 16)
    stray.parent.mkdir(exist_ok=True)
    stray.write_bytes(b"spooled, then cut off")
    report = await run_fsck(installation)
    assert [(f.kind, f.name) for f in report.notes] == [(Kind.PACK_UNKNOWN, "ab" * 16)]
    assert report.problems == []


async def test_an_interrupted_run_goes_on_where_it_was(template: Path, tmp_path: Path) -> None:
    async with open_copy(template, tmp_path) as it:
        name, offset, *_ = await find_pack(it, FIRST)
        path = path_of(it, name)
        path.write_bytes(flip(path.read_bytes(), offset))

        def interrupt(what: str, count: int) -> None:
            if what == "reparsed":
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            await check(it.repository, bytes=True, progress=interrupt)
        assert (it.archive.spool_folder / FILE_NAME).exists()
        report = await run_fsck(it, rehash=True)
        assert Kind.CONTINUED in {f.kind for f in report.notes}
        assert Kind.BYTES_DAMAGED in {f.kind for f in report.problems}  # found again
        all_blobs = (await it.fetch(sa.select(sa.func.count()).select_from(location)))[0][0]
        assert 0 < report.checked["blobs"] < all_blobs
        assert not (it.archive.spool_folder / FILE_NAME).exists()


Damage = Callable[[Installation], Awaitable[str]]
"""Damages an installation; returns the name that a finding must have, "" for any."""


async def lose_derived(it: Installation) -> str:
    key = (await it.fetch(sa.select(instance.c.key).where(instance.c.sop_uid == SECOND)))[0].key
    assert await it.change(sa.delete(derived).where(derived.c.key == key))
    return SECOND


async def garble_derived(it: Installation) -> str:
    key = (await it.fetch(sa.select(instance.c.key).where(instance.c.sop_uid == SECOND)))[0].key
    there = sa.update(derived).where(derived.c.key == key)
    assert await it.change(there.values(dicom_json=b"\x28\xb5\x2f\xfd rubbish"))
    return SECOND


async def outdate_derived(it: Installation) -> str:
    assert await it.change(sa.update(derived).values(format=0))
    return SECOND


async def swap_study_row_attributes(it: Installation) -> str:
    here = sa.update(study_row).where(study_row.c.study_uid == f"{ROOT}.1")
    [(data,)] = await it.fetch(
        sa.select(study_row.c.attributes).where(study_row.c.row_id == await last_row(it))
    )
    altered = data.replace(b"Study 1", b"Study 7")
    assert altered != data
    await it.change(here.where(study_row.c.row_id == await last_row(it)).values(attributes=altered))
    return f"{ROOT}.1"


async def last_row(it: Installation) -> int:
    query = sa.select(sa.func.max(study_row.c.row_id)).where(study_row.c.study_uid == f"{ROOT}.1")
    return int((await it.fetch(query))[0][0])


async def alter_study_column(it: Installation) -> str:
    assert await it.change(
        sa.update(study_row).where(study_row.c.study_uid == f"{ROOT}.2").values(patient_id="PX")
    )
    return f"{ROOT}.2"


async def move_series_row(it: Installation) -> str:
    assert await it.change(
        sa.update(series_row)
        .where(series_row.c.series_uid == f"{ROOT}.1.2")
        .values(study_uid=f"{ROOT}.9")
    )
    return f"{ROOT}.1.2"


async def rename_series_row(it: Installation) -> str:
    assert await it.change(
        sa.update(series_row)
        .where(series_row.c.series_uid == f"{ROOT}.1.2")
        .values(series_uid=f"{ROOT}.1.77")
    )
    return f"{ROOT}.1.2"


async def alter_series_digest(it: Installation) -> str:
    assert await it.change(
        sa.update(series_row)
        .where(series_row.c.series_uid == f"{ROOT}.1.2")
        .values(digest=bytes(32))
    )
    return f"{ROOT}.1.2"


async def forge_study_row(it: Installation) -> str:
    """Alter a row so that it is consistent in itself: only the tree knows better."""
    row_id = await last_row(it)
    [(data,)] = await it.fetch(
        sa.select(study_row.c.attributes).where(study_row.c.row_id == row_id)
    )
    attributes = decode_attributes(data)
    attributes["00081030"]["Value"] = ["Forged"]
    await it.change(
        sa.update(study_row)
        .where(study_row.c.row_id == row_id)
        .values(make_study_values(attributes))
    )
    return f"{ROOT}.1"


async def lose_catalog_row(it: Installation) -> str:
    assert await it.change(sa.delete(series_row).where(series_row.c.series_uid == f"{ROOT}.2.1"))
    return f"{ROOT}.2.1"


async def add_stray_row(it: Installation) -> str:
    query = sa.select(study_row).where(study_row.c.study_uid == f"{ROOT}.2")
    values = dict((await it.fetch(query))[0]._mapping)
    values |= {"study_uid": f"{ROOT}.99", "row_id": values["row_id"] + 1000}
    await it.change(sa.insert(study_row).values(values))
    return ""


async def lower_counter(it: Installation) -> str:
    await it.change(sa.update(dataset).values(next_row_id=2))
    return "default"


async def visible_ids(it: Installation) -> list[int]:
    return [row.id for row in await it.fetch(sa.select(visible_set.c.id).order_by("id"))]


async def swap_visible_delta(it: Installation) -> str:
    """Give one set the data of another."""
    ids = await visible_ids(it)
    data = (await it.fetch(sa.select(visible_set.c.data).where(visible_set.c.id == ids[-1])))[0][0]
    await it.change(sa.update(visible_set).where(visible_set.c.id == ids[1]).values(data=data))
    return f"visible set {ids[1]}"


async def garble_snapshot(it: Installation) -> str:
    ids = await visible_ids(it)
    await it.change(
        sa.update(visible_set).where(visible_set.c.id == ids[0]).values(data=b"\x93rubbish")
    )
    return f"visible set {ids[0]}"


async def rebase_visible_delta(it: Installation) -> str:
    ids = await visible_ids(it)
    await it.change(
        sa.update(visible_set).where(visible_set.c.id == ids[-1]).values(base_id=ids[0])
    )
    return f"visible set {ids[-1]}"


async def share_visible_set(it: Installation) -> str:
    """Let the newest commit show what the first one shows."""
    ids = await visible_ids(it)
    newest = (await it.fetch(sa.select(ref.c.commit_id).where(ref.c.name == "main")))[0][0]
    assert await it.change(sa.update(commit).where(commit.c.id == newest).values(visible_id=ids[0]))
    return f"visible set {ids[0]}"


async def alter_commit_columns(it: Installation) -> str:
    newest = (await it.fetch(sa.select(ref.c.commit_id).where(ref.c.name == "main")))[0][0]
    await it.change(
        sa.update(commit).where(commit.c.id == newest).values(generation=9, tree=bytes(32))
    )
    return newest.hex()


WIDE = (outdate_derived, add_stray_row)  # many rows; a stray row far behind the counter


def name_of(value: object) -> str | None:
    return getattr(value, "__name__", None)


MENDABLE: list[tuple[Damage, Kind]] = [
    (lose_derived, Kind.DERIVED_MISSING),
    (garble_derived, Kind.DERIVED_ALTERED),
    (outdate_derived, Kind.DERIVED_ALTERED),
    (swap_study_row_attributes, Kind.CATALOG_ROW_ALTERED),
    (alter_study_column, Kind.CATALOG_ROW_ALTERED),
    (move_series_row, Kind.CATALOG_ROW_ALTERED),
    (rename_series_row, Kind.CATALOG_ROW_ALTERED),
    (alter_series_digest, Kind.CATALOG_ROW_ALTERED),
    (forge_study_row, Kind.CATALOG_ROW_ALTERED),
    (lose_catalog_row, Kind.CATALOG_ROW_MISSING),
    (add_stray_row, Kind.CATALOG_ROW_ALTERED),
    (lower_counter, Kind.CATALOG_COUNTER),
    (swap_visible_delta, Kind.VISIBLE_SET_ALTERED),
    (garble_snapshot, Kind.VISIBLE_SET_ALTERED),
    (rebase_visible_delta, Kind.VISIBLE_SET_ALTERED),
    (share_visible_set, Kind.VISIBLE_SET_ALTERED),
    (alter_commit_columns, Kind.COMMIT_ROW_ALTERED),
]


@pytest.mark.parametrize(("damage", "kind"), MENDABLE, ids=name_of)
async def test_what_is_derived_is_found_named_and_mended(
    installation: Installation, damage: Damage, kind: Kind
) -> None:
    shown = await read_shown(installation)
    name = await damage(installation)
    found = await run_fsck(installation)
    assert kind in {f.kind for f in found.problems}
    assert not name or name in {f.name for f in found.problems if f.kind is kind}
    assert not any(f.repaired for f in found.findings)
    again = await run_fsck(installation)
    assert again.findings == found.findings  # looking changes nothing
    mended = await run_fsck(installation, repair=True)
    assert mended.problems == []
    assert kind in {f.kind for f in mended.repaired}
    assert (await run_fsck(installation, rehash=True)).findings == []
    assert await read_shown(installation) == shown


@pytest.mark.parametrize("damage", [d for d, _ in MENDABLE if d not in WIDE], ids=name_of)
async def test_one_altered_object_is_one_finding(
    installation: Installation, damage: Damage
) -> None:
    await damage(installation)
    assert len((await run_fsck(installation)).problems) == 1


async def test_repair_does_not_carry_altered_documents_into_the_catalog(
    installation: Installation,
) -> None:
    shown = await read_shown(installation)
    query = sa.select(instance.c.key, derived.c.dicom_json).join(
        derived, derived.c.key == instance.c.key
    )
    for key, data in await installation.fetch(query.where(instance.c.sop_uid == FIRST)):
        altered = zstandard.decompress(data).replace(b"Study 1", b"Study 8")
        assert await installation.change(
            sa.update(derived)
            .where(derived.c.key == key)
            .values(dicom_json=zstandard.compress(altered))
        )
    report = await run_fsck(installation)
    assert {f.kind for f in report.problems} == {Kind.DERIVED_ALTERED}
    assert (await run_fsck(installation, repair=True)).problems == []
    assert (await run_fsck(installation, rehash=True)).findings == []
    assert await read_shown(installation) == shown


async def test_altered_documents_and_rows_are_found_by_parsing_again(
    installation: Installation,
) -> None:
    last = f"{ROOT}.3.3.79"
    query = sa.select(instance.c.key, derived.c.dicom_json).join(
        derived, derived.c.key == instance.c.key
    )
    [(key, data)] = await installation.fetch(query.where(instance.c.sop_uid == last))
    altered = zstandard.decompress(data).replace(b"P3", b"P4")
    await installation.change(
        sa.update(derived)
        .where(derived.c.key == key)
        .values(dicom_json=zstandard.compress(altered), instance_number=1)
    )
    await installation.change(
        sa.update(instance)
        .where(instance.c.sop_uid == SECOND)
        .values(patient_id="PX", content_digest=bytes(32))
    )
    report = await run_fsck(installation, rehash=True)
    assert {(f.kind, f.name) for f in report.problems} == {
        (Kind.DERIVED_ALTERED, last),
        (Kind.INSTANCE_ALTERED, SECOND),
    }
    assert (await run_fsck(installation, rehash=True, repair=True)).problems == []
    assert (await run_fsck(installation, rehash=True)).findings == []


async def test_an_instance_row_is_made_again_from_the_bytes(installation: Installation) -> None:
    key = (await installation.fetch(sa.select(instance.c.key).where(instance.c.sop_uid == SECOND)))[
        0
    ].key
    await installation.change(sa.delete(derived).where(derived.c.key == key))
    await installation.change(sa.delete(instance).where(instance.c.key == key))
    report = await run_fsck(installation)
    assert (Kind.INSTANCE_MISSING, SECOND) in {(f.kind, f.name) for f in report.problems}
    assert (await run_fsck(installation, repair=True)).problems == []
    assert (await run_fsck(installation, rehash=True)).findings == []


async def lose_node(it: Installation) -> str:
    [row] = await it.fetch(sa.select(commit.c.tree).where(commit.c.generation == 2).limit(1))
    assert await it.change(sa.delete(node).where(node.c.digest == row.tree))
    return str(row.tree.hex())


async def garble_node(it: Installation) -> str:
    [row] = await it.fetch(sa.select(commit.c.tree).where(commit.c.generation == 2).limit(1))
    [(data,)] = await it.fetch(sa.select(node.c.data).where(node.c.digest == row.tree))
    altered = compress(flip(decompress(data, row.tree), 40))
    assert await it.change(sa.update(node).where(node.c.digest == row.tree).values(data=altered))
    return str(row.tree.hex())


async def garble_commit(it: Installation) -> str:
    [row] = await it.fetch(sa.select(commit.c.id, commit.c.data).where(commit.c.generation == 2))
    await it.change(
        sa.update(commit)
        .where(commit.c.id == row.id)
        .values(data=row.data.replace(b"Store", b"Stole"))
    )
    return str(row.id.hex())


async def lose_commit(it: Installation) -> str:
    [row] = await it.fetch(sa.select(commit.c.id).where(commit.c.generation == 1))
    assert await it.change(sa.delete(commit).where(commit.c.id == row.id))
    return str(row.id.hex())


async def dangle_tag(it: Installation) -> str:
    assert await it.change(sa.update(ref).where(ref.c.name == "v1").values(commit_id=bytes(32)))
    return "default@v1"


async def dangle_branch(it: Installation) -> str:
    assert await it.change(sa.update(ref).where(ref.c.name == "side").values(commit_id=bytes(32)))
    return "default@side"


async def dangle_log(it: Installation) -> str:
    assert await it.change(
        sa.update(reflog)
        .where(reflog.c.branch == "side", reflog.c.action == "create")
        .values(new=bytes(32))
    )
    return "default@side"


async def move_branch_unlogged(it: Installation) -> str:
    [row] = await it.fetch(sa.select(commit.c.id).where(commit.c.generation == 1))
    assert await it.change(sa.update(ref).where(ref.c.name == "side").values(commit_id=row.id))
    return "default@side"


async def lose_location(it: Installation) -> str:
    *_, digest = await find_pack(it, SECOND)
    assert await it.change(sa.delete(location).where(location.c.digest == digest))
    return SECOND


async def move_location(it: Installation) -> str:
    *_, digest = await find_pack(it, SECOND)
    await it.change(
        sa.update(location).where(location.c.digest == digest).values(offset_bytes=1 << 40)
    )
    return str(digest.hex())


async def alter_instance_segments(it: Installation) -> str:
    encoded = msgspec.msgpack.encode([(bytes(32), 5)])
    await it.change(
        sa.update(instance).where(instance.c.sop_uid == SECOND).values(segments=encoded)
    )
    return SECOND


async def stray_conflict(it: Installation) -> str:
    row = {
        "dataset_id": 1,
        "branch": "main",
        "study_uid": "1.2",
        "series_uid": "1.2.3",
        "sop_uid": "1.2.3.4",
        "key": bytes(32),
        "reason": "",
        "head": bytes(32),
        "time_us": 1,
    }
    await it.change(sa.insert(conflict).values(row))
    return "1.2.3.4"


async def stray_staged(it: Installation) -> str:
    values = {"id": "s", "dataset_id": 1, "branch": "main", "kind": "store", "author": "x"}
    values |= {"message": "", "owner": "x", "expected_head": None, "lease_us": 1}
    await it.change(sa.insert(session).values(values))
    row = {"session_id": "s", "dataset_id": 1, "study_uid": "1.2", "series_uid": "1.2.3"}
    row |= {"sop_uid": "1.2.3.4", "key": bytes(32)}
    await it.change(sa.insert(staged).values(row))
    return "1.2.3.4"


BEYOND_REPAIR: list[tuple[Damage, Kind]] = [
    (lose_node, Kind.NODE_MISSING),
    (garble_node, Kind.NODE_DAMAGED),
    (garble_commit, Kind.COMMIT_DAMAGED),
    (lose_commit, Kind.COMMIT_MISSING),
    (dangle_tag, Kind.REF_DANGLING),
    (dangle_branch, Kind.REF_DANGLING),
    (dangle_log, Kind.REF_DANGLING),
    (move_branch_unlogged, Kind.REFLOG_WRONG),
    (lose_location, Kind.INSTANCE_LOST),
    (move_location, Kind.LOCATION_WRONG),
    (alter_instance_segments, Kind.INSTANCE_ALTERED),
    (stray_conflict, Kind.CONFLICT_STRAY),
    (stray_staged, Kind.STAGED_STRAY),
]


@pytest.mark.parametrize(("damage", "kind"), BEYOND_REPAIR, ids=name_of)
async def test_what_nobody_can_derive_is_named_and_left_alone(
    installation: Installation, damage: Damage, kind: Kind
) -> None:
    name = await damage(installation)
    found = await run_fsck(installation)
    assert (kind, name) in {(f.kind, f.name) for f in found.problems}
    mended = await run_fsck(installation, repair=True)
    assert (kind, name) in {(f.kind, f.name) for f in mended.problems}
    assert mended.repaired == []


async def test_a_long_history_is_sound_across_snapshots(tmp_path: Path) -> None:
    installation = await open_installation(tmp_path / "data")
    try:
        for study in range(1, 71):  # each makes a delta; every 64th is a snapshot
            await installation.store([make_file(study, 1, 1)])
        depths = await installation.fetch(sa.select(visible_set.c.depth))
        assert [row.depth for row in depths].count(0) == 2
        assert (await run_fsck(installation)).findings == []
        snapshot = (await visible_ids(installation))[64]
        _, kept = await installation.archive.database.read(lambda c: read_set(c, snapshot))
        assert len(kept.studies) == 64  # type: ignore[union-attr]
        first = (await visible_ids(installation))[0]
        [(data,)] = await installation.fetch(
            sa.select(visible_set.c.data).where(visible_set.c.id == first)
        )
        await installation.change(
            sa.update(visible_set).where(visible_set.c.id == snapshot).values(data=data)
        )
        problems = (await run_fsck(installation)).problems
        assert [f.name for f in problems] == [f"visible set {snapshot}"]
        assert (await run_fsck(installation, repair=True)).problems == []
        assert (await run_fsck(installation)).findings == []
    finally:
        await installation.archive.close()


async def test_stores_beside_a_run_are_no_findings(installation: Installation) -> None:
    async def keep_storing() -> None:
        for number in range(12):
            await installation.store([make_file(40 + number, 1, n) for n in (1, 2)])

    storing = asyncio.create_task(keep_storing())
    while not storing.done():
        assert (await run_fsck(installation)).problems == []
        report = await run_fsck(installation, repair=True)
        assert report.problems == report.repaired == []
    await storing


async def test_on_postgresql_the_same_is_found_and_mended(tmp_path: Path) -> None:
    damages = (
        lose_derived,
        move_series_row,
        forge_study_row,
        lose_catalog_row,
        lower_counter,
        swap_visible_delta,
        share_visible_set,
        alter_commit_columns,
    )
    with run_postgresql() as url:
        installation = await open_installation(tmp_path / "data", url)
        try:
            await fill(installation)
            assert (await run_fsck(installation, rehash=True)).findings == []
            shown = await read_shown(installation)
            for damage in damages:
                await damage(installation)
                assert len((await run_fsck(installation)).problems) == 1
                assert (await run_fsck(installation, repair=True)).problems == []
            assert (await run_fsck(installation, rehash=True)).findings == []
            assert await read_shown(installation) == shown
        finally:
            await installation.archive.close()
