"""C-FIND as peers use it: DCMTK's findscu, and pynetdicom for what that never does."""

from __future__ import annotations

import asyncio
import fnmatch
import random
import re
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, generate_uid
from pynetdicom import AE
from pynetdicom.dimse_primitives import C_CANCEL
from pynetdicom.pdu_primitives import SOPClassExtendedNegotiation
from pynetdicom.presentation import build_context
from pynetdicom.sop_class import (
    PatientRootQueryRetrieveInformationModelFind as PatientRoot,
)
from pynetdicom.sop_class import (
    SecondaryCaptureImageStorage,
)
from pynetdicom.sop_class import (
    StudyRootQueryRetrieveInformationModelFind as StudyRoot,
)

from lamella.archive.levels import Level
from lamella.dimse_gateway import finding
from lamella.dimse_gateway.ae_titles import AeTarget
from lamella.qido.parameters import parse_search
from lamella.vcs.finder import find
from lamella.vcs.refs import TAG, create_ref, find_dataset, read_head
from lamella.vcs.view import open_view
from tests.peer.dcmtk import run_tool
from tests.peer.door import Door, open_door
from tests.peer.instances import make_instance, save_instance

UNIQUE = {"PATIENT": "PatientID", "STUDY": "StudyInstanceUID", "SERIES": "SeriesInstanceUID",
          "IMAGE": "SOPInstanceUID"}  # fmt: skip
NAMES = ["Doe^John", "Dow^Jane", "Müller^Änne", "Nobody^Ever"]
Answers = list[tuple[int, Dataset | None]]


def make_collection() -> list[Dataset]:
    """Return two series of two instances in each of six studies of four patients."""
    held = []
    for number in range(6):
        study_uid = generate_uid()
        for series in range(2):
            series_uid = generate_uid()
            for index in range(2):
                pixels = bytes([number, series, index, 0]) * 16
                ds = make_instance(study_uid, series_uid, pixels=pixels)
                ds.SpecificCharacterSet = "ISO_IR 100"
                ds.PatientID, ds.PatientName = f"P{number % 4}", NAMES[number % 4]
                ds.StudyDate, ds.StudyTime = f"2026010{number + 1}", f"{8 + number:02}3000"
                ds.AccessionNumber, ds.StudyDescription = (
                    f"A{number}",
                    ["Head", "Chest"][number % 2],
                )
                ds.Modality, ds.SeriesNumber = ["CT", "MR"][series], series + 1
                ds.InstanceNumber = index + 1
                step = Dataset()
                step.ScheduledProcedureStepID = f"S{number}"
                step.RequestedProcedureID = f"R{number}"
                ds.RequestAttributesSequence = [step]
                held.append(ds)
    return held


@pytest.fixture
async def door(tmp_path: Path) -> AsyncIterator[Door]:
    async with open_door(tmp_path / "data") as opened:
        yield opened


@pytest.fixture
async def collection(door: Door, tmp_path: Path) -> list[Dataset]:
    held = make_collection()
    for number, ds in enumerate(held):
        save_instance(ds, tmp_path / "files" / f"{number}.dcm")
    finished = await door.storescu(tmp_path / "files")
    assert finished.exit_status == 0, finished.output
    return held


def ask(level: str, **keys: Any) -> Dataset:
    """Return an identifier."""
    ds = Dataset()
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.QueryRetrieveLevel = level
    for name, value in keys.items():
        setattr(ds, name, value)
    return ds


async def find_all(
    door: Door,
    identifier: Dataset,
    *,
    root: str = StudyRoot,
    syntax: str = ExplicitVRLittleEndian,
    extensions: bytes = b"",
    called: str = "LAMELLA",
) -> Answers:
    """Return statuses and identifiers of all answers to one query."""

    def run() -> Answers:
        items = []
        if extensions:
            item = SOPClassExtendedNegotiation()
            item.sop_class_uid, item.service_class_application_information = root, extensions
            items.append(item)
        association = AE(ae_title="SEEKER").associate(
            "127.0.0.1",
            door.port,
            contexts=[build_context(root, syntax)],
            ae_title=called,
            ext_neg=items,
        )
        assert association.is_established
        try:
            answers = [(s.get("Status"), ds) for s, ds in association.send_c_find(identifier, root)]
        finally:
            association.release()
        return answers

    return await asyncio.to_thread(run)


