"""Real files, each spoilt in some way, by STOW, C-STORE and import, and all that is asked of them.

Each is refused with a reason, or stored and comes back byte for byte; then its metadata, frames,
pictures and other forms are answered or refused. `make test` sends some hundred, `make soak`
`LAMELLA_MUTATIONS` (6,000), and watches that memory, files and processes do not pile up.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
from pynetdicom import AE, _config
from pynetdicom.presentation import PresentationContext, build_context

from tests.harness.collection import (
    REFERENCED,
    RETRIEVE_URL,
    Collection,
    make_collection,
    open_client,
)
from tests.harness.mutations import MUTATIONS, Mutated, find_originals, make_mutated
from tests.harness.server import RunningServer, list_children, run_cli, serve
from tests.soak.gauge import Gauge, grow_per_hour

SHORT, LONG = 14 * 10, int(os.environ.get("LAMELLA_MUTATIONS", "6000"))
SEED = int(os.environ.get("LAMELLA_SEED", "4"))
LONGEST_S = 70.0  # a decoder that hangs is ended after 60
FAILURES = ("00081198", "0008119A")
MOST_KIB = 300 << 10
MOST_GROWTH_KIB = 24 << 10
MOST_GROWTH_FILES, MOST_GROWTH_THREADS, MOST_PROCESSES = 12, 6, 4
REFUSED = (400, 404, 406)
DICOM_IN = 'application/dicom; transfer-syntax="{}"'
ASKED = (
    ("", "*/*"),
    ("", DICOM_IN.format("1.2.840.10008.1.2.4.80")),
    ("", DICOM_IN.format("1.2.840.10008.1.2.1")),
    ("/metadata", "application/dicom+json"),
    ("/metadata", 'multipart/related; type="application/dicom+xml"'),
    ("/frames/1", "*/*"),
    ("/frames/1", "application/octet-stream"),
    ("/frames/99999", "*/*"),
    ("/rendered", "*/*"),
    ("/rendered", "image/png"),
    ("/thumbnail", "*/*"),
    ("/pixeldata", "*/*"),
    ("/bulkdata", "*/*"),
)
SEARCHES = (
    "?includefield=all&SOPInstanceUID={}",
    "?SOPInstanceUID={}&PatientName=*a*&fuzzymatching=true",
)


@dataclass
class Range:
    """A server that is shot at, and what it did."""

    collection: Collection
    faults: list[str] = field(default_factory=list)
    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter)
    answers: Counter[tuple[str, int]] = field(default_factory=Counter)

    def shoot(self, mutated: Mutated) -> None:
        """Store a file by STOW; ask everything of it if it was stored."""
        url = f"{self.collection.root()}/studies"
        kind = {"Content-Type": "application/dicom"}
        answer = self._send(mutated, "POST", url, kind, mutated.data)
        if answer is None:
            return
        if answer.status_code in (200, 202) and REFERENCED in answer.json():
            self.outcomes[mutated.kind, "stored"] += 1
            self.examine(mutated, answer.json()[REFERENCED]["Value"][0])
            return
        self.outcomes[mutated.kind, "refused"] += 1
        if answer.status_code == 400:  # nothing was found that looks like an instance
            assert answer.json()["detail"]
            return
        body = answer.json()
        reasons = [
            item["00081197"]["Value"][0]
            for key in FAILURES
            for item in body.get(key, {}).get("Value", [])
        ]
        if answer.status_code != 409 or len(reasons) != 1 or reasons[0] < 0x0110:
            self.faults.append(f"{mutated.name}: {answer.status_code} with reasons {reasons}")

    def examine(self, mutated: Mutated, item: dict[str, dict[str, list[str]]]) -> None:
        """Ask everything of a stored file; its bytes have to be what was sent."""
        sop_uid = item["00081155"]["Value"][0]
        url = item[RETRIEVE_URL]["Value"][0]
        file = self._send(mutated, "GET", f"{self.collection.api}/instances/{sop_uid}/file")
        if file is None or file.content != mutated.data:
            self.faults.append(f"{mutated.name}: other bytes came back")
        for search in SEARCHES:
            found = self._send(
                mutated, "GET", f"{self.collection.root()}/instances{search.format(sop_uid)}"
            )
            if found is not None and found.status_code != 200:
                self.faults.append(f"{mutated.name}: search {found.status_code}")
            elif found is not None and "PatientName" not in search and len(found.json()) != 1:
                self.faults.append(f"{mutated.name}: found {len(found.json())} times")
        for resource, accept in ASKED:
            answer = self._send(mutated, "GET", url + resource, {"Accept": accept})
            if answer is None:
                continue
            self.answers[resource, answer.status_code] += 1
            if resource == "/metadata" and answer.status_code != 200:
                self.faults.append(f"{mutated.name}: metadata {answer.status_code}")
            elif answer.status_code in REFUSED and not answer.json()["detail"]:
                self.faults.append(f"{mutated.name}: {resource} is refused without a reason")
            elif answer.status_code not in (200, 206, *REFUSED):
                self.faults.append(f"{mutated.name}: {resource} {accept}: {answer.text[:200]}")

    def _send(
        self,
        mutated: Mutated,
        method: str,
        url: str,
        headers: dict[str, str] | None = None,
        body: bytes | None = None,
    ) -> httpx.Response | None:
        try:
            answer = self.collection.client.request(method, url, headers=headers, content=body)
        except httpx.RemoteProtocolError:
            # An answer whose later frames turn out to be broken is broken off.
            if method == "GET" and mutated.original.data.find(b"\x28\x00\x08\x00") > 0:
                self.answers["broken off", 0] += 1
                return None
            self.faults.append(f"{mutated.name}: {method} {url} was broken off")
            return None
        except httpx.TimeoutException:
            self.faults.append(f"{mutated.name}: {method} {url} hangs")
            return None
        if answer.status_code >= 500:
            self.faults.append(f"{mutated.name}: {method} {url} {headers}: {answer.text[:200]}")
            return None
        return answer

    def report(self) -> None:
        """Print what came of it."""
        for mutation in MUTATIONS:
            kind = mutation.__name__
            stored, refused = (self.outcomes[kind, fate] for fate in ("stored", "refused"))
            print(f"{kind:20} {stored:6} stored {refused:6} refused")
        print(dict(sorted(self.answers.items())))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    data_dir = tmp_path_factory.mktemp("mutated") / "data"
    with serve(data_dir, log_level="warning") as running:
        yield running


FORMS = [
    pytest.param(SHORT, id="short"),
    pytest.param(LONG, id="long", marks=[pytest.mark.soak, pytest.mark.timeout(14_000)]),
]


@pytest.mark.parametrize("count", FORMS)
def test_stow_and_all_that_is_asked(server: RunningServer, count: int) -> None:
    originals = find_originals()
    gauge = Gauge(server.process.pid, every_s=1)
    gauge.start()
    with open_client(LONGEST_S) as client:
        targets = Range(make_collection(client, server, duplicates="replace"))
        for number in range(count):
            targets.shoot(make_mutated(originals, number, SEED))
    gauge.finish()
    targets.report()
    assert not targets.faults, "\n".join(targets.faults)
    stored = sum(n for (_, fate), n in targets.outcomes.items() if fate == "stored")
    assert min(stored, count - stored) > count // 20
    check_health(server, gauge, is_long=count == LONG)


def check_health(server: RunningServer, gauge: Gauge, *, is_long: bool) -> None:
    """See that nothing failed inside, and that nothing piles up."""
    log = "\n".join(server.errors)
    assert "Traceback" not in log, log[-5000:]
    assert "unexpected" not in log, log[-5000:]
    processes = list_children(server.process.pid)
    assert len(processes) <= MOST_PROCESSES
    states = [
        Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] for pid in processes
    ]
    assert "Z" not in states
    assert max(gauge.peaks_kib.values()) < MOST_KIB, gauge.peaks_kib
    half = gauge.readings[len(gauge.readings) // 2 :]
    print(f"half-way {half[0]}\nat the end {half[-1]}\npeaks {gauge.peaks_kib}")
    assert _grow([(one.at_s, one.open_files) for one in half]) <= MOST_GROWTH_FILES
    assert _grow([(one.at_s, one.threads) for one in half]) <= MOST_GROWTH_THREADS
    if is_long:  # before, caches are still filling
        assert _grow([(one.at_s, one.anonymous_kib) for one in half]) <= MOST_GROWTH_KIB


def _grow(points: Sequence[tuple[float, float]]) -> float:
    """Return by how much a quantity has grown."""
    return grow_per_hour(points) * (points[-1][0] - points[0][0]) / 3600


def list_contexts(mutated: Mutated) -> list[PresentationContext]:
    """Return the presentation context that a file's meta ask for; none if they are odd."""
    data = mutated.original.data[: mutated.original.body_at]
    uids = []
    for tag in (b"\x02\x00\x02\x00UI", b"\x02\x00\x10\x00UI"):
        at = data.find(tag, 132)
        length = int.from_bytes(data[at + 6 : at + 8], "little")
        uids.append(data[at + 8 : at + 8 + length].rstrip(b"\0 ").decode("latin-1"))
    if any(not uid.startswith("1.2.840.10008.") for uid in uids):
        return []
    return [build_context(uids[0], uids[1])]


