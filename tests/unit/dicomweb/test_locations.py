"""Paths in URLs: quick where nothing has to be escaped, and never another path for that."""

from __future__ import annotations

from urllib.parse import unquote

from hypothesis import given
from hypothesis import strategies as st

from lamella.dicomweb.locations import escape, join_path

SEGMENTS = st.text(st.sampled_from("19.aZ~/%?#é \"'")) | st.text(st.characters(codec="utf-8"))


@given(st.lists(SEGMENTS, min_size=1))
def test_a_path_is_its_escaped_segments(segments: list[str]) -> None:
    path = join_path(*segments)
    assert path == "".join("/" + escape(segment) for segment in segments)
    assert [unquote(part) for part in path.split("/")[1:]] == segments
    assert path.isascii()
    assert not set(path) & set('?#" ')


def test_uids_and_revisions_stand_as_they_are() -> None:
    path = join_path("studies", "1.2.840.1", "main@2026-11-01T12:00:00Z", "v1~2")
    assert path == "/studies/1.2.840.1/main@2026-11-01T12:00:00Z/v1~2"
    assert escape("a/b") == "a%2Fb"
    assert join_path("a/b", "c") == "/a%2Fb/c"
