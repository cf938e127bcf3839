"""C-GET where bytes go other ways than usual: over TLS, by bare UIDs, of long instances."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage
from pynetdicom import AE, build_role, evt
from pynetdicom.pdu_primitives import SOPClassExtendedNegotiation
from pynetdicom.presentation import build_context
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelGet as StudyRootGet

from lamella.dimse_gateway.calling import echo_peer
from lamella.dimse_gateway.peers import Peer
from lamella.dimse_gateway.tls import make_client_context
from lamella.settings import Address, Settings
from tests.harness.certificates import make_certificate
from tests.harness.server import serve
from tests.peer.dcmtk import run_tool
from tests.peer.door import open_door
from tests.peer.instances import make_instance, save_instance


def get(port: int, keys: dict[str, str], tls: Any = None, extensions: bytes = b"") -> list[bytes]:
    """Return the pixels that a C-GET brings."""
    came: list[bytes] = []

    def store(event: Any) -> int:
        came.append(event.dataset.PixelData)
        return 0x0000

    role: Any = build_role(SecondaryCaptureImageStorage, scp_role=True)
    negotiation = [role]
    if extensions:
        item = SOPClassExtendedNegotiation()
        item.sop_class_uid, item.service_class_application_information = StudyRootGet, extensions
        negotiation.append(item)
    association = AE(ae_title="GETTER").associate(
        "127.0.0.1",
        port,
        contexts=[
            build_context(StudyRootGet),
            build_context(SecondaryCaptureImageStorage, ExplicitVRLittleEndian),
        ],
        ext_neg=negotiation,
        ae_title="LAMELLA",
        tls_args=(tls, "127.0.0.1") if tls else None,
        evt_handlers=[(evt.EVT_C_STORE, store)],
    )
    assert association.is_established
    asked = Dataset()
    for key, value in keys.items():
        setattr(asked, key, value)
    answers = list(association.send_c_get(asked, StudyRootGet))
    association.release()
    assert answers[-1][0].Status == 0x0000
    return came


async def fill(data_dir: Path, ds: Dataset, folder: Path) -> None:
    """Import an instance, by a command of its own."""
    path = save_instance(ds, folder / "1.dcm")
    command = (sys.executable, "-m", "lamella", "import", str(path), "--data-dir", str(data_dir))
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.DEVNULL)
    assert await process.wait() == 0


async def test_instances_over_tls_both_ways(tmp_path: Path) -> None:
    authority = make_certificate(tmp_path, "authority")
    own = make_certificate(tmp_path, "door", authority)
    files = {"dimse_tls_cert": str(own.path), "dimse_tls_key": str(own.key_path)}
    tls = make_client_context(Settings(dimse_tls_ca=str(authority.path)))
    ds = make_instance(pixels=np.random.default_rng(1).bytes(60_000))
    await fill(tmp_path / "data", ds, tmp_path / "files")
    async with open_door(tmp_path / "data", **files) as door:
        keys = {"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": str(ds.StudyInstanceUID)}
        came = await asyncio.to_thread(get, door.port, keys, tls)
        assert came == [ds.PixelData]
        peer = Peer("door", Address("127.0.0.1", door.port), "LAMELLA", True, 0)
        await asyncio.to_thread(echo_peer, peer, "CALLER", tls)


async def test_a_bare_uid_is_enough_where_that_was_negotiated(tmp_path: Path) -> None:
    ds = make_instance(pixels=bytes(range(64)))
    await fill(tmp_path / "data", ds, tmp_path / "files")
    async with open_door(tmp_path / "data") as door:
        keys = {"QueryRetrieveLevel": "IMAGE", "SOPInstanceUID": str(ds.SOPInstanceUID)}
        assert await asyncio.to_thread(get, door.port, keys, None, b"\1") == [ds.PixelData]


async def test_memory_does_not_grow_with_instances(tmp_path: Path) -> None:
    size_bytes = 120 << 20
    ds = make_instance(pixels=bytes(64))
    ds.Rows, ds.Columns = 10_240, size_bytes // 10_240
    ds.PixelData = bytes(size_bytes)
    await fill(tmp_path / "data", ds, tmp_path / "files")
    with serve(tmp_path / "data") as server:
        before = server.peak_memory_kib()
        got = await run_tool(
            "getscu", "-v", "-S", "--ignore", "-aec", server.aet,
            "-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={ds.StudyInstanceUID}",
            "127.0.0.1", str(server.dimse_port),
        )  # fmt: skip
        assert got.exit_status == 0, got.output
        assert server.peak_memory_kib() - before < 40 << 10
