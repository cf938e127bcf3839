"""Storage commitment, with pynetdicom as the modality that asks for it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa
from pydicom.dataset import Dataset
from pydicom.uid import (
    CTImageStorage,
    ExplicitVRLittleEndian,
    SecondaryCaptureImageStorage,
    generate_uid,
)
from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.sop_class import (
    StorageCommitmentPushModel,
    StorageCommitmentPushModelInstance,
    Verification,
)

from lamella.archive.tables import instance, location, pack
from lamella.dimse_gateway.ae_titles import AeTarget
from lamella.errors import Conflict
from lamella.upkeep.gc import collect
from lamella.vcs.datasets import create_dataset, delete_dataset
from lamella.vcs.network_tables import commitment
from lamella.vcs.refs import BRANCH, create_ref, delete_ref, find_dataset, read_head
from tests.harness.server import RunningServer, launch_server, run_cli, serve
from tests.peer.door import Door, open_door, wait_until
from tests.peer.instances import make_instance

MODALITY = "MODALITY"
FILM_SESSION = "1.2.840.10008.5.1.1.1"
WAIT_S = 60
Reference = tuple[str, str]

# pynetdicom's requestor leaves its sockets to the garbage collector when a server dies.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")


@pytest.fixture(autouse=True)
def quiet_requestor() -> Iterator[None]:
    """Let pynetdicom not report each connection that a kill cuts."""
    logger = logging.getLogger("pynetdicom")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    yield
    logger.setLevel(level)


@pytest.fixture
async def door(tmp_path: Path) -> AsyncIterator[Door]:
    async with open_door(tmp_path / "data") as opened:
        yield opened


@dataclass
class Modality:
    """Stores, asks for commitment, and takes reports on whatever association they come."""

    status: int = 0x0000
    reports: list[tuple[int, Dataset]] = field(default_factory=list)

    def take(self, event: Any) -> tuple[int, None]:
        """Take a report."""
        if self.status == 0x0000:
            self.reports.append((event.event_type, event.event_information))
        return self.status, None

    @contextmanager
    def associate(self, port: int) -> Iterator[Association]:
        """Hold an association with a door."""
        entity = AE(ae_title=MODALITY)
        entity.add_requested_context(SecondaryCaptureImageStorage, ExplicitVRLittleEndian)
        entity.add_requested_context(StorageCommitmentPushModel)
        association = entity.associate(
            "127.0.0.1",
            port,
            ae_title="LAMELLA",
            evt_handlers=[(evt.EVT_N_EVENT_REPORT, self.take)],
        )
        assert association.is_established
        connection = association.dul.socket.socket
        try:
            yield association
        finally:
            if association.is_established:
                association.release()
            association.dul.join(10)
            connection.close()

    @contextmanager
    def listen(self, port: int = 0) -> Iterator[int]:
        """Take associations; yields the port."""
        entity = AE(ae_title=MODALITY)
        entity.add_supported_context(StorageCommitmentPushModel, scu_role=True, scp_role=True)
        entity.add_supported_context(Verification)
        server = entity.start_server(
            ("127.0.0.1", port),
            block=False,
            evt_handlers=[(evt.EVT_N_EVENT_REPORT, self.take)],
        )
        try:
            yield server.socket.getsockname()[1]
        finally:
            server.shutdown()

    def wait_for_report(self) -> tuple[int, Dataset]:
        """Return the one report that came."""
        wait_for(lambda: bool(self.reports))
        (report,) = self.reports
        return report


def wait_for(condition: Callable[[], bool]) -> None:
    """Return once a condition holds."""
    deadline = monotonic() + WAIT_S
    while not condition():
        assert monotonic() < deadline, "What was waited for did not happen."
        sleep(0.05)


def ask(
    association: Association,
    references: Sequence[Reference],
    transaction_uid: str = "",
    action: int = 1,
    instance_uid: str = StorageCommitmentPushModelInstance,
) -> int:
    """Ask for commitment; return the response's status."""
    asked = Dataset()
    asked.TransactionUID = transaction_uid or generate_uid()
    asked.ReferencedSOPSequence = [refer(*reference) for reference in references]
    status, _ = association.send_n_action(asked, action, StorageCommitmentPushModel, instance_uid)
    return int(status.Status)


