"""C-STORE and C-ECHO as peers use them: DCMTK's tools, and pynetdicom for what those never do."""

from __future__ import annotations

import asyncio
import resource
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import (
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    SecondaryCaptureImageStorage,
    generate_uid,
)
from pynetdicom import AE
from pynetdicom.presentation import build_context
from pynetdicom.sop_class import ModalityWorklistInformationFind, Verification

from lamella.dimse_gateway import depot
from lamella.dimse_gateway.ae_titles import AeTarget
from lamella.dimse_gateway.association import GatewayAssociation
from lamella.vcs.history import load_commit
from lamella.vcs.refs import TAG, create_ref, delete_ref, find_dataset, read_head
from tests.peer.dcmtk import run_tool
from tests.peer.door import Door, open_door, wait_until
from tests.peer.instances import (
    PATIENT_NAME,
    make_instance,
    name_instance,
    save_instance,
    save_series,
)

PRIVATE_SOP_CLASS = "1.2.826.0.1.3680043.2.1143.99.1"
JPEG_XL = "1.2.840.10008.1.2.4.110"


@pytest.fixture
async def door(tmp_path: Path) -> AsyncIterator[Door]:
    async with open_door(tmp_path / "data") as opened:
        yield opened


@asynccontextmanager
async def associate(door: Door, *contexts: Any, called: str = "LAMELLA") -> AsyncIterator[Any]:
    """Hold an association that proposes these (SOP class, transfer syntaxes)."""
    entity = AE(ae_title="MODALITY")
    proposed = contexts or ((SecondaryCaptureImageStorage, ExplicitVRLittleEndian),)
    association = await asyncio.to_thread(
        lambda: entity.associate(
            "127.0.0.1", door.port, contexts=[build_context(*c) for c in proposed], ae_title=called
        )
    )
    try:
        yield association
    finally:
        if association.is_established:
            await asyncio.to_thread(association.release)
        await asyncio.to_thread(entity.shutdown)


async def store(association: Any, ds: Dataset) -> Dataset:
    """Send one instance; return the status data set."""
    status: Dataset = await asyncio.to_thread(association.send_c_store, ds)
    return status


async def test_echo_answers_success(door: Door) -> None:
    finished = await run_tool("echoscu", "-aec", "LAMELLA", "127.0.0.1", str(door.port))
    assert finished.exit_status == 0


async def test_unknown_called_ae_title_is_rejected_with_its_reason(door: Door) -> None:
    finished = await run_tool("echoscu", "-aec", "OTHER", "127.0.0.1", str(door.port))
    assert finished.exit_status != 0
    assert "Called AE Title Not Recognized" in finished.output


async def test_calling_ae_titles_beyond_the_list_are_rejected(tmp_path: Path) -> None:
    async with open_door(tmp_path / "data", calling_aets="CT1, MR1") as door:
        port = str(door.port)
        known = await run_tool("echoscu", "-aet", "MR1", "-aec", "LAMELLA", "127.0.0.1", port)
        other = await run_tool("echoscu", "-aet", "XX", "-aec", "LAMELLA", "127.0.0.1", port)
    assert known.exit_status == 0
    assert "Calling AE Title Not Recognized" in other.output


async def test_one_association_of_500_instances_is_one_commit(door: Door, tmp_path: Path) -> None:
    uids = save_series(tmp_path / "series", 500)
    finished = await door.storescu(tmp_path / "series", called="LAMELLA")
    assert finished.exit_status == 0, finished.output
    commits = await door.read_commits()
    assert [commit["kind"] for commit in commits] == ["store"]
    assert commits[0]["author"] == "dimse:STORESCU"
    assert await door.list_instances() == set(uids)
    assert await door.count_pending() == 0


async def test_four_associations_at_once_are_four_commits(door: Door, tmp_path: Path) -> None:
    uids = [save_series(tmp_path / str(part), 125) for part in range(4)]
    pushed = [door.storescu("-aet", f"MOD{part}", tmp_path / str(part)) for part in range(4)]
    for finished in await asyncio.gather(*pushed):
        assert finished.exit_status == 0, finished.output
    commits = await door.read_commits()
    assert sorted(c["author"] for c in commits) == [f"dimse:MOD{part}" for part in range(4)]
    assert await door.list_instances() == {uid for part in uids for uid in part}


async def test_instances_are_visible_once_the_association_is_released(
    door: Door, tmp_path: Path
) -> None:
    for count in range(1, 6):
        save_series(tmp_path / str(count), 1)
        await door.storescu(tmp_path / str(count))
        assert len(await door.list_instances()) == count


