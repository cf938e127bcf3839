"""The versioning engine against a dict model: whatever happens, they agree.

The model keeps, for each commit, a plain dict of instances; for each branch, where it stood at
which time; and the queue of conflicts. Each rule is one thing that users, senders or power cuts
do. After each the trees, searches, places, bytes and refs of the engine are compared with it.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import time
from collections.abc import Callable, Coroutine
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from lamella.archive.installation import open_archive
from lamella.archive.instances import Received
from lamella.archive.intake import Intake
from lamella.archive.levels import (
    SERIES_RELATED_INSTANCES,
    STUDY_RELATED_INSTANCES,
    STUDY_RELATED_SERIES,
    Level,
)
from lamella.archive.query import Query
from lamella.errors import AlreadyExists, RefMoved, ResourceNotFound, RevisionNotFound
from lamella.settings import Settings
from lamella.vcs.commit_object import format_time
from lamella.vcs.commits import (
    Committed,
    commit_abandoned,
    commit_session,
    commit_staged,
    list_abandoned,
)
from lamella.vcs.conflicts import list_conflicts
from lamella.vcs.datasets import ensure_default
from lamella.vcs.deletion import Target, delete_target
from lamella.vcs.finder import Match, find
from lamella.vcs.history import load_commit, walk_first_parents
from lamella.vcs.judgement import find_places
from lamella.vcs.nodes import EMPTY_ROOT, MemoryNodes
from lamella.vcs.refs import (
    BRANCH,
    TAG,
    create_ref,
    delete_ref,
    find_dataset,
    find_ref,
    list_refs,
)
from lamella.vcs.repository import Repository
from lamella.vcs.revision import resolve
from lamella.vcs.staging import Session, stage, stage_deletes, stage_judged
from lamella.vcs.stored import key_of_entry
from lamella.vcs.tables import session, staged
from lamella.vcs.tree import InstanceKey, Tree
from lamella.vcs.view import open_view
from tests.property.versioning_model import (
    N_INSTANCES,
    Content,
    Model,
    Sample,
    anything,
    batches,
    make_file,
    numbers,
    picks,
    send_home,
)

T = TypeVar("T")

PATIENT_ID, SERIES_DESCRIPTION = "00100020", "0008103E"


class PowerCut(Exception):
    """Ends a transaction just before it would have committed."""


class VersioningMachine(RuleBasedStateMachine):
    """One installation, used in every way, beside the model."""

    template: Path  # a data folder with its schema made, so that examples start fast

    def __init__(self) -> None:
        super().__init__()
        self._folder = Path(tempfile.mkdtemp(prefix="lamella-machine-"))
        self._loop = asyncio.new_event_loop()
        self._keys: dict[Sample, bytes] = {}
        self._roots: dict[frozenset[tuple[InstanceKey, bytes]], bytes] = {}

    def teardown(self) -> None:
        """Close and remove the installation."""
        self._run(self.repository.archive.close())
        self._loop.close()
        shutil.rmtree(self._folder)

    # --- what happens

    @initialize()
    def begin(self) -> None:
        """Open a fresh installation."""
        shutil.copytree(self.template, self._folder, dirs_exist_ok=True)
        self._open()
        self.dataset = self._read(lambda c: find_dataset(c, "default"))
        first = self._read(lambda c: resolve(c, self.dataset, "main")).commit_id
        self.commits: dict[bytes, Content] = {first: {}}
        self.parents: dict[bytes, bytes | None] = {first: None}
        self.branches: dict[str, bytes] = {"main": first}
        self.tags: dict[str, bytes] = {}
        self.places: set[tuple[str, str, str]] = set()
        self.queue: set[tuple[str, bytes]] = set()
        self.moments: list[tuple[int, dict[str, bytes]]] = []
        self.waiting: dict[str, tuple[str, list[Sample]]] = {}

    @rule(pick=picks, samples=batches)
    def store(self, pick: int, samples: list[Sample]) -> None:
        """One STOW request or import batch."""
        work = self._work(self._pick_branch(pick))
        self._stage(work, samples)
        committed = self._run(commit_session(self.repository, work))
        self._expect(work.branch, committed, samples)

    @rule(pick=picks, samples=batches)
    def send(self, pick: int, samples: list[Sample]) -> None:
        """One C-STORE association: each instance is judged when it comes."""
        work = self._work(self._pick_branch(pick))
        model = Model(self._content(work.branch))
        for sample in samples:
            intake, (received,) = self._take_in([sample])
            judgement = self._run(stage_judged(self.repository, work, intake, received))
            assert judgement.verdict == model.store(sample)
        committed = self._run(commit_session(self.repository, work))
        self._expect(work.branch, committed, samples, has_outcomes=False)

    @rule(pick=picks, gone=st.sets(numbers, max_size=4), samples=st.lists(anything, max_size=2))
    def delete(self, pick: int, gone: set[int], samples: list[Sample]) -> None:
        """Delete instances, some of which may not be there, and store others with them."""
        work = self._work(self._pick_branch(pick), kind="delete")
        keys = [self._key_of(work.branch, number) for number in sorted(gone)]
        self._write(lambda c: stage_deletes(c, self.repository, work, keys))
        if samples:
            self._stage(work, samples)
        committed = self._run(commit_session(self.repository, work))
        self._expect(work.branch, committed, [*keys, *samples])

    @rule(pick=picks, number=numbers, level=st.sampled_from(["study", "series", "instance"]))
    def delete_at_once(self, pick: int, number: int, level: str) -> None:
        """One DELETE request for a study, a series or an instance, which may not be there."""
        work = self._work(self._pick_branch(pick), kind="delete")
        names = self._key_of(work.branch, number)
        depth = ["study", "series", "instance"].index(level) + 1
        target = Target(*names[:depth])
        content = self._content(work.branch)
        gone = {one.key for one in content.values() if one.key[:depth] == names[:depth]}
        deletion = delete_target(self.repository, work, target)
        if not gone:
            with pytest.raises(ResourceNotFound):
                self._run(deletion)
            return
        committed = self._run(deletion)
        assert {outcome.names for outcome in committed.outcomes} == gone
        self._expect(work.branch, committed, sorted(gone), has_outcomes=False)

    @rule(pick=picks, samples=batches, is_reopened=st.booleans())
    def crash_before_commit(self, pick: int, samples: list[Sample], is_reopened: bool) -> None:
        """Instances were acknowledged, then the server died; the next start commits them."""
        work = self._work(self._pick_branch(pick))
        self._stage(work, samples)
        if is_reopened:
            self._reopen()
        self._expect(work.branch, self._recover(work), samples)

    @rule(pick=picks, samples=batches, rival_pick=picks, rival=st.lists(anything, max_size=3))
    def crash_in_commit(
        self, pick: int, samples: list[Sample], rival_pick: int, rival: list[Sample]
    ) -> None:
        """The commit transaction is lost at its very end: nothing of it may be seen.

        Whoever comes next gets the same row ids, for other rows.
        """
        work = self._work(self._pick_branch(pick))
        self._stage(work, samples)
        with pytest.raises(PowerCut):
            self._run(self._commit_and_die(work))
        self.everything_agrees()
        self.waiting[work.id] = work.branch, samples
        if rival:
            self.store(rival_pick, rival)
            self.everything_agrees()
        self._expect_recovered(work)

    @rule(requests=st.lists(st.tuples(picks, batches), min_size=2, max_size=4), lost=picks)
    def store_at_once(self, requests: list[tuple[int, list[Sample]]], lost: int) -> None:
        """Several senders at the same time, who may share a transaction; one of them fails."""
        works = [self._work(self._pick_branch(pick)) for pick, _ in requests]
        for work, (_, samples) in zip(works, requests, strict=True):
            self._stage(work, samples)
        lost %= len(works)

        async def commit_all() -> list[Any]:
            commits = [
                self._commit_and_die(work) if at == lost else commit_session(self.repository, work)
                for at, work in enumerate(works)
            ]
            return await asyncio.gather(*commits, return_exceptions=True)

        results = self._run(commit_all())
        assert isinstance(results[lost], PowerCut)
        for at, (work, (_, samples)) in enumerate(zip(works, requests, strict=True)):
            if at == lost:
                self.waiting[work.id] = work.branch, samples
            else:
                self._expect(work.branch, results[at], samples)
        self.everything_agrees()
        self._expect_recovered(works[lost])

    @rule(pick=picks, samples=batches)
    def crash_with_stale_condition(self, pick: int, samples: list[Sample]) -> None:
        """A conditional store that was never answered is dropped if the head moved meanwhile."""
        branch = self._pick_branch(pick)
        old = next(iter(self.commits))
        work = replace(self._work(branch), expected_head=old)
        self._stage(work, samples)
        if self.branches[branch] == old:
            self._expect(branch, self._recover(work), samples)
        else:
            assert self._recover(work) is None

    @rule(pick=picks, samples=batches)
    def store_on_condition(self, pick: int, samples: list[Sample]) -> None:
        """A store with If-Match: on another head nothing happens at all."""
        branch, wanted = self._pick_branch(pick), self._pick_commit(pick)
        work = replace(self._work(branch), expected_head=wanted)
        self._stage(work, samples)
        if self.branches[branch] == wanted:
            committed = self._run(commit_session(self.repository, work))
            self._expect(branch, committed, samples)
        else:
            with pytest.raises(RefMoved):
                self._run(commit_session(self.repository, work))

    @rule(pick=picks, name=st.sampled_from(["b1", "b2", "b3"]))
    def make_branch(self, pick: int, name: str) -> None:
        """A branch begins at any commit, unless there is one of that name."""
        self._make_ref(BRANCH, name, self._pick_commit(pick), self.branches)

    @rule(pick=picks, name=st.sampled_from(["v1", "v2", "v3", "v4"]))
    def make_tag(self, pick: int, name: str) -> None:
        """A tag marks any commit, unless there is one of that name: tags do not move."""
        self._make_ref(TAG, name, self._pick_commit(pick), self.tags)

    @precondition(lambda self: self.tags)
    @rule(pick=picks)
    def delete_tag(self, pick: int) -> None:
        """A tag goes; its commit stays."""
        name = sorted(self.tags)[pick % len(self.tags)]
        self._write(lambda c: delete_ref(c, self.dataset.id, TAG, name))
        del self.tags[name]

    @precondition(lambda self: len(self.branches) > 1)
    @rule(pick=picks, samples=st.lists(anything, max_size=2))
    def delete_branch(self, pick: int, samples: list[Sample]) -> None:
        """A branch goes; what was acknowledged but not committed is kept for a person."""
        names = sorted(self.branches.keys() - {"main"})
        name = names[pick % len(names)]
        work = self._work(name)
        if samples:
            self._stage(work, samples)
        self._write(lambda c: delete_ref(c, self.dataset.id, BRANCH, name))
        del self.branches[name]
        if samples:
            assert self._recover(work) is None
            self.queue |= {(name, self._keys[sample]) for sample in samples}

    @rule()
    def reopen(self) -> None:
        """The server is restarted."""
        self._reopen()

    @rule(pick=picks)
    def look_back(self, pick: int) -> None:
        """Any commit reads as it did when it was made."""
        commit_id = self._pick_commit(pick)
        self._compare_view(commit_id.hex(), self.commits[commit_id])

    @precondition(lambda self: self.moments)
    @rule(pick=picks)
    def travel_in_time(self, pick: int) -> None:
        """A branch at an instant stands where it stood then."""
        time_us, heads = self.moments[pick % len(self.moments)]
        for branch in ("main", "b1", "b2", "b3"):
            text = f"{branch}@{format_time(time_us)}"
            self._compare_resolved(text, heads.get(branch))

    @rule(pick=picks, steps=st.integers(0, 8))
    def walk_back(self, pick: int, steps: int) -> None:
        """`~N` is the Nth first-parent ancestor."""
        branch = self._pick_branch(pick)
        chain = self._list_ancestors(self.branches[branch])
        expected = chain[steps] if steps < len(chain) else None
        self._compare_resolved(f"{branch}~{steps}", expected)

    # --- what must always hold

    @invariant()
    def everything_agrees(self) -> None:
        """Heads, tags, trees, searches, places, queue and staging are those of the model."""
        for kind, expected in ((BRANCH, self.branches), (TAG, self.tags)):
            found = self._read(lambda c, k=kind: list_refs(c, self.dataset.id, k))
            assert {ref.name: ref.commit_id for ref in found} == expected
        for commit_id in set(self.branches.values()):
            self._compare_view(commit_id.hex(), self.commits[commit_id])
        for name, commit_id in self.tags.items():
            self._compare_tree(name, self.commits[commit_id])
        assert self._read(self._count_staged) == 0 or self._has_crashed()
        self._compare_history()
        self._compare_places()
        self._compare_queue()
        time.sleep(0.000_01)
        self.moments.append((time.time_ns() // 1000, dict(self.branches)))

    def _has_crashed(self) -> bool:
        """Tell whether a session waits for recovery (inside a crash rule)."""
        return self._read(lambda c: len(list_abandoned(c, self.repository.archive.node_id))) > 0

    def _count_staged(self, connection: sa.Connection) -> int:
        return sum(
            connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()
            for table in (staged, session)
        )

    def _compare_view(self, revision: str, content: Content) -> None:
        self._compare_tree(revision, content)
        self._compare_searches(revision, content)
        for sample in list(content.values())[-1:]:
            assert self._run(self._read_bytes(revision, sample)) == make_file(sample)

    def _compare_tree(self, revision: str, content: Content) -> None:
        def read(connection: sa.Connection) -> tuple[bytes, dict[InstanceKey, Any]]:
            view = open_view(connection, self.repository, "default", revision)
            tree = view.tree(connection, self.repository)
            return view.root, {(a, b, c): entry for a, b, c, entry in tree.walk()}

        root, entries = self._read(read)
        keys = {place: key_of_entry(entry) for place, entry in entries.items()}
        assert keys == {sample.key: self._keys[sample] for sample in content.values()}
        same = frozenset(keys.items())
        assert self._roots.setdefault(same, root) == root, "equal content, another tree"
        nodes, rebuilt = MemoryNodes(), EMPTY_ROOT
        for place in sorted(entries):
            rebuilt = Tree(nodes, rebuilt).apply({place: entries[place]})
        assert rebuilt == root, "the tree depends on its past"

    def _compare_searches(self, revision: str, content: Content) -> None:
        samples = list(content.values())
        studies = self._search(revision, Query(level=Level.STUDY))
        assert {match.study_uid: match.counts for match in studies} == {
            study_uid: {
                STUDY_RELATED_SERIES: len({s.series for s in samples if s.key[0] == study_uid}),
                STUDY_RELATED_INSTANCES: sum(s.key[0] == study_uid for s in samples),
            }
            for study_uid in {s.key[0] for s in samples}
        }
        for match in studies:
            (patient,) = {s.patient for s in samples if s.key[0] == match.study_uid}
            assert match.attributes[PATIENT_ID]["Value"] == [f"P{patient}"]
        self._compare_series(revision, samples)
        wanted = Query(level=Level.INSTANCE, include=frozenset({(SERIES_DESCRIPTION,)}))
        instances = self._search(revision, wanted)
        found = {(m.study_uid, m.series_uid, m.sop_uid): _read_header(m) for m in instances}
        assert found == {s.key: f"header {s.header}" for s in samples}
        assert len(instances) == len(samples)

    def _compare_series(self, revision: str, samples: list[Sample]) -> None:
        series = self._search(revision, Query(level=Level.SERIES))
        members: dict[str, list[Sample]] = {}
        for sample in samples:
            members.setdefault(sample.key[1], []).append(sample)
        assert {m.series_uid: m.counts[SERIES_RELATED_INSTANCES] for m in series} == {
            uid: len(inside) for uid, inside in members.items()
        }
        assert len(series) == len(members)
        for match in series:  # attributes are those of the instance with the lowest UID
            first = min(members[match.series_uid], key=lambda s: s.key[2])
            assert _read_header(match) == f"header {first.header}"

    def _compare_history(self) -> None:
        for head in set(self.branches.values()):
            found = self._read(lambda c, h=head: list(walk_first_parents(c, self.dataset.id, h)))
            assert [one.id for one in found] == self._list_ancestors(head)
            assert [one.generation for one in found] == list(reversed(range(len(found))))

    def _compare_places(self) -> None:
        for number in range(N_INSTANCES):
            sop_uid = f"1.2.9.{number}"
            found = self._read(lambda c, uid=sop_uid: find_places(c, self.dataset.id, uid))
            assert len(set(found)) == len(found)
            places = {(*place, sop_uid) for place in found}
            assert {place for place in self.places if place[2] == sop_uid} <= places
            assert places <= {sample.key for sample in self._keys}

    def _compare_queue(self) -> None:
        query = sa.text("SELECT branch, key FROM conflict")
        assert {(b, bytes(k)) for b, k in self._read(lambda c: c.execute(query).all())} == (
            self.queue
        )
        assert len(self._read(lambda c: list_conflicts(c, self.dataset.id))) == len(self.queue)

    def _compare_resolved(self, text: str, expected: bytes | None) -> None:
        if expected is None:
            with pytest.raises(RevisionNotFound):
                self._read(lambda c: resolve(c, self.dataset, text))
        else:
            assert self._read(lambda c: resolve(c, self.dataset, text)).commit_id == expected

    # --- the means

    def _expect(
        self,
        branch: str,
        committed: Committed | None,
        changes: list[Any],
        *,
        has_outcomes: bool = True,
    ) -> None:
        """Apply changes to the model and compare what the engine says it did."""
        assert committed is not None
        made = self._list_made(committed.commit_id, self.branches[branch])
        for samples in self._take_overtaken(branch, changes):
            self._follow(branch, samples, made)
        start, verdicts = self.branches[branch], self._follow(branch, changes, made)
        assert made == []
        if has_outcomes:
            assert [outcome.judgement.verdict for outcome in committed.outcomes] == verdicts
        assert committed.created == (self.branches[branch] != start)

    def _expect_recovered(self, work: Session) -> None:
        """Let a session that waits be committed, as far as no other took it along."""
        branch, samples = self.waiting.pop(work.id)
        self._expect(branch, self._recover(work), samples)

    def _take_overtaken(self, branch: str, changes: list[Any]) -> list[list[Sample]]:
        """Return what waits under UIDs of these changes: it is committed first."""
        uids = {change.key[2] for change in changes if isinstance(change, Sample)}
        overtaken = []
        for session_id, (where, samples) in self.waiting.items():
            if where == branch and uids & {sample.key[2] for sample in samples}:
                overtaken.append(samples)
                self.waiting[session_id] = where, []
        return overtaken

    def _follow(self, branch: str, changes: list[Any], made: list[bytes]) -> list[str]:
        """Apply changes to the model; take the commits that they come to. Return the verdicts."""
        model = Model(self._content(branch))
        verdicts, steps = self._apply(model, branch, changes)
        self.queue |= {(branch, self._keys[sample]) for sample in model.conflicts}
        for content in steps:
            old, commit_id = self._content(branch), made.pop(0)
            assert commit_id not in self.commits
            self.commits[commit_id] = content
            self.parents[commit_id] = self.branches[branch]
            self.branches[branch] = commit_id
            new = (sample for uid, sample in content.items() if old.get(uid) != sample)
            self.places |= {sample.key for sample in new}
        return verdicts

    def _apply(
        self, model: Model, branch: str, changes: list[Any]
    ) -> tuple[list[str], list[Content]]:
        """Apply changes to the model; return the verdicts and what each commit has to hold.

        It is one commit or none, but a version that this session brought and replaces itself
        gets one of its own, unless the branch's history holds it already.
        """
        ancestors = self._list_ancestors(self.branches[branch])
        history = [self.commits[commit_id] for commit_id in ancestors]
        verdicts, steps, brought = [], [dict(model.content)], dict[str, Sample]()
        for change in changes:
            if not isinstance(change, Sample):
                verdicts.append(model.delete(change))
                brought.pop(change[2], None)
                continue
            uid, before = change.key[2], dict(model.content)
            verdicts.append(model.store(change))
            mine = brought.get(uid)
            is_kept = mine is None or any(content.get(uid) == mine for content in history)
            if verdicts[-1] == "version" and not is_kept:
                steps.append(before)
                brought.clear()
            if verdicts[-1] in ("stored", "version"):
                brought[uid] = change
        steps.append(dict(model.content))
        return verdicts, [after for old, after in pairwise(steps) if after != old]

    def _list_made(self, commit_id: bytes, base: bytes) -> list[bytes]:
        """Return the commits after `base` up to this one, oldest first."""
        made: list[bytes] = []
        while commit_id != base:
            made.insert(0, commit_id)
            stored = self._read(lambda c, wanted=commit_id: load_commit(c, self.dataset.id, wanted))
            commit_id = bytes.fromhex(stored.commit.parents[0])
        return made

    async def _commit_and_die(self, work: Session) -> None:
        def commit_and_die(connection: sa.Connection) -> None:
            commit_staged(connection, self.repository, work)
            raise PowerCut

        await self.repository.archive.database.write(commit_and_die)

    def _recover(self, work: Session) -> Committed | None:
        """Do what the server does at its start."""
        node_id = self.repository.archive.node_id
        assert self._read(lambda c: list_abandoned(c, node_id)) == [work.id]
        return self._write(lambda c: commit_abandoned(c, self.repository, work.id))

    def _stage(self, work: Session, samples: list[Sample]) -> None:
        intake, received = self._take_in(samples)
        self._run(stage(self.repository, work, intake, received))

    def _take_in(self, samples: list[Sample]) -> tuple[Intake, list[Received]]:
        intake = Intake(self.repository.archive)

        async def take() -> list[Received]:
            return [await intake.add(_stream(make_file(sample))) for sample in samples]

        received = self._run(take())
        for sample, item in zip(samples, received, strict=True):
            self._keys[sample] = item.key
        return intake, received

    def _make_ref(self, kind: str, name: str, commit_id: bytes, known: dict[str, bytes]) -> None:
        def make(connection: sa.Connection) -> None:
            create_ref(connection, self.dataset.id, kind, name, commit_id)

        if name in known:
            with pytest.raises(AlreadyExists):
                self._write(make)
            return
        self._write(make)
        known[name] = commit_id
        found = self._read(lambda c: find_ref(c, self.dataset.id, kind, name))
        assert found is not None

    async def _read_bytes(self, revision: str, sample: Sample) -> bytes:
        def read(connection: sa.Connection) -> Any:
            view = open_view(connection, self.repository, "default", revision)
            return view.tree(connection, self.repository).entry(*sample.key)

        entry = await self.repository.archive.database.read(read)
        chunks = [chunk async for chunk in self.repository.blobs.stream(entry.segments)]
        return b"".join(chunks)

    def _search(self, revision: str, query: Query) -> list[Match]:
        def read(connection: sa.Connection) -> list[Match]:
            view = open_view(connection, self.repository, "default", revision)
            found = find(connection, self.repository, view, query)
            assert not found.has_more
            return list(found.matches)

        return self._read(read)

    def _work(self, branch: str, kind: str = "store") -> Session:
        return Session(self.dataset, branch, kind=kind, author="machine")

    def _content(self, branch: str) -> Content:
        return self.commits[self.branches[branch]]

    def _key_of(self, branch: str, number: int) -> InstanceKey:
        """Return where an instance is on a branch, or where it would be."""
        known = self._content(branch).get(f"1.2.9.{number}")
        return (known or send_home(number, 0, False)).key

    def _pick_branch(self, pick: int) -> str:
        return sorted(self.branches)[pick % len(self.branches)]

    def _pick_commit(self, pick: int) -> bytes:
        return list(self.commits)[pick % len(self.commits)]

    def _list_ancestors(self, commit_id: bytes) -> list[bytes]:
        chain: list[bytes] = []
        current: bytes | None = commit_id
        while current is not None:
            chain.append(current)
            current = self.parents[current]
        return chain

    def _open(self) -> None:
        archive = self._run(open_archive(Settings(data_dir=self._folder), is_server=True))
        self.repository = Repository(archive)

    def _reopen(self) -> None:
        self._run(self.repository.archive.close())
        self._open()

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return self._loop.run_until_complete(work)

    def _read(self, work: Callable[[sa.Connection], T]) -> T:
        return self._run(self.repository.archive.database.read(work))

    def _write(self, work: Callable[[sa.Connection], T]) -> T:
        return self._run(self.repository.archive.database.write(work))


def _read_header(match: Match) -> str:
    return str(match.attributes[SERIES_DESCRIPTION]["Value"][0])


async def _stream(data: bytes) -> Any:
    yield data


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a data folder as the first start leaves it."""
    folder = tmp_path_factory.mktemp("template") / "data"

    async def make() -> None:
        archive = await open_archive(Settings(data_dir=folder), is_server=True)
        await archive.database.write(ensure_default)
        await archive.close()

    asyncio.run(make())
    return folder


def run_machine(template: Path, examples: int, steps: int) -> None:
    """Run so many examples of so many steps each."""
    machine = type("Machine", (VersioningMachine,), {"template": template})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_the_engine_agrees_with_a_dict(template: Path) -> None:
    run_machine(template, 40, 14)


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_the_engine_agrees_with_a_dict_for_long(template: Path) -> None:
    run_machine(template, 600, 50)