def refer(sop_class_uid: str, sop_uid: str) -> Dataset:
    """Return an item of a sequence of references."""
    item = Dataset()
    item.ReferencedSOPClassUID = sop_class_uid
    item.ReferencedSOPInstanceUID = sop_uid
    return item


def push(association: Association, count: int = 1) -> list[Reference]:
    """Store instances; return their references."""
    references = []
    for _ in range(count):
        ds = make_instance()
        assert association.send_c_store(ds).Status == 0x0000
        references.append((str(ds.SOPClassUID), str(ds.SOPInstanceUID)))
    return references


def read_references(report: Dataset) -> list[Reference]:
    """Return what a report says is kept."""
    return [
        (str(item.ReferencedSOPClassUID), str(item.ReferencedSOPInstanceUID))
        for item in report.get("ReferencedSOPSequence", [])
    ]


def read_failures(report: Dataset) -> dict[str, int]:
    """Return the reasons that a report gives, by SOP Instance UID."""
    return {
        str(item.ReferencedSOPInstanceUID): int(item.FailureReason)
        for item in report.get("FailedSOPSequence", [])
    }


async def run_modality(door: Door, work: Callable[[Association, Modality], Any]) -> Modality:
    """Let a modality work on one association with a door, and wait for its reports."""
    modality = Modality()

    def run() -> None:
        with modality.associate(door.port) as association:
            n_expected = work(association, modality)
            wait_for(lambda: len(modality.reports) == n_expected)

    await asyncio.to_thread(run)
    return modality


async def test_what_is_durable_is_committed_to_before_it_is_in_a_commit(door: Door) -> None:
    uid = generate_uid()
    pushed: list[Reference] = []

    def work(association: Association, _modality: Modality) -> int:
        pushed.extend(push(association, 3))
        assert ask(association, pushed, uid) == 0x0000
        return 1

    modality = await run_modality(door, work)
    ((event, report),) = modality.reports
    assert event == 1
    assert report.TransactionUID == uid
    assert report.RetrieveAETitle == "LAMELLA"
    assert read_references(report) == pushed
    assert "FailedSOPSequence" not in report
    await wait_until(lambda: is_reported(door))


async def is_reported(door: Door) -> bool:
    """Tell whether all commitments are noted as known to who asked."""

    def count(connection: sa.Connection) -> int:
        open_ones = sa.select(sa.func.count()).where(commitment.c.reported_us.is_(None))
        return int(connection.execute(open_ones).scalar_one())

    return await door.repository.archive.database.read(count) == 0


async def test_what_is_committed_to_later_is_so_too(door: Door) -> None:
    pushed: list[Reference] = []

    def store(association: Association, _modality: Modality) -> int:
        pushed.extend(push(association, 2))
        return 0

    def request(association: Association, _modality: Modality) -> int:
        assert ask(association, pushed) == 0x0000
        return 1

    await run_modality(door, store)
    ((event, report),) = (await run_modality(door, request)).reports
    assert (event, read_references(report)) == (1, pushed)


async def test_each_failure_has_its_reason(door: Door) -> None:
    unknown, printed = generate_uid(), generate_uid()
    pushed: list[Reference] = []

    def work(association: Association, _modality: Modality) -> int:
        pushed.extend(push(association, 3))
        drop_bytes(door, pushed[2][1])
        asked = [
            pushed[0],
            (CTImageStorage, pushed[1][1]),
            pushed[2],
            (SecondaryCaptureImageStorage, unknown),
            (FILM_SESSION, printed),
        ]
        assert ask(association, asked) == 0x0000
        return 1

    ((event, report),) = (await run_modality(door, work)).reports
    assert event == 2
    assert read_references(report) == pushed[:1]
    assert read_failures(report) == {
        pushed[1][1]: 0x0119,
        pushed[2][1]: 0x0110,
        unknown: 0x0112,
        printed: 0x0122,
    }