async def test_sending_again_makes_no_commit(door: Door, tmp_path: Path) -> None:
    save_series(tmp_path / "series", 3)
    await door.storescu(tmp_path / "series")
    again = await door.storescu(tmp_path / "series")
    assert again.exit_status == 0
    assert again.output.count("(Success)") == 3
    assert len(await door.read_commits()) == 1
    assert await door.count_pending() == 0


async def test_same_uid_with_other_pixels_is_a_conflict(door: Door) -> None:
    first = make_instance(pixels=bytes(64))
    async with associate(door) as association:
        assert (await store(association, first)).Status == 0x0000
        first.PixelData = b"\x01" * 64
        refused = await store(association, first)
    assert refused.Status == 0x0111
    assert "pixel" in refused.ErrorComment
    assert len(await door.read_commits()) == 1
    assert [c.sop_uid for c in await door.list_conflicts()] == [first.SOPInstanceUID]


async def test_changed_header_is_a_new_version(door: Door) -> None:
    ds = make_instance()
    async with associate(door) as association:
        await store(association, ds)
    ds.StudyDescription = "Looked at again"
    async with associate(door) as association:
        assert (await store(association, ds)).Status == 0x0000
    assert len(await door.read_commits()) == 2


@pytest.mark.parametrize(
    ("element", "value"), [("SOPInstanceUID", "1.2.3.4.5"), ("SOPClassUID", CTImageStorage)]
)
async def test_data_set_of_another_identity_is_refused(
    door: Door, element: str, value: str
) -> None:
    ds = make_instance()
    announced = make_instance()
    announced.update({"SOPInstanceUID": ds.SOPInstanceUID, "SOPClassUID": ds.SOPClassUID})
    async with associate(door) as association:
        association.dimse.send_msg = lie_about(association, element, value)
        status = await store(association, ds)
    assert status.Status == 0xA900
    assert await door.read_commits() == []


def lie_about(association: Any, element: str, value: str) -> Any:
    """Return a way of sending that announces another identity than the data set has."""
    send = type(association.dimse).send_msg

    def send_lie(primitive: Any, context_id: int) -> None:
        setattr(primitive, f"Affected{element}", value)
        send(association.dimse, primitive, context_id)

    return send_lie


async def test_data_set_that_cannot_be_read_is_refused(door: Door) -> None:
    ds = make_instance()
    del ds.StudyInstanceUID
    async with associate(door) as association:
        status = await store(association, ds)
        assert (await store(association, make_instance())).Status == 0x0000
    assert status.Status == 0xC000
    assert 0 < len(status.ErrorComment) <= 64
    assert PATIENT_NAME not in status.ErrorComment


async def test_frozen_revision_takes_no_stores(tmp_path: Path) -> None:
    async with open_door(tmp_path / "data", ae_titles=FrozenTitles()) as door:

        def tag(connection: Any) -> None:
            dataset = find_dataset(connection, "default")
            head = read_head(connection, dataset.id, "main")
            create_ref(connection, dataset.id, TAG, "v1", head)

        await door.repository.archive.database.write(tag)
        async with associate(door, called="FROZEN") as association:
            assert association.is_established
            assert (await store(association, make_instance())).Status == 0x0124
        assert await door.count_pending() == 0


class FrozenTitles:
    """Knows one AE title, of a tag."""

    async def resolve_ae_title(self, title: str) -> AeTarget | None:
        return AeTarget("default", "v1") if title == "FROZEN" else None


async def test_abort_keeps_what_was_acknowledged(door: Door) -> None:
    acknowledged = [make_instance() for _ in range(3)]
    async with associate(door) as association:
        for ds in acknowledged:
            await store(association, ds)
        await asyncio.to_thread(association.abort)
    await wait_until(door.read_commits)
    assert len(await door.read_commits()) == 1
    assert await door.list_instances() == {ds.SOPInstanceUID for ds in acknowledged}


async def test_connection_lost_in_an_instance_keeps_the_ones_before(
    door: Door, tmp_path: Path
) -> None:
    kept = make_instance()
    async with associate(door) as association:
        await store(association, kept)
        cut_off(association, bytes(5_000_000))
        await wait_until(door.read_commits)
    assert await door.list_instances() == {kept.SOPInstanceUID}
    await wait_until(lambda: no_files(door.repository.archive.spool_folder))


