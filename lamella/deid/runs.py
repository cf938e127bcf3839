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
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice

import sqlalchemy as sa

import lamella
from lamella.archive.database import read_clock_us
from lamella.archive.intake import Intake
from lamella.archive.upsert import split_batches
from lamella.deid.crew import Crew
from lamella.deid.identifier_maps import IdentifierMap
from lamella.deid.keys import ProjectKey
from lamella.deid.made import (
    MadeInstance,
    Told,
    count_changes,
    load_made,
    load_made_keys,
    save_made,
)
from lamella.deid.pipeline import Made, compute_recipe, describe_engines
from lamella.deid.profiles import Profile
from lamella.deid.results import Verdict
from lamella.errors import InstanceRefused, IntegrityError, InvalidRequest
from lamella.vcs.commits import Outcome, commit_decided
from lamella.vcs.judgement import Judge
from lamella.vcs.refs import DatasetRow
from lamella.vcs.repository import Repository
from lamella.vcs.staging import Session, keep_intake
from lamella.vcs.stored import StoredInstance, key_of_entry, load_instances
from lamella.vcs.tree import Entry, InstanceKey, Tree
from lamella.vcs.view import View

PAGE = 500
UNIT_INSTANCES = 64
UNIT_BYTES = 64 << 20
KIND = "deid"


@dataclass(frozen=True, slots=True)
class Destination:
    """Where results go.

    Attributes:
        dataset: Another one than the source's.
        branch: Of it.
    """

    dataset: DatasetRow
    branch: str


