"""Importing files: units parsed side by side, staged in order, 2,000 instances a commit.

    find_files → unit, unit, …  (parsed by WORKERS tasks)
               → staged in the order of the files  → one commit a batch

A unit is staged before the next one looks which bytes are known, so nothing is written twice.
What is staged is durable; a stop in the middle commits it, and another run continues.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from lamella.archive.spool import remove_leftovers
from lamella.archive.threads import run_in_thread
from lamella.errors import LamellaError
from lamella.files.discovery import Found, find_files
from lamella.files.fates import find_fates, find_net_judgements
from lamella.files.tally import FileOutcome, FileResult, Tally
from lamella.files.units import Unit, next_unit, take_unit
from lamella.vcs.coercion import describe_coercion, make_coercer
from lamella.vcs.commits import Committed, commit_abandoned, commit_session, list_abandoned
from lamella.vcs.judgement import Judgement, Verdict
from lamella.vcs.refs import DatasetRow, find_dataset, read_head
from lamella.vcs.repository import Repository
from lamella.vcs.staging import Session, stage, stage_deletes

BATCH_INSTANCES = 2_000
WORKERS = 2
RENEW_S = 20.0

_OUTCOMES = {
    Verdict.STORED: FileOutcome.STORED,
    Verdict.VERSION: FileOutcome.STORED,
    Verdict.UNCHANGED: FileOutcome.UNCHANGED,
    Verdict.CONFLICT: FileOutcome.CONFLICT,
}

T = TypeVar("T")
Waiting = FileResult | tuple[str, bytes, str]
"""A file that is done with, or path and key of an instance that waits for its commit, and what
is to be said of it if it is stored."""

logger = logging.getLogger(__name__)


class Importer:
    """One import into one branch.

    Attributes:
        tally: The sum so far; right even after `run` has raised.
    """

    def __init__(
        self,
        repository: Repository,
        dataset: DatasetRow,
        branch: str,
        head: bytes,
        *,
        author: str,
        message: str = "",
        on_result: Callable[[FileResult], None] = lambda result: None,
        on_file: Callable[[int], None] = lambda size_bytes: None,
    ) -> None:
        """Prepare an import; `open_importer` looks up what it needs.

        Args:
            repository: The installation.
            dataset: Where instances go.
            branch: Its branch.
            head: That branch's commit, 32 bytes.
            author: The author of the commits.
            message: Their message; empty lets each describe itself.
            on_result: Called for each file once its outcome is certain, in order.
            on_file: Called for each file once it is read, with its length in bytes.
        """
        self.tally = Tally(head.hex())
        self._repository = repository
        self._template = Session(dataset, branch, "import", author, message)
        self._session = self._template
        self._on_result = on_result
        self._on_file = on_file
        self._waiting: list[Waiting] = []
        self._staged = 0
        self._lock = asyncio.Lock()

    async def run(self, paths: Sequence[Path]) -> Tally:
        """Import files, folders and zip archives.

        Raises:
            OutOfResources: There is no room; what was staged by then is committed.
            RevisionNotFound: The branch was deleted meanwhile.
        """
        units: deque[asyncio.Task[Unit]] = deque()
        async with self._keep_lease():
            try:
                await self._import_all(find_files(paths), units)
                await run_to_end(self._commit())
            except BaseException:
                await self._drop(units)
                await self._commit_rest()
                raise
        return self.tally

    async def _import_all(self, files: Iterator[Found], units: deque[asyncio.Task[Unit]]) -> None:
        archive = self._repository.archive
        coercer = make_coercer(self._template.dataset, self._template.author)
        while batch := await run_in_thread(next_unit, files):
            units.append(asyncio.create_task(take_unit(archive, batch, self._on_file, coercer)))
            if len(units) >= WORKERS:
                await self._stage_first(units)
        while units:
            await self._stage_first(units)

    async def _stage_first(self, units: deque[asyncio.Task[Unit]]) -> None:
        unit = await units[0]
        await run_to_end(self._stage(unit))
        units.popleft()

    async def _stage(self, unit: Unit) -> None:
        received = unit.received
        if self._staged and self._staged + len(received) > BATCH_INSTANCES:
            await self._commit()
        if not received:
            unit.intake.close()
        else:
            async with self._lock:
                await stage(self._repository, self._session, unit.intake, received)
                self._staged += len(received)
        self._waiting += [
            item
            if isinstance(item, FileResult)
            else (item[0], item[1].key, describe_coercion(item[1].coerced))
            for item in unit.items
        ]
        if not self._staged:
            self._report({})

    async def _commit(self) -> None:
        """Commit what is staged, and report all files that waited for it."""
        if not self._staged:
            self._report({})
            return
        async with self._lock:
            committed = await commit_session(self._repository, self._session)
            dataset, branch = self._session.dataset, self._session.branch
            self._session = replace(self._template, id=secrets.token_hex(16))
            self._staged = 0
        self.tally.commit_id = committed.commit_id.hex()
        judgements = await self._settle(committed, dataset.id, branch)
        self._report(dict(enumerate(judgements)))

    async def _settle(self, committed: Committed, dataset_id: int, branch: str) -> list[Judgement]:
        """Return a judgement for each waiting instance, seen from what the commit changed."""
        read = self._repository.archive.database.read
        judgements = await read(
            lambda c: find_net_judgements(c, self._repository, dataset_id, committed)
        )
        keys = [item[1] for item in self._waiting if isinstance(item, tuple)]
        lost = keys[: len(keys) - len(judgements)]
        if not lost:
            return judgements
        # The lease ran out (a process that slept), and another node committed in our place.
        fates = await read(lambda c: find_fates(c, self._repository, dataset_id, branch, lost))
        return fates + judgements

    def _report(self, judgements: dict[int, Judgement]) -> None:
        waiting, self._waiting = self._waiting, []
        position = 0
        for item in waiting:
            if isinstance(item, FileResult):
                result = item
            else:
                judgement = judgements[position]
                position += 1
                reason = judgement.reason
                if judgement.verdict is Verdict.VERSION:
                    reason = "A new version of a known instance."
                if judgement.verdict is not Verdict.CONFLICT:
                    reason = " ".join(filter(None, (reason, item[2])))
                result = FileResult(item[0], _OUTCOMES[judgement.verdict], reason)
            self.tally.count(result.outcome)
            self._on_result(result)

    async def _drop(self, units: deque[asyncio.Task[Unit]]) -> None:
        """Stop units under way and let go of what they took."""
        for task in units:
            task.cancel()
        for done in await asyncio.gather(*units, return_exceptions=True):
            if isinstance(done, Unit):
                done.intake.close()

    async def _commit_rest(self) -> None:
        try:
            await self._commit()
        except LamellaError as error:
            logger.warning("What was staged last is committed later: %s", error.detail)

    @asynccontextmanager
    async def _keep_lease(self) -> AsyncIterator[None]:
        """Renew the session's lease while a long file is read."""
        task = asyncio.create_task(self._renew())
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def _renew(self) -> None:
        write = self._repository.archive.database.write
        while True:
            await asyncio.sleep(RENEW_S)
            async with self._lock:
                if not self._staged:
                    continue
                try:
                    await write(lambda c: stage_deletes(c, self._repository, self._session, ()))
                except LamellaError as error:
                    logger.warning("The lease of an import was not renewed: %s", error.detail)