def cut_off(association: Any, data: bytes) -> None:
    """Begin a data set, and drop the connection before its end."""
    connection = association.dul.socket.socket
    command = store_command(generate_uid())
    connection.sendall(make_pdu(b"\x03" + command))
    for start in range(0, len(data), 100_000):
        connection.sendall(make_pdu(b"\x00" + data[start : start + 100_000]))
    connection.shutdown(socket.SHUT_RDWR)


def make_pdu(value: bytes, context_id: int = 1) -> bytes:
    """Return a P-DATA-TF PDU of one value."""
    item = (len(value) + 1).to_bytes(4, "big") + bytes([context_id]) + value
    return b"\x04\x00" + len(item).to_bytes(4, "big") + item


def store_command(sop_uid: str) -> bytes:
    """Return the command set of a C-STORE request."""

    def element(number: int, value: bytes) -> bytes:
        value += b"\0" * (len(value) % 2)
        return bytes(2) + number.to_bytes(2, "little") + len(value).to_bytes(4, "little") + value

    body = (
        element(0x0002, SecondaryCaptureImageStorage.encode())
        + element(0x0100, b"\x01\x00")
        + element(0x0110, b"\x07\x00")
        + element(0x0700, b"\x00\x00")
        + element(0x0800, b"\x00\x00")
        + element(0x1000, sop_uid.encode())
    )
    return element(0x0000, len(body).to_bytes(4, "little")) + body


async def no_files(folder: Path) -> bool:
    """Tell whether a folder has no files."""
    return not any(folder.iterdir())


async def test_quiet_associations_are_committed_while_they_last(tmp_path: Path) -> None:
    async with (
        open_door(tmp_path / "data", quiet_s=0.2) as door,
        associate(door) as association,
    ):
        await store(association, make_instance())
        await wait_until(door.read_commits)
        await store(association, make_instance())
        await wait_until(lambda: has_commits(door, 2))
        assert association.is_established


async def has_commits(door: Door, count: int) -> bool:
    """Tell whether stores made so many commits."""
    return len(await door.read_commits()) == count


