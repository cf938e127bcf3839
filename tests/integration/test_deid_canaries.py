"""Nothing of a patient that stands in 42 places of a CT is left in the bytes of the output."""

from __future__ import annotations

import io

import pytest
from pydicom import Dataset, dcmread
from pydicom.uid import UID

from bench.phi.hunt import search, unfold
from lamella.deid import headers, texts, verification, writing
from lamella.deid.keys import ProjectKey
from lamella.deid.profiles import BUILT_IN
from lamella.deid.results import Verdict
from tests.harness.canaries import DEVICE, META, NAMED, PLACES, SECRETS, SYNTAXES, make_canary_ct

KEY = ProjectKey("canaries", b"k" * 32)


def write(ct: Dataset) -> bytes:
    stream = io.BytesIO()
    ct.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def find(content: bytes) -> set[str]:
    """Return the names of the places whose secret is in some bytes, in any form."""
    unfolded = unfold(content)
    found = {text for text, _ in search(unfolded, SECRETS.values())}
    return {place for place, text in SECRETS.items() if text in found}


@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda uid: UID(uid).name)
def test_the_search_finds_every_canary_in_the_original(syntax: str) -> None:
    assert PLACES + len(META) >= 42
    places = find(write(make_canary_ct(syntax)))
    assert set(SECRETS) - places == set()


@pytest.mark.parametrize("profile", ["basic", "strict", "research"])
@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda uid: UID(uid).name)
def test_no_canary_is_left(syntax: str, profile: str) -> None:
    chosen = BUILT_IN[profile]
    original = dcmread(io.BytesIO(write(make_canary_ct(syntax))))
    cleaned = headers.clean(original, chosen, KEY, finder=texts.find_engine(chosen))
    written = writing.write(cleaned)
    reasons = verification.verify(written, cleaned)
    verdict = Verdict.worst(cleaned.verdict, *(reason.verdict for reason in reasons))
    assert (verdict, reasons) == (Verdict.PASS, ())
    kept = DEVICE if profile == "research" else frozenset()
    assert find(written) - kept == set()
    words = [word for word, _ in search(unfold(written), NAMED)]
    assert words == []


@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda uid: UID(uid).name)
def test_pixels_come_through_untouched(syntax: str) -> None:
    original = dcmread(io.BytesIO(write(make_canary_ct(syntax))))
    chosen = BUILT_IN["basic"]
    cleaned = headers.clean(original, chosen, KEY, finder=texts.find_engine(chosen))
    read = dcmread(io.BytesIO(writing.write(cleaned)))
    assert read.file_meta.TransferSyntaxUID == syntax
    assert read.PixelData == original.PixelData
    assert read.KVP == original.KVP
