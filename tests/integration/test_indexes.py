"""Declared indexes of attributes: searches find the same with and without, and read less."""

from __future__ import annotations

import asyncio
import io
import random
import re
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qsl, urlencode

import pydicom
import pytest
import sqlalchemy as sa
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items

from lamella.archive.attribute_index import (
    AttributeIndex,
    instance_entry,
    parse_index,
    row_entry,
)
from lamella.archive.levels import Level
from lamella.archive.matching import match_query
from lamella.archive.tables import dataset
from lamella.errors import AlreadyExists, InvalidRequest, ResourceNotFound
from lamella.qido.parameters import parse_search
from lamella.upkeep.fsck import check
from lamella.upkeep.report import Kind
from lamella.vcs import indexing
from lamella.vcs.datasets import create_dataset
from lamella.vcs.finder import Match, find
from lamella.vcs.indexing import (
    declare_index,
    finish_index,
    list_indexes,
    list_unfinished,
    withdraw_index,
)
from lamella.vcs.refs import TAG, create_ref, find_dataset
from lamella.vcs.repository import Repository
from lamella.vcs.view import open_view
from tests.harness.postgresql import run_postgresql
from tests.harness.samples import make_instance
from tests.integration.small_installation import Installation, open_installation

ROOT = "1.2.826.0.1.3680043.10.9999.55"
DAYS = ["20260101", "20260102", "20260103", ""]
NAMES = ["Meyer^Anna", "MAIER^Jörg", "Schmidt^Li", "山田^太郎", "", "Doe^Jane^Mary"]
PRIVATE = "00091001[ACME 1.1]"
ATTRIBUTES = [
    "ContentDate", "ContentTime", "AcquisitionNumber", "AcquisitionDateTime", "SliceThickness",
    "ImageComments", "ImageType", "StudyDescription", "PatientComments", "ReferringPhysicianName",
    "SeriesDescription",
    "OperatorsName", "SeriesTime", "RequestAttributesSequence.ScheduledProcedureStepID",
    "ViewCodeSequence.CodeValue", "AnatomicRegionSequence.AnatomicRegionModifierSequence.CodeValue",
    PRIVATE, f"ViewCodeSequence.{PRIVATE}", "ContentCreatorName", "DistanceSourceToDetector",
]  # fmt: skip


def make_code(value: str) -> Dataset:
    item = Dataset()
    item.CodeValue = value
    add_private(item, 0x11, value)
    deeper = Dataset()
    deeper.CodeValue = value + "x"
    item.AnatomicRegionModifierSequence = Items([deeper])
    return item


def add_private(ds: Dataset, block: int, value: str) -> None:
    ds.add_new((0x0009, block), "LO", "ACME 1.1")
    ds.add_new((0x0009, block << 8 | 0x01), "LO", value)


def make_file(rng: random.Random, study: int, series: int, number: int) -> bytes:
    """Return an instance whose values are drawn from few."""
    step = Dataset()
    step.ScheduledProcedureStepID = f"S{study % 3}"
    attributes = {
        "ContentDate": rng.choice(DAYS),
        "ContentTime": rng.choice(["10", "103000", "1130", ""]),
        "AcquisitionNumber": rng.choice([1, 2, 30, None]),
        "AcquisitionDateTime": rng.choice(["20260101", "20260102103000+0200", "2026", ""]),
        "SliceThickness": rng.choice(["1.5", "1.50", "2", ""]),
        "DistanceSourceToDetector": rng.choice(["1000", "1e3", "541.0"]),
        "ImageComments": rng.choice(
            ["a note", "A note", "50% done", "ÄÖ_ü", "\u6771\u4eac CT", ""]
        ),
        "ImageType": rng.choice([["ORIGINAL", "PRIMARY"], ["DERIVED", "SECONDARY", "MIP"]]),
        "StudyDescription": f"Description {study % 4}",
        "PatientComments": rng.choice(["kept", "other"]) if number == series == 1 else "kept",
        "PatientName": NAMES[study % len(NAMES)],
        "ReferringPhysicianName": NAMES[(study + 1) % len(NAMES)],
        "OperatorsName": [NAMES[(study + series) % len(NAMES)], "Roe^Richard"],
        "ContentCreatorName": rng.choice(NAMES),
        "SeriesDescription": f"series {series}",
        "SeriesTime": ["08", "0930", "1000"][series % 3],
        "SpecificCharacterSet": "ISO_IR 192",
        "SeriesNumber": 3 - series,
        "InstanceNumber": 9 - number,
        "RequestAttributesSequence": Items([step]),
        "ViewCodeSequence": Items([make_code(rng.choice("PQ"))]),
        "AnatomicRegionSequence": Items([make_code(rng.choice("TU")), make_code("V")]),
        "StudyDate": rng.choice(DAYS),
    }
    uid = f"{ROOT}.{study}"
    plain = make_instance(
        uid, f"{uid}.{series}", f"{uid}.{series}.{number}", patient_id=f"P{study}",
        rows=1, columns=1, **attributes,
    )  # fmt: skip
    ds = pydicom.dcmread(io.BytesIO(plain))
    add_private(ds, rng.choice([0x10, 0x11, 0x42]), rng.choice(["x1", "x2", "y"]))
    buffer = io.BytesIO()
    ds.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


