"""Published indexes: what is written is found by a few ranges; nothing else is taken for one."""

from __future__ import annotations

import io
from dataclasses import dataclass, field

import pytest

from lamella.archive.published import format as layout
from lamella.archive.published import reader
from lamella.archive.published.format import (
    About,
    PublishedInstance,
    PublishedSeries,
    PublishedStudy,
    SeriesSection,
    name_object,
)
from lamella.archive.published.reader import PublishedIndex
from lamella.archive.published.writer import IndexWriter
from lamella.errors import IntegrityError, InvalidRequest

ABOUT = About("default", "main", "ab" * 32, b"\0" * 32, 1, 200, 200, 200)
UIDS = sorted(f"1.2.{number}" for number in range(200))


@dataclass
class Source:
    data: bytes
    ranges: list[tuple[int, int]] = field(default_factory=list)

    def read_at(self, offset_bytes: int, length_bytes: int) -> bytes:
        self.ranges.append((offset_bytes, length_bytes))
        return self.data[offset_bytes : offset_bytes + length_bytes]


def make_section(uid: str) -> SeriesSection:
    segments = ((b"\1" * 32, 0, 5, 10),)
    one = PublishedInstance(f"{uid}.1.1", "1.2", "1.2.1", 10, segments, None, b'{"a":1}')
    return SeriesSection(("ab" * 16,), (one,))


def make_index() -> bytes:
    file = io.BytesIO()
    writer = IndexWriter(file)
    for start in range(0, len(UIDS), layout.STUDIES_PER_CHUNK):
        studies = []
        for uid in UIDS[start : start + layout.STUDIES_PER_CHUNK]:
            place = writer.add_series(make_section(uid))
            studies.append(
                PublishedStudy(uid, b"{}", (PublishedSeries(f"{uid}.1", b"{}", 1, *place),))
            )
        writer.add_studies(studies)
    assert writer.finish(ABOUT) == len(file.getvalue())
    return file.getvalue()


def open_index(data: bytes) -> tuple[PublishedIndex, Source]:
    source = Source(data)
    return PublishedIndex.open(source, len(data)), source


def test_all_that_was_written_is_read() -> None:
    index, _ = open_index(make_index())
    assert index.about == ABOUT
    studies = list(index.studies())
    assert [study.study_uid for study in studies] == UIDS
    for study in studies:
        assert index.read_series(study.series[0]) == make_section(study.study_uid)


def test_a_study_costs_a_range_and_a_series_another() -> None:
    index, source = open_index(make_index())
    for uid in UIDS:
        source.ranges.clear()
        study = index.find_study(uid)
        assert study is not None
        assert study.study_uid == uid
        index.read_series(study.series[0])
        assert len(source.ranges) == 2
    source.ranges.clear()
    assert [index.find_study(uid) for uid in ("1", "1.2.100.5", "9")] == [None, None, None]
    assert len(source.ranges) <= 1


@pytest.mark.parametrize("tail_bytes", [1 << 20, 100, layout.FOOTER.size])
def test_the_directory_may_be_longer_than_what_is_read_at_first(
    monkeypatch: pytest.MonkeyPatch, tail_bytes: int
) -> None:
    monkeypatch.setattr(reader, "TAIL_BYTES", tail_bytes)
    index, source = open_index(make_index())
    assert len(source.ranges) == (1 if tail_bytes > 100 else 2)
    assert [study.study_uid for study in index.studies()] == UIDS


def test_an_empty_index_has_no_studies() -> None:
    file = io.BytesIO()
    IndexWriter(file).finish(ABOUT)
    index, _ = open_index(file.getvalue())
    assert list(index.studies()) == []
    assert index.find_study("1.2") is None


def test_what_is_cut_off_or_damaged_is_refused() -> None:
    data = make_index()
    for length in (0, 7, layout.FOOTER.size, len(data) - 1, len(data) // 2):
        with pytest.raises(IntegrityError):
            open_index(data[:length])
    for place in range(len(data) - layout.FOOTER.size - 60, len(data)):
        wrong = bytearray(data)
        wrong[place] ^= 0x55
        with pytest.raises(IntegrityError):
            open_index(bytes(wrong))


def test_a_damaged_section_is_refused() -> None:
    index, source = open_index(make_index())
    study = index.find_study(UIDS[7])
    assert study is not None
    wrong = bytearray(source.data)
    wrong[study.series[0].offset_bytes + study.series[0].length_bytes // 2] ^= 0x55
    source.data = bytes(wrong)
    with pytest.raises(IntegrityError):
        index.read_series(study.series[0])


def test_another_format_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lamella.archive.published.writer.FORMAT", 2)
    data = make_index()
    with pytest.raises(IntegrityError, match="format 2"):
        open_index(data)


def test_names_are_what_every_store_takes() -> None:
    assert name_object("default", "main~2") == "published/default/main~2.idx"
    assert name_object("a", "main@2026-11-01T12:00:00Z").endswith("Z.idx")
    for name in ("", "..", "a/b", "a b", "é", "x" * 300):
        with pytest.raises(InvalidRequest):
            name_object("default", name)
