"""Bulk data URIs: each hole gets the URL of its own instance."""

from __future__ import annotations

import pytest

from lamella.dicomweb.bulk_uris import fill_all_holes, fill_holes

HOLE = b'"BulkDataURI":"bulkdata/'
DOCUMENTS = [
    [b'{"a":1}', b"{" + HOLE + b'7FE00010"}', b"{" + HOLE + b'1",' + HOLE + b'2/0/3"}'],
    [b"{" + HOLE + b'1"}', b'{"x":"\\"BulkDataURI\\":\\"bulkdata/"}', b"{}", HOLE, HOLE],
    [b"{}", b"{}"],
    [b"{" + HOLE + b'1"}'],
    [],
]


@pytest.mark.parametrize("documents", DOCUMENTS)
def test_all_at_once_is_the_same_as_one_by_one(documents: list[bytes]) -> None:
    urls = [f"http://host/instances/{number}" for number in range(len(documents))]
    ends = [len(b",".join(documents[: number + 1])) for number in range(len(documents))]
    filled = [fill_holes(one, url) for one, url in zip(documents, urls, strict=True)]
    assert fill_all_holes(b",".join(documents), ends, urls) == b",".join(filled)
    assert b'"bulkdata/' not in b"".join(filled).replace(b'\\"', b"")