async def run_to_end(work: Coroutine[Any, Any, T]) -> T:
    """Run work that must not be left half-way; a cancelled caller waits until it has ended."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        trouble = None if task.cancelled() else task.exception()
        if trouble is not None:
            raise trouble from None
        raise


async def open_importer(
    repository: Repository,
    dataset_name: str,
    branch: str | None,
    *,
    author: str,
    message: str = "",
    on_result: Callable[[FileResult], None] = lambda result: None,
    on_file: Callable[[int], None] = lambda size_bytes: None,
) -> Importer:
    """Look up dataset and branch (None: the default branch) and prepare an import into them.

    What earlier runs staged and did not come to commit is committed first.

    Raises:
        RevisionNotFound: There is no such dataset or branch.
    """
    archive = repository.archive
    await run_in_thread(remove_leftovers, archive.spool_folder)
    for session_id in await archive.database.read(lambda c: list_abandoned(c, None)):
        await archive.database.write(
            lambda c, left=session_id: commit_abandoned(c, repository, left)  # type: ignore[misc]
        )
    dataset = await archive.database.read(lambda c: find_dataset(c, dataset_name))
    name = branch or dataset.default_branch
    head = await archive.database.read(lambda c: read_head(c, dataset.id, name))
    return Importer(
        repository,
        dataset,
        name,
        head,
        author=author,
        message=message,
        on_result=on_result,
        on_file=on_file,
    )