QUERIES = {
    Level.STUDY: [
        "StudyDescription=Description 1", "StudyDescription=Desc*2", "PatientComments=kept",
        "ReferringPhysicianName=schmidt", "ReferringPhysicianName=mayer&fuzzymatching=true",
        "PatientName=mayer&fuzzymatching=true", "PatientName=anna meyer&fuzzymatching=true",
        "PatientName=*a*&fuzzymatching=true", "PatientName=山田", "PatientID=P1&PatientComments=*",
    ],
    Level.SERIES: [
        "SeriesDescription=series 2", "SeriesDescription=*2", "OperatorsName=roe",
        "OperatorsName=maier&fuzzymatching=true", "SeriesTime=09", "SeriesTime=-0930",
        "RequestAttributesSequence.ScheduledProcedureStepID=S1&SeriesDescription=series 1",
        "PatientID=P2&SeriesDescription=series 1", "StudyDate=20260101&SeriesDescription=s*",
    ],
    Level.INSTANCE: [
        "ContentDate=20260102", "ContentDate=20260102-", "ContentDate=-20260101",
        "ContentDate=20260101-20260102&ContentTime=1000-1100", "ContentTime=10",
        "ContentDate=20260101&TimezoneOffsetFromUTC=%2B0100",
        'ContentDate=""&emptyvaluematching=true',
        "AcquisitionNumber=30", "AcquisitionNumber=030", "AcquisitionDateTime=2026",
        "AcquisitionDateTime=20260102-", "AcquisitionDateTime=20260102083000%2B0000",
        "SliceThickness=1.5", "DistanceSourceToDetector=1000.0", "ImageComments=A note",
        "ImageComments=*note", "ImageComments=50%25*", "ImageComments=%C3%84%C3%96_?",
        "ImageComments=東*", "ImageType=MIP", "ImageType=ORIGINAL,MIP",
        "ImageType=DERIVED,MIP&multiplevaluematching=true", "ContentCreatorName=maier",
        "ContentCreatorName=meier&fuzzymatching=true",
        "ContentCreatorName=jane doe&fuzzymatching=true",
        "ContentCreatorName=^j*", "ContentCreatorName=*e*", "ViewCodeSequence.CodeValue=P",
        "AnatomicRegionSequence.AnatomicRegionModifierSequence.CodeValue=Tx",
        "00091001=x1&00090010=ACME 1.1", "00091001=x*&00090010=ACME 1.1",
        "ViewCodeSequence.00091001=P&ViewCodeSequence.00090010=ACME 1.1",
        "ContentDate=20260101&AcquisitionNumber=2&PatientID=P1",
        "SeriesDescription=series 2&AcquisitionNumber=1",
        f"SOPInstanceUID={ROOT}.2.1.1,{ROOT}.1.2.1",
        f"StudyInstanceUID={ROOT}.1&ContentDate=20260101",
        "ContentDate=20260102&limit=3", "ContentDate=20260102&limit=3&offset=2",
    ],
}  # fmt: skip


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def place(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Path, str]]:
    """Where installations are: a folder, and the URL of a database of another kind."""
    folder = tmp_path_factory.mktemp("indexes") / "data"
    if request.param == "sqlite":
        yield folder, ""
    else:
        with run_postgresql() as url:
            yield folder, url


