"""C-GET and C-MOVE as peers use them: DCMTK's getscu, movescu and storescp, and pynetdicom."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.uid import (
    CTImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
    SecondaryCaptureImageStorage,
    generate_uid,
)
from pynetdicom import AE, build_role, evt
from pynetdicom.presentation import build_context
from pynetdicom.sop_class import (
    PatientRootQueryRetrieveInformationModelMove as PatientRootMove,
)
from pynetdicom.sop_class import (
    StudyRootQueryRetrieveInformationModelGet as StudyRootGet,
)
from pynetdicom.sop_class import (
    StudyRootQueryRetrieveInformationModelMove as StudyRootMove,
)

from lamella.dimse_gateway.ae_titles import add_ae_title
from lamella.dimse_gateway.peers import add_peer
from lamella.settings import Address
from lamella.vcs.refs import TAG, create_ref, find_dataset, read_head
from tests.peer.dcmtk import Finished, find_tool, run_tool
from tests.peer.door import Door, open_door
from tests.peer.instances import make_instance, save_instance

PENDING, SUCCESS, CANCELLED, SOME_FAILED, ALL_FAILED = 0xFF00, 0, 0xFE00, 0xB000, 0xA702


@pytest.fixture
async def door(tmp_path: Path) -> AsyncIterator[Door]:
    async with open_door(tmp_path / "data") as opened:
        yield opened


@pytest.fixture
async def held(door: Door, tmp_path: Path) -> list[Dataset]:
    """Two series of three instances in each of two studies, each of another patient."""
    made = []
    for study in range(2):
        study_uid = generate_uid()
        for series in range(2):
            series_uid = generate_uid()
            for number in range(3):
                pixels = bytes([study, series, number, 7]) * 40_000
                ds = make_instance(study_uid, series_uid, pixels=pixels[:60_000])
                ds.PatientID, ds.InstanceNumber = f"P{study}", number + 1
                made.append(ds)
    for number, ds in enumerate(made):
        save_instance(ds, tmp_path / "files" / f"{number}.dcm")
    finished = await door.storescu(tmp_path / "files")
    assert finished.exit_status == 0, finished.output
    return made


def name(level: str, ds: Dataset, *, patient: bool = False) -> dict[str, str]:
    """Return the unique keys that name what an instance belongs to at a level."""
    keys = {"PATIENT": ds.PatientID} if patient else {}
    keys |= {"STUDY": ds.StudyInstanceUID, "SERIES": ds.SeriesInstanceUID}
    keys["IMAGE"] = ds.SOPInstanceUID
    names = {
        "PATIENT": "PatientID",
        "STUDY": "StudyInstanceUID",
        "SERIES": "SeriesInstanceUID",
        "IMAGE": "SOPInstanceUID",
    }
    upto = list(names).index(level) + 1
    found = {names[one]: str(keys[one]) for one in list(names)[:upto] if one in keys}
    return {"QueryRetrieveLevel": level, **found}


def expect(level: str, held: list[Dataset], ds: Dataset) -> set[str]:
    attribute = {
        "PATIENT": "PatientID",
        "STUDY": "StudyInstanceUID",
        "SERIES": "SeriesInstanceUID",
        "IMAGE": "SOPInstanceUID",
    }[level]
    return {str(one.SOPInstanceUID) for one in held if one[attribute] == ds[attribute]}


def as_flags(keys: dict[str, str]) -> list[str]:
    return [part for key, value in keys.items() for part in ("-k", f"{key}={value}")]


def as_identifier(keys: dict[str, Any]) -> Dataset:
    ds = Dataset()
    for key, value in keys.items():
        setattr(ds, key, value)
    return ds


def read_folder(folder: Path) -> dict[str, Dataset]:
    found = [pydicom.dcmread(path) for path in folder.iterdir()]
    return {str(ds.SOPInstanceUID): ds for ds in found}


@pytest.mark.parametrize(
    ("flag", "level"),
    [("-P", "PATIENT"), ("-P", "SERIES"), ("-S", "STUDY"), ("-S", "SERIES"), ("-S", "IMAGE")],
)
async def test_getscu_at_every_level(
    door: Door, held: list[Dataset], tmp_path: Path, flag: str, level: str
) -> None:
    folder = tmp_path / "got"
    folder.mkdir()
    keys = name(level, held[0], patient=flag == "-P")
    got = await run_tool(
        "getscu", "-v", flag, "-aec", "LAMELLA", "-od", str(folder), *as_flags(keys),
        "127.0.0.1", str(door.port),
    )  # fmt: skip
    assert got.exit_status == 0, got.output
    found = read_folder(folder)
    assert set(found) == expect(level, held, held[0])
    for ds in held:
        if str(ds.SOPInstanceUID) in found:
            assert found[str(ds.SOPInstanceUID)].PixelData == ds.PixelData


@dataclass
class Receiver:
    """A storage SCP; statuses are given by number of the instance, 'abort' breaks off."""

    port: int = 0
    answers: dict[int, int | str] = field(default_factory=dict)
    hold: Callable[[int], None] = lambda _number: None
    received: list[Dataset] = field(default_factory=list)
    events: list[Any] = field(default_factory=list)


@contextmanager
def run_receiver(syntaxes: list[str] | None = None, **answers: int | str) -> Iterator[Receiver]:
    receiver = Receiver(answers={int(k[1:]): v for k, v in answers.items()})

    def store(event: Any) -> int:
        number = len(receiver.events)
        receiver.events.append(event.request)
        receiver.hold(number)
        answer = receiver.answers.get(number, 0)
        if answer == "abort":
            event.assoc.abort()
            return 0x0000
        if answer in (0, 0xB000):
            ds = event.dataset
            ds.file_meta = event.file_meta
            receiver.received.append(ds)
        return int(answer)

    entity = AE(ae_title="RECEIVER")
    for uid in (SecondaryCaptureImageStorage, CTImageStorage):
        entity.add_supported_context(
            uid, syntaxes or [ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless]
        )
    server = entity.start_server(
        ("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, store)]
    )
    receiver.port = server.socket.getsockname()[1]
    try:
        yield receiver
    finally:
        server.shutdown()


async def add(door: Door, port: int, title: str = "RECEIVER") -> None:
    await door.repository.archive.database.write(
        lambda c: add_peer(c, title.lower(), Address("127.0.0.1", port), title)
    )


Answers = list[tuple[Dataset, Dataset | None]]


async def move(
    door: Door,
    keys: dict[str, Any],
    *,
    to: str = "RECEIVER",
    root: str = StudyRootMove,
    syntax: str = ExplicitVRLittleEndian,
    cancel_after: int | None = None,
) -> Answers:
    """Return all answers to a C-MOVE."""

    def run() -> Answers:
        entity = AE(ae_title="MOVER")
        association = entity.associate(
            "127.0.0.1", door.port, contexts=[build_context(root, syntax)], ae_title="LAMELLA"
        )
        assert association.is_established
        answers: Answers = []
        try:
            for answer in association.send_c_move(as_identifier(keys), to, root):
                answers.append(answer)
                if len(answers) == cancel_after:
                    association.send_c_cancel(1, query_model=root)
        finally:
            association.release()
        return answers

    return await asyncio.to_thread(run)


def counts(answer: Dataset) -> tuple[int, int, int, int]:
    """Return status, completed, failed, warning."""
    return (
        answer.Status,
        answer.NumberOfCompletedSuboperations,
        answer.NumberOfFailedSuboperations,
        answer.NumberOfWarningSuboperations,
    )


@pytest.mark.parametrize("root", [PatientRootMove, StudyRootMove])
@pytest.mark.parametrize("level", ["PATIENT", "STUDY", "SERIES", "IMAGE"])
async def test_a_move_at_every_level_tells_how_far_it_is(
    door: Door, held: list[Dataset], root: str, level: str
) -> None:
    is_patient = root == PatientRootMove
    keys = name(level, held[0], patient=is_patient)
    with run_receiver() as receiver:
        await add(door, receiver.port)
        answers = await move(door, keys, root=root)
    if level == "PATIENT" and not is_patient:
        assert [a.Status for a, _ in answers] == [0xA900]
        return
    expected = expect(level, held, held[0])
    assert {str(ds.SOPInstanceUID) for ds in receiver.received} == expected
    assert counts(answers[-1][0]) == (SUCCESS, len(expected), 0, 0)
    assert [a.NumberOfRemainingSuboperations for a, _ in answers[:-1]] == list(
        range(len(expected) - 1, 0, -1)
    )
    assert {a.Status for a, _ in answers[:-1]} <= {PENDING}
    assert {r.MoveOriginatorApplicationEntityTitle for r in receiver.events} == {"MOVER"}


async def test_refusals_are_counted_and_listed(door: Door, held: list[Dataset]) -> None:
    with run_receiver(n1=0xA700, n2=0xB000) as receiver:
        await add(door, receiver.port)
        answers = await move(door, name("SERIES", held[0]))
    final, identifier = answers[-1]
    assert counts(final) == (SOME_FAILED, 1, 1, 1)
    assert identifier is not None
    assert identifier.FailedSOPInstanceUIDList == receiver.events[1].AffectedSOPInstanceUID


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
async def test_a_destination_that_aborts_half_way_fails_the_rest(
    door: Door, held: list[Dataset], syntax: str
) -> None:
    with run_receiver(n2="abort") as receiver:
        await add(door, receiver.port)
        answers = await move(door, name("STUDY", held[0]), syntax=syntax)
    final, identifier = answers[-1]
    assert counts(final) == (SOME_FAILED, 2, 4, 0)
    arrived = {str(r.AffectedSOPInstanceUID) for r in receiver.events[:2]}
    assert identifier is not None
    assert set(identifier.FailedSOPInstanceUIDList) == expect("STUDY", held, held[0]) - arrived


async def test_a_cancelled_move_tells_what_remains(door: Door, held: list[Dataset]) -> None:
    def hold_third(number: int) -> None:
        """Let no more arrive before the mover's wish has."""
        (association,) = door.gateway.list_associations()
        for _ in range(1000 if number == 2 else 0):
            if association.dimse.cancel_req:
                break
            threading.Event().wait(0.01)

    with run_receiver() as receiver:
        receiver.hold = hold_third
        await add(door, receiver.port)
        answers = await move(door, name("STUDY", held[0]), cancel_after=2)
    final = answers[-1][0]
    assert counts(final) == (CANCELLED, 3, 0, 0)
    assert final.NumberOfRemainingSuboperations == 3
    assert len(receiver.received) == 3


