"""Where S3 is, how long it is waited for, how much of it is kept."""

from __future__ import annotations

from itertools import islice
from time import monotonic

import pytest

from lamella.archive.packs.s3.patience import Patience
from lamella.archive.packs.s3.place import BucketPlace, parse_place
from lamella.archive.packs.store import name_pack
from lamella.errors import InvalidRequest
from lamella.settings import load_settings


@pytest.mark.parametrize(
    ("url", "endpoint", "place"),
    [
        ("s3://bucket", "", BucketPlace("bucket", "", None)),
        ("s3://bucket/", "", BucketPlace("bucket", "", None)),
        ("s3://my.bucket/a/b/", "http://h:1/", BucketPlace("my.bucket", "a/b/", "http://h:1")),
        (
            "s3://bucket/with%20space",
            "https://h",
            BucketPlace("bucket", "with space/", "https://h"),
        ),
    ],
)
def test_places(url: str, endpoint: str, place: BucketPlace) -> None:
    assert parse_place(url, endpoint) == place


@pytest.mark.parametrize(
    ("url", "endpoint"),
    [
        ("s3://", ""),
        ("s3:bucket", ""),
        ("s3://BUCKET", ""),
        ("s3://b", ""),
        ("s3://bucket/x?y=z", ""),
        ("s3://user:secret@bucket/x", ""),
        ("file:///x", ""),
        ("s3://bucket", "h:1"),
        ("s3://bucket", "ftp://h"),
    ],
)
def test_wrong_places(url: str, endpoint: str) -> None:
    with pytest.raises(InvalidRequest):
        parse_place(url, endpoint)


def test_keys_are_of_one_pack_each() -> None:
    place = BucketPlace("bucket", "a/", None)
    name = name_pack()
    key = place.key_of(name)
    assert key == f"a/packs/{name[:2]}/{name[2:]}.pack"
    assert place.name_of(key) == name
    for other in (key + "x", key.upper(), "a/packs/x", f"a/packs/{name}.pack", f"b/{key}"):
        assert place.name_of(other) is None


def test_pauses_are_bounded_and_drawn_anew() -> None:
    patience = Patience(attempts=9, first_pause_s=0.1, longest_pause_s=2.0)
    draws = [list(patience.draw_pauses()) for _ in range(300)]
    bounds = [0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0, 2.0]
    for pauses in draws:
        assert len(pauses) == 8
        assert all(0 <= pause <= bound for pause, bound in zip(pauses, bounds, strict=True))
    for number, bound in enumerate(bounds):  # full jitter: all of the span is used
        drawn = [pauses[number] for pauses in draws]
        assert min(drawn) < 0.1 * bound
        assert max(drawn) > 0.9 * bound


def test_no_pause_reaches_beyond_the_deadline() -> None:
    patience = Patience(attempts=1000, first_pause_s=10, longest_pause_s=10, deadline_s=0.0)
    begun = monotonic()
    assert sum(islice(patience.draw_pauses(), 5)) < monotonic() - begun + 1e-9


@pytest.mark.parametrize(
    ("text", "size_bytes"), [("off", 0), ("64MiB", 64 << 20), ("10GiB", 10 << 30), ("", 4 << 30)]
)
def test_cache_sizes(text: str, size_bytes: int) -> None:
    assert load_settings(environ={"LAMELLA_S3_CACHE": text}).s3_cache_bytes == size_bytes


@pytest.mark.parametrize("text", ["0", "1MiB", "much", "-5GiB"])
def test_wrong_cache_sizes(text: str) -> None:
    with pytest.raises(InvalidRequest, match="LAMELLA_S3_CACHE"):
        load_settings(environ={"LAMELLA_S3_CACHE": text})
