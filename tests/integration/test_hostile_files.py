"""Files that were made to do harm, by STOW, C-STORE and import: stored, or refused with a reason.

The server lives on, its memory stays small, and no patient turns up in an answer or in its log.
"""

from __future__ import annotations

import io
import json
import os
import struct
import subprocess
import sys
import time
import zipfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import httpx
import pytest
from pynetdicom import AE, _config
from pynetdicom.association import Association

from tests.harness.hostile import (
    CANARY,
    EXPLICIT,
    IMPLICIT,
    RLE,
    SECONDARY_CAPTURE,
    deflate,
    make_bombs,
    make_hostile_files,
    meta,
    plain,
)
from tests.harness.samples import make_instance
from tests.harness.server import RunningServer, read_peak_kib, serve
from tests.harness.stack import choose_stack

MEMORY_KIB = 250 * 1024
UNWANTED = ("refused", "conflict", "ignored")
FAILURES = ("00081198", "0008119A")


@dataclass
class Target:
    """A server that is shot at.

    Attributes:
        names: Numbers for the good instances that are stored in between.
    """

    server: RunningServer
    client: httpx.Client
    names: Iterator[int]

    def store(self, data: bytes, content_type: str = "application/dicom") -> httpx.Response:
        """Send one request body."""
        url = f"{self.server.root()}/studies"
        return self.client.post(url, content=data, headers={"Content-Type": content_type})

    def check(self) -> None:
        """Whatever came before, it works, is small, and has kept its mouth shut."""
        assert self.client.get(f"{self.server.http}/readyz").status_code == 200
        number = next(self.names)
        good = make_instance(study=f"1.2.7.{number}", sop=f"1.2.7.{number}.1")
        assert self.store(good).status_code == 200
        found = self.client.get(f"{self.server.root()}/studies?StudyInstanceUID=1.2.7.{number}")
        assert len(found.json()) == 1
        log = "\n".join(self.server.errors)
        assert CANARY not in log
        assert "Traceback" not in log
        assert self.server.peak_memory_kib() < MEMORY_KIB


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    data_dir = tmp_path_factory.mktemp("hostile") / "data"
    with serve(data_dir) as server, httpx.Client(timeout=120) as client:
        yield Target(server, client, count(1))


def find_fault(answer: httpx.Response) -> str:
    """Return what is wrong with the answer to a store of one hostile file; '' if nothing."""
    if CANARY in answer.text:
        return "it names the patient"
    if "Traceback" in answer.text:
        return "it shows a traceback"
    body = answer.json()
    if answer.status_code == 200:
        return "" if "00081199" in body and not set(FAILURES) & set(body) else "no reference"
    if answer.status_code != 409:
        return f"status {answer.status_code}"
    failures = [item for key in FAILURES for item in body.get(key, {}).get("Value", [])]
    reasons = [item["00081197"]["Value"][0] for item in failures]
    return "" if len(reasons) == 1 and reasons[0] >= 0x0110 else f"reasons {reasons}"


def test_stow_stores_or_refuses_each(target: Target):
    faults, statuses = [], Counter[int]()
    for name, data in make_hostile_files():
        answer = target.store(data)
        statuses[answer.status_code] += 1
        fault = find_fault(answer)
        if not fault and name.startswith("50 levels") and answer.status_code != 200:
            fault = "not stored"
        if fault:
            faults.append(f"{name}: {fault}")
    print(f"\nSTOW: {dict(statuses)}")
    assert not faults, "\n".join(faults)
    assert min(statuses[200], statuses[409]) > 20
    target.check()


def test_bombs_are_refused(target: Target):
    for name, data in make_bombs():
        answer = target.store(data)
        assert not find_fault(answer), name
        assert answer.status_code == 409, name
    target.check()


def test_what_was_stored_can_be_asked_for(target: Target):
    faults, statuses = [], Counter[int]()
    for number, (_, data) in enumerate(make_hostile_files()):
        if number % 3 == 0:
            target.store(data)
    rows = target.client.get(f"{target.server.root()}/instances?limit=1000").json()
    for row in rows:
        url = row["00081190"]["Value"][0]
        for resource in ("", "/metadata", "/frames/1", "/frames/99", "/bulkdata/7FE00010"):
            answer = target.client.get(url + resource)
            statuses[answer.status_code] += 1
            if answer.status_code not in (200, 404, 406):
                faults.append(f"{url}{resource}: {answer.status_code}")
            if answer.status_code != 200 and (CANARY in answer.text or "Traceback" in answer.text):
                faults.append(f"{url}{resource}: {answer.text[:300]}")
    print(f"\nretrieved: {dict(statuses)}")
    assert len(rows) > 20
    assert not faults, "\n".join(faults)
    target.check()


