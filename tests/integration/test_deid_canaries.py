"""Nothing of a patient that stands in 42 places of a CT is left in the bytes of the output."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from pydicom import Dataset, dcmread, dcmwrite
from pydicom.uid import UID, JPEGBaseline8Bit, UID_dictionary

from bench.phi.hunt import search, unfold
from lamella.deid import headers, texts, verification, writing
from lamella.deid.keys import ProjectKey
from lamella.deid.profiles import BUILT_IN
from lamella.deid.results import Verdict
from tests.harness.canaries import (
    DEVICE,
    META,
    NAMED,
    NAMED_AS,
    PLACES,
    SECRETS,
    SYNTAXES,
    make_canary_ct,
)
from tests.harness.server import run_cli
from tests.unit.deid.pixels.pictured import burn, draw_noise

KEY = ProjectKey("canaries", b"k" * 32)
ALL = (*SYNTAXES, *NAMED_AS)
each_syntax = pytest.mark.parametrize("syntax", ALL, ids=lambda uid: UID(uid).name)


def write(ct: Dataset) -> bytes:
    stream = io.BytesIO()
    syntax = ct.file_meta.TransferSyntaxUID
    if syntax in UID_dictionary:
        dcmwrite(stream, ct, enforce_file_format=True)
    else:  # of another, pydicom has to be told
        dcmwrite(stream, ct, implicit_vr=False, little_endian=True, force_encoding=True)
    return stream.getvalue()


def find(content: bytes) -> set[str]:
    """Return the names of the places whose secret is in some bytes, in any form."""
    unfolded = unfold(content)
    found = {text for text, _ in search(unfolded, SECRETS.values())}
    return {place for place, text in SECRETS.items() if text in found}


@each_syntax
def test_the_search_finds_every_canary_in_the_original(syntax: str) -> None:
    assert PLACES + len(META) >= 42
    places = find(write(make_canary_ct(syntax)))
    assert set(SECRETS) - places == set()


@pytest.mark.parametrize("profile", ["basic", "strict", "research"])
@each_syntax
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


@each_syntax
def test_pixels_come_through_untouched(syntax: str) -> None:
    original = dcmread(io.BytesIO(write(make_canary_ct(syntax))))
    chosen = BUILT_IN["basic"]
    cleaned = headers.clean(original, chosen, KEY, finder=texts.find_engine(chosen))
    read = dcmread(io.BytesIO(writing.write(cleaned)))
    assert read.file_meta.TransferSyntaxUID == syntax
    assert read.PixelData == original.PixelData
    assert read.KVP == original.KVP


@pytest.mark.parametrize("profile", ["basic", "strict"])
def test_no_canary_is_left_by_the_command(profile: str, tmp_path: Path) -> None:
    """In all syntaxes, one of the instances with the patient's name in its pixels as well."""
    folder, data_dir = tmp_path / "in", tmp_path / "data"
    folder.mkdir()
    for number, syntax in enumerate(SYNTAXES, 1):
        (folder / f"{number}.dcm").write_bytes(write(make_canary_ct(syntax, number)))
    picture = draw_noise(192, 448)
    letters = burn(picture, "QUILLFEATHER MRN5550123", 12, 24, size=20)
    burned = write(make_canary_ct(JPEGBaseline8Bit, len(SYNTAXES) + 1, picture))
    (folder / "burned.dcm").write_bytes(burned)
    done = run_cli(data_dir, "import", str(folder))
    assert done.returncode == 0, done.stderr
    html = tmp_path / "report.html"
    options = ("--profile", profile, "--report", str(html), "--processes", "1")
    done = run_cli(data_dir, "deid", "default@main", "public", *options)
    assert done.returncode == 0, done.stdout + done.stderr
    log = run_cli(data_dir, "log", "public@main", "--json")
    exported = run_cli(data_dir, "export", "public@main", str(tmp_path / "out"))
    assert exported.returncode == 0, exported.stderr
    paths = list((tmp_path / "out").rglob("*.dcm"))
    assert len(paths) == len(SYNTAXES) + 1
    for path in paths:
        assert find(path.read_bytes()) == set(), path
    for told in (html.read_text(), done.stdout, done.stderr, log.stdout, exported.stdout):
        assert find(told.encode()) == set()
    (shown,) = [one for one in map(dcmread, paths) if one.Columns == 448]
    pixels = shown.pixel_array[letters.top : letters.bottom, letters.left : letters.right]
    assert pixels.min() == pixels.max()
