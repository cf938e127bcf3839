"""Person names in every character set, found by UTF-8 queries whatever the file's own set is."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pydicom
import pytest
from pydicom.data import DATA_ROOT

from tests.harness.collection import Collection, make_collection, open_client
from tests.harness.samples import SHARED
from tests.harness.server import serve
from tests.integration.corpus import quiet_pydicom

UID_ROOT = "1.2.826.0.1.3680043.10.9999.77"
GROUPS = ("Alphabetic", "Ideographic", "Phonetic")
PATIENT_NAME, STUDY_UID = "00100010", "0020000D"
CHARSET_FILES = Path(str(DATA_ROOT)) / "charset_files"


@dataclass(frozen=True)
class Named:
    """A file with a name in it, stored as a study of its own.

    Attributes:
        groups: The groups of its patient's name as pydicom decodes them, without empty ends.
    """

    file: str
    study_uid: str
    groups: tuple[str, ...]

    @property
    def components(self) -> list[str]:
        """Components of all groups that are not empty."""
        return [part for group in self.groups for part in group.split("^") if part.strip()]

    @property
    def is_plain(self) -> bool:
        """Whether the name, as a key, stands for itself only: one file's is `***`."""
        return not {"*", "?"} & set("".join(self.groups))


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Collection, list[Named]]]:
    with (
        serve(tmp_path_factory.mktemp("names") / "data", dimse="off") as server,
        open_client() as client,
    ):
        collection = make_collection(client, server)
        stored = [*make_studies()]
        collection.store_well(*(data for _, data in stored))
        once = {named.groups: named for named, _ in reversed(stored)}
        yield collection, [*once.values()]


def make_studies() -> Iterator[tuple[Named, bytes]]:
    """Yield each file that has a patient's name, under UIDs of its own, its text untouched."""
    paths = [path for root in (CHARSET_FILES, SHARED) for path in sorted(root.rglob("*"))]
    for number, path in enumerate(paths):
        with quiet_pydicom():
            name = read_name(path)
            if name is None:
                continue
            found = pydicom.dcmread(path, specific_tags=["SOPClassUID", "PatientName"])
            study_uid = f"{UID_ROOT}.{number}"
            found.StudyInstanceUID = study_uid
            found.SeriesInstanceUID = f"{study_uid}.1"
            found.SOPInstanceUID = found.file_meta.MediaStorageSOPInstanceUID = f"{study_uid}.1.1"
            buffer = io.BytesIO()
            found.save_as(buffer)
        yield Named(path.name, study_uid, tuple(name.split("="))), buffer.getvalue()


def read_name(path: Path) -> str | None:
    """Return the patient's name as pydicom decodes it; None if there is none, or it cannot."""
    try:
        ds = pydicom.dcmread(path, specific_tags=["SOPClassUID", "PatientName"])
        name = str(ds.PatientName).rstrip("=^ ")
        is_known = "SOPClassUID" in ds and ds.file_meta.TransferSyntaxUID.is_transfer_syntax
    except Exception:  # noqa: BLE001  # pydicom raises anything on what it cannot read
        return None
    return name if is_known and name and "\N{REPLACEMENT CHARACTER}" not in name else None


def search(collection: Collection, text: str, *, fuzzy: bool = False) -> dict[str, str]:
    """Return the names that a search for one finds, groups joined by `=`, by study."""
    found: dict[str, str] = {}
    parameters = {"PatientName": text, "limit": "10000"} | (
        {"fuzzymatching": "true"} if fuzzy else {}
    )
    answer = collection.client.get(f"{collection.root()}/studies", params=parameters)
    assert answer.status_code == 200, (text, answer.text)
    assert "fuzzymatching" not in answer.headers.get("warning", "")
    for study in answer.json():
        (name,) = study[PATIENT_NAME]["Value"]
        found[study[STUDY_UID]["Value"][0]] = "=".join(name.get(g, "") for g in GROUPS)
    return found


def tidy(name: str) -> list[list[str]]:
    """Return groups and components without the spaces and empty ends that mean nothing."""
    groups = [group.rstrip("^ ").split("^") for group in name.rstrip("=^ ").split("=")]
    return [[part.strip() for part in group] for group in groups]


def test_all_scripts_are_there(names: tuple[Collection, list[Named]]) -> None:
    _, files = names
    texts = {text for one in files for text in one.components}
    assert {"Люкceмбypг", "Διονυσιος", "Jérôme", "山田", "吉洞", "小东", "小東", "やまだ"} <= texts
    assert {"ﾔﾏﾀﾞ", "שרון", "قباني", "김희중", "Rüdiger"} <= texts


def test_a_whole_name_is_found_and_shown_as_it_is(names: tuple[Collection, list[Named]]) -> None:
    collection, files = names
    for one in files:
        text = "=".join(one.groups)
        found = search(collection, text)
        assert one.study_uid in found, (one.file, text)
        assert tidy(found[one.study_uid]) == tidy(text), one.file
        if one.is_plain:
            wanted = tidy(text.casefold())[0]
            for shown in found.values():
                held = [group[: len(wanted)] for group in tidy(shown.casefold())]
                assert wanted in held, (text, shown)


def test_each_group_and_component_is_found(names: tuple[Collection, list[Named]]) -> None:
    collection, files = names
    for one in files:
        for place, group in enumerate(one.groups):
            if not group.strip("^ "):
                continue
            assert one.study_uid in search(collection, group), (one.file, group)
            assert one.study_uid in search(collection, "=" * place + group), (one.file, group)
            for at, part in enumerate(group.split("^")):
                if part.strip():
                    found = search(collection, "^" * at + part)
                    assert one.study_uid in found, (one.file, part)
                    wrong = [
                        shown
                        for shown in found.values()
                        if part.strip().casefold() not in shown.casefold()
                    ]
                    assert not wrong or not one.is_plain, (one.file, part)


def test_wildcards_stand_for_letters_not_for_bytes(names: tuple[Collection, list[Named]]) -> None:
    collection, files = names
    for one in files:
        for group in filter(None, (group.strip("^ ") for group in one.groups)):
            for pattern in (group[:1] + "*", "*" + group[-1:], "*" + group[len(group) // 2 :]):
                assert one.study_uid in search(collection, pattern), (one.file, pattern)
            exact = "?" * len(group)
            assert one.study_uid in search(collection, exact), (one.file, exact)
            longer = group + "?"
            assert not one.is_plain or one.study_uid not in search(collection, longer), (
                one.file,
                longer,
            )


def test_fuzzy_matching_takes_any_order_prefixes_case_and_accents(
    names: tuple[Collection, list[Named]],
) -> None:
    collection, files = names
    study = {one.file: one.study_uid for one in files}
    for text, file in [
        ("jerome buc", "chrFren.dcm"),
        ("RUDIGER ANEAS", "chrGerm.dcm"),
        ("διονυσ", "chrGreek.dcm"),
        ("ЛЮК", "chrRuss.dcm"),
        ("太郎 山田", "chrH31.dcm"),
        ("ヤマダ", "chrH32.dcm"),
        ("たろう", "chrJapMulti.dcm"),
        ("길동", "chrI2.dcm"),
        ("xiaodong wang", "chrX2.dcm"),
        ("小东", "chrX2.dcm"),
    ]:
        assert study[file] in search(collection, text, fuzzy=True), text
    assert study["chrFren.dcm"] not in search(collection, "jerome buc")
    assert study["chrFren.dcm"] not in search(collection, "jerome bucx", fuzzy=True)
    assert study["chrX1.dcm"] not in search(collection, "小东", fuzzy=True)