@pytest.fixture
async def installation(
    place: tuple[Path, str], request: pytest.FixtureRequest
) -> AsyncIterator[Installation]:
    """A dataset of its own for each test, with a history."""
    it = await open_installation(*place)
    name = re.sub(r"[^a-z0-9]+", "-", request.node.originalname)[:40].strip("-")
    it.dataset = await it.archive.database.write(lambda c: create_dataset(c, name))
    try:
        await fill(it)
        yield it
    finally:
        await it.archive.close()


async def fill(it: Installation) -> None:
    """Store 8 studies in several commits, tag one, change and delete some."""
    rng = random.Random(7)
    for study in range(1, 7):
        await it.store([make_file(rng, study, s, n) for s in (1, 2) for n in (1, 2, 3)])
    head = (await it.store([make_file(rng, 7, 1, n) for n in range(1, 40)])).commit_id
    await it.archive.database.write(lambda c: create_ref(c, it.dataset.id, TAG, "v1", head))
    await it.store([make_file(rng, 1, 1, 1), make_file(rng, 2, 1, 3)])
    await it.delete([(f"{ROOT}.3", f"{ROOT}.3.1", f"{ROOT}.3.1.2")])
    await it.store([make_file(rng, 8, s, 1) for s in (1, 2)])


Found = list[tuple[str, str, str]]


async def search(
    it: Installation, level: Level, text: str, revision: str, *, with_indexes: bool = True
) -> tuple[Found, bool]:
    """Return what a search finds, in order, and whether there is more."""
    query = parse_search(parse_qsl(text, keep_blank_values=True), level)

    def work(connection: sa.Connection) -> tuple[Found, bool]:
        repository = Repository(it.archive)  # without caches
        view = open_view(connection, repository, it.dataset.name, revision)
        if not with_indexes:
            view = replace(view, dataset=replace(view.dataset, n_indexes=0))
        page = find(connection, repository, view, query)
        return [(m.study_uid, m.series_uid, m.sop_uid) for m in page.matches], page.has_more

    return await it.archive.database.read(work)


async def add(it: Installation, name: str, level: Level | None = None) -> AttributeIndex:
    """Declare an index and build it."""
    made = await it.archive.database.write(
        lambda c: declare_index(c, it.dataset.name, parse_index(name, level))
    )
    await finish_index(it.repository, it.dataset.id, made.id)
    return made


async def list_entries(it: Installation) -> list[tuple[object, ...]]:
    """Return all entries of the dataset, sorted."""
    found: list[tuple[object, ...]] = []
    for table in (row_entry, instance_entry):
        own = sa.select(table).where(table.c.dataset_id == it.dataset.id)
        found += sorted(map(tuple, await it.fetch(own)))
    return found


async def run_fsck(it: Installation, *, repair: bool = False) -> Counter[tuple[Kind, bool]]:
    report = await check(Repository(it.archive), repair=repair)
    return Counter((finding.kind, finding.repaired) for finding in report.findings)


async def test_searches_find_the_same_with_indexes(installation: Installation) -> None:
    for name in ATTRIBUTES:
        await add(installation, name)
    await add(installation, "SeriesDescription", Level.INSTANCE)
    n_found = 0
    for level, texts in QUERIES.items():
        for text in texts:
            for revision in ("main", "v1"):
                with_indexes = await search(installation, level, text, revision)
                without = await search(installation, level, text, revision, with_indexes=False)
                assert with_indexes == without, (text, revision)
                n_found += bool(without[0])
    assert n_found > 0.9 * 2 * sum(map(len, QUERIES.values()))
    assert await run_fsck(installation) == {}


TEXTS = ["A note", "a*", "*NOTE", "*note", "50%*", "??*", "ÄÖ_ü", "東*", "*CT", "x?", "x1", "y*"]
WORDS = [
    "meyer",
    "maier",
    "mai*",
    "^j*",
    "*e*",
    "schmitt li",
    "li",
    "山田",
    "jane",
    "doe^*",
    "joerg",
]
MADE: dict[str, list[str]] = {
    "ContentDate": ["20260101", "20260102-", "-20260102", "20260101-20260102", '""'],
    "ContentTime": ["10", "1030", "1000-1100", "-103000", "11-"],
    "AcquisitionNumber": ["1", "30", "2.0", "7"],
    "AcquisitionDateTime": ["2026", "20260102-", "-20260101", "20260102093000+0100"],
    "SliceThickness": ["1.5", "2", "1.50e0"],
    "DistanceSourceToDetector": ["1000", "541"],
    "ImageType": ["MIP", "ORIGINAL,MIP", "DER*", "P?IMARY"],
    "ViewCodeSequence.CodeValue": ["P", "Q", "*"],
    "AnatomicRegionSequence.CodeValue": ["T", "V", "U*"],
    "AnatomicRegionSequence.AnatomicRegionModifierSequence.CodeValue": ["Tx", "V?", "*x"],
    "ImageComments": TEXTS,
    "ContentCreatorName": WORDS,
    "00091001": TEXTS,
}


