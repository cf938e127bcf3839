"""The content of a commit: studies, their series, their instances, each level one trie.

    study map    study UID  → [study node, summary]
    study node   series UID → [series map, summary]
    series map   SOP UID    → [segments, size, transfer syntax, SOP class]

A series, and a study, is named by the digest of its own root. Two commits that hold the same
series hold the same digest: what is derived from it (metadata, catalog rows) is made once,
and diff, merge and transfer never look inside. An empty series or study does not exist.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, TypeVar

import msgspec

from lamella.vcs.nodes import (
    EMPTY_ROOT,
    Count,
    Digest,
    NodeReader,
    NodeWriter,
    Summary,
    find_batch_loader,
    read_many,
)
from lamella.vcs.trie import Difference, Level, Trie

__all__ = [
    "EMPTY_ROOT",
    "INSTANCES_LEVEL",
    "SERIES_LEVEL",
    "STUDIES_LEVEL",
    "Change",
    "Entry",
    "InstanceKey",
    "SeriesChange",
    "StudyChange",
    "Subtree",
    "Tree",
]

InstanceKey = tuple[str, str, str]
"""(Study, Series, SOP) Instance UID."""

T = TypeVar("T")


class Entry(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """One stored instance, as the tree knows it.

    Attributes:
        segments: (SHA-256 digest of 32 bytes, length in bytes) of the pieces whose
            concatenation is the original Part 10 file.
        size_bytes: Length of that file.
        transfer_syntax_uid: (0002,0010).
        sop_class_uid: (0008,0016).

    Source:
        PS3.10 §7.1 for the file and its meta information.
    """

    segments: tuple[tuple[Digest, Count], ...]
    size_bytes: Count
    transfer_syntax_uid: str
    sop_class_uid: str


class Subtree(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """A study or a series, without what is in it.

    Attributes:
        root: Digest of its root node: equal content has an equal root.
        summary: What it holds.
    """

    root: Digest
    summary: Summary


@dataclass(frozen=True, slots=True)
class Change:
    """One instance that two trees hold differently; None where a tree lacks it."""

    study_uid: str
    series_uid: str
    sop_uid: str
    old: Entry | None
    new: Entry | None


@dataclass(frozen=True, slots=True)
class SeriesChange:
    """One series that two trees hold differently; None where a tree lacks it."""

    study_uid: str
    series_uid: str
    old: Subtree | None
    new: Subtree | None


@dataclass(frozen=True, slots=True)
class StudyChange:
    """One study that two trees hold differently; None where a tree lacks it."""

    study_uid: str
    old: Subtree | None
    new: Subtree | None


def _summarize_instance(sop_uid: str, entry: Entry) -> Summary:
    return Summary(0, 1, sop_uid, (entry.sop_class_uid,))


def _summarize_series(_series_uid: str, series: Subtree) -> Summary:
    return series.summary


def _summarize_study(_study_uid: str, study: Subtree) -> Summary:
    # Nobody asks for the lowest instance of a whole tree, and one UID a child, on each level
    # of a big study map, would cost a sixth of what a commit writes there.
    return msgspec.structs.replace(study.summary, first_sop_uid="")


INSTANCES_LEVEL: Final = Level(Entry, _summarize_instance)
SERIES_LEVEL: Final = Level(Subtree, _summarize_series)
STUDIES_LEVEL: Final = Level(Subtree, _summarize_study)


class Tree:
    """All instances of one commit.

    Iteration at each level is in path order (ascending SHA-256 of the UID), which is the same
    for every tree, so pages continue from the last key shown.

    Attributes:
        root: Digest of the study map; equal trees have equal roots.
    """

    def __init__(self, nodes: NodeReader, root: bytes = EMPTY_ROOT) -> None:
        self.root = root
        self._nodes = nodes
        self._found: dict[tuple[str, str], Subtree | None] = {}
        self._studies = Trie(nodes, STUDIES_LEVEL)
        self._series = Trie(nodes, SERIES_LEVEL)
        self._instances = Trie(nodes, INSTANCES_LEVEL)

    def find_study(self, study_uid: str) -> Subtree | None:
        """Return a study's node and summary, or None."""
        if (study_uid, "") not in self._found:
            self._found[study_uid, ""] = self._studies.get(self.root, study_uid)
        return self._found[study_uid, ""]

    def find_series(self, study_uid: str, series_uid: str) -> Subtree | None:
        """Return a series' root and summary, or None."""
        if (study_uid, series_uid) not in self._found:
            study = self.find_study(study_uid)
            found = None if study is None else self._series.get(study.root, series_uid)
            self._found[study_uid, series_uid] = found
        return self._found[study_uid, series_uid]

    def find_many(self, keys: Iterable[tuple[str, str]]) -> None:
        """Look studies and series up together; to find each of them costs nothing then.

        Args:
            keys: Study and series UIDs; series UID '' for the study alone.
        """
        wanted = [key for key in keys if key not in self._found]
        studies = {uid for uid, _ in wanted if (uid, "") not in self._found}
        for study_uid, study in self._studies.get_many(self.root, studies).items():
            self._found[study_uid, ""] = study
        of_studies: dict[str, list[str]] = {}
        for study_uid, series_uid in wanted:
            if series_uid:
                of_studies.setdefault(study_uid, []).append(series_uid)
        load_many = find_batch_loader(self._nodes)
        if load_many is not None and len(of_studies) > 1:
            load_many(_get_root(self.find_study(uid)) for uid in of_studies)
        for study_uid, series_uids in of_studies.items():
            found = self._series.get_many(_get_root(self.find_study(study_uid)), series_uids)
            self._found |= {(study_uid, uid): series for uid, series in found.items()}

    def locate_studies(self, study_uids: Iterable[str]) -> dict[bytes, list[str]]:
        """Return studies by the digest of the leaf that holds each of them, if the tree has it."""
        return self._studies.locate(self.root, study_uids)

    def read_nodes(self, digests: Iterable[bytes]) -> dict[bytes, bytes]:
        """Return the encoded bytes of nodes, read together if they can be.

        Raises:
            IntegrityError: A node is missing or broken.
        """
        return read_many(self._nodes, digests)

    def entry(self, study_uid: str, series_uid: str, sop_uid: str) -> Entry | None:
        """Return an instance's entry, or None."""
        series = self.find_series(study_uid, series_uid)
        return None if series is None else self._instances.get(series.root, sop_uid)

    def series_root(self, study_uid: str, series_uid: str) -> bytes | None:
        """Return the digest that names a series' content (a key for caches), or None."""
        series = self.find_series(study_uid, series_uid)
        return None if series is None else series.root

    def count_studies(self) -> int:
        """Return the number of studies; one node is read."""
        return self._studies.count(self.root)

    def summary(self) -> Summary:
        """Return what the whole tree holds, without `first_sop_uid`; one node is read."""
        return self._studies.summary(self.root)

    def study_summary(self, study_uid: str) -> Summary | None:
        """Return what a study holds, or None if it is not here."""
        study = self.find_study(study_uid)
        return None if study is None else study.summary

    def series_summary(self, study_uid: str, series_uid: str) -> Summary | None:
        """Return what a series holds, or None if it is not here."""
        series = self.find_series(study_uid, series_uid)
        return None if series is None else series.summary

    def studies(self, start: str | None = None) -> Iterator[tuple[str, Subtree]]:
        """Yield (study UID, study); from the place of `start` on, itself included."""
        return self._studies.items(self.root, start)

    def series(self, study_uid: str, start: str | None = None) -> Iterator[tuple[str, Subtree]]:
        """Yield (series UID, series) of a study; nothing if the study is not here."""
        study = self.find_study(study_uid)
        return self._series.items(_get_root(study), start)

    def instances(
        self, study_uid: str, series_uid: str, start: str | None = None
    ) -> Iterator[tuple[str, Entry]]:
        """Yield (SOP Instance UID, entry) of a series; nothing if it is not here."""
        series = self.find_series(study_uid, series_uid)
        return self._instances.items(_get_root(series), start)

    def walk(self, after: InstanceKey | None = None) -> Iterator[tuple[str, str, str, Entry]]:
        """Yield (study UID, series UID, SOP Instance UID, entry) of every instance.

        Args:
            after: Continue behind this instance of an earlier walk of the same tree.
        """
        for change in Tree(self._nodes).diff(self, after):
            if change.new is not None:
                yield change.study_uid, change.series_uid, change.sop_uid, change.new

    def changed_studies(self, other: Tree, start: str | None = None) -> Iterator[StudyChange]:
        """Yield the studies that differ, this tree being the old one, `other` the new one.

        Args:
            other: The new tree, whose nodes this tree's reader must see.
            start: Begin at the place of this study, itself included.
        """
        for study in self._studies.diff(self.root, other.root, start):
            yield StudyChange(study.key, study.old, study.new)

    def changed_series(self, other: Tree) -> Iterator[SeriesChange]:
        """Yield the series that differ, without looking into any of them."""
        for study in self.changed_studies(other):
            yield from self.changed_series_of(study)

    def changed_series_of(self, study: StudyChange) -> Iterator[SeriesChange]:
        """Yield the series that differ within one study that differs."""
        for series in self._diff_study(study):
            yield SeriesChange(study.study_uid, series.key, series.old, series.new)

    def diff(self, other: Tree, after: InstanceKey | None = None) -> Iterator[Change]:
        """Yield the instances that differ, this tree being the old one, `other` the new one.

        Equal subtrees are never read, so the cost follows the difference, not the size.

        Args:
            other: The new tree, whose nodes this tree's reader must see.
            after: Continue behind this instance of an earlier diff of the same two trees.
        """
        at_study, at_series, at_sop = (None, None, None) if after is None else after
        for study in self.changed_studies(other, at_study):
            in_study = study.study_uid == at_study
            for series in self._diff_study(study, at_series if in_study else None):
                in_series = in_study and series.key == at_series
                changes = self._instances.diff(
                    _get_root(series.old), _get_root(series.new), at_sop if in_series else None
                )
                for sop in changes:
                    if not (in_series and sop.key == at_sop):
                        yield Change(study.study_uid, series.key, sop.key, sop.old, sop.new)

    def apply(self, changes: Mapping[InstanceKey, Entry | None]) -> bytes:
        """Return the root of the tree with changes made; this tree stays as it is.

        Each level is passed once, and only nodes above what really changed are written.

        Args:
            changes: Instance to its new entry; None removes it (it need not be there).

        Raises:
            TypeError: The tree was opened over nodes that cannot be written.
        """
        if not isinstance(self._nodes, NodeWriter):
            raise TypeError("Tree.apply needs nodes that can be written, such as MemoryNodes")
        writer = self._nodes
        studies: dict[str, Subtree | None] = {}
        for study_uid, of_study in _group(((k[0], k[1:]), v) for k, v in changes.items()):
            study = self.find_study(study_uid)
            studies[study_uid] = self._apply_study(study, of_study, writer)
        return self._studies.apply(self.root, studies, writer)

    def _apply_study(
        self,
        study: Subtree | None,
        changes: Mapping[tuple[str, str], Entry | None],
        writer: NodeWriter,
    ) -> Subtree | None:
        study_root = _get_root(study)
        series_changes: dict[str, Subtree | None] = {}
        for series_uid, of_series in _group(((k[0], k[1]), v) for k, v in changes.items()):
            series = self._series.get(study_root, series_uid)
            root = self._instances.apply(_get_root(series), of_series, writer)
            series_changes[series_uid] = self._make_series(root)
        root = self._series.apply(study_root, series_changes, writer)
        return None if root == EMPTY_ROOT else Subtree(root, self._series.summary(root))

    def _make_series(self, root: bytes) -> Subtree | None:
        if root == EMPTY_ROOT:
            return None
        return Subtree(root, msgspec.structs.replace(self._instances.summary(root), n_series=1))

    def _diff_study(
        self, study: StudyChange, start: str | None = None
    ) -> Iterator[Difference[Subtree]]:
        return self._series.diff(_get_root(study.old), _get_root(study.new), start)


def _get_root(subtree: Subtree | None) -> bytes:
    return EMPTY_ROOT if subtree is None else subtree.root


def _group(
    changes: Iterable[tuple[tuple[str, T], Entry | None]],
) -> Iterable[tuple[str, dict[T, Entry | None]]]:
    groups: dict[str, dict[T, Entry | None]] = {}
    for (uid, rest), entry in changes:
        groups.setdefault(uid, {})[rest] = entry
    return groups.items()