def test_one_good_part_among_bad_ones_is_stored(target: Target):
    parts = [data for _, data in make_hostile_files() if len(data) < 10_000]
    parts.insert(len(parts) // 2, make_instance(study="1.2.8", sop="1.2.8.1"))
    body = b"".join(
        b"\r\n--hostile-boundary\r\nContent-Type: application/dicom\r\n\r\n" + part
        for part in parts
    )
    kind = 'multipart/related; type="application/dicom"; boundary=hostile-boundary'
    answer = target.store(body + b"\r\n--hostile-boundary--\r\n", kind)
    assert answer.status_code == 202
    assert CANARY not in answer.text
    stored = [item["00081155"]["Value"][0] for item in answer.json()["00081199"]["Value"]]
    failed = sum(len(answer.json()[key]["Value"]) for key in FAILURES if key in answer.json())
    assert "1.2.8.1" in stored
    assert len(stored) + failed == len(parts)
    target.check()


@pytest.mark.parametrize(
    ("body", "content_type", "status"),
    [
        (b"", "application/dicom", (400, 409)),
        (b"", 'multipart/related; type="application/dicom"; boundary=b', (400,)),
        (b"--b\r\n\r\n", 'multipart/related; type="application/dicom"; boundary=b', (400, 409)),
        (b"--b" * 9999, 'multipart/related; type="application/dicom"; boundary=b', (400,)),
        (b"x", 'multipart/related; type="application/dicom"', (400, 415)),
        (b"x", f"multipart/related; boundary={'b' * 500}", (400, 415)),
        (b"x", "image/png", (415,)),
    ],
)
def test_hostile_bodies(target: Target, body: bytes, content_type: str, status: tuple[int, ...]):
    answer = target.store(body, content_type)
    assert answer.status_code in status
    assert answer.json()
    target.check()


def read_syntax(data: bytes) -> str:
    """Return the transfer syntax of a file whose file meta are sound and name it last, else ''."""
    fields = data[144 : 144 + int.from_bytes(data[140:144], "little")]
    at = fields.find(b"\x02\x00\x10\x00UI")
    is_sound = data[128:144] == meta()[128:140] + data[140:144] and 0 <= at < len(fields) < 300
    is_last = is_sound and at + 8 + int.from_bytes(fields[at + 6 : at + 8], "little") == len(fields)
    return fields[at + 8 :].decode("latin-1").rstrip("\0") if is_last else ""


def associate(target: Target, entity: AE) -> Association:
    server = target.server
    association = entity.associate("127.0.0.1", server.dimse_port, ae_title=server.aet)
    assert association.is_established
    return association


def send_all(target: Target, folder: Path, syntaxes: list[str]) -> tuple[Counter[str], list[str]]:
    """Send every hostile data set of these transfer syntaxes; return statuses and faults."""
    entity = AE(ae_title="HOSTILE")
    for syntax in syntaxes:
        entity.add_requested_context(SECONDARY_CAPTURE, syntax)
    statuses, faults = Counter[str](), []
    association = associate(target, entity)
    for number, (name, data) in enumerate(make_hostile_files()):
        if read_syntax(data) not in syntaxes:
            continue
        path = folder / f"{number}.dcm"
        path.write_bytes(data)
        if not association.is_established:
            faults.append(f"before {name}: the association is gone")
            association = associate(target, entity)
        try:
            status = association.send_c_store(path).get("Status")
        except (AttributeError, ValueError):  # file meta that pynetdicom does not take
            continue
        statuses["none" if status is None else f"{status:04X}"] += 1
        if status is None:
            faults.append(f"{name}: no answer")
    association.release()
    return statuses, faults


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")  # pydicom's, about what is sent
def test_c_store_stores_or_refuses_each(target: Target, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(_config, "STORE_SEND_CHUNKED_DATASET", True)
    statuses, faults = send_all(target, tmp_path, [EXPLICIT, IMPLICIT, RLE])
    print(f"\nC-STORE: {dict(statuses)}")
    assert not faults, "\n".join(faults)
    assert statuses["0000"] > 20
    assert sum(statuses.values()) - statuses["0000"] > 20
    target.check()


def make_zip_bomb(megabytes: int) -> bytes:
    """Return a zip archive of one member, an instance that is zeros for the most part."""
    packed = deflate((meta(), 1), (bytes(1 << 20), megabytes))
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("bomb.dcm", packed)
    raw = bytearray(file.getvalue())
    for at, method, size in ((0, 8, 22), (raw.rindex(b"PK\1\2"), 10, 24)):
        struct.pack_into("<H", raw, at + method, zipfile.ZIP_DEFLATED)
        struct.pack_into("<L", raw, at + size, len(meta()) + (megabytes << 20))
    return bytes(raw)


def write_zips(folder: Path) -> dict[str, str]:
    """Write archives that were made to do harm; return what their members come to."""
    (folder / "bomb.zip").write_bytes(make_zip_bomb(1500))
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as archive:
        archive.writestr("inner.dcm", plain("1.2.3.4"))
    with zipfile.ZipFile(folder / "nested.zip", "w") as archive:
        archive.writestr("inner.zip", inner.getvalue())
    with zipfile.ZipFile(folder / "climbing.zip", "w") as archive:
        archive.writestr("../../../../escaped.dcm", plain("1.2.3.5"))
        archive.writestr("/absolute.dcm", plain("1.2.3.6"))
    whole = (folder / "climbing.zip").read_bytes()
    (folder / "truncated.zip").write_bytes(whole[: len(whole) // 2])
    spoilt = bytearray(whole)
    at = spoilt.index(b"PK\x01\x02")
    spoilt[at + 20 : at + 28] = b"\xff" * 8
    (folder / "lying.zip").write_bytes(spoilt)
    (folder / "empty.zip").write_bytes(b"PK\x05\x06" + bytes(18))
    (folder / "tiny.zip").write_bytes(b"PK\x03\x04")
    return {"bomb.zip/bomb.dcm": "refused", "nested.zip/inner.zip": "ignored"}


def run_import(data_dir: Path, folder: Path) -> tuple[int, str, str, int]:
    """Import a folder; return exit status, stdout, stderr and peak memory in KiB."""
    paths = folder.parent / "stdout", folder.parent / "stderr"
    environ = {name: v for name, v in os.environ.items() if not name.startswith("LAMELLA_")}
    chosen = choose_stack(data_dir) | {"data_dir": str(data_dir)}
    environ |= {f"LAMELLA_{name.upper()}": value for name, value in chosen.items()}
    peak_kib = 0
    with paths[0].open("wb") as output, paths[1].open("wb") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "lamella", "import", "--json", str(folder)],
            env=environ,
            stdout=output,
            stderr=errors,
            cwd=Path(__file__).parents[2],
        )
        while process.poll() is None:
            peak_kib = max(peak_kib, read_peak_kib(process.pid))
            time.sleep(0.02)
    return process.returncode, paths[0].read_text(), paths[1].read_text(), peak_kib


def test_import_stores_or_refuses_each(target: Target, tmp_path: Path):
    folder = tmp_path / "files"
    folder.mkdir()
    for number, (_, data) in enumerate(make_hostile_files()):
        (folder / f"{number:04}").write_bytes(data)
    expected = write_zips(folder)
    status, output, errors, peak_kib = run_import(target.server.data_dir, folder)
    assert status == 1
    assert CANARY not in output + errors
    assert "Traceback" not in output + errors
    assert peak_kib < MEMORY_KIB
    files = {one["path"].removeprefix(f"{folder}/"): one for one in json.loads(output)}
    fates = Counter(one["outcome"] for one in files.values())
    print(f"\nimport: {dict(fates)}, {peak_kib // 1024} MiB")
    assert {name: files[name]["outcome"] for name in expected} == expected
    assert all(one["reason"] for one in files.values() if one["outcome"] in UNWANTED)
    assert not (tmp_path.parent / "escaped.dcm").exists()
    assert min(fates["stored"] + fates["unchanged"], fates["refused"], fates["ignored"]) > 5
    target.check()


def test_truncated_zips_leave_no_trace(target: Target, tmp_path: Path):
    folder = tmp_path / "files"
    folder.mkdir()
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("one.dcm", plain("1.2.3.7"))
    for at in range(4, len(data.getvalue()), 40):
        (folder / f"{at}.zip").write_bytes(data.getvalue()[:at])
    status, output, errors, _ = run_import(target.server.data_dir, folder)
    assert status == 1
    assert "Traceback" not in errors
    assert {one["outcome"] for one in json.loads(output)} == {"refused"}