def matches(answers: Answers) -> list[Dataset]:
    """Return the matches of a query that went well."""
    assert answers[-1][0] == 0x0000
    return [ds for status, ds in answers[:-1] if ds is not None]


async def run_findscu(door: Door, *keys: str, root: str = "-S") -> list[str]:
    """Return the value of the last key in each answer that DCMTK printed."""
    arguments = [part for key in keys for part in ("-k", key)]
    finished = await run_tool(
        "findscu", "-v", root, "-aec", "LAMELLA", "127.0.0.1", str(door.port), *arguments
    )
    assert finished.exit_status == 0, finished.output
    assert "Success" in finished.output, finished.output
    tag = {"StudyInstanceUID": "0020,000d", "SeriesInstanceUID": "0020,000e",
           "SOPInstanceUID": "0008,0018", "PatientID": "0010,0020"}[keys[-1]]  # fmt: skip
    parts = re.split(r"Find Response: \d+", finished.output)[1:]
    return [re.search(rf"\({tag}\) \w\w \[([^\]]*)\]", part)[1].strip(" \0") for part in parts]


async def test_findscu_finds_at_each_level(door: Door, collection: list[Dataset]) -> None:
    first = collection[0]
    study, series = first.StudyInstanceUID, first.SeriesInstanceUID
    of_study = {str(ds.SeriesInstanceUID) for ds in collection if ds.StudyInstanceUID == study}
    of_series = {str(ds.SOPInstanceUID) for ds in collection if ds.SeriesInstanceUID == series}
    above = ("QueryRetrieveLevel=SERIES", f"StudyInstanceUID={study}")
    image = ("QueryRetrieveLevel=IMAGE", above[1], f"SeriesInstanceUID={series}")
    patient = f"PatientID={first.PatientID}"

    studies = await run_findscu(door, "QueryRetrieveLevel=STUDY", "StudyInstanceUID")
    assert sorted(studies) == sorted({str(ds.StudyInstanceUID) for ds in collection})
    assert set(await run_findscu(door, *above, "SeriesInstanceUID")) == of_study
    assert set(await run_findscu(door, *image, "SOPInstanceUID")) == of_series
    patients = await run_findscu(door, "QueryRetrieveLevel=PATIENT", "PatientID", root="-P")
    assert sorted(patients) == ["P0", "P1", "P2", "P3"]
    found = await run_findscu(door, *above, patient, "SeriesInstanceUID", root="-P")
    assert set(found) == of_study
    found = await run_findscu(door, *image, patient, "SOPInstanceUID", root="-P")
    assert set(found) == of_series


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        (["PatientID=P1"], {1, 5}),
        (["PatientName=D*"], {0, 1, 4, 5}),
        (["PatientName=Do?^J*"], {0, 1, 4, 5}),
        (["AccessionNumber="], {0, 1, 2, 3, 4, 5}),
        (["StudyDate=20260102-20260103"], {1, 2}),
        (["StudyDate=20260105-"], {4, 5}),
        (["StudyDate=-20260101"], {0}),
        (["StudyDate=20260101-20260103", "StudyTime=0900-1000"], {1}),
        (["ModalitiesInStudy=MR"], {0, 1, 2, 3, 4, 5}),
        (["ModalitiesInStudy=US"], set()),
    ],
)
async def test_findscu_matches_by_every_kind_of_key(
    door: Door, collection: list[Dataset], keys: list[str], expected: set[int]
) -> None:
    found = await run_findscu(door, "QueryRetrieveLevel=STUDY", *keys, "StudyInstanceUID")
    assert set(found) == {str(collection[4 * number].StudyInstanceUID) for number in expected}


