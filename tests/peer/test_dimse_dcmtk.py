"""Options of DCMTK's echoscu and storescu that ask more of a door than a plain push does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from pynetdicom import AE
from pynetdicom.pdu_primitives import AsynchronousOperationsWindowNegotiation
from pynetdicom.sop_class import Verification

from tests.peer.dcmtk import Finished, run_tool
from tests.peer.door import Door, open_door, wait_until
from tests.peer.instances import make_instance, save_instance, save_series


@pytest.fixture
async def door(tmp_path: Path) -> AsyncIterator[Door]:
    async with open_door(tmp_path / "data") as opened:
        yield opened


async def echoscu(door: Door, *arguments: str, called: str = "LAMELLA") -> Finished:
    """Echo in one association."""
    return await run_tool("echoscu", "-v", "-aec", called, *arguments, "127.0.0.1", str(door.port))


async def test_echo_in_128_contexts_of_38_transfer_syntaxes(door: Door) -> None:
    finished = await echoscu(door, "-d", "-ppc", "128", "-pts", "38")
    assert finished.exit_status == 0, finished.output
    agreed = finished.output.partition("END A-ASSOCIATE-RQ")[2]
    assert agreed.count("(Accepted)") == 128


async def test_echo_again_and_again(door: Door) -> None:
    finished = await echoscu(door, "--repeat", "50")
    assert finished.exit_status == 0, finished.output
    assert finished.output.count("Received Echo Response (Success)") == 50


async def test_echo_that_ends_by_an_abort(door: Door) -> None:
    finished = await echoscu(door, "--abort")
    assert finished.exit_status == 0, finished.output
    assert "Aborting Association" in finished.output
    await wait_until(lambda: has_no_association(door))
    assert (await echoscu(door)).exit_status == 0


async def has_no_association(door: Door) -> bool:
    """Tell whether all associations are over."""
    return not door.gateway.list_associations()


async def test_folders_within_folders_are_one_commit(door: Door, tmp_path: Path) -> None:
    sent = [save_series(tmp_path / "pushed" / part, 3) for part in ("a", "a/b", "c/d/e")]
    finished = await door.storescu("+r", tmp_path / "pushed")
    assert finished.exit_status == 0, finished.output
    assert await door.list_instances() == {uid for part in sent for uid in part}
    assert len(await door.read_commits()) == 1


async def test_repeated_stores_change_nothing(door: Door, tmp_path: Path) -> None:
    uids = save_series(tmp_path / "pushed", 2)
    finished = await door.storescu("--repeat", "5", tmp_path / "pushed")
    assert finished.exit_status == 0, finished.output
    assert finished.output.count("(Success)") == 10
    assert await door.list_instances() == set(uids)
    assert len(await door.read_commits()) == 1


@pytest.mark.parametrize("size", ["4096", "131072"])
async def test_pdus_of_the_sizes_that_peers_ask_for(door: Door, tmp_path: Path, size: str) -> None:
    ds = make_instance()
    ds.Rows, ds.Columns, ds.PixelData = 500, 1000, bytes(range(250)) * 2000
    save_instance(ds, tmp_path / "pushed" / "long.dcm")
    finished = await door.storescu("--max-pdu", size, tmp_path / "pushed")
    assert "(Success)" in finished.output
    assert await door.list_instances() == {ds.SOPInstanceUID}


async def test_stores_that_end_by_an_abort_are_kept(door: Door, tmp_path: Path) -> None:
    uids = save_series(tmp_path / "pushed", 3)
    finished = await door.storescu("--abort", tmp_path / "pushed")
    assert finished.output.count("(Success)") == 3
    await wait_until(door.read_commits)
    assert await door.list_instances() == set(uids)


async def test_a_push_to_an_unknown_title_is_refused(door: Door, tmp_path: Path) -> None:
    save_series(tmp_path / "pushed", 1)
    finished = await door.storescu(tmp_path / "pushed", called="NOBODY")
    assert finished.exit_status != 0
    assert "Called AE Title Not Recognized" in finished.output
    assert await door.list_instances() == set()


async def test_asynchronous_operations_are_declined(door: Door) -> None:
    window = AsynchronousOperationsWindowNegotiation()
    window.maximum_number_operations_invoked = 8
    window.maximum_number_operations_performed = 8
    entity = AE()
    entity.add_requested_context(Verification)
    association = await asyncio.to_thread(
        entity.associate, "127.0.0.1", door.port, ae_title="LAMELLA", ext_neg=[window]
    )
    assert association.is_established
    assert association.acceptor.asynchronous_operations == (1, 1)
    assert (await asyncio.to_thread(association.send_c_echo)).Status == 0x0000
    await asyncio.to_thread(association.release)