async def test_long_associations_commit_every_so_many_instances(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(depot, "COMMIT_INSTANCES", 2)
    async with associate(door) as association:
        for _ in range(5):
            await store(association, make_instance())
        assert len(await door.read_commits()) == 2
    assert len(await door.read_commits()) == 3
    assert len(await door.list_instances()) == 5


async def test_a_query_could_see_what_its_association_stored(door: Door) -> None:
    async with associate(door) as association:
        ds = make_instance()
        await store(association, ds)
        (ours,) = door.gateway.list_associations()
        await door.gateway.commit_association(ours)
        assert await door.list_instances() == {ds.SOPInstanceUID}
        assert association.is_established


async def test_stop_commits_what_was_acknowledged(tmp_path: Path) -> None:
    async with open_door(tmp_path / "data") as door, associate(door) as association:
        ds = make_instance()
        await store(association, ds)
        await door.gateway.stop()
        assert await door.list_instances() == {ds.SOPInstanceUID}
        await wait_until(lambda: is_over(association))
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", door.port)


async def is_over(association: Any) -> bool:
    """Tell whether a peer noticed that its association is over."""
    return not association.is_established


async def test_stop_is_bounded_when_a_peer_stalls_in_an_instance(tmp_path: Path) -> None:
    async with open_door(tmp_path / "data") as door, associate(door) as association:
        ds = make_instance()
        await store(association, ds)
        association.dul.socket.socket.sendall(make_pdu(b"\x03" + store_command(generate_uid())))
        association.dul.socket.socket.sendall(b"\x04\x00\x00\x00\xff\xff half a PDU")
        await asyncio.wait_for(door.gateway.stop(timeout_s=0.1), 30)
        assert await door.list_instances() == {ds.SOPInstanceUID}
        assert not any(isinstance(t, GatewayAssociation) for t in threading.enumerate())


async def test_files_arrive_in_their_own_transfer_syntax(door: Door) -> None:
    syntaxes = [
        ImplicitVRLittleEndian,
        ExplicitVRLittleEndian,
        ExplicitVRBigEndian,
        DeflatedExplicitVRLittleEndian,
        JPEG2000Lossless,
        JPEG_XL,
    ]
    proposed = [SecondaryCaptureImageStorage] * len(syntaxes)
    pairs = list(zip(proposed, syntaxes, strict=True))
    mixed = (SecondaryCaptureImageStorage, [JPEG_XL, ExplicitVRLittleEndian])
    async with associate(door, *pairs, mixed) as association:
        accepted = [str(cx.transfer_syntax[0]) for cx in association.accepted_contexts]
    assert accepted == [*syntaxes, JPEG_XL]


async def test_every_encoding_is_stored(door: Door) -> None:
    for syntax in (ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian):
        ds = make_instance(transfer_syntax_uid=syntax)
        async with associate(door, (SecondaryCaptureImageStorage, syntax)) as association:
            assert (await store(association, ds)).Status == 0x0000
    assert len(await door.list_instances()) == 3


async def test_private_storage_classes_are_stored_and_other_services_refused(door: Door) -> None:
    contexts = [
        (PRIVATE_SOP_CLASS, ExplicitVRLittleEndian),
        (ModalityWorklistInformationFind, ExplicitVRLittleEndian),
        (SecondaryCaptureImageStorage, "1.2.3.4.5"),
        (Verification, ImplicitVRLittleEndian),
    ]
    ds = make_instance(sop_class_uid=PRIVATE_SOP_CLASS)
    async with associate(door, *contexts) as association:
        results = {cx.context_id: cx.result for cx in association.rejected_contexts}
        assert results == {3: 0x03, 5: 0x04}
        assert (await store(association, ds)).Status == 0x0000
        assert (await asyncio.to_thread(association.send_c_echo)).Status == 0x0000


async def test_128_contexts_of_38_syntaxes_are_agreed_on(door: Door) -> None:
    syntaxes = [ExplicitVRLittleEndian, *(f"1.2.840.10008.1.2.4.{n}" for n in range(50, 87))]
    contexts = [(f"{PRIVATE_SOP_CLASS}.{n}", syntaxes) for n in range(128)]
    async with associate(door, *contexts) as association:
        assert len(association.accepted_contexts) == 128


async def test_instance_of_many_blocks_is_stored_whole(door: Door, tmp_path: Path) -> None:
    ds = make_instance()
    ds.Rows, ds.Columns = 1000, 5000
    ds.PixelData = bytes(range(250)) * 20_000
    path = save_instance(ds, tmp_path / "long.dcm")
    finished = await door.storescu(path)
    assert "(Success)" in finished.output
    stored = await read_stored(door, ds.SOPInstanceUID)
    assert stored.endswith(ds.PixelData)


async def read_stored(door: Door, sop_uid: str) -> bytes:
    """Return the bytes of an instance as they are kept."""

    def find(connection: Any) -> Any:
        dataset = find_dataset(connection, "default")
        head = read_head(connection, dataset.id, "main")
        root = load_commit(connection, dataset.id, head).commit.tree
        tree = door.repository.tree(connection, dataset.id, root)
        return next(entry for _, _, uid, entry in tree.walk() if uid == sop_uid)

    entry = await door.repository.archive.database.read(find)
    chunks = door.repository.blobs.stream(entry.segments)
    return b"".join([chunk async for chunk in chunks])


@pytest.mark.parametrize(
    "junk",
    [
        b"",
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x01\x00\xff\xff\xff\xff" + bytes(1000),
        b"\x01\x00\x00\x00\x00\x04junk",
        make_pdu(b"\x03" + bytes(100)),
        bytes(70_000),
    ],
)
async def test_junk_does_not_harm_the_door(door: Door, junk: bytes, tmp_path: Path) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
    writer.write(junk)
    with suppress(OSError):  # it may have hung up already
        writer.write_eof()
    await asyncio.wait_for(read_to_end(reader), 30)
    writer.close()
    save_series(tmp_path / "series", 1)
    assert "(Success)" in (await door.storescu(tmp_path / "series")).output


async def read_to_end(reader: asyncio.StreamReader) -> None:
    """Read until the peer has closed, however it does."""
    try:
        await reader.read()
    except ConnectionResetError:
        return


@pytest.mark.parametrize(
    "violation",
    [
        make_pdu(b"\x02" + bytes(100)),  # a data set without a command
        make_pdu(b"\x03" + store_command("1.2.3"), context_id=77),
        make_pdu(b"\x03" + bytes(64)),
        make_pdu(b"\x01" + bytes(20_000)),
        b"\x04\x00\x00\x00\x00\x05\x00\x00\x00\xff\x01",
        b"".join(make_pdu(v + store_command("1.2.3")) for v in (b"\x03", b"\x03")),
    ],
)
async def test_protocol_violations_abort_and_keep_what_was_acknowledged(
    door: Door, violation: bytes
) -> None:
    ds = make_instance()
    async with associate(door) as association:
        await store(association, ds)
        association.dul.socket.socket.sendall(violation)
        await wait_until(lambda: is_over(association))
        await wait_until(door.read_commits)
    assert await door.list_instances() == {ds.SOPInstanceUID}


async def test_commit_that_fails_is_tried_again(tmp_path: Path) -> None:
    async with open_door(tmp_path / "data", quiet_s=0.2) as door:
        await refuse_rows(door, "commit")
        async with associate(door) as association:
            assert (await store(association, make_instance())).Status == 0x0000
        assert await door.read_commits() == []
        assert await door.count_pending() == 2
        await accept_rows(door, "commit")
        await wait_until(door.read_commits)
        assert await door.count_pending() == 0


async def test_failure_that_nobody_foresaw_is_answered_and_leaves_nothing(
    door: Door, caplog: pytest.LogCaptureFixture
) -> None:
    await refuse_rows(door, "staged")
    ds = make_instance()
    async with associate(door) as association:
        assert (await store(association, ds)).Status == 0x0110
        assert await door.count_pending() == 0
        await accept_rows(door, "staged")
        assert (await store(association, ds)).Status == 0x0000
    assert await door.list_instances() == {ds.SOPInstanceUID}
    assert str(ds.SOPInstanceUID) in caplog.text
    assert PATIENT_NAME not in caplog.text


async def refuse_rows(door: Door, table: str) -> None:
    """Let the database fail whoever writes to a table."""
    statement = (
        f'CREATE TRIGGER refuse_{table} BEFORE INSERT ON "{table}" '
        "BEGIN SELECT RAISE(ABORT, 'refused'); END"
    )
    await door.repository.archive.database.write(lambda c: c.exec_driver_sql(statement))


async def accept_rows(door: Door, table: str) -> None:
    """Let the database write to a table again."""
    statement = f"DROP TRIGGER refuse_{table}"
    await door.repository.archive.database.write(lambda c: c.exec_driver_sql(statement))


async def test_full_disk_is_out_of_resources_and_others_go_on(door: Door) -> None:
    long = make_instance()
    long.Rows, long.Columns, long.PixelData = 3000, 4000, bytes(12_000_000)
    with short_files(8_000_000):
        async with associate(door) as association:
            refused = await store(association, long)
            assert (await store(association, make_instance())).Status == 0x0000
    assert refused.Status == 0xA700
    assert len(await door.list_instances()) == 1
    assert await no_files(door.repository.archive.spool_folder)


@contextmanager
def short_files(size_bytes: int) -> Iterator[None]:
    """Let this process write no file beyond a size: a disk that is full for long ones."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def test_branch_that_is_gone_refuses_stores(tmp_path: Path) -> None:
    async with open_door(tmp_path / "data", ae_titles=SideTitles()) as door:

        def change(connection: Any, verb: Any) -> None:
            dataset = find_dataset(connection, "default")
            verb(connection, dataset.id)

        def make(connection: Any, dataset_id: int) -> None:
            create_ref(
                connection, dataset_id, "branch", "side", read_head(connection, dataset_id, "main")
            )

        def drop(connection: Any, dataset_id: int) -> None:
            delete_ref(connection, dataset_id, "branch", "side")

        write = door.repository.archive.database.write
        await write(lambda c: change(c, make))
        async with associate(door) as association:
            assert (await store(association, make_instance())).Status == 0x0000
            await write(lambda c: change(c, drop))
            assert (await store(association, make_instance())).Status == 0x0112
        assert await door.read_commits() == []


class SideTitles:
    """Knows any AE title, of a branch that may go."""

    async def resolve_ae_title(self, title: str) -> AeTarget | None:
        return AeTarget("default", "side")


async def test_no_patient_values_are_logged(door: Door, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    ds = make_instance()
    name_instance(ds)
    async with associate(door) as association:
        await store(association, ds)
        del ds.SeriesInstanceUID
        await store(association, ds)
    assert PATIENT_NAME not in caplog.text


async def test_associations_beyond_the_limit_are_rejected_for_now(tmp_path: Path) -> None:
    async with (
        open_door(tmp_path / "data", dimse_associations=2) as door,
        associate(door) as first,
        associate(door) as second,
        associate(door) as third,
    ):
        assert (first.is_established, second.is_established) == (True, True)
        assert third.is_rejected
        await asyncio.to_thread(second.release)
        await wait_until(lambda: has_associations(door, 1))
        async with associate(door) as fourth:
            assert fourth.is_established


async def has_associations(door: Door, count: int) -> bool:
    """Tell whether the door has so many associations."""
    return len(door.gateway.list_associations()) == count
