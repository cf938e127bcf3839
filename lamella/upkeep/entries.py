"""Entries: what the trees say of each instance is what its row says."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import sqlalchemy as sa

from lamella.errors import IntegrityError, InvalidInstance
from lamella.upkeep.commits import CommitRow
from lamella.upkeep.derived import parse_again, save_again
from lamella.upkeep.examination import Examination
from lamella.upkeep.report import Finding, Kind
from lamella.upkeep.seen import Seen
from lamella.upkeep.trees import Step, TreeWalk
from lamella.vcs.refs import DatasetRow
from lamella.vcs.stored import StoredInstance, find_instances, key_of_entry
from lamella.vcs.tree import Entry, InstanceKey


@dataclass(slots=True)
class TreeExamination:
    """The walk through one dataset's trees.

    Attributes:
        walk: Which nodes have been looked at.
        committed: Keys of the instances that the trees hold.
        reported: Instances about which something was said: an entry is in many nodes.
    """

    run: Examination
    dataset: DatasetRow
    walk: TreeWalk
    committed: Seen[bytes] = field(default_factory=Seen)
    reported: set[InstanceKey] = field(default_factory=set)


@dataclass(slots=True)
class _Examined:
    step: Step
    rowless: list[tuple[InstanceKey, Entry]]
    findings: list[Finding]


async def examine_trees(trees: TreeExamination, commits: Iterable[CommitRow]) -> None:
    """Walk the trees of some commits; check their nodes, and instances against their rows."""
    for one in commits:
        trees.walk.enter(one.id, one.tree)
        while not trees.walk.is_done:
            await _take_step(trees)


async def _take_step(trees: TreeExamination) -> None:
    run, dataset = trees.run, trees.dataset
    found = await run.read(lambda c: _examine_step(c, trees))
    for finding in (*found.step.findings, *found.findings):
        run.add(finding.kind, finding.name, finding.sentence)
    for key, entry in found.rowless:
        if key not in trees.reported:
            trees.reported.add(key)
            await _mend_missing_row(run, dataset, key, entry)
    for _, entry in found.step.entries:
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
    return _Examined(step, rowless, findings)


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