def drop_bytes(door: Door, sop_uid: str) -> None:
    """Lose the place of an instance's bytes, as a fault of the database might."""

    def drop(connection: sa.Connection) -> None:
        (digest, _), *_ = find_segments(connection, sop_uid)
        connection.execute(sa.delete(location).where(location.c.digest == digest))

    database = door.repository.archive.database
    asyncio.run_coroutine_threadsafe(database.write(drop), door.gateway.loop).result()


async def test_a_transaction_is_one_request(door: Door) -> None:
    uid = generate_uid()
    pushed: list[Reference] = []

    def work(association: Association, modality: Modality) -> int:
        pushed.extend(push(association, 1))
        assert ask(association, pushed, uid) == 0x0000
        wait_for(lambda: len(modality.reports) == 1)
        assert ask(association, pushed, uid) == 0x0000
        return 2

    first, second = (await run_modality(door, work)).reports
    assert first[0] == 1
    assert second[0] == 2
    assert read_failures(second[1]) == {pushed[0][1]: 0x0131}


async def test_requests_that_make_no_sense(door: Door) -> None:
    reference = (SecondaryCaptureImageStorage, generate_uid())
    statuses: list[int] = []

    def work(association: Association, _modality: Modality) -> int:
        statuses.append(ask(association, []))
        statuses.append(ask(association, [(SecondaryCaptureImageStorage, "")]))
        statuses.append(ask(association, [reference], action=2))
        statuses.append(ask(association, [reference], instance_uid="1.2.3"))
        assert association.send_c_store(make_instance()).Status == 0x0000
        return 0

    await run_modality(door, work)
    assert statuses == [0x0115, 0x0115, 0x0123, 0x0112]


async def test_a_full_database_is_a_limit_of_resources(door: Door) -> None:
    references = [(SecondaryCaptureImageStorage, generate_uid()) for _ in range(2000)]

    def work(association: Association, _modality: Modality) -> int:
        bound_database(door, 1)
        assert ask(association, references) == 0x0213
        bound_database(door, 1 << 30)
        assert ask(association, references) == 0x0000
        return 1

    ((event, report),) = (await run_modality(door, work)).reports
    assert event == 2
    assert len(read_failures(report)) == 2000


def bound_database(door: Door, n_pages: int) -> None:
    """Let the database not grow beyond so many pages: a disk that is full."""

    def bound(connection: sa.Connection) -> None:
        connection.exec_driver_sql(f"PRAGMA max_page_count={n_pages}")

    database = door.repository.archive.database
    asyncio.run_coroutine_threadsafe(database.write(bound), door.gateway.loop).result()


async def test_a_dataset_that_peers_rely_on_stays(tmp_path: Path) -> None:
    async with open_door(tmp_path / "data", ae_titles=TrialTitles()) as door:
        write = door.repository.archive.database.write
        await write(lambda c: create_dataset(c, "trial"))

        def work(association: Association, _modality: Modality) -> int:
            assert ask(association, push(association, 1)) == 0x0000
            return 1

        await run_modality(door, work)
        with pytest.raises(Conflict, match="rely on"):
            await write(lambda c: delete_dataset(c, "trial"))


async def test_what_was_committed_to_survives_gc_and_its_branch(tmp_path: Path) -> None:
    async with open_door(tmp_path / "data", ae_titles=SideTitles()) as door:
        database = door.repository.archive.database
        await database.write(change_side(create_side))
        pushed: list[Reference] = []

        def work(association: Association, _modality: Modality) -> int:
            pushed.extend(push(association, 2))
            assert ask(association, pushed) == 0x0000
            return 1

        await run_modality(door, work)
        await wait_until(lambda: has_side_commit(door))
        await database.write(change_side(lambda c, owner: delete_ref(c, owner, BRANCH, "side")))
        for column in (location.c.used_us, pack.c.created_us):
            old = {column: 0}
            await database.write(lambda c, t=column.table, o=old: c.execute(sa.update(t).values(o)))
        await collect(door.repository.archive, older_than_s=3600)
        stored = [await database.read(lambda c, u=uid: find_segments(c, u)) for _, uid in pushed]
        blobs = door.repository.blobs
        for segments in stored:
            assert b"".join([piece async for piece in blobs.stream(segments)])[128:132] == b"DICM"