async def test_uid_lists_and_sequences_match(door: Door, collection: list[Dataset]) -> None:
    uids = [str(collection[0].StudyInstanceUID), str(collection[8].StudyInstanceUID)]
    answers = await find_all(door, ask("STUDY", StudyInstanceUID=uids))
    assert {ds.StudyInstanceUID for ds in matches(answers)} == set(uids)
    step = Dataset()
    step.ScheduledProcedureStepID, step.RequestedProcedureID = "S2", ""
    uid = collection[8].StudyInstanceUID
    for given, count in (("S2", 2), ("S3", 0)):
        step.ScheduledProcedureStepID = given
        asked = ask("SERIES", StudyInstanceUID=uid, RequestAttributesSequence=[step])
        found = matches(await find_all(door, asked))
        assert len(found) == count
        for ds in found:
            assert ds.RequestAttributesSequence[0].RequestedProcedureID == "R2"


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian])
async def test_answers_hold_what_was_asked(
    door: Door, collection: list[Dataset], syntax: str
) -> None:
    asked = ask(
        "STUDY", PatientID="P2", PatientName="", StudyInstanceUID="", ModalitiesInStudy="",
        NumberOfStudyRelatedSeries=None, NumberOfStudyRelatedInstances=None, StudyID="",
    )  # fmt: skip
    answers = await find_all(door, asked, syntax=syntax)
    (found,) = matches(answers)
    assert answers[0][0] == 0xFF00
    assert {element.keyword for element in found} == {
        *(element.keyword for element in asked), "RetrieveAETitle", "InstanceAvailability",
    }  # fmt: skip
    assert found.QueryRetrieveLevel == "STUDY"
    assert found.SpecificCharacterSet == "ISO_IR 192"
    assert str(found.PatientName) == "Müller^Änne"
    assert sorted(found.ModalitiesInStudy) == ["CT", "MR"]
    assert (found.NumberOfStudyRelatedSeries, found.NumberOfStudyRelatedInstances) == (2, 4)
    assert found.StudyID in (None, "")
    assert (found.RetrieveAETitle, found.InstanceAvailability) == ("LAMELLA", "ONLINE")


async def test_keys_that_are_not_supported_are_told(door: Door, collection: list[Dataset]) -> None:
    uid = collection[0].StudyInstanceUID
    answers = await find_all(door, ask("STUDY", StudyInstanceUID=uid, SOPInstanceUID=""))
    assert [status for status, _ in answers] == [0xFF01, 0x0000]
    assert "SOPInstanceUID" not in answers[0][1]


@pytest.mark.parametrize(
    ("root", "asked"),
    [
        (StudyRoot, ask("SERIES", SeriesInstanceUID="")),
        (StudyRoot, ask("SERIES", StudyInstanceUID=["1.2", "1.3"])),
        (StudyRoot, ask("IMAGE", StudyInstanceUID="1.2")),
        (PatientRoot, ask("STUDY", PatientID="P*")),
        (StudyRoot, ask("PATIENT", PatientID="")),
        (StudyRoot, ask("VISIT", PatientID="")),
    ],
)
async def test_identifiers_that_do_not_fit_the_model_are_refused(
    door: Door, collection: list[Dataset], root: str, asked: Dataset
) -> None:
    assert [status for status, _ in await find_all(door, asked, root=root)] == [0xA900]


async def test_values_that_are_none_are_refused(door: Door) -> None:
    asked = ask("STUDY", StudyInstanceUID="")
    asked.add_new("StudyDate", "LO", "yesterday")  # written without a check
    answers = await find_all(door, asked, syntax=ImplicitVRLittleEndian)
    assert [status for status, _ in answers] == [0xC000]


async def test_negotiated_extensions_are_used(door: Door, collection: list[Dataset]) -> None:
    instance = collection[7]
    bare = ask("IMAGE", SOPInstanceUID=instance.SOPInstanceUID)
    (found,) = matches(await find_all(door, bare, extensions=b"\x01"))
    assert found.SeriesInstanceUID == instance.SeriesInstanceUID
    pair = ask("STUDY", StudyDate="20260101-20260103", StudyTime="0800-0900", PatientID="")
    combined = matches(await find_all(door, pair, extensions=b"\x00\x01\x00"))
    assert {ds.StudyDate for ds in combined} == {"20260101", "20260102"}
    assert {ds.StudyDate for ds in matches(await find_all(door, pair))} == {"20260101"}
    fuzzy = ask("STUDY", PatientName="doe jon", PatientID="")
    assert matches(await find_all(door, fuzzy)) == []
    assert {
        ds.PatientID for ds in matches(await find_all(door, fuzzy, extensions=b"\0\0\1"))
    } > set()


