"""The scorer tells right outputs from wrong ones, action by action.

Each case has an output made by hand; a scorer that cannot fail would pass them all.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from lamella.cli.main import main
from lamella.deid.scoring.answers import ACTIONS, Answer, Check, read_answers
from lamella.deid.scoring.pixels import digest_outside, measure_tiles, read_pixels
from lamella.deid.scoring.scorer import Score, read_map, score
from lamella.errors import InvalidRequest, NotFound

OLD, NEW = "1.2.3.1", "2.25.1"
UIDS = {OLD: NEW, "1.2.3.9": "2.25.9", "1.2.3.8": "2.25.8"}
PATIENTS = {"MRN1": "PNEW1"}
Edit = Callable[[Dataset], object]


def make_output() -> Dataset:
    """Return an output as it should be, of which the cases change something."""
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID = CTImageStorage
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID = NEW
    ds.PatientID = "PNEW1"
    ds.PatientName = ""
    ds.Modality = "CT"
    ds.KVP = "120.0"
    ds.StudyDate = "20200111"
    ds.StudyDescription = "CT chest with contrast"
    item = Dataset()
    item.ReferencedSOPInstanceUID = "2.25.9"
    ds.ReferencedImageSequence = [item]
    report = Dataset()
    report.TextValue = "Nodule of 4 mm"
    name = Dataset()
    name.CodeValue, name.CodingSchemeDesignator = "121071", "DCM"
    report.ConceptNameCodeSequence = [name]
    ds.ContentSequence = [report]
    ds.private_block(0x19, "VENDOR 1", create=True).add_new(0x10, "LO", "safe")
    set_pixels(ds, make_samples())
    return ds


def make_samples() -> np.ndarray[Any, Any]:
    samples = np.arange(64 * 64, dtype="<u2").reshape(64, 64) % 997
    samples[10:20, 5:45] = 0  # the box that was drawn
    return samples


def set_pixels(ds: Dataset, samples: np.ndarray[Any, Any]) -> None:
    ds.Rows, ds.Columns = samples.shape
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
    ds.PixelData = samples.astype("<u2").tobytes()


REGION = {"text": "DOE JANE", "top_left": [5, 10], "bottom_right": [45, 20]}
BOXES = [[0, 3, 8, 47, 22]]


def make_check(action: str, path: str, value: str, text: str = "", **more: bool) -> Check:
    return Check(path, value, action, text, "cat", **more)  # type: ignore[arg-type]


def run(folder: Path, check: Check, edit: Edit = lambda ds: None, **more: Any) -> Score:
    ds = make_output()
    edit(ds)
    (folder / "a").mkdir()
    ds.save_as(folder / "a" / "b.dcm", enforce_file_format=True)
    answer = Answer(OLD, "1.2.3.8", "1.2.3.7", "MRN1", "CT", CTImageStorage, (check,))
    return score([answer], folder, **{"uids": UIDS, "patients": PATIENTS} | more)


def outside() -> str:
    pixels = read_pixels(make_output())
    return json.dumps({"boxes": BOXES, "sha256": digest_outside(pixels.samples, BOXES)})


def tiles() -> str:
    pixels = read_pixels(make_output())
    return json.dumps(
        {"boxes": BOXES, "means": measure_tiles(pixels.samples, BOXES).tobytes().hex()}
    )


def put(row: slice, column: slice, value: int) -> Edit:
    def edit(ds: Dataset) -> None:
        samples = make_samples()
        samples[row, column] = value
        set_pixels(ds, samples)

    return edit


def show_text(ds: Dataset) -> None:
    samples = make_samples()
    samples[10:20, 5:45][::2, ::3] = 900
    set_pixels(ds, samples)


def clear(*keywords: str) -> Edit:
    def edit(ds: Dataset) -> None:
        for keyword in keywords:
            delattr(ds, keyword)

    return edit


def write(keyword: str, value: object) -> Edit:
    return lambda ds: setattr(ds, keyword, value)


def refer_to(uid: str, vr: str = "UI") -> Edit:
    return lambda ds: ds.ReferencedImageSequence[0].add_new(0x00081155, vr, uid)


def report(text: str) -> Edit:
    return lambda ds: setattr(ds.ContentSequence[0], "TextValue", text)


def do_nothing(ds: Dataset) -> None:
    """The output as it should be."""


NOTHING: Edit = do_nothing
UID_IN_ITEM = "<(0008,1140)>[<0000>]<(0008,1155)>"
CONTENT = "<(0040,a730)>[<121071,DCM>]<(0040,a160)>"
PRIVATE = '<(0019,"vendor 1",10)>'
MD5 = hashlib.md5(make_output().PixelData, usedforsecurity=False).hexdigest()

CASES: dict[str, tuple[Check, list[Edit], list[tuple[Edit, str]]]] = {
    "tag_retained": (
        make_check("tag_retained", "<(0018,0060)>", "120"),
        [NOTHING, write("KVP", None)],
        [(clear("KVP"), "gone")],
    ),
    "tag_retained private": (
        make_check("tag_retained", PRIVATE, "safe"),
        [NOTHING],
        [(lambda ds: ds.remove_private_tags(), "gone")],
    ),
    "text_notnull": (
        make_check("text_notnull", "<(0008,1030)>", "x"),
        [NOTHING, write("StudyDescription", "anything")],
        [(clear("StudyDescription"), "empty"), (write("StudyDescription", " "), "empty")],
    ),
    "text_retained": (
        make_check("text_retained", "<(0008,1030)>", "CT chest Doe", "chest contrast"),
        [NOTHING, write("StudyDescription", "CHEST, Contrast")],
        [
            (clear("StudyDescription"), "gone"),
            (write("StudyDescription", ""), "changed"),
            (write("StudyDescription", "chests without contrasts"), "changed"),
            (write("StudyDescription", "chest"), "changed"),
        ],
    ),
    "text_retained number": (
        make_check("text_retained", "<(0018,0060)>", "120", "120"),
        [NOTHING],
        [(write("KVP", "12"), "changed"), (write("KVP", "1200"), "changed")],
    ),
    "text_retained in a report": (
        make_check("text_retained", CONTENT, "", "nodule 4 mm"),
        [NOTHING, lambda ds: ds.ContentSequence.insert(0, Dataset())],
        [
            (lambda ds: ds.ContentSequence.clear(), "gone"),
            (report("Nodule of 5 mm"), "changed"),
        ],
    ),
    "text_removed": (
        make_check("text_removed", "<(0010,0010)>", "DOE^JANE", "DOE^JANE"),
        [
            NOTHING,
            clear("PatientName"),
            write("PatientName", "PNEW1"),
            write("PatientName", "Doey"),
        ],
        [
            (write("PatientName", "DOE^JANE"), "left"),
            (write("PatientName", "Jane"), "left"),
            (write("PatientName", "X^doe"), "left"),
        ],
    ),
    "text_removed anywhere": (
        make_check("text_removed", "<(0010,0010)>", "DOE^JANE", "DOE^JANE", anywhere=True),
        [NOTHING],
        [
            (report("of doe^jane"), "left elsewhere"),
            (write("StudyDescription", "DOE^JANE chest"), "left elsewhere"),
        ],
    ),
    "date_shifted": (
        make_check("date_shifted", "<(0008,0020)>", "20200101"),
        [NOTHING, write("StudyDate", "20191201")],
        [
            (write("StudyDate", "20200101"), "not shifted"),
            (clear("StudyDate"), "gone"),
            (write("StudyDate", ""), "gone"),
        ],
    ),
    "uid_changed": (
        make_check("uid_changed", UID_IN_ITEM, "1.2.3.9"),
        [NOTHING],
        [
            (refer_to("1.2.3.9"), "left"),
            (refer_to(""), "gone"),
            (clear("ReferencedImageSequence"), "gone"),
            (refer_to("removed", "LO"), "no UID"),
        ],
    ),
    "uid_consistent": (
        make_check("uid_consistent", UID_IN_ITEM, "1.2.3.9"),
        [NOTHING],
        [
            (refer_to("2.25.7"), "unlike the map"),
            (clear("ReferencedImageSequence"), "gone"),
        ],
    ),
    "patid_consistent": (
        make_check("patid_consistent", "<(0010,0020)>", "MRN1"),
        [NOTHING],
        [
            (write("PatientID", "MRN1"), "unlike the map"),
            (write("PatientID", "PNEW2"), "unlike the map"),
            (clear("PatientID"), "unlike the map"),
        ],
    ),
    "pixels_hidden": (
        make_check("pixels_hidden", "<(7fe0,0010)>", "", json.dumps(REGION)),
        [NOTHING, put(slice(10, 20), slice(5, 45), 400), put(slice(0, 64), slice(0, 64), 0)],
        [
            (show_text, "shown"),
            (put(slice(10, 20), slice(5, 20), 500), "shown"),
            (clear("PixelData"), "not decoded: KeyError"),
        ],
    ),
    "pixels_retained": (
        make_check("pixels_retained", "<(7fe0,0010)>", "", outside()),
        [NOTHING, show_text],
        [
            (put(slice(30, 31), slice(30, 31), 7), "changed"),
            (put(slice(8, 22), slice(3, 48), 0), "changed"),
            (put(slice(0, 64), slice(0, 64), 0), "changed"),
            (clear("PixelData"), "gone"),
            (lambda ds: set_pixels(ds, make_samples()[:32]), "changed"),
        ],
    ),
    "pixels_retained by tiles": (
        make_check("pixels_retained", "<(7fe0,0010)>", "", tiles()),
        [NOTHING, put(slice(30, 31), slice(30, 31), 7)],
        [
            (put(slice(32, 64), slice(32, 64), 40000), "changed"),
            (lambda ds: set_pixels(ds, make_samples()[:32]), "changed"),
        ],
    ),
    "pixels_retained by MD5": (
        make_check("pixels_retained", "<(7fe0,0010)>", "", MD5),
        [NOTHING],
        [(put(slice(30, 31), slice(30, 31), 7), "changed"), (clear("PixelData"), "gone")],
    ),
}


def test_there_is_a_case_for_every_action() -> None:
    assert {name.split()[0] for name in CASES} == set(ACTIONS)
    assert all(right and wrong for _, right, wrong in CASES.values())


def list_right() -> list[Any]:
    return [
        pytest.param(check, edit, id=f"{name}-{number}")
        for name, (check, right, _) in CASES.items()
        for number, edit in enumerate(right)
    ]


def list_wrong() -> list[Any]:
    return [
        pytest.param(check, *wrong, id=f"{name}-{number}")
        for name, (check, _, all_wrong) in CASES.items()
        for number, wrong in enumerate(all_wrong)
    ]


@pytest.mark.parametrize(("check", "edit"), list_right())
def test_a_right_output_passes(tmp_path: Path, check: Check, edit: Edit) -> None:
    result = run(tmp_path, check, edit)
    assert (result.overall.passed, result.overall.total, result.failures) == (1, 1, [])


@pytest.mark.parametrize(("check", "edit", "why"), list_wrong())
def test_a_wrong_output_fails(tmp_path: Path, check: Check, edit: Edit, why: str) -> None:
    result = run(tmp_path, check, edit)
    assert (result.overall.passed, result.overall.total) == (0, 1)
    assert [one.why for one in result.failures] == [why]


@pytest.mark.parametrize("name", CASES)
def test_a_missing_instance_fails_whatever_is_checked(tmp_path: Path, name: str) -> None:
    result = run(tmp_path, CASES[name][0], write("SOPInstanceUID", "2.25.404"))
    assert (result.overall.passed, result.missing, result.missing_share) == (0, 1, 1.0)
    assert result.failures[0].why == "missing"
    assert result.unexpected == 1


def test_an_original_that_came_through_is_no_output(tmp_path: Path) -> None:
    result = run(tmp_path, CASES["text_notnull"][0], write("SOPInstanceUID", OLD), uids={})
    assert (result.overall.passed, result.missing, result.unexpected) == (0, 1, 1)


@pytest.mark.parametrize("action", ["uid_consistent", "patid_consistent"])
def test_two_originals_with_one_replacement_are_wrong(tmp_path: Path, action: str) -> None:
    merged = {"uids": UIDS | {"1.2.3.99": "2.25.9"}, "patients": PATIENTS | {"MRN2": "PNEW1"}}
    result = run(tmp_path, CASES[action][0], **merged)
    assert [one.why for one in result.failures] == ["shared with another"]


def test_dates_of_a_patient_move_by_as_many_days(tmp_path: Path) -> None:
    def edit(ds: Dataset) -> None:
        ds.SeriesDate, ds.AcquisitionDate = "20200112", "20200112"

    checks = [
        make_check("date_shifted", f"<({tag})>", old)
        for tag, old in (
            ("0008,0020", "20200101"),
            ("0008,0021", "20200102"),
            ("0008,0022", "20200101"),
        )
    ]
    ds = make_output()
    edit(ds)
    ds.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    answer = Answer(OLD, "", "", "MRN1", "CT", CTImageStorage, tuple(checks))
    result = score([answer], tmp_path, UIDS, PATIENTS)
    assert [(one.path, one.why) for one in result.failures] == [
        ("<(0008,0022)>", "shifted unlike others")
    ]


def test_a_reader_decides_on_regions_that_are_not_flat(tmp_path: Path) -> None:
    check = CASES["pixels_hidden"][0]
    (tmp_path / "nothing").mkdir()
    (tmp_path / "name").mkdir()
    seen = []

    def read_nothing(grey: np.ndarray[Any, Any]) -> str:
        seen.append(grey.shape)
        return "..."

    assert run(tmp_path / "nothing", check, show_text, reader=read_nothing).overall.passed == 1
    assert seen == [(10, 40)]
    assert run(tmp_path / "name", check, show_text, reader=lambda _: "DOE").overall.passed == 0


def test_over_redaction_is_counted_apart(tmp_path: Path) -> None:
    result = run(tmp_path, CASES["text_retained"][0], clear("StudyDescription"))
    assert result.over_redaction["cat"].share == 0
    assert result.actions["text_retained"].total == 1


def write_key(path: Path, rows: object) -> Path:
    connection = sqlite3.connect(path)
    connection.execute(
        "CREATE TABLE answer_data (SOPInstanceUID, SeriesInstanceUID, StudyInstanceUID, "
        "PatientID, Modality, SOPClassUID, AnswerData)"
    )
    values = (f"<{OLD}>", "<1.2.3.8>", "<1.2.3.7>", "<MRN1>", "<CT>", f"<{CTImageStorage}>")
    connection.execute(
        "INSERT INTO answer_data VALUES (?, ?, ?, ?, ?, ?, ?)", (*values, json.dumps(rows))
    )
    connection.commit()
    connection.close()
    return path


ROW = {
    "tag": "<(0010,0010)>",
    "tag_ds": "<(0010,0010)>",
    "value": "<DOE^JANE>",
    "action": "<text_removed>",
    "action_text": "<DOE^JANE>",
    "answer_category_v2": {"hipaa.a": 1, "dicom.p15": 0},
}


@pytest.mark.parametrize("rows", [{"0": ROW}, [ROW]])
def test_a_key_is_read_as_midi_b_writes_it(tmp_path: Path, rows: object) -> None:
    (answer,) = read_answers(write_key(tmp_path / "key.db", rows))
    assert (answer.sop_uid, answer.patient_id, answer.modality) == (OLD, "MRN1", "CT")
    assert answer.checks == (
        Check("<(0010,0010)>", "DOE^JANE", "text_removed", "DOE^JANE", "hipaa.a"),
    )


def test_what_is_no_key_or_map_is_refused(tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.write_text("a,b\n1,2\n")
    with pytest.raises(InvalidRequest):
        list(read_answers(text))
    with pytest.raises(InvalidRequest):
        read_map(text)
    with pytest.raises(NotFound):
        list(read_answers(tmp_path / "none"))
    with pytest.raises(NotFound):
        read_map(tmp_path / "none")
    with pytest.raises(InvalidRequest):
        list(read_answers(write_key(tmp_path / "key.db", [ROW | {"action": "<unknown>"}])))


def test_the_command_scores_a_folder_and_shows_no_values(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out").mkdir()
    ds = make_output()
    ds.PatientName = "DOE^JANE"
    ds.save_as(tmp_path / "out" / "a.dcm", enforce_file_format=True)
    key = write_key(tmp_path / "key.db", [ROW, ROW | {"tag_ds": "<(0008,1030)>"}])
    for name, pairs in (("uids", UIDS), ("patients", PATIENTS)):
        lines = [f"{old},{new}\n" for old, new in pairs.items()]
        (tmp_path / name).write_text("id_old,id_new\n" + "".join(lines))
    words = ["deid", "score", str(key), "out", "--uid-map", "uids", "--patient-map", "patients"]
    assert main([*words, "--json", "--csv", "all.csv", "--failures", "failed.csv"]) == 1
    shown = capsys.readouterr().out
    assert json.loads(shown)["share"] == 0.5
    assert json.loads(shown)["reasons"] == {"text_removed: left": 1}
    assert "all,,1,2,0.500000" in (tmp_path / "all.csv").read_text()
    failed = (tmp_path / "failed.csv").read_text()
    assert '1,2.25.1,CT,"<(0010,0010)>",text_removed,hipaa.a,left' in failed
    assert main([*words, "--least", "0.5"]) == 0
    table = capsys.readouterr().out
    assert "passed=1 checks=2 share=0.500000" in table
    assert "DOE" not in shown + failed + table