@dataclass(slots=True)
class RunReport:
    """What a run did; nothing in it tells of a patient.

    Attributes:
        source: Commit that was read, 64 hex digits.
        commit: Commit that holds the result.
        profile: Its name.
        made: How many instances this run de-identified; the others were there already.
        verdicts: How many of the source's instances have which.
        reasons: How many instances were held back for what.
        changes: How often what was done to which attribute: (path, action).
        boxes: Rectangles that were blacked.
        removed: Instances that left the branch.
    """

    source: str
    profile: str
    digest: str
    key: str
    engines: dict[str, str]
    commit: str = ""
    is_new: bool = False
    made: int = 0
    removed: int = 0
    boxes: int = 0
    verdicts: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    changes: dict[tuple[str, str], int] = field(default_factory=dict)
    released: int = 0

    def describe(self) -> dict[str, object]:
        """Return the report as `--json` shows it."""
        return {
            "source": self.source,
            "commit": self.commit,
            "created": self.is_new,
            "profile": {"name": self.profile, "digest": self.digest},
            "key": self.key,
            "engines": self.engines,
            "version": lamella.__version__,
            "instances": sum(self.verdicts.values()),
            "made": self.made,
            "released": self.released,
            "removed": self.removed,
            "verdicts": {str(one): self.verdicts[one] for one in Verdict},
            "reasons": dict(sorted(self.reasons.items())),
            "boxes": self.boxes,
            "attributes": [
                {"path": path, "action": action, "count": count}
                for (path, action), count in sorted(self.changes.items())
            ],
        }

    def __str__(self) -> str:
        verdicts = " ".join(f"{one.lower()}={self.verdicts[one]}" for one in Verdict)
        return f"made={self.made} {verdicts} removed={self.removed} commit={self.commit}"


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
        on_progress: Told how many are done, and of how many.

    Raises:
        InvalidRequest: Source and destination are one dataset, or the profile needs an engine
            that is not installed.
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
        on_progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> None:
        if source.dataset.id == destination.dataset.id:
            raise InvalidRequest(
                "De-identified instances go into a dataset of their own: who may read a dataset "
                "may read all of its branches."
            )
        self._repository = repository
        self._source = source
        self._destination = destination
        self._profile = profile
        self._key = key
        self._author = author
        self._message = message
        self._maps = maps
        self._workers = workers
        self._on_progress = on_progress
        engines = describe_engines(profile)  # refuses at once what cannot be done
        self._recipe = compute_recipe(profile, key, engines)
        self.report = RunReport(source.commit_id, profile.name, profile.digest, key.id, engines)

    async def run(self) -> RunReport:
        """De-identify what is new, and commit.

        Raises:
            OutOfResources: There is no room; what was made stays, the branch does not move.
            RevisionNotFound: The branch was deleted meanwhile.
        """
        slices = await self._count_slices()
        total = sum(slices.values())
        done = 0
        crew: Crew | None = None
        try:
            async for page in self._read_pages():
                known = await self._load([key_of_entry(entry) for _, entry in page])
                new = [(names, one) for names, one in page if key_of_entry(one) not in known]
                done += len(page) - len(new)
                self._on_progress(done, total)
                if new and crew is None:
                    crew = Crew(self._profile, self._key, self._workers)
                for unit in _cut_units(new):
                    assert crew is not None
                    await self._make(crew, unit, slices)
                    done += len(unit)
                    self._on_progress(done, total)
        finally:
            if crew is not None:
                await asyncio.to_thread(crew.dismiss)
        await self._commit()
        return self.report

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

    async def _make(
        self, crew: Crew, unit: Sequence[tuple[InstanceKey, Entry]], slices: dict[str, int]
    ) -> None:
        """De-identify a unit; it is durable when this returns."""
        turns = asyncio.Semaphore(crew.size * 2)

        async def make_one(names: InstanceKey, entry: Entry) -> Made:
            async with turns:
                try:
                    data = await self._repository.blobs.read(entry.segments, 0, entry.size_bytes)
                except IntegrityError:
                    return Made(b"", Verdict.QUARANTINE, ("damaged",), {})
                return await crew.run(data, slices.get(names[1], 1))

        made = await _gather([make_one(names, entry) for names, entry in unit])
        if self._maps is not None:
            await asyncio.to_thread(self._maps.keep, made)
        intake = Intake(self._repository.archive)
        keys: list[bytes | None] = []
        try:
            for index, one in enumerate(made):
                try:
                    taken = await intake.add(_yield_once(one.data)) if one.data else None
                except InstanceRefused:  # such as one that lost a UID it never should have lacked
                    made[index] = Made(b"", Verdict.QUARANTINE, ("refused",), {})
                    taken = None
                keys.append(None if taken is None else taken.key)
        except BaseException:
            await intake.discard()
            raise
        rows = [
            (key_of_entry(entry), one.verdict, key, _tell(one))
            for (_, entry), one, key in zip(unit, made, keys, strict=True)
        ]
        owner = self._destination.dataset.id

        def record(connection: sa.Connection) -> None:
            intake.record(connection, owner, read_clock_us(connection))
            save_made(connection, owner, self._recipe, rows)

        await keep_intake(self._repository, intake, record)
        self.report.made += len(unit)

    async def _commit(self) -> None:
        rows: list[MadeInstance] = []
        async for page in self._read_pages():
            found = await self._load([key_of_entry(entry) for _, entry in page])
            rows += [found[key_of_entry(entry)] for _, entry in page]
        report = self.report
        report.verdicts.update(str(row.verdict) for row in rows)
        report.reasons.update(reason for row in rows for reason in row.told.reasons)
        report.boxes = sum(row.told.boxes for row in rows)
        report.changes = dict(count_changes(rows))
        released = [row.made for row in rows if row.is_released and row.made is not None]
        report.released = len(released)
        work = Session(
            self._destination.dataset,
            self._destination.branch,
            KIND,
            self._author,
            self._message or f"De-identified {len(released)} instances by {report.profile}.",
            provenance=self._make_provenance(),
        )
        committed = await self._repository.archive.database.write(
            lambda c: commit_decided(
                c,
                self._repository,
                work,
                lambda judge, tree: self._decide(c, judge, tree, released),
            )
        )
        report.commit, report.is_new = committed.commit_id.hex(), committed.created

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

    def _decide(
        self, connection: sa.Connection, judge: Judge, tree: Tree, released: Sequence[bytes]
    ) -> list[Outcome]:
        owner = self._destination.dataset.id
        wanted: dict[bytes, StoredInstance] = {}
        for batch in split_batches(list(released)):
            wanted.update(load_instances(connection, owner, batch))
        ours = load_made_keys(connection, owner)
        outcomes: list[Outcome] = []
        names_wanted = {one.names for one in wanted.values()}
        here: set[bytes] = set()
        for study_uid, series_uid, sop_uid, entry in tree.walk():
            names, key = (study_uid, series_uid, sop_uid), key_of_entry(entry)
            here.add(key)
            if key in ours and key not in wanted and names not in names_wanted:
                outcomes.append(Outcome(*names, "", judge.delete(names)))
                self.report.removed += 1
        for key, stored in wanted.items():
            if key not in here:
                judgement = judge.accept(stored)
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


def _tell(made: Made) -> Told:
    changes = tuple((path, action, count) for (path, action), count in made.changes.items())
    return Told(made.reasons, changes, made.boxes, made.codes)


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