async def test_own_stores_are_found_before_the_association_ends(door: Door) -> None:
    ds = make_instance()

    def run() -> tuple[int, Answers]:
        association = AE(ae_title="MODALITY").associate(
            "127.0.0.1",
            door.port,
            contexts=[
                build_context(StudyRoot),
                build_context(SecondaryCaptureImageStorage, ExplicitVRLittleEndian),
            ],
            ae_title="LAMELLA",
        )
        stored = association.send_c_store(ds).Status
        asked = ask("STUDY", StudyInstanceUID=ds.StudyInstanceUID)
        answers = [(s.Status, found) for s, found in association.send_c_find(asked, StudyRoot)]
        association.release()
        return stored, answers

    stored, answers = await asyncio.to_thread(run)
    assert stored == 0x0000
    assert len(matches(answers)) == 1
    assert len(await door.read_commits()) == 1


async def test_a_frozen_revision_answers_as_it_was(tmp_path: Path) -> None:
    class Titles:
        async def resolve_ae_title(self, title: str) -> AeTarget | None:
            return AeTarget("default", "v1" if title == "FROZEN" else "main")

    async with open_door(tmp_path / "data", ae_titles=Titles()) as door:
        for number in range(2):
            await door.storescu(save_instance(make_instance(), tmp_path / f"{number}.dcm"))
            if number == 0:
                await door.repository.archive.database.write(_tag_head)
        asked = ask("STUDY", StudyInstanceUID="")
        assert len(matches(await find_all(door, asked))) == 2
        assert len(matches(await find_all(door, asked, called="FROZEN"))) == 1


def _tag_head(connection: sa.Connection) -> None:
    dataset = find_dataset(connection, "default")
    head = read_head(connection, dataset.id, "main")
    create_ref(connection, dataset.id, TAG, "v1", head)


