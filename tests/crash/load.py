"""Load by all three doors at once, by clients that keep the ledger."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPException
from itertools import count
from pathlib import Path
from random import Random

from pydicom import dcmread
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from pynetdicom import AE
from pynetdicom.association import Association

from tests.crash.ledger import Door, Fate, Ledger, Sample
from tests.harness.samples import make_instance
from tests.harness.server import RunningServer
from tests.harness.stack import choose_stack
from tests.harness.web import store

IMPORT_FILES = 150
JOIN_TIMEOUT_S = 10
LONGEST_SERIES = 12
STORES_AN_ASSOCIATION = 10
LAMELLA = (sys.executable, "-m", "lamella")
ROOT = Path(__file__).parents[2]
_NUMBERS = count(1)


def make_environ(**settings: str) -> dict[str, str]:
    """Return the environment of a process of ours, with these settings alone."""
    environ = {name: v for name, v in os.environ.items() if not name.startswith("LAMELLA_")}
    return environ | {f"LAMELLA_{name.upper()}": value for name, value in settings.items()}


class Source:
    """Makes instances of one sender; now and then a known one again, or a new version of it."""

    def __init__(self, seed: str, patient_id: str) -> None:
        self._random = Random(seed)
        self._patient_id = patient_id
        self._study_uid = self._series_uid = ""
        self._room = 0
        self._known: list[Sample] = []

    def draw(self, most: int) -> list[Sample]:
        """Return 1 to `most` samples of different instances."""
        chance = self._random.random()
        if self._known and chance < 0.1:
            return [self._random.choice(self._known)]
        if self._known and chance < 0.25:
            return [self._change(self._random.choice(self._known))]
        return self.make(self._random.randint(1, most))

    def make(self, count: int) -> list[Sample]:
        """Return samples of new instances."""
        return [self._make() for _ in range(count)]

    def keep(self, samples: list[Sample]) -> None:
        """Remember what was acknowledged."""
        self._known = [*self._known, *samples][-50:]

    def _make(self) -> Sample:
        if not self._room:
            self._study_uid = f"2.25.{next(_NUMBERS)}"
            self._series_uid = f"{self._study_uid}.1"
            self._room = self._random.randint(1, LONGEST_SERIES)
        self._room -= 1
        sop_uid = f"{self._series_uid}.{next(_NUMBERS)}"
        side = self._random.choice((8, 32, 128, 256))  # below and above what is kept apart
        file = make_instance(
            self._study_uid,
            self._series_uid,
            sop_uid,
            patient_id=self._patient_id,
            rows=side,
            columns=side,
            PixelData=self._random.randbytes(2 * side * side),
        )
        return Sample(self._study_uid, self._series_uid, sop_uid, file)

    def _change(self, known: Sample) -> Sample:
        ds = dcmread(io.BytesIO(known.file))
        ds.SeriesDescription = f"change {next(_NUMBERS)}"
        buffer = io.BytesIO()
        ds.save_as(buffer, enforce_file_format=True)
        self._known = [one for one in self._known if one.sop_uid != known.sop_uid]
        return Sample(known.study_uid, known.series_uid, known.sop_uid, buffer.getvalue())


@contextmanager
def associate(entity: AE, server: RunningServer) -> Iterator[Association]:
    """Request an association and release it at the end, if it is still there.

    pynetdicom leaves the socket of a requestor whose peer dies to the garbage collector.
    """
    association = entity.associate("127.0.0.1", server.dimse_port, ae_title=server.aet)
    connection = association.dul.socket.socket if association.dul.socket else None
    try:
        yield association
    finally:
        if association.is_established:
            association.release()
        association.dul.join(JOIN_TIMEOUT_S)
        if connection is not None:
            connection.close()


class Load:
    """STOW and C-STORE senders against one server, until it dies or they are told to stop."""

    def __init__(self, server: RunningServer, ledger: Ledger, sources: dict[str, Source]) -> None:
        self._server = server
        self._ledger = ledger
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._work(name), args=(source,), name=name)
            for name, source in sources.items()
        ]

    def start(self) -> None:
        """Begin to send."""
        for thread in self._threads:
            thread.start()

    def finish(self) -> None:
        """Send no more, and wait for the requests under way to end."""
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _work(self, name: str) -> Callable[[Source], None]:
        return self._store_by_stow if name.startswith("stow") else self._store_by_dimse

    def _store_by_stow(self, source: Source) -> None:
        while not self._stop.is_set():
            samples = source.draw(6)
            request = self._ledger.begin(Door.STOW, samples)
            try:
                reply = store(self._server.root(), [sample.file for sample in samples])
            except (OSError, HTTPException):
                self._ledger.end(request, Fate.CUT)
                return
            if reply.status != 200:
                self._ledger.complain(f"STOW answered {reply.status}: {reply.body!r}")
                self._ledger.end(request, Fate.CUT)
                return
            self._ledger.end(request, Fate.ACKNOWLEDGED)
            source.keep(samples)

    def _store_by_dimse(self, source: Source) -> None:
        entity = AE(ae_title="CRASH")
        entity.add_requested_context(CTImageStorage, ExplicitVRLittleEndian)
        while not self._stop.is_set():
            with associate(entity, self._server) as association:
                if not association.is_established:
                    return  # the server is gone, or stopping
                for _ in range(STORES_AN_ASSOCIATION):
                    if self._stop.is_set() or not association.is_established:
                        break
                    if not self._push(association, source):
                        return

    def _push(self, association: Association, source: Source) -> bool:
        """Send one instance; return whether it was acknowledged."""
        (sample,) = source.draw(1)
        request = self._ledger.begin(Door.C_STORE, [sample])
        try:
            status = association.send_c_store(dcmread(io.BytesIO(sample.file))).get("Status")
        except (OSError, RuntimeError, ValueError):  # the association is gone
            status = None
        self._ledger.end(request, Fate.ACKNOWLEDGED if status == 0x0000 else Fate.CUT)
        if status == 0x0000:
            source.keep([sample])
        elif status is not None:
            self._ledger.complain(f"C-STORE answered {status:#06x}")
        return bool(status == 0x0000)


class Import:
    """One `lamella import` of a folder, beside the server."""

    def __init__(self, data_dir: Path, folder: Path, source: Source, ledger: Ledger) -> None:
        self._ledger = ledger
        samples = source.make(IMPORT_FILES)
        folder.mkdir()
        for number, sample in enumerate(samples):
            (folder / f"{number:04}.dcm").write_bytes(sample.file)
        self._request = ledger.begin(Door.IMPORT, samples)
        self._process = subprocess.Popen(
            [*LAMELLA, "import", str(folder)],
            env=make_environ(data_dir=str(data_dir), **choose_stack(data_dir)),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=ROOT,
        )

    @property
    def is_running(self) -> bool:
        """Whether it has not ended yet."""
        return self._process.poll() is None

    def kill(self) -> None:
        """Kill it as a crash would."""
        self._process.kill()
        self.finish(was_killed=True)

    def finish(self, *, was_killed: bool = False) -> None:
        """Wait for its end; its commit line acknowledges all of it."""
        output, _ = self._process.communicate()
        line = output.splitlines()[-1] if output else ""
        if self._process.returncode == 0 and line.startswith(f"stored={IMPORT_FILES} "):
            self._ledger.end(self._request, Fate.ACKNOWLEDGED)
            return
        self._ledger.end(self._request, Fate.CUT)
        if not was_killed:
            self._ledger.complain(f"import ended with {self._process.returncode}: {output}")
