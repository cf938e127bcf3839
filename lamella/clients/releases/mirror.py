"""A private installation that gets the rows of a release when they are asked for, and no bytes.

So a release has the same doors as any installation. Rows are made from what the release tells of
its instances; bytes stay where they are.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import Any

import msgspec
import sqlalchemy as sa

from lamella.archive.database import read_clock_us
from lamella.archive.facts import InstanceFacts, Segment
from lamella.archive.frames import FrameTable
from lamella.archive.instances import (
    compress_document,
    key_of,
    make_derived_row,
    make_instance_row,
)
from lamella.archive.locations import NewBlob, record_locations
from lamella.archive.published.format import PublishedInstance, PublishedStudy, SeriesSection
from lamella.archive.tables import derived, instance
from lamella.archive.upsert import insert_missing
from lamella.clients.releases.release import Release
from lamella.vcs.commits import Outcome, commit_decided
from lamella.vcs.judgement import Judge
from lamella.vcs.refs import DatasetRow
from lamella.vcs.repository import Repository
from lamella.vcs.staging import Session
from lamella.vcs.stored import StoredInstance
from lamella.vcs.tree import Tree

BRANCH = "published"
Attributes = dict[str, Any]


class Mirror:
    """What is mirrored so far of a release.

    Args:
        release: Where rows come from.
        repository: Where they go.
        owner: The dataset of the repository that is the release's.
    """

    def __init__(self, release: Release, repository: Repository, owner: DatasetRow) -> None:
        self._release = release
        self._repository = repository
        self._owner = owner
        self._series: set[tuple[str, str]] = set()
        self._studies: set[str] = set()
        self._loading = asyncio.Lock()

    async def load_series(self, study_uid: str, series_uid: str) -> None:
        """Mirror a series, if the release has it and it is not mirrored.

        Raises:
            OutOfResources: The store does not answer.
        """
        async with self._loading:
            if study_uid in self._studies or (study_uid, series_uid) in self._series:
                return
            study = await asyncio.to_thread(self._release.find_study, study_uid)
            if study is not None:
                await self._load(study, [series_uid])

    async def load_study(self, study_uid: str) -> None:
        """Mirror all of a study, likewise."""
        async with self._loading:
            if study_uid not in self._studies:
                study = await asyncio.to_thread(self._release.find_study, study_uid)
                if study is not None:
                    await self._load_study(study)

    async def load_matching(self, matches: Callable[[PublishedStudy], bool]) -> None:
        """Mirror all studies that may be found by a search.

        Args:
            matches: Tells whether one may be.
        """
        async with self._loading:
            for study in await asyncio.to_thread(self._list_matching, matches):
                await self._load_study(study)

    def _list_matching(self, matches: Callable[[PublishedStudy], bool]) -> list[PublishedStudy]:
        studies = self._release.list_studies()
        return [one for one in studies if one.study_uid not in self._studies and matches(one)]

    async def _load_study(self, study: PublishedStudy) -> None:
        await self._load(study, [series.series_uid for series in study.series])
        self._studies.add(study.study_uid)

    async def _load(self, study: PublishedStudy, series_uids: Sequence[str]) -> None:
        for series_uid in series_uids:
            names = (study.study_uid, series_uid)
            if names in self._series:
                continue
            section = await asyncio.to_thread(self._release.read_series, study, series_uid)
            if section is not None:
                await self._write(study.study_uid, series_uid, section)
                self._series.add(names)

    async def _write(self, study_uid: str, series_uid: str, section: SeriesSection) -> None:
        facts = await asyncio.to_thread(
            lambda: [_read_facts(study_uid, series_uid, one) for one in section.instances]
        )
        blobs = [
            NewBlob(digest, section.packs[number], offset_bytes, length_bytes)
            for one in section.instances
            for digest, number, offset_bytes, length_bytes in one.segments
        ]
        work = Session(self._owner, BRANCH, "mirror", "")

        def write(connection: sa.Connection) -> None:
            self._write_rows(connection, facts, blobs)
            stored = [StoredInstance.from_facts(_key_of(one), one) for one in facts]

            def decide(judge: Judge, _tree: Tree) -> list[Outcome]:
                return [
                    Outcome(*one.names, one.sop_class_uid, judge.restore(one)) for one in stored
                ]

            commit_decided(connection, self._repository, work, decide)

        await self._repository.archive.database.write(write)

    def _write_rows(
        self, connection: sa.Connection, facts: list[InstanceFacts], blobs: list[NewBlob]
    ) -> None:
        now_us = read_clock_us(connection)
        ends: dict[str, int] = {}
        for blob in blobs:
            end = blob.offset_bytes + blob.length_bytes
            ends[blob.pack_name] = max(end, ends.get(blob.pack_name, 0))
        record_locations(connection, ends, {one.digest: one for one in blobs}.values(), now_us)
        owner_id, rows, made = self._owner.id, [], []
        for one in facts:
            key = _key_of(one)
            rows.append(make_instance_row(owner_id, key, one, now_us))
            made.append(make_derived_row(owner_id, key, one, compress_document(one.dicom_json)))
        insert_missing(connection, instance, rows)
        insert_missing(connection, derived, made)


def _key_of(facts: InstanceFacts) -> bytes:
    return key_of([(segment.digest, segment.length) for segment in facts.segments])


def _read_facts(study_uid: str, series_uid: str, found: PublishedInstance) -> InstanceFacts:
    """Return what a release tells of an instance, as if it had been read from its file."""
    attributes: Attributes = msgspec.json.decode(found.document)
    number = _read_value(attributes, "00200013")
    segments, offset_bytes = [], 0
    for digest, _, _, length_bytes in found.segments:
        segments.append(Segment(digest, offset_bytes, length_bytes))
        offset_bytes += length_bytes
    identity = sha256(b"".join(segment.digest for segment in segments)).digest()
    return InstanceFacts(
        study_uid=study_uid,
        series_uid=series_uid,
        sop_uid=found.sop_uid,
        sop_class_uid=found.sop_class_uid,
        transfer_syntax_uid=found.transfer_syntax_uid,
        patient_id=str(_read_value(attributes, "00100020") or "").strip(),
        issuer_of_patient_id=str(_read_value(attributes, "00100021") or "").strip(),
        instance_number=number if isinstance(number, int) else None,
        segments=tuple(segments),
        size_bytes=found.size_bytes,
        dicom_json=found.document,
        content_digest=identity,
        bulk_digest=identity,
        frames=None if found.frames is None else FrameTable.from_bytes(found.frames),
        frames_reason=None,
        fast=True,
        fallback_reason=None,
    )


def _read_value(attributes: Attributes, tag: str) -> Any:
    values = attributes.get(tag, {}).get("Value") or [None]
    return values[0]