def make_search(rng: random.Random) -> str:
    """Return the query string of a search with one to three keys of instances."""
    names = rng.sample([*MADE], rng.choice([1, 1, 2, 3]))
    values = {name: rng.choice(MADE[name]) for name in names}
    if "00091001" in values:
        values["00090010"] = "ACME 1.1"
    for flag in ("fuzzymatching", "emptyvaluematching", "multiplevaluematching"):
        if rng.random() < 0.4:
            values[flag] = "true"
    if "emptyvaluematching" not in values and values.get("ContentDate") == '""':
        del values["ContentDate"]
    if rng.random() < 0.2:
        values |= {"limit": str(rng.randint(0, 5)), "offset": str(rng.randint(0, 3))}
    return urlencode(values)


async def test_generated_searches_are_brute_force(installation: Installation) -> None:
    for name in ATTRIBUTES:
        await add(installation, name)
    everything = parse_search([("includefield", "all")], Level.INSTANCE)

    def read_all(connection: sa.Connection) -> tuple[Match, ...]:
        repository = Repository(installation.archive)
        view = open_view(connection, repository, installation.dataset.name, "main")
        return find(connection, repository, view, everything).matches

    plain = await installation.archive.database.read(read_all)
    rng, n_found, n_missed = random.Random(11), 0, 0
    for _ in range(150):
        text = make_search(rng)
        query = parse_search(parse_qsl(text), Level.INSTANCE)
        match = match_query(query)
        fitting = [(m.study_uid, m.series_uid, m.sop_uid) for m in plain if match(m.attributes)]
        last = query.offset + (query.limit or 0)
        expected = fitting[query.offset : last], len(fitting) > last
        assert await search(installation, Level.INSTANCE, text, "main") == expected, text
        n_found += bool(fitting)
        n_missed += len(fitting) < len(plain)
    assert min(n_found, n_missed) > 60


