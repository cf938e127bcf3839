"""Debian's Orthanc as a peer, on free ports and a folder of its own."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

ORTHANC = "/usr/sbin/Orthanc"
START_TIMEOUT_S = 60.0


@dataclass(frozen=True)
class Orthanc:
    """An Orthanc that runs.

    Attributes:
        http: Base URL of its own API.
    """

    http: str
    dimse_port: int

    def list_uids(self) -> set[str]:
        """Return the SOP Instance UIDs it has."""
        found = httpx.get(f"{self.http}/instances?expand").json()
        return {one["MainDicomTags"]["SOPInstanceUID"] for one in found}


@contextmanager
def run_orthanc(folder: Path, modalities: dict[str, list[object]]) -> Iterator[Orthanc]:
    """Run it until the block ends; skip the test without it, but fail it where CI must have it.

    Args:
        folder: Where it keeps everything.
        modalities: AE title, host and port of those it knows, by names.
    """
    if not Path(ORTHANC).exists():
        if os.environ.get("CI", "").lower() == "true":
            pytest.fail("CI must have Orthanc.")
        pytest.skip("Orthanc is not installed.")
    http_port, dimse_port = find_free_port(), find_free_port()
    folder.mkdir()
    configuration = {
        "StorageDirectory": str(folder),
        "IndexDirectory": str(folder),
        "HttpPort": http_port,
        "DicomPort": dimse_port,
        "DicomAet": "ORTHANC",
        "AuthenticationEnabled": False,
        "Plugins": [],
        "DicomModalities": modalities,
        "DicomAlwaysAllowMove": True,
        "DicomAlwaysAllowGet": True,
        "DicomAlwaysAllowFind": True,
    }
    path = folder / "orthanc.json"
    path.write_text(json.dumps(configuration))
    process = subprocess.Popen(
        [ORTHANC, str(path)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        _wait_for(f"http://127.0.0.1:{http_port}")
        yield Orthanc(f"http://127.0.0.1:{http_port}", dimse_port)
    finally:
        process.terminate()
        process.wait(30)


def find_free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def _wait_for(http: str) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        try:
            if httpx.get(f"{http}/system").status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.1)
    raise AssertionError("Orthanc does not answer.")