async def test_pages_leave_nothing_out(
    door: Door, collection: list[Dataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(finding, "FIRST_PAGE", 1)
    monkeypatch.setattr(finding, "PAGE_GROWTH", 2)
    asked = ask("IMAGE", SOPInstanceUID="")
    found = matches(await find_all(door, asked, extensions=b"\x01"))
    assert sorted(ds.SOPInstanceUID for ds in found) == sorted(
        ds.SOPInstanceUID for ds in collection
    )
    monkeypatch.setattr(finding, "MOST_ANSWERS", 5)
    answers = await find_all(door, asked, extensions=b"\x01")
    assert [status for status, _ in answers] == [0xFF00] * 5 + [0xB001]


async def test_a_cancelled_query_ends_and_the_next_is_answered(
    door: Door, collection: list[Dataset]
) -> None:
    def run() -> tuple[list[int], list[int]]:
        association = AE(ae_title="SEEKER").associate(
            "127.0.0.1", door.port, contexts=[build_context(StudyRoot)], ae_title="LAMELLA"
        )
        cancel = C_CANCEL()
        cancel.MessageIDBeingRespondedTo = 7
        asked = ask("STUDY", StudyInstanceUID="")
        context_id = association.accepted_contexts[0].context_id
        statuses = []
        for status, _ in association.send_c_find(asked, StudyRoot, msg_id=7):
            if not statuses:
                association.send_c_cancel(7, context_id)
                released.set()
            statuses.append(status.Status)
        again = [s.Status for s, _ in association.send_c_find(asked, StudyRoot, msg_id=7)]
        association.release()
        return statuses, again

    released = threading.Event()
    real = finding.write_answer
    sent: list[int] = []

    def answer_slowly(*arguments: Any, **options: Any) -> bytes:
        """Hold the third answer, if it comes to that, until the peer has cancelled."""
        sent.append(1)
        if len(sent) == 3:
            assert released.wait(10)
            (association,) = door.gateway.list_associations()
            for _ in range(1000):
                if association.dimse.cancel_req:
                    break
                threading.Event().wait(0.01)
        return real(*arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(finding, "write_answer", answer_slowly)
        statuses, again = await asyncio.to_thread(run)
    assert statuses[-1] == 0xFE00
    assert set(statuses[:-1]) == {0xFF00}
    assert len(statuses) <= 4
    assert again == [0xFF00] * 6 + [0x0000]


def make_key(rng: random.Random, ds: Dataset) -> tuple[str, str, Callable[[Dataset], bool]]:
    """Return a key of a study, its text, and what plain reading of the standard says of it."""
    kind = rng.choice(["PatientID", "PatientName", "StudyDate", "AccessionNumber", "list", "CS"])
    if kind == "list":
        uids = [str(ds.StudyInstanceUID), generate_uid()]
        return "StudyInstanceUID", "\\".join(uids), lambda one: one.StudyInstanceUID in uids
    if kind == "CS":
        text = rng.choice(["Head", "Che*", "?ead", "*"])
        return "StudyDescription", text, lambda one: fnmatch.fnmatchcase(one.StudyDescription, text)
    if kind == "StudyDate":
        first, last = sorted(f"2026010{rng.randint(1, 7)}" for _ in range(2))
        return kind, f"{first}-{last}", lambda one: first <= one.StudyDate <= last
    value = str(ds[kind].value)
    cut = rng.randint(0, len(value))
    texts = [value, value[:cut] + "*", value[:-1] + "?"]
    # the end of a name may be that of another name's first component, which matches as well
    text = rng.choice(texts if kind == "PatientName" else [*texts, "*" + value[cut:]])
    return kind, text, lambda one: fnmatch.fnmatchcase(str(one[kind].value).lower(), text.lower())


async def test_60_queries_find_what_qido_and_plain_reading_find(
    door: Door, collection: list[Dataset]
) -> None:
    rng = random.Random(6)
    sizes = set()
    for number in range(60):
        level = ["STUDY", "SERIES", "IMAGE"][number % 3]
        made = [make_key(rng, rng.choice(collection)) for _ in range(rng.randint(1, 2))]
        keys = {name: (text, test) for name, text, test in made}
        asked = ask(level, **{UNIQUE[level]: ""})
        for name, (text, _) in keys.items():
            setattr(asked, name, text)
        expected = {
            str(ds[UNIQUE[level]].value)
            for ds in collection
            if all(test(ds) for _, test in keys.values())
        }
        answers = matches(await find_all(door, asked, extensions=b"\x01"))
        found = [str(ds[UNIQUE[level]].value) for ds in answers]
        assert sorted(found) == sorted(expected), asked
        assert await search_web(door, level, {n: t for n, (t, _) in keys.items()}) == expected
        sizes.add(len(expected))
    assert len(sizes) > 3


async def search_web(door: Door, level: str, keys: dict[str, str]) -> set[str]:
    """Return what QIDO-RS finds for the same keys."""
    levels = {"STUDY": Level.STUDY, "SERIES": Level.SERIES, "IMAGE": Level.INSTANCE}
    parameters = [(name, text.replace("\\", ",")) for name, text in keys.items()]
    query = parse_search(parameters, levels[level])
    tag = {"STUDY": "0020000D", "SERIES": "0020000E", "IMAGE": "00080018"}[level]

    def read(connection: sa.Connection) -> set[str]:
        view = open_view(connection, door.repository, "default", None)
        return {
            match.attributes[tag]["Value"][0]
            for match in find(connection, door.repository, view, query).matches
        }

    return await door.repository.archive.database.read(read)


async def test_the_offending_element_is_named(door: Door) -> None:
    keys = ["-k", "QueryRetrieveLevel=SERIES", "-k", "SeriesInstanceUID"]
    finished = await run_tool(
        "findscu", "-d", "-S", "-aec", "LAMELLA", "127.0.0.1", str(door.port), *keys
    )
    assert re.search(r"0x?a900", finished.output, re.IGNORECASE), finished.output
    assert re.search(r"\(0000,0901\) AT \(0020,000d\)", finished.output), finished.output
