"""Text of every VR in every character set, found by UTF-8 queries at every level and depth."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass

import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items

from tests.harness.collection import Collection, make_collection, open_client
from tests.harness.samples import make_instance
from tests.harness.server import serve

ROOT = "1.2.826.0.1.3680043.10.9999.78"


@dataclass(frozen=True)
class Script:
    """A text, and the Specific Character Set that a file declares for it."""

    number: int
    charsets: tuple[str, ...]
    text: str

    @property
    def study_uid(self) -> str:
        """The study that has the text."""
        return f"{ROOT}.{self.number}"


SCRIPTS = [
    Script(number, tuple(charsets.split("\\")), text)
    for number, (charsets, text) in enumerate(
        [
            ("ISO_IR 100", "Übergröße"),
            ("ISO_IR 101", "Łódź żółć"),
            ("ISO_IR 109", "Ĉeĥa ŝtono"),
            ("ISO_IR 110", "Ķēniņš"),
            ("ISO_IR 144", "Люкцембург"),
            ("ISO_IR 127", "قباني"),
            ("ISO_IR 126", "Διονυσιος"),
            ("ISO_IR 138", "שרון"),
            ("ISO_IR 148", "Çavuşoğlu"),
            ("ISO_IR 166", "นามสกุล"),
            ("ISO_IR 192", "東京 – naïve 😀"),
            ("GB18030", "王小東 裂変"),
            ("GBK", "王小东"),
            ("ISO 2022 IR 6\\ISO 2022 IR 87", "CT 山田太郎 head"),
            ("ISO 2022 IR 13\\ISO 2022 IR 87", "ﾔﾏﾀﾞ 山田"),
            ("ISO 2022 IR 6\\ISO 2022 IR 149", "Hong 김희중 CT"),
            ("ISO 2022 IR 100\\ISO 2022 IR 144", "Äpfel Люк"),
            ("ISO 2022 IR 100\\ISO 2022 IR 126", "é Διον"),
        ],
        1,
    )
]
"""The character sets of PS3.3 Tables C.12-2 to C.12-5 that pydicom writes; of the
others `test_names` has names."""

STUDY, SERIES, INSTANCE = "studies", "series", "instances"
ATTRIBUTES = {
    "StudyDescription": STUDY,  # LO, with a column
    "StudyID": STUDY,  # SH, with a column
    "PatientComments": STUDY,  # LT
    "SeriesDescription": SERIES,  # LO
    "StationName": SERIES,  # SH
    "ImageComments": INSTANCE,  # LT
    "AcquisitionComments": INSTANCE,  # LT
    "TextValue": INSTANCE,  # UT
    "LongCodeValue": INSTANCE,  # UC
    "ViewCodeSequence.CodeMeaning": INSTANCE,  # LO in an item
    "AnatomicRegionSequence.AnatomicRegionModifierSequence.CodeMeaning": INSTANCE,
}


def make_file(script: Script) -> bytes:
    """Return a file that has the text in all of the attributes, encoded as it declares."""
    ds = pydicom.dcmread(
        io.BytesIO(
            make_instance(script.study_uid, f"{script.study_uid}.1", f"{script.study_uid}.1.1")
        )
    )
    ds.SpecificCharacterSet = list(script.charsets)
    for name in ATTRIBUTES:
        *above, last = name.split(".")
        place = ds
        for sequence in above:
            item = Dataset()
            setattr(place, sequence, Items([item]))
            place = item
        setattr(place, last, script.text)
    buffer = io.BytesIO()
    ds.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Collection]:
    with (
        serve(tmp_path_factory.mktemp("texts") / "data", dimse="off") as server,
        open_client() as client,
    ):
        collection = make_collection(client, server)
        collection.store_well(*map(make_file, SCRIPTS))
        yield collection


def search(collection: Collection, level: str, name: str, text: str) -> list[dict[str, object]]:
    """Return what a search for a text finds."""
    parameters = {name: text, "includefield": name}
    answer = collection.client.get(f"{collection.root()}/{level}", params=parameters)
    assert answer.status_code == 200, answer.text
    assert "warning" not in answer.headers
    return answer.json()  # type: ignore[no-any-return]


def list_studies(found: list[dict[str, object]]) -> list[str]:
    return [one["0020000D"]["Value"][0] for one in found]  # type: ignore[index, call-overload, misc]


def test_files_hold_the_bytes_of_their_character_set() -> None:
    for script in SCRIPTS:
        ds = pydicom.dcmread(io.BytesIO(make_file(script)))
        raw = ds.get_item("StudyDescription").value
        assert isinstance(raw, bytes)
        assert raw.strip() != script.text.encode() or script.charsets == ("ISO_IR 192",)
        assert ds.StudyDescription == script.text, script


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_text_is_found_whole_and_shown_as_it_is(collection: Collection, name: str) -> None:
    for script in SCRIPTS:
        found = search(collection, ATTRIBUTES[name], name, script.text)
        assert list_studies(found) == [script.study_uid], script
        shown = repr(found)
        assert script.text in shown, script


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_wildcards_stand_for_characters(collection: Collection, name: str) -> None:
    for script in SCRIPTS:
        text = script.text
        half = len(text) // 2
        for pattern in (f"{text[:half]}*", f"*{text[half:]}", f"{text[: half - 1]}?{text[half:]}"):
            found = list_studies(search(collection, ATTRIBUTES[name], name, pattern))
            assert script.study_uid in found, (script, pattern)
        every = "?" * len(text)
        assert script.study_uid in list_studies(
            search(collection, ATTRIBUTES[name], name, every)
        ), script
        longer = list_studies(search(collection, ATTRIBUTES[name], name, every + "?"))
        assert script.study_uid not in longer, script


@pytest.mark.parametrize("name", ["StudyDescription", "SeriesDescription", "ImageComments"])
def test_text_is_compared_with_regard_to_case(collection: Collection, name: str) -> None:
    for script in SCRIPTS:
        other = script.text.swapcase()
        if other != script.text:
            assert search(collection, ATTRIBUTES[name], name, other) == [], script
