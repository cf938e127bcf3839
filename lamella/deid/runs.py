"""De-identification of a view into a branch of another dataset.

    source view ─▶ what no earlier run has made ─▶ crew ─▶ Intake ─▶ rows of `deid_made`
                                                     … all that is released ─▶ one commit

Results are durable as they come, but no commit shows them before the last one is made: a run that
is stopped leaves the branch at its old head, and the next one goes on where it was. The branch
then holds exactly what the source has and may go on; what earlier runs made of what has left the
source is removed. Instances that others stored there stay.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

import sqlalchemy as sa

import lamella
from lamella.archive.database import read_clock_us
from lamella.archive.intake import Intake
from lamella.archive.upsert import split_batches
from lamella.deid.crew import Crew
from lamella.deid.keys import ProjectKey
from lamella.deid.made import (
    WAITING,
    MadeInstance,
    Told,
    condense,
    load_made,
    pick_ours,
    save_made,
)
from lamella.deid.pipeline import Made, compute_recipe, describe_engines
from lamella.deid.profiles import Profile
from lamella.deid.reports import RunReport
from lamella.deid.results import Verdict
from lamella.deid.run_rows import NewRun, begin_run, end_run
from lamella.errors import Conflict, InstanceRefused, IntegrityError
from lamella.vcs.commits import Committed, Outcome, commit_decided
from lamella.vcs.judgement import Judge
from lamella.vcs.refs import DatasetRow
from lamella.vcs.repository import Repository
from lamella.vcs.staging import Session, keep_intake
from lamella.vcs.stored import key_of_entry, load_instances
from lamella.vcs.tree import Entry, InstanceKey, Tree
from lamella.vcs.view import View

if TYPE_CHECKING:
    from lamella.deid.identifier_maps import IdentifierMap

PAGE = 500
UNIT_INSTANCES = 64
UNIT_BYTES = 64 << 20
KIND = "deid"
REJECTED_HERE = "rejected-here"


@dataclass(frozen=True, slots=True)
class Destination:
    """Where results go.

    Attributes:
        dataset: Another one than the source's.
        branch: Of it.
    """

    dataset: DatasetRow
    branch: str


class Run:
    """One run.

    Args:
        repository: The installation.
        source: What to de-identify.
        destination: Where to.
        profile: How.
        key: What makes pseudonyms.
        author: Of the commit.
        message: Of the commit; empty for one that says what it is.
        maps: The folder that takes maps of identifiers; None to keep none.
        workers: Processes; 0 for one a core.
        niceness: How far they let others go first, 0 to 19.
        on_progress: Told how many are done, and of how many.

    Raises:
        InvalidRequest: The profile needs an engine that is not installed.
    """

    def __init__(
        self,
        repository: Repository,
        source: View,
        destination: Destination,
        profile: Profile,
        key: ProjectKey,
        *,
        author: str,
        message: str = "",
        maps: KeptMaps | None = None,
        workers: int = 0,
        niceness: int = 0,
        on_progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> None:
        self._repository = repository
        self._source = source
        self._destination = destination
        self._profile = profile
        self._key = key
        self._author = author
        self._message = message
        self._maps = maps
        self._workers = workers
        self._niceness = niceness
        self._on_progress = on_progress
        engines = describe_engines(profile)  # refuses at once what cannot be done
        self._recipe = compute_recipe(profile, key, engines)
        self._run_id = 0
        self._released: set[bytes] = set()
        self._crew: Crew | None = None
        self.report = RunReport(source.commit_id, profile.name, profile.digest, key.id, engines)

    async def run(self) -> RunReport:
        """De-identify what is new, and commit.

        Raises:
            OutOfResources: There is no room; what was made stays, the branch does not move.
            RevisionNotFound: The branch was deleted meanwhile.
        """
        self._run_id = await self._repository.archive.database.write(self._begin)
        slices = await self._count_slices()
        total, done = sum(slices.values()), 0
        try:
            async for page in self._read_pages():
                known = await self._load([key_of_entry(entry) for _, entry in page])
                new = [(names, one) for names, one in page if key_of_entry(one) not in known]
                self._count(known.values())
                done += len(known)
                self._on_progress(done, total)
                for unit in _cut_units(new):
                    await self._make(unit, slices)
                    done += len(unit)
                    self._on_progress(done, total)
        finally:
            if self._crew is not None:
                await asyncio.to_thread(self._crew.dismiss)
        await self._repository.archive.database.write(self._end)
        return self.report

    def _begin(self, connection: sa.Connection) -> int:
        return begin_run(
            connection,
            NewRun(
                self._destination.dataset.id,
                self._destination.branch,
                self._source.dataset.id,
                bytes.fromhex(self._source.commit_id),
                self._recipe,
                self._profile,
                self._author,
            ),
        )

    async def _count_slices(self) -> dict[str, int]:
        """Return how many instances each series has."""

        def count(connection: sa.Connection) -> dict[str, int]:
            tree = self._source.tree(connection, self._repository)
            return {
                series_uid: series.summary.n_instances
                for study_uid, _ in tree.studies()
                for series_uid, series in tree.series(study_uid)
            }

        return await self._repository.archive.database.read(count)

    async def _read_pages(self) -> AsyncIterator[list[tuple[InstanceKey, Entry]]]:
        after: InstanceKey | None = None
        while True:
            page = await self._repository.archive.database.read(
                lambda c, after=after: self._read_page(c, after)  # type: ignore[misc]
            )
            if not page:
                return
            yield page
            after = page[-1][0]

    def _read_page(
        self, connection: sa.Connection, after: InstanceKey | None
    ) -> list[tuple[InstanceKey, Entry]]:
        walk = self._source.tree(connection, self._repository).walk(after)
        return [((study, series, sop), entry) for study, series, sop, entry in islice(walk, PAGE)]

    async def _load(self, sources: Sequence[bytes]) -> dict[bytes, MadeInstance]:
        owner = self._destination.dataset.id
        read = self._repository.archive.database.read
        return await read(lambda c: load_made(c, owner, self._recipe, sources))

    def _count(self, rows: Iterable[MadeInstance]) -> None:
        for row in rows:
            self.report.count(row)
            if row.is_released and row.made is not None:
                self._released.add(row.made)

    async def _make(
        self, unit: Sequence[tuple[InstanceKey, Entry]], slices: Mapping[str, int]
    ) -> None:
        """De-identify a unit; it is durable when this returns."""
        made = await self._run_pipeline(unit, slices)
        if self._maps is not None:
            await asyncio.to_thread(self._maps.keep, made)
        intake = Intake(self._repository.archive)
        rows: list[MadeInstance] = []
        try:
            for (_, entry), one in zip(unit, made, strict=True):
                rows.append(await _take(intake, key_of_entry(entry), one))
        except BaseException:
            await intake.discard()
            raise
        owner = self._destination.dataset.id

        def record(connection: sa.Connection) -> None:
            intake.record(connection, owner, read_clock_us(connection))
            save_made(connection, owner, self._recipe, self._run_id, rows)

        await keep_intake(self._repository, intake, record)
        self._count(rows)
        self.report.made += len(rows)

    async def _run_pipeline(
        self, unit: Sequence[tuple[InstanceKey, Entry]], slices: Mapping[str, int]
    ) -> list[Made]:
        if self._crew is None:
            self._crew = Crew(self._profile, self._key, self._workers, self._niceness)
        crew, turns = self._crew, asyncio.Semaphore(self._crew.size * 2)

        async def make_one(names: InstanceKey, entry: Entry) -> Made:
            async with turns:
                try:
                    data = await self._repository.blobs.read(entry.segments, 0, entry.size_bytes)
                except IntegrityError:
                    return Made(b"", Verdict.QUARANTINE, ("damaged",), {})
                return await crew.run(data, slices.get(names[1], 1))

        return await _gather([make_one(names, entry) for names, entry in unit])

    def _end(self, connection: sa.Connection) -> Committed:
        """Commit what is released, and note the report, in one transaction."""
        report = self.report
        # from the beginning, since a transaction may be tried again
        report.released, report.removed = len(self._released), 0
        report.reasons.pop(REJECTED_HERE, None)
        work = Session(
            self._destination.dataset,
            self._destination.branch,
            KIND,
            self._author,
            self._message or f"De-identified {report.released} instances by {report.profile}.",
            provenance=self._make_provenance(),
        )
        committed = commit_decided(
            connection,
            self._repository,
            work,
            lambda judge, tree: self._decide(connection, judge, tree),
        )
        report.commit, report.is_new = committed.commit_id.hex(), committed.created
        end_run(connection, self._run_id, report.describe())
        return committed

    def _make_provenance(self) -> dict[str, object]:
        report = self.report
        return {
            "source": report.source,
            "profile": report.profile,
            "profile_digest": report.digest,
            "table_edition": self._profile.edition,
            "key": report.key,
            "engines": dict(report.engines),
            "version": lamella.__version__,
            "verdicts": {str(one): report.verdicts[one] for one in Verdict},
            "released": report.released,
        }

    def _decide(self, connection: sa.Connection, judge: Judge, tree: Tree) -> list[Outcome]:
        """Bring in what is missing; take out what was made of what the source has no more."""
        owner = self._destination.dataset.id
        missing = set(self._released)
        others: dict[bytes, InstanceKey] = {}
        for study_uid, series_uid, sop_uid, entry in tree.walk():
            key = key_of_entry(entry)
            if key in missing:
                missing.discard(key)
            else:
                others[key] = study_uid, series_uid, sop_uid
        ours = pick_ours(connection, owner, others.keys())
        leaving = {others[key] for key in ours}
        outcomes = self._accept(connection, judge, sorted(missing), leaving)
        for names in sorted(leaving):
            outcomes.append(Outcome(*names, "", judge.delete(names)))
            self.report.removed += 1
        return outcomes

    def _accept(
        self,
        connection: sa.Connection,
        judge: Judge,
        missing: Sequence[bytes],
        leaving: set[InstanceKey],
    ) -> list[Outcome]:
        """Note what comes in; what it takes the place of does not leave."""
        owner = self._destination.dataset.id
        outcomes: list[Outcome] = []
        for batch in split_batches(missing):
            for stored in load_instances(connection, owner, batch).values():
                leaving.discard(stored.names)
                try:
                    judgement = judge.accept(stored)
                except Conflict:  # it was rejected here (IOCM), which stands until it is lifted
                    self.report.reasons[REJECTED_HERE] += 1
                    self.report.released -= 1
                    continue
                outcomes.append(Outcome(*stored.names, stored.sop_class_uid, judgement))
        return outcomes


class KeptMaps:
    """The maps of one run: what became of which UID and patient id, sealed.

    Args:
        uids: Of the destination's dataset and the run's key.
        patients: Of the same.
    """

    def __init__(self, uids: IdentifierMap, patients: IdentifierMap) -> None:
        self._uids = uids
        self._patients = patients

    def keep(self, made: Iterable[Made]) -> None:
        """Add what instances tell; pairs that are known are not added again."""
        uids: dict[str, str] = {}
        patients: dict[str, str] = {}
        for one in made:
            uids |= one.uids or {}
            patients |= one.patients or {}
        self._uids.append(uids.items())
        self._patients.append(patients.items())


async def _take(intake: Intake, source: bytes, made: Made) -> MadeInstance:
    """Take what was made of an instance into an intake; return its row."""
    key = None
    if made.data:
        try:
            key = (await intake.add(_yield_once(made.data))).key
        except InstanceRefused:  # such as one that lost a UID it never should have lacked
            made = Made(b"", Verdict.QUARANTINE, ("refused",), {})
    changes = tuple((path, action, count) for (path, action), count in made.changes.items())
    # where boxes are is for those who have to look
    drawn = condense(made.drawn) if made.verdict is Verdict.REVIEW else ()
    told = Told(made.reasons, changes, made.boxes, made.codes, drawn)
    return MadeInstance(0, source, made.verdict, WAITING, key, told)


def _cut_units(
    page: Sequence[tuple[InstanceKey, Entry]],
) -> list[list[tuple[InstanceKey, Entry]]]:
    units: list[list[tuple[InstanceKey, Entry]]] = []
    size_bytes = UNIT_BYTES
    for names, entry in page:
        size_bytes += entry.size_bytes
        if not units or size_bytes > UNIT_BYTES or len(units[-1]) == UNIT_INSTANCES:
            units.append([])
            size_bytes = entry.size_bytes
        units[-1].append((names, entry))
    return units


async def _gather(work: Sequence[Coroutine[None, None, Made]]) -> list[Made]:
    tasks = [asyncio.ensure_future(one) for one in work]
    try:
        return list(await asyncio.gather(*tasks))
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise


async def _yield_once(data: bytes) -> AsyncIterator[bytes]:
    yield data