async def test_what_is_committed_meanwhile_and_later_is_found(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(indexing, "INSTANCES_A_PAGE", 20)
    database, rng = installation.archive.database, random.Random(3)
    made = await database.write(
        lambda c: declare_index(c, installation.dataset.name, parse_index("ContentDate"))
    )
    stores: list[asyncio.Task[object]] = []

    def store(done: int, _total: int) -> None:
        number = 100 + len(stores)
        files = [make_file(rng, number, 1, n) for n in (1, 2)]
        stores.append(asyncio.create_task(installation.store(files)))

    await finish_index(installation.repository, installation.dataset.id, made.id, store)
    await asyncio.gather(*stores)
    assert len(stores) > 3
    await installation.store([make_file(rng, 2, 1, n) for n in (1, 2, 3)])
    for text in ("ContentDate=20260101", "ContentDate=20260102-"):
        found = await search(installation, Level.INSTANCE, text, "main")
        assert found == await search(installation, Level.INSTANCE, text, "main", with_indexes=False)
        assert any(int(study.rpartition(".")[2]) >= 100 for study, _, _ in found[0])
    await add(installation, "00080033")
    assert await run_fsck(installation) == {}


async def test_an_index_is_not_asked_before_it_is_ready(installation: Installation) -> None:
    database = installation.archive.database
    whole = await search(installation, Level.INSTANCE, "ContentDate=20260101", "main")
    made = await database.write(
        lambda c: declare_index(c, installation.dataset.name, parse_index("ContentDate"))
    )
    assert whole[0]
    assert await search(installation, Level.INSTANCE, "ContentDate=20260101", "main") == whole
    assert (installation.dataset.id, made.id) in await database.read(list_unfinished)
    again = await database.write(
        lambda c: declare_index(c, installation.dataset.name, parse_index("ContentDate"), 10**9)
    )
    assert again.id == made.id
    assert await database.read(list_unfinished) == []  # somebody works on it
    await finish_index(installation.repository, installation.dataset.id, made.id)
    assert await search(installation, Level.INSTANCE, "ContentDate=20260101", "main") == whole
    with pytest.raises(AlreadyExists):
        await add(installation, "00080023")


async def test_a_removed_index_leaves_nothing(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(indexing, "ENTRIES_A_PAGE", 7)
    database, owner = installation.archive.database, installation.dataset
    before = await list_entries(installation)
    made = [await add(installation, name) for name in ("ContentDate", "SeriesTime", PRIVATE)]
    assert len(await list_entries(installation)) > len(before) + 60
    for index in made:
        await database.write(lambda c, i=index: withdraw_index(c, owner.id, i.id))
        await installation.store([make_file(random.Random(5), 200 + index.id, 1, 1)])
        text = "ContentDate=20260101"
        found = await search(installation, Level.INSTANCE, text, "main")
        plain = await search(installation, Level.INSTANCE, text, "main", with_indexes=False)
        assert found == plain
        with pytest.raises(AlreadyExists, match="being removed"):
            await add(installation, index.name)
        await finish_index(installation.repository, owner.id, index.id)
    names = [one for one in await list_entries(installation) if one[1] != 0]
    assert names == []
    assert await database.read(lambda c: list_indexes(c, owner.name)) == []
    assert (await database.read(lambda c: find_dataset(c, owner.name))).n_indexes == 0
    assert await run_fsck(installation) == {}
    with pytest.raises(ResourceNotFound):
        await database.write(lambda c: withdraw_index(c, owner.id, made[0].id))


async def test_fsck_finds_and_mends_entries(installation: Installation) -> None:
    content = await add(installation, "ContentDate")
    series = await add(installation, "SeriesDescription")
    whole = await list_entries(installation)
    own = {"dataset_id": installation.dataset.id}
    await installation.change(sa.delete(row_entry).where(row_entry.c.term == "meyer"))
    await installation.change(
        sa.delete(instance_entry).where(
            instance_entry.c.index_id == content.id, instance_entry.c.term == "20260102"
        )
    )
    stray = [
        {**own, "index_id": 0, "term": "nobody", "row_id": 1},
        {**own, "index_id": series.id, "term": "series 1", "row_id": 10**6},
        {**own, "index_id": 10**6, "term": "series 1", "row_id": 2},
    ]
    await installation.change(sa.insert(row_entry).values(stray))
    await installation.change(
        sa.insert(instance_entry).values(**own, index_id=content.id, term="2", key=bytes(32))
    )
    await installation.change(
        sa.update(dataset).where(dataset.c.id == installation.dataset.id).values(n_indexes=7)
    )
    found = await run_fsck(installation)
    assert found[Kind.INDEX_COUNT, False] == 1
    assert found[Kind.INDEX_ENTRY_MISSING, False] > 5
    assert found[Kind.INDEX_ENTRY_WRONG, False] == 3
    mended = await run_fsck(installation, repair=True)
    assert mended == {(kind, True): count for (kind, _), count in found.items()}
    assert await run_fsck(installation) == {}
    stray_key = [one for one in await list_entries(installation) if one[3] != bytes(32)]
    assert stray_key == whole


@pytest.mark.parametrize(
    "name",
    [
        "NoSuchAttribute", "", "ViewCodeSequence", "PixelData", "00091001", "PatientID[ACME]",
        "00090010", "00091001[ACME", "00091001[]", "00091001[ACME]x", "PatientID.CodeValue",
        "TransferSyntaxUID", "ViewCodeSequence..CodeValue",
    ],
)  # fmt: skip
def test_what_cannot_be_indexed_is_refused(name: str) -> None:
    with pytest.raises(InvalidRequest):
        parse_index(name)


def test_names_of_indexes() -> None:
    for name in [*ATTRIBUTES, "00091001[A.B.C].00091002[D].CodeValue"]:
        assert parse_index(name).name == name
    assert parse_index("00080023") == parse_index("ContentDate")
    assert parse_index("ContentDate").level is Level.INSTANCE
    assert parse_index("PatientSex").level is Level.STUDY
    assert parse_index("StationName").level is Level.SERIES
    assert parse_index("StationName", Level.INSTANCE).level is Level.INSTANCE
    with pytest.raises(InvalidRequest):
        parse_index("StationName", Level.STUDY)
