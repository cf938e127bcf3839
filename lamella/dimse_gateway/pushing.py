"""Sends a revision to a peer, as a C-STORE SCU; a second push sends what is missing.

What a peer has acknowledged is on record by the bytes of the instance, so that a new version of
it goes out again. Nobody has to ask the peer, which may not answer queries.

Source:
    PS3.4 Annex B (Storage).
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from lamella.archive.levels import UNIQUE_KEYS, Level
from lamella.archive.query import Key, Query, UidList
from lamella.archive.upsert import insert_missing
from lamella.dimse_gateway.background import Background
from lamella.dimse_gateway.calling import MOST_CONTEXTS, Call
from lamella.dimse_gateway.carriers import WARNINGS, CallCarrier, propose, send_instance
from lamella.dimse_gateway.data_sets import Outgoing, Transcoder
from lamella.dimse_gateway.peers import Peer
from lamella.dimse_gateway.stock import Stock, open_stock
from lamella.errors import OutOfResources
from lamella.imaging.explicit import DecodeFrame
from lamella.vcs.network_tables import pushed
from lamella.vcs.repository import Repository
from lamella.vcs.selection import Selected

SUCCESS = 0x0000

Progress = Callable[[int, int], None]
"""Called with how many instances are done, and of how many."""


@dataclass(frozen=True, slots=True)
class Failure:
    """An instance that the peer did not take, or that could not be sent.

    Attributes:
        status: As a C-STORE response has it.
    """

    instance: Selected
    status: int


@dataclass(slots=True)
class Outcome:
    """What a push did.

    Attributes:
        commit_id: The revision, 64 hex digits.
        unchanged: How many the peer had acknowledged before.
    """

    commit_id: str
    sent: int = 0
    unchanged: int = 0
    failures: list[Failure] = field(default_factory=list)

    def describe(self) -> dict[str, Any]:
        """Return it as `--json` shows it."""
        failed = [
            {
                "study": one.instance.study_uid,
                "series": one.instance.series_uid,
                "instance": one.instance.sop_uid,
                "status": f"{one.status:04X}",
            }
            for one in self.failures
        ]
        return {
            "commit": self.commit_id,
            "sent": self.sent,
            "unchanged": self.unchanged,
            "failed": failed,
        }

    def __str__(self) -> str:
        counts = f"sent={self.sent} unchanged={self.unchanged} failed={len(self.failures)}"
        return f"{counts} commit={self.commit_id}"


@dataclass(frozen=True, slots=True)
class Sender:
    """How this installation sends.

    Attributes:
        ae_title: By which it calls.
        decode: Decodes one frame, for peers that do not take instances as they are stored.
        tls: For peers that are spoken to over TLS.
    """

    ae_title: str
    decode: DecodeFrame
    tls: ssl.SSLContext | None


class Push:
    """One push of a stock to a peer.

    Args:
        stock: With its kinds.
        peer: Where to.
        sender: How.
        progress: Is told of every instance.
        sends_all: Also what the peer has acknowledged before.
    """

    def __init__(
        self, stock: Stock, peer: Peer, sender: Sender, progress: Progress, *, sends_all: bool
    ) -> None:
        self._stock = stock
        self._peer = peer
        self._sender = sender
        self._progress = progress
        self._sends_all = sends_all
        self._outcome = Outcome(stock.view.commit_id)
        self._background = Background()
        self._ask = self._background.ask
        archive = stock.repository.archive
        self._transcoder = Transcoder(
            self._ask, stock.read_document, sender.decode, archive.spool_folder
        )

    async def run(self) -> Outcome:
        """Send what there is to send.

        Raises:
            PeerUnavailable: The peer is not there, rejects, or breaks off; what it acknowledged
                is on record.
        """
        kinds = propose(self._stock.kinds)
        if len(kinds) > MOST_CONTEXTS:
            raise OutOfResources(
                "These are too many kinds of instances for one association: push by study."
            )
        if self._stock.total:
            await self._background.run(self._send_all)
        return self._outcome

    def _send_all(self) -> None:
        proposals = propose(self._stock.kinds)
        peer, sender = self._peer, self._sender
        page = self._take_missing()
        if not page:
            return
        with Call(peer, sender.ae_title, proposals, tls=sender.tls) as call:
            carrier = CallCarrier(call)
            while page:
                self._send_page(page, carrier)
                page = self._take_missing()

    def _take_missing(self) -> list[Outgoing]:
        """Return the next instances that the peer has not acknowledged; none at the end."""
        while page := self._ask(self._stock.take_page()):
            known = set() if self._sends_all else self._ask(self._find_known(page))
            missing = [one for one in page if one.instance.key not in known]
            self._outcome.unchanged += len(page) - len(missing)
            self._tell()
            if missing:
                return missing
        return []

    def _send_page(self, page: Sequence[Outgoing], carrier: CallCarrier) -> None:
        acknowledged: list[bytes] = []
        try:
            for outgoing in page:
                self._background.check()
                status = send_instance(carrier, outgoing, self._transcoder)
                if status == SUCCESS or status in WARNINGS:
                    acknowledged.append(outgoing.instance.key)
                    self._outcome.sent += 1
                else:
                    self._outcome.failures.append(Failure(outgoing.instance, status))
                self._tell()
        finally:
            self._ask(self._note(acknowledged))

    def _tell(self) -> None:
        outcome = self._outcome
        done = outcome.sent + outcome.unchanged + len(outcome.failures)
        self._progress(done, self._stock.total)

    async def _find_known(self, page: Iterable[Outgoing]) -> set[bytes]:
        keys = [one.instance.key for one in page]
        known = sa.select(pushed.c.key).where(
            pushed.c.peer == self._peer.name,
            pushed.c.dataset_id == self._stock.view.dataset.id,
            pushed.c.key.in_(keys),
        )
        return await self._stock.repository.archive.database.read(
            lambda c: set(c.execute(known).scalars())
        )

    async def _note(self, keys: Sequence[bytes]) -> None:
        peer, dataset_id = self._peer.name, self._stock.view.dataset.id
        rows = [{"peer": peer, "dataset_id": dataset_id, "key": key} for key in sorted(keys)]
        await self._stock.repository.archive.database.write(
            lambda c: insert_missing(c, pushed, rows)
        )


async def open_push_stock(
    repository: Repository,
    dataset: str,
    revision: str | None,
    study_uids: Sequence[str] = (),
    series_uids: Sequence[str] = (),
) -> Stock:
    """Return what of a revision is to be pushed: all of it, or some studies or series.

    Raises:
        InvalidRequest, AmbiguousRevision, RevisionNotFound: As `revision.resolve`.
    """
    keys = [
        Key((UNIQUE_KEYS[level],), "UI", UidList(tuple(uids)))
        for level, uids in ((Level.STUDY, study_uids), (Level.SERIES, series_uids))
        if uids
    ]
    query = Query(level=Level.SERIES, keys=tuple(keys), with_defaults=False)
    return await open_stock(repository, dataset, revision, query, with_kinds=True)
