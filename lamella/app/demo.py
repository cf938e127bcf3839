"""`lamella demo`: a server on a throw-away folder, and a short story told on it.

Everything goes through the public doors: STOW-RS, C-STORE, the JSON API, QIDO-RS.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import pydicom
from pydicom.data import get_testdata_file
from pynetdicom import AE

from lamella.errors import OutOfResources
from lamella.settings import Address, Settings, parse_address

STOWED = ("CT_small.dcm", "rtplan.dcm", "SC_rgb_rle_2frame.dcm")
SENT = ("MR_small.dcm", "waveform_ecg.dcm")
CHANGED = "CT_small.dcm"
TAG = "v1.0"


@dataclass(frozen=True, slots=True)
class Doors:
    """Where the demonstration's server listens."""

    http: str
    dimse: Address
    aet: str


def run_demo(settings: Settings) -> int:
    """Tell the story, then serve until Ctrl-C; return the exit status.

    Raises:
        OutOfResources: The server does not start.
    """
    with (
        tempfile.TemporaryDirectory(prefix="lamella-demo-") as folder,
        _serve(settings, Path(folder)) as (process, doors),
    ):
        tell_story(doors, Path(folder))
        print("\nServing until Ctrl-C; the folder is deleted then.", flush=True)
        try:
            process.wait()
        except KeyboardInterrupt:
            print()
    return 0


def tell_story(doors: Doors, folder: Path) -> None:
    """Store, tag, change and look back, saying what was done."""
    root = f"{doors.http}/dicomweb/default"
    api = f"{doors.http}/api/v1/datasets/default"
    print(f"Lamella listens on {doors.http} (DICOMweb) and {doors.dimse} (DIMSE, {doors.aet}).")
    for name in STOWED:
        commit = _store(root, _read_sample(name))
        print(f"  STOW-RS   {name:24} commit {commit[:12]}")
    _send(doors, SENT)
    print(f"  C-STORE   {' '.join(SENT):24} one association, one commit")
    tag = _post(f"{api}/tags", {"name": TAG, "revision": "main"})
    print(f"  tag       {TAG:24} commit {tag['commit'][:12]}")
    changed = _describe_study(_read_sample(CHANGED), "described later")
    commit = _store(root, changed)
    print(f"  STOW-RS   {CHANGED:24} commit {commit[:12]}: same pixels, another description")
    study = pydicom.dcmread(BytesIO(changed)).StudyInstanceUID
    for revision in (TAG, "main"):
        print(f"  at {revision:5}  the study reads {_read_description(root, revision, study)!r}")
    _suggest(doors, root, api, folder)


def _suggest(doors: Doors, root: str, api: str, folder: Path) -> None:
    host, port = doors.dimse.host, doors.dimse.port
    lamella = f"{sys.executable} -m lamella --data-dir {folder}"
    print(
        f"""
Look around:
  {doors.http}/
  {root}/main/studies
  {root}/{TAG}/studies            the same for ever
  {root}/main~1/studies
  {api}/commits
  {api}/diff?from={TAG}&to=main

Try next:
  curl -s {root}/main/studies
  storescu -aec {doors.aet} +sd {host} {port} FOLDER
  {lamella} log
  {lamella} diff default@{TAG} default@main
  {lamella} export default@{TAG} ./v1"""
    )


@contextmanager
def _serve(settings: Settings, folder: Path) -> Iterator[tuple[subprocess.Popen[str], Doors]]:
    defaults = Settings()
    environ = dict(os.environ)
    environ["LAMELLA_DATA_DIR"] = str(folder)
    environ["LAMELLA_LOG_LEVEL"] = "warning"
    # the usual ports may serve a real archive, so a demonstration takes others
    environ["LAMELLA_HTTP"] = settings.http if settings.http != defaults.http else "127.0.0.1:0"
    environ["LAMELLA_DIMSE"] = settings.dimse if settings.dimse != defaults.dimse else "127.0.0.1:0"
    process = subprocess.Popen(
        [sys.executable, "-m", "lamella", "serve"], env=environ, stdout=subprocess.PIPE, text=True
    )
    try:
        yield process, _read_doors(process)
    finally:
        process.terminate()
        process.wait()


def _read_doors(process: subprocess.Popen[str]) -> Doors:
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("lamella ready "):
            fields = dict(pair.split("=", 1) for pair in line.split()[2:])
            dimse = parse_address(fields["dimse"], "the demonstration's DIMSE address")
            return Doors(fields["http"], dimse, fields["aet"])
    raise OutOfResources("The demonstration's server did not start.")


def _read_sample(name: str) -> bytes:
    path = get_testdata_file(name, download=False)
    if not isinstance(path, str):
        raise OutOfResources(f"pydicom's sample {name} is not installed.")
    return Path(path).read_bytes()


def _describe_study(data: bytes, text: str) -> bytes:
    ds = pydicom.dcmread(BytesIO(data))
    ds.StudyDescription = text
    buffer = BytesIO()
    ds.save_as(buffer)
    return buffer.getvalue()


def _store(root: str, data: bytes) -> str:
    request = urllib.request.Request(
        f"{root}/main/studies", data, {"Content-Type": "application/dicom"}
    )
    with urllib.request.urlopen(request) as response:
        return str(response.headers["Lamella-Commit"])


def _send(doors: Doors, names: tuple[str, ...]) -> None:
    instances = [pydicom.dcmread(BytesIO(_read_sample(name))) for name in names]
    entity = AE("DEMO")
    for ds in instances:
        entity.add_requested_context(ds.SOPClassUID, ds.file_meta.TransferSyntaxUID)
    association = entity.associate(doors.dimse.host, doors.dimse.port, ae_title=doors.aet)
    if not association.is_established:
        raise OutOfResources("The demonstration's server takes no association.")
    for ds in instances:
        status = association.send_c_store(ds)
        if "Status" not in status or status.Status != 0x0000:
            raise OutOfResources("The demonstration's server refused a C-STORE.")
    association.release()


def _post(url: str, content: dict[str, str]) -> dict[str, str]:
    request = urllib.request.Request(
        url, json.dumps(content).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request) as response:
        answer: dict[str, str] = json.load(response)
    return answer


def _read_description(root: str, revision: str, study: str) -> str:
    url = f"{root}/{revision}/studies?StudyInstanceUID={study}&includefield=StudyDescription"
    with urllib.request.urlopen(url) as response:
        (result,) = json.load(response)
    return str(result.get("00081030", {}).get("Value", [""])[0])