class SideTitles:
    """Knows any AE title, of a branch that will go."""

    async def resolve_ae_title(self, title: str) -> AeTarget | None:
        return AeTarget("default", "side")


def change_side(verb: Callable[[sa.Connection, int], None]) -> Callable[[sa.Connection], None]:
    """Return work on the branch of `SideTitles`."""
    return lambda connection: verb(connection, find_dataset(connection, "default").id)


def create_side(connection: sa.Connection, dataset_id: int) -> None:
    """Make the branch of `SideTitles`."""
    create_ref(connection, dataset_id, BRANCH, "side", read_head(connection, dataset_id, "main"))


async def has_side_commit(door: Door) -> bool:
    """Tell whether something was committed to the branch of `SideTitles`."""

    def differs(connection: sa.Connection) -> bool:
        owner = find_dataset(connection, "default").id
        return read_head(connection, owner, "side") != read_head(connection, owner, "main")

    return await door.repository.archive.database.read(differs)


def find_segments(connection: sa.Connection, sop_uid: str) -> tuple[tuple[bytes, int], ...]:
    """Return the segments of an instance by its row."""
    query = sa.select(instance.c.segments).where(instance.c.sop_uid == sop_uid)
    encoded = connection.execute(query).scalar_one()
    return msgspec.msgpack.decode(encoded, type=tuple[tuple[bytes, int], ...])


class TrialTitles:
    """Knows any AE title, of another dataset than the default one."""

    async def resolve_ae_title(self, title: str) -> AeTarget | None:
        return AeTarget("trial", "main")


def test_a_report_is_tried_again_until_it_is_taken(tmp_path: Path) -> None:
    modality = Modality()
    with modality.listen() as port:
        pass  # it has an address, and is down
    with serve(tmp_path / "data") as server:
        added = run_cli(server.data_dir, "peer", "add", "ct", f"127.0.0.1:{port}", MODALITY)
        assert added.returncode == 0, added.stderr
        pushed = leave_without_report(server, modality)
        wait_for(lambda: has_failed(server))
        modality.status = 0x0000
        with modality.listen(port):
            event, report = modality.wait_for_report()
            assert (event, read_references(report)) == (1, pushed)
            wait_for(lambda: '"done"' in run_cli(server.data_dir, "jobs", "list", "--json").stdout)
        assert len(modality.reports) == 1


def leave_without_report(server: RunningServer, modality: Modality) -> list[Reference]:
    """Ask for commitment and go before the report is taken."""
    modality.status = 0x0110
    with modality.associate(server.dimse_port) as association:
        pushed = push(association, 2)
        assert ask(association, pushed) == 0x0000
    return pushed


def has_failed(server: RunningServer) -> bool:
    """Tell whether a report could not be delivered."""
    listed = run_cli(server.data_dir, "jobs", "list", "--json")
    return "cannot be reached" in listed.stdout


def test_a_report_outlives_a_kill(tmp_path: Path) -> None:
    modality = Modality()
    server = launch_server(tmp_path / "data")
    try:
        pushed = leave_without_report(server, modality)
    finally:
        server.kill()
    modality.status = 0x0000
    with modality.listen() as port, serve(tmp_path / "data") as again:
        run_cli(again.data_dir, "peer", "add", "ct", f"127.0.0.1:{port}", MODALITY)
        event, report = modality.wait_for_report()
    assert (event, read_references(report)) == (1, pushed)
