"""Clients of an installation whose nodes and services come and go.

Whatever they are answered must be right, or a refusal that says to come again, or nothing.
"""

from __future__ import annotations

import asyncio
import io
import json
import threading
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from http.client import HTTPException
from random import Random
from time import monotonic

from pydicom import dcmread
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from pynetdicom import AE
from pynetdicom.association import Association

from lamella.archive.database import open_database
from lamella.archive.outbox import enqueue
from lamella.errors import OutOfResources
from tests.crash.ledger import Door, Fate, Ledger, Sample, digest_file
from tests.crash.load import JOIN_TIMEOUT_S, STORES_AN_ASSOCIATION, Source
from tests.harness.web import Reply, send, store
from tests.soak.journal import Journal, Outcome
from tests.soak.nodes import Node

OCTETS = {"Accept": "application/octet-stream"}
REMEMBERED = 500
JOB_KIND = "gc"


class Refused(Exception):
    """503: come again."""


@dataclass(frozen=True)
class StoredBatch:
    """What one STOW request stored, as it is at its commit for ever."""

    commit_id: str
    samples: Sequence[Sample]


@dataclass
class Site:
    """What a client works with.

    Attributes:
        database_url: Where work is written down.
        nodes: Whose HTTP door it may use.
        gateway: Whose DIMSE door it uses.
        stored: What STOW acknowledged, the newest.
    """

    database_url: str
    nodes: Sequence[Node]
    gateway: Node
    ledger: Ledger
    journal: Journal
    stored: list[StoredBatch]
    random: Random
    source: Source
    entity: AE = field(default_factory=lambda: AE(ae_title="CHAOS"))

    def choose_node(self) -> str:
        """Return the URL of any node: what one told, each of them must know."""
        return self.random.choice(self.nodes).http

    def get(self, path: str, headers: dict[str, str] | None = None) -> bytes:
        """GET what must be there, from any node.

        Raises:
            Refused: It is asked to come again.
            AssertionError: The answer is another.
        """
        reply = send(self.choose_node() + path, headers=headers)
        return check(reply, 200, path).body

    def draw(self) -> tuple[StoredBatch, Sample] | None:
        """Return something that was stored; None while there is nothing."""
        if not self.stored:
            return None
        batch = self.random.choice(self.stored[-REMEMBERED:])
        return batch, self.random.choice(batch.samples)


Work = Callable[[Site], None]


class Sender(threading.Thread):
    """Does one kind of work again and again."""

    def __init__(self, work: Work, site: Site, pause_s: float) -> None:
        super().__init__(name=work.__name__)
        self._work, self._site, self._pause_s = work, site, pause_s
        self._told = threading.Event()

    def finish(self) -> None:
        """Do no more, and wait for the end of what is under way."""
        self._told.set()
        self.join()

    def run(self) -> None:
        while not self._told.wait(self._pause_s * self._site.random.uniform(0.5, 1.5)):
            begun_s = monotonic()
            try:
                self._work(self._site)
                outcome = Outcome.DONE
            except Refused:
                outcome = Outcome.REFUSED
            except (OSError, HTTPException):
                outcome = Outcome.CUT
            except Exception:  # noqa: BLE001 - whatever it is, the run has failed
                self._site.ledger.complain(f"{self.name}: {traceback.format_exc()}")
                continue
            self._site.journal.note(self.name, begun_s, outcome)


def check(reply: Reply, status: int, what: str) -> Reply:
    """Return a reply that has this status.

    Raises:
        Refused: It is asked to come again, as it must be told in an orderly way.
        AssertionError: It has neither.
    """
    if reply.status == 503:
        assert reply.headers.get("retry-after"), f"{what}: 503 without Retry-After"
        raise Refused
    assert reply.status == status, f"{what}: {reply.status} {reply.body[:300]!r}"
    return reply


def store_by_stow(site: Site) -> None:
    """Store some instances in one request."""
    samples = site.source.draw(6)
    request = site.ledger.begin(Door.STOW, samples)
    fate = Fate.CUT
    try:
        root = f"{site.choose_node()}/dicomweb/default/main"
        reply = check(store(root, [sample.file for sample in samples]), 200, "STOW")
        fate = Fate.ACKNOWLEDGED
        site.source.keep(samples)
        site.stored.append(StoredBatch(reply.headers["lamella-commit"], samples))
    finally:
        site.ledger.end(request, fate)


