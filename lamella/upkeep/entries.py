"""Entries: what the trees say of each instance is what its row says, and it has a place."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import sqlalchemy as sa

from lamella.errors import IntegrityError, InvalidInstance
from lamella.upkeep.commits import CommitRow, History, is_whole, list_later_commits
from lamella.upkeep.derived import parse_again, save_again
from lamella.upkeep.examination import Examination
from lamella.upkeep.places import (
    Seen,
    find_missing_places,
    find_wrong_places,
    mend_missing_places,
    mend_wrong_places,
)
from lamella.upkeep.report import Finding, Kind
from lamella.upkeep.trees import Step, TreeWalk
from lamella.vcs.refs import DatasetRow
from lamella.vcs.stored import StoredInstance, find_instances, key_of_entry
from lamella.vcs.tree import Entry, InstanceKey


@dataclass(slots=True)
class TreeExamination:
    """The walk through one dataset's trees.

    Attributes:
        walk: Which nodes have been looked at.
        seen: Which instances the trees hold.
        committed: The same by key.
        reported: Instances about which something was said: an entry is in many nodes.
    """

    run: Examination
    dataset: DatasetRow
    walk: TreeWalk
    seen: Seen[InstanceKey] = field(default_factory=Seen)
    committed: Seen[bytes] = field(default_factory=Seen)
    reported: set[InstanceKey] = field(default_factory=set)


@dataclass(slots=True)
class _Examined:
    step: Step
    placeless: list[InstanceKey]
    rowless: list[tuple[InstanceKey, Entry]]
    findings: list[Finding]


async def examine_trees(trees: TreeExamination, commits: Iterable[CommitRow]) -> None:
    """Walk the trees of some commits; check their nodes, and instances against their rows."""
    for one in commits:
        trees.walk.enter(one.id, one.tree)
        while not trees.walk.is_done:
            await _take_step(trees)


async def examine_places(trees: TreeExamination, history: History) -> None:
    """Report places at which no commit holds the instance, after all trees were walked.

    What a broken history held is not known, so nothing is said of its places.
    """
    run, dataset_id = trees.run, trees.dataset.id
    if trees.walk.broken or not is_whole(history):
        return
    wrong = await find_wrong_places(run, dataset_id, trees.seen)
    if wrong:  # or of commits that were made meanwhile
        await examine_trees(trees, await list_later_commits(run, dataset_id, history))
        wrong = trees.seen.list_unseen(wrong)
    await mend_wrong_places(run, dataset_id, wrong)


async def _take_step(trees: TreeExamination) -> None:
    run, dataset = trees.run, trees.dataset
    found = await run.read(lambda c: _examine_step(c, trees))
    for finding in (*found.step.findings, *found.findings):
        run.add(finding.kind, finding.name, finding.sentence)
    for key, entry in found.rowless:
        if key not in trees.reported:
            trees.reported.add(key)
            await _mend_missing_row(run, dataset, key, entry)
    placeless = [key for key in dict.fromkeys(found.placeless) if key not in trees.reported]
    trees.reported.update(placeless)
    await mend_missing_places(run, dataset.id, placeless)
    for names, entry in found.step.entries:
        trees.seen.add(names)
        trees.committed.add(key_of_entry(entry))
    run.count("nodes", found.step.nodes)
    run.count("entries", len(found.step.entries))


def _examine_step(connection: sa.Connection, trees: TreeExamination) -> _Examined:
    dataset = trees.dataset
    step = trees.walk.step(connection)
    keys = [key_of_entry(entry) for _, entry in step.entries]
    rows = find_instances(connection, dataset.id, keys)
    findings = []
    rowless = []
    for (names, entry), key in zip(step.entries, keys, strict=True):
        if key not in rows:
            rowless.append((names, entry))
            continue
        what = _find_difference(names, entry, rows, key)
        if what and names not in trees.reported:
            trees.reported.add(names)
            sentence = f"Instance {names[2]} of {dataset.name} has another {what} in its row."
            findings.append(Finding(Kind.INSTANCE_ALTERED, names[2], sentence))
    placeless = find_missing_places(connection, dataset.id, [names for names, _ in step.entries])
    return _Examined(step, placeless, rowless, findings)


def _find_difference(
    names: InstanceKey, entry: Entry, rows: Mapping[bytes, StoredInstance], key: bytes
) -> str:
    row = rows[key]
    pairs = (
        ("study, series or SOP UID", names, (row.study_uid, row.series_uid, row.sop_uid)),
        ("size", entry.size_bytes, row.size_bytes),
        ("transfer syntax", entry.transfer_syntax_uid, row.transfer_syntax_uid),
        ("SOP class", entry.sop_class_uid, row.sop_class_uid),
    )
    return ", ".join(what for what, stated, kept in pairs if stated != kept)


async def _mend_missing_row(
    run: Examination, dataset: DatasetRow, names: InstanceKey, entry: Entry
) -> None:
    """Report an instance without a row; with `--repair`, make the row again from its bytes."""
    sentence = f"Instance {names[2]} of {dataset.name} has no row."
    repaired = False
    if run.repair:
        try:
            facts = await parse_again(run, entry.segments)
            key = key_of_entry(entry)
            await run.write(lambda c: save_again(c, dataset.id, key, facts))
            repaired = True
        except (IntegrityError, InvalidInstance) as error:
            sentence = f"{sentence} It cannot be made again: {error.detail.rstrip('.')}."
    run.add(Kind.INSTANCE_MISSING, names[2], sentence, repaired=repaired)
