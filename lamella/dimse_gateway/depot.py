"""What one association stores: each instance durable before it is answered, then one commit.

    received ──take──▶ staged in the depot's session ──commit──▶ visible

A depot commits when its association ends, after a time of quiet, every so many instances, and
before the same association queries. Whatever a failed commit leaves behind stays staged and is
committed later, by this gateway or by the server's sweep of abandoned sessions.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Coroutine
from typing import Any

import sqlalchemy as sa

from lamella.archive.instances import Received
from lamella.archive.threads import SharedLock, run_here
from lamella.dimse_gateway.ae_titles import AeTarget
from lamella.dimse_gateway.commands import Answer, StoreCommand
from lamella.dimse_gateway.delivery import Delivery
from lamella.dimse_gateway.failures import log_failure
from lamella.errors import (
    LamellaError,
    ReadOnlyRevision,
    RevisionNotFound,
    SopClassMismatch,
)
from lamella.vcs.coercion import PolicyCoercer, describe_coercion, make_coercer
from lamella.vcs.commits import commit_session
from lamella.vcs.judgement import Judgement, Verdict
from lamella.vcs.refs import find_dataset
from lamella.vcs.repository import Repository
from lamella.vcs.revision import resolve
from lamella.vcs.staging import Session, stage_judged

Ask = Callable[[Coroutine[Any, Any, Any]], Any]

LOGGER = logging.getLogger(__name__)

SUCCESS = 0x0000
COERCED = 0xB000
DUPLICATE_SOP_INSTANCE = 0x0111
PROCESSING_FAILURE = 0x0110
COMMIT_INSTANCES = 2000


class Depot:
    """The storage side of one association.

    `store` is called in the association's thread, the coroutines run on the event loop.

    Attributes:
        changed_at: When something was last stored or tried, on the monotonic clock.
        is_closed: Whether the association is over.
    """

    def __init__(self, repository: Repository, target: AeTarget, calling_ae_title: str) -> None:
        self.changed_at = time.monotonic()
        self.is_closed = False
        self._repository = repository
        self._target = target
        self._author = f"dimse:{calling_ae_title}"
        self._session: Session | None = None
        self._draft: Session | None = None  # nothing is staged in it yet
        self._count = 0
        self._lock = SharedLock()

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to commit."""
        return self._session is None

    def store(self, command: StoreCommand, delivery: Delivery, ask: Ask) -> Answer:
        """Store one instance, in a thread that may wait.

        Success means that it survives a power cut.

        Args:
            command: What was asked for.
            delivery: What came.
            ask: Runs a coroutine on the event loop and waits for it: where this thread cannot run
                it, or had better not.
        """
        taking = self._take(command, delivery)
        runs_here = self._repository.archive.works_in_threads and delivery.is_short
        answer: Answer = run_here(taking) if runs_here else ask(taking)
        if self.is_full:
            ask(self.try_commit())
        return answer

    @property
    def is_full(self) -> bool:
        """Whether to commit before more is taken."""
        return self._count > 0 and self._count % COMMIT_INSTANCES == 0

    async def _take(self, command: StoreCommand, delivery: Delivery) -> Answer:
        try:
            received, judgement = await self._keep(command, delivery)
        except LamellaError as error:
            return Answer(error.dimse_status, error.detail)
        except Exception as error:  # noqa: BLE001  (the sender gets an answer, whatever happens)
            event = f"Instance {command.sop_instance_uid} could not be stored"
            log_failure(LOGGER, event, error)
            return Answer(PROCESSING_FAILURE, "The instance could not be stored.")
        if judgement.verdict is Verdict.CONFLICT:
            return Answer(DUPLICATE_SOP_INSTANCE, judgement.reason)
        if received.coerced:
            return Answer(COERCED, describe_coercion(received.coerced))
        return Answer(SUCCESS)

    async def commit(self) -> None:
        """Commit what is staged.

        Raises:
            LamellaError: It stays staged, for a later attempt.
        """
        async with self._lock:
            await self._commit()

    async def try_commit(self) -> bool:
        """Commit what is staged; return whether that went well."""
        try:
            await self.commit()
        except LamellaError as error:
            LOGGER.warning("A commit of %s has to wait: %s", self._author, error.detail)
        except Exception as error:  # noqa: BLE001  (what is staged is committed later)
            log_failure(LOGGER, f"A commit of {self._author} has to wait", error)
        self.changed_at = time.monotonic()
        return self.is_empty

    async def _keep(self, command: StoreCommand, delivery: Delivery) -> tuple[Received, Judgement]:
        """Receive an instance and stage it."""
        delivery.intake.coercer = await self._find_coercer(delivery)
        received = await self._receive(command, delivery)
        return received, await self._stage(delivery, received)

    async def _receive(self, command: StoreCommand, delivery: Delivery) -> Received:
        received = await delivery.receive()
        try:
            _check_identity(command, received)
        except SopClassMismatch:
            delivery.intake.close()
            raise
        return received

    async def _stage(self, delivery: Delivery, received: Received) -> Judgement:
        async with self._lock:
            try:
                session = self._session or self._draft or await self._open_session()
            except BaseException:
                delivery.intake.close()
                raise
            self._session = session
            judgement = await stage_judged(self._repository, session, delivery.intake, received)
            self.changed_at = time.monotonic()
            if judgement.verdict in (Verdict.STORED, Verdict.VERSION):
                self._count += 1
        return judgement

    async def _find_coercer(self, delivery: Delivery) -> PolicyCoercer | None:
        """Return what changes instances on their way in; opens a session if there is none."""
        try:
            session = self._session or self._draft or await self._open_session()
        except BaseException:
            await delivery.abandon()
            raise
        self._draft = session
        return make_coercer(session.dataset, self._author)

    async def _open_session(self) -> Session:
        target, author = self._target, self._author

        def find(connection: sa.Connection) -> Session:
            dataset = find_dataset(connection, target.dataset)
            branch = resolve(connection, dataset, target.revision).branch
            if branch is None:
                raise ReadOnlyRevision("This AE title stands for a frozen revision.")
            return Session(dataset, branch, "store", author)

        return await self._repository.archive.database.read(find)

    async def _commit(self) -> None:
        if self._session is None:
            return
        try:
            await commit_session(self._repository, self._session)
        except RevisionNotFound as error:
            # Nothing can be done here: the sweep queues what was staged for a person.
            LOGGER.warning("What %s stored has no branch any more: %s", self._author, error.detail)
        self._session, self._draft, self._count = None, None, 0


def _check_identity(command: StoreCommand, received: Received) -> None:
    """Refuse a data set that is not what its command announced.

    Raises:
        SopClassMismatch: SOP Instance UID or SOP Class UID differ.

    Source:
        PS3.4 Table B.2-1 (0xA9xx: data set does not match SOP class).
    """
    facts = received.facts
    if facts.sop_uid != command.sop_instance_uid:
        raise SopClassMismatch("SOP Instance UIDs of command and data set differ.")
    if facts.sop_class_uid and facts.sop_class_uid != command.sop_class_uid:
        raise SopClassMismatch("SOP Class UIDs of command and data set differ.")