def store_by_dimse(site: Site) -> None:
    """Push some instances in one association."""
    site.entity.requested_contexts = []
    site.entity.add_requested_context(CTImageStorage, ExplicitVRLittleEndian)
    association = site.entity.associate("127.0.0.1", site.gateway.dimse_port, ae_title="LAMELLA")
    connection = association.dul.socket.socket if association.dul.socket else None
    try:
        if not association.is_established:
            raise ConnectionError
        for _ in range(site.random.randint(1, STORES_AN_ASSOCIATION)):
            _push(association, site)
    finally:
        if association.is_established:
            association.release()
        association.dul.join(JOIN_TIMEOUT_S)
        if connection is not None:
            connection.close()


def _push(association: Association, site: Site) -> None:
    (sample,) = site.source.draw(1)
    request = site.ledger.begin(Door.C_STORE, [sample])
    try:
        status = association.send_c_store(dcmread(io.BytesIO(sample.file))).get("Status")
    except (OSError, RuntimeError, ValueError):  # the association is gone
        status = None
    site.ledger.end(request, Fate.ACKNOWLEDGED if status == 0x0000 else Fate.CUT)
    if status is None:
        raise ConnectionError
    if status & 0xFF00 == 0xA700:
        raise Refused
    assert status == 0x0000, f"C-STORE answered {status:#06x}"
    site.source.keep([sample])


def search(site: Site) -> None:
    """Find a study at the head, which has it for good, and at the commit that stored it."""
    found = site.draw()
    if found is None:
        return
    batch, sample = found
    for revision in ("main", batch.commit_id):
        path = f"/dicomweb/default/{revision}/studies?StudyInstanceUID={sample.study_uid}"
        (study,) = json.loads(site.get(path))
        assert study["0020000D"]["Value"] == [sample.study_uid]


def read_metadata(site: Site) -> None:
    """Read a series' metadata: all that the store brought to it is there."""
    found = site.draw()
    if found is None:
        return
    batch, sample = found
    path = f"/studies/{sample.study_uid}/series/{sample.series_uid}/metadata"
    metadata = json.loads(site.get(f"/dicomweb/default/main{path}"))
    listed = {one["00080018"]["Value"][0] for one in metadata}
    assert {one.sop_uid for one in batch.samples if one.series_uid == sample.series_uid} <= listed


def read_file(site: Site) -> None:
    """Read an instance at the commit that stored it: byte for byte what was sent."""
    found = site.draw()
    if found is None:
        return
    batch, sample = found
    path = f"/api/v1/datasets/default/instances/{sample.sop_uid}/file?revision={batch.commit_id}"
    assert digest_file(site.get(path), Door.STOW) == sample.digest(Door.STOW)


def read_frame(site: Site) -> None:
    """Read a frame, whose bytes are the same in each version."""
    found = site.draw()
    if found is None:
        return
    _, sample = found
    path = (
        f"/dicomweb/default/main/studies/{sample.study_uid}/series/{sample.series_uid}"
        f"/instances/{sample.sop_uid}/frames/1"
    )
    assert site.get(path, OCTETS) == dcmread(io.BytesIO(sample.file)).PixelData


def tag_a_commit(site: Site) -> None:
    """Tag a commit through one node; through another the tag is that commit."""
    found = site.draw()
    if found is None:
        return
    commit_id, name = found[0].commit_id, f"tag-{site.random.getrandbits(60):x}"
    reply = send(
        f"{site.choose_node()}/api/v1/datasets/default/tags",
        "POST",
        headers={"Content-Type": "application/json"},
        body=json.dumps({"name": name, "revision": commit_id}).encode(),
    )
    check(reply, 201, "a tag")
    tagged = json.loads(site.get(f"/api/v1/datasets/default/commits/{name}"))
    assert tagged["id"] == commit_id


def ask_for_work(site: Site) -> None:
    """Write work down that a worker has to do."""

    async def ask() -> None:
        database = open_database(site.database_url)
        try:
            await database.write(lambda c: enqueue(c, JOB_KIND, {}))
        except OutOfResources as error:
            raise Refused from error
        finally:
            await database.close()

    asyncio.run(ask())


MIXTURE: tuple[tuple[Work, int, float], ...] = (
    (store_by_stow, 2, 0.4),
    (store_by_dimse, 2, 0.8),
    (search, 1, 0.2),
    (read_metadata, 1, 0.2),
    (read_file, 1, 0.2),
    (read_frame, 1, 0.2),
    (tag_a_commit, 1, 2.0),
    (ask_for_work, 1, 5.0),
)
"""Work, how many do it, and the pause between."""