@pytest.mark.filterwarnings("ignore")  # pydicom's, about what is sent
@pytest.mark.parametrize("count", FORMS)
def test_c_store(server: RunningServer, tmp_path: Path, monkeypatch, count: int) -> None:
    monkeypatch.setattr(_config, "STORE_SEND_CHUNKED_DATASET", True)
    originals, statuses, faults = find_originals(), Counter[str](), list[str]()
    path = tmp_path / "one.dcm"
    for number in range(count // 2):
        mutated = make_mutated(originals, number, SEED + 1)
        contexts = list_contexts(mutated) if mutated.has_sound_meta else []
        if not contexts:
            continue
        path.write_bytes(mutated.data)
        association = AE("MUTANT").associate(
            "127.0.0.1", server.dimse_port, contexts, ae_title=server.aet
        )
        if not association.accepted_contexts:
            statuses["no context"] += 1
            association.release()
            continue
        try:
            status = association.send_c_store(path).get("Status")
        except (AttributeError, ValueError):  # file meta that pynetdicom does not take
            status = -1
        association.release()
        statuses["none" if status is None else f"{status:04X}"] += 1
        if status is None:
            faults.append(f"{mutated.name}: no answer")
    print(f"\nC-STORE: {dict(statuses)}")
    assert not faults, "\n".join(faults)
    assert statuses["0000"] > count // 20
    assert sum(statuses.values()) - statuses["0000"] > count // 100
    assert "Traceback" not in "\n".join(server.errors)


@pytest.mark.parametrize("count", FORMS)
def test_import(server: RunningServer, tmp_path: Path, count: int) -> None:
    originals = find_originals()
    folder = tmp_path / "files"
    folder.mkdir()
    for number in range(count // 2):
        (folder / f"{number:05}").write_bytes(make_mutated(originals, number, SEED + 2).data)
    done = run_cli(server.data_dir, "import", "--json", str(folder))
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    files = json.loads(done.stdout)
    fates = Counter(one["outcome"] for one in files)
    print(f"\nimport: {dict(fates)}")
    assert len(files) == count // 2
    assert fates["stored"] > count // 20
    assert all(one["reason"] for one in files if one["outcome"] in ("refused", "conflict"))
    fsck = run_cli(server.data_dir, "fsck")
    assert fsck.returncode == 0, fsck.stdout + fsck.stderr