async def test_a_destination_that_is_down_or_unknown(door: Door, held: list[Dataset]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    await add(door, port)
    answers = await move(door, name("SERIES", held[0]))
    assert counts(answers[-1][0]) == (ALL_FAILED, 0, 3, 0)
    assert [a.Status for a, _ in await move(door, name("SERIES", held[0]), to="NOBODY")] == [0xA801]


@pytest.mark.parametrize(
    ("keys", "status"),
    [
        ({"QueryRetrieveLevel": "SERIES", "SeriesInstanceUID": "1.2.3"}, 0xA900),
        ({"QueryRetrieveLevel": "STUDY"}, 0xA900),
        ({"QueryRetrieveLevel": "NOTHING", "StudyInstanceUID": "1.2.3"}, 0xA900),
        ({"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": "1.2.3"}, SUCCESS),
    ],
)
async def test_identifiers_that_name_nothing(door: Door, keys: dict[str, str], status: int) -> None:
    with run_receiver() as receiver:
        await add(door, receiver.port)
        assert (await move(door, keys))[-1][0].Status == status
        assert receiver.events == []


async def test_lists_of_uids(door: Door, held: list[Dataset]) -> None:
    wanted = [held[0], held[2]]
    keys = name("IMAGE", held[0]) | {"SOPInstanceUID": [ds.SOPInstanceUID for ds in wanted]}
    with run_receiver() as receiver:
        await add(door, receiver.port)
        assert counts((await move(door, keys))[-1][0]) == (SUCCESS, 2, 0, 0)
        studies = sorted({str(ds.StudyInstanceUID) for ds in held})
        both = {"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": studies}
        assert counts((await move(door, both))[-1][0]) == (SUCCESS, len(held), 0, 0)


@asynccontextmanager
async def run_storescp(folder: Path, *flags: str) -> AsyncIterator[int]:
    """DCMTK's storescp on a free port, once it listens."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    folder.mkdir()
    process = await asyncio.create_subprocess_exec(
        find_tool("storescp"), *flags, "-od", str(folder), str(port),
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        for _ in range(500):
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                await asyncio.sleep(0.02)
        yield port
    finally:
        process.kill()
        await process.wait()


async def movescu(door: Door, keys: dict[str, str], called: str = "LAMELLA") -> Finished:
    return await run_tool(
        "movescu", "-v", "-S", "-aec", called, "-aem", "RECEIVER", *as_flags(keys),
        "127.0.0.1", str(door.port),
    )  # fmt: skip


async def test_movescu_to_storescp(door: Door, held: list[Dataset], tmp_path: Path) -> None:
    async with run_storescp(tmp_path / "moved") as port:
        await add(door, port)
        moved = await movescu(door, name("STUDY", held[0]))
    assert moved.exit_status == 0, moved.output
    assert set(read_folder(tmp_path / "moved")) == expect("STUDY", held, held[0])


@pytest.mark.parametrize("flag", ["--refuse", "--abort-during", "--abort-after"])
async def test_movescu_to_a_storescp_that_will_not(
    door: Door, held: list[Dataset], tmp_path: Path, flag: str
) -> None:
    async with run_storescp(tmp_path / "moved", flag) as port:
        await add(door, port)
        moved = await movescu(door, name("SERIES", held[0]))
        answers = await move(door, name("SERIES", held[0]))
    assert moved.exit_status != 0, moved.output
    assert counts(answers[-1][0]) == (ALL_FAILED, 0, 3, 0)


async def test_a_frozen_title_moves_what_was_there(
    door: Door, held: list[Dataset], tmp_path: Path
) -> None:
    def freeze(connection: Any) -> None:
        owner = find_dataset(connection, "default")
        head = read_head(connection, owner.id, "main")
        create_ref(connection, owner.id, TAG, "v1", head)
        add_ae_title(connection, "FROZEN", "default", "v1")

    await door.repository.archive.database.write(freeze)
    late = make_instance(held[0].StudyInstanceUID, held[0].SeriesInstanceUID)
    late.PatientID = held[0].PatientID
    save_instance(late, tmp_path / "late" / "1.dcm")
    assert (await door.storescu(tmp_path / "late")).exit_status == 0
    with run_receiver() as receiver:
        await add(door, receiver.port)
        frozen = await movescu(door, name("SERIES", held[0]), called="FROZEN")
        assert (frozen.exit_status, len(receiver.events)) == (0, 3), frozen.output
        assert (await movescu(door, name("SERIES", held[0]))).exit_status == 0
    assert len(receiver.events) == 7


@pytest.mark.parametrize(
    ("file", "flag", "syntaxes", "expected"),
    [
        ("MR_small_RLE.dcm", "-xr", [RLELossless, ExplicitVRLittleEndian], RLELossless),
        ("MR_small_RLE.dcm", "-xr", [ExplicitVRLittleEndian], ExplicitVRLittleEndian),
        ("MR_small_RLE.dcm", "-xr", [ImplicitVRLittleEndian], ImplicitVRLittleEndian),
        ("MR_small_RLE.dcm", "-xr", [ExplicitVRBigEndian], None),
        ("CT_small.dcm", "-xe", [ImplicitVRLittleEndian], ImplicitVRLittleEndian),
        ("MR_small_bigendian.dcm", "-xb", [ImplicitVRLittleEndian], ImplicitVRLittleEndian),
        ("MR_small_implicit.dcm", "-xi", [ExplicitVRLittleEndian], ExplicitVRLittleEndian),
    ],
)
async def test_instances_go_out_as_the_peer_takes_them(
    door: Door, tmp_path: Path, file: str, flag: str, syntaxes: list[str], expected: str | None
) -> None:
    ds = pydicom.dcmread(get_testdata_file(file))
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = CTImageStorage
    save_instance(ds, tmp_path / "files" / "1.dcm")
    stored = await run_tool(
        "storescu", "-aec", "LAMELLA", flag, "+sd", "127.0.0.1", str(door.port),
        str(tmp_path / "files"),
    )  # fmt: skip
    assert stored.exit_status == 0, stored.output
    with run_receiver(syntaxes) as receiver:
        await add(door, receiver.port)
        answers = await move(door, name("STUDY", ds))
    if expected is None:
        assert counts(answers[-1][0]) == (ALL_FAILED, 0, 1, 0)
        return
    assert counts(answers[-1][0]) == (SUCCESS, 1, 0, 0)
    (came,) = receiver.received
    assert came.file_meta.TransferSyntaxUID == expected
    assert (came.pixel_array == ds.pixel_array).all()
    assert came.PatientName == ds.PatientName


async def get(
    door: Door, keys: dict[str, Any], *, cancel_after: int | None = None, role: bool = True
) -> tuple[Answers, list[str]]:
    """Return answers and received SOP Instance UIDs of a C-GET."""
    received: list[str] = []
    answers: Answers = []

    def store(event: Any) -> int:
        received.append(str(event.request.AffectedSOPInstanceUID))
        if len(received) == cancel_after:
            event.assoc.send_c_cancel(1, query_model=StudyRootGet)
        return 0x0000

    def run() -> None:
        entity = AE(ae_title="GETTER")
        contexts = [
            build_context(StudyRootGet),
            build_context(SecondaryCaptureImageStorage, ExplicitVRLittleEndian),
        ]
        roles = [build_role(SecondaryCaptureImageStorage, scp_role=True)] if role else []
        association = entity.associate(
            "127.0.0.1",
            door.port,
            contexts=contexts,
            ext_neg=roles,
            ae_title="LAMELLA",
            evt_handlers=[(evt.EVT_C_STORE, store)],
        )
        assert association.is_established
        answers.extend(association.send_c_get(as_identifier(keys), StudyRootGet))
        association.release()

    await asyncio.to_thread(run)
    return answers, received


async def test_roles_decide_who_may_be_sent_to(door: Door, held: list[Dataset]) -> None:
    answers, received = await get(door, name("SERIES", held[0]))
    assert counts(answers[-1][0]) == (SUCCESS, 3, 0, 0)
    assert set(received) == expect("SERIES", held, held[0])
    answers, received = await get(door, name("SERIES", held[0]), role=False)
    assert (counts(answers[-1][0]), received) == ((ALL_FAILED, 0, 3, 0), [])


async def test_a_cancelled_get_tells_what_remains(door: Door, held: list[Dataset]) -> None:
    answers, received = await get(door, name("STUDY", held[0]), cancel_after=2)
    final = answers[-1][0]
    assert final.Status == CANCELLED
    assert final.NumberOfRemainingSuboperations == 6 - len(received)
    assert 2 <= len(received) < 6


async def test_threads_end_with_their_retrieves(door: Door, held: list[Dataset]) -> None:
    before = list_threads()
    for _ in range(5):
        await get(door, name("STUDY", held[0]))
    for _ in range(200):
        if list_threads() <= before:
            break
        await asyncio.sleep(0.05)
    assert list_threads() <= before


def list_threads() -> set[str]:
    """Return the names of threads, but for those of pools and queues, which come to stay.

    Those of an association have its peer's port in them.
    """
    names = (thread.name for thread in threading.enumerate())
    return {one for one in names if not one.startswith(("asyncio_", "lamella-"))}
