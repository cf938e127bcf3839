"""Studies: subjects, their instances in every modality and transfer syntax, and the key."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, generate_uid

from bench.phi.encodings import LOSSLESS, LOSSY, NATIVE, set_pixels, write_file
from bench.phi.headers import plant_header
from bench.phi.key import Answers, write_key
from bench.phi.people import Subject, make_subject
from bench.phi.pictures import Line, burn, draw_anatomy
from bench.phi.planting import Planter, plant_rule
from bench.phi.reports import plant_report
from bench.phi.rules import read_rules
from bench.phi.sentences import CLEAN
from lamella.deid.scoring.pixels import digest_outside, measure_tiles, read_pixels

RULES_AN_INSTANCE = 12
INSTANCES = 4
_PREFIX = "1.2.840.113619.2."


@dataclass(frozen=True)
class Kind:
    """A modality as it is made here.

    Attributes:
        text: `all` where any burned-in text has to go, `identifiers` where only secret lines.
    """

    modality: str
    sop_class_uid: str
    photometric: str = ""
    bits: int = 8
    frames: int = 1
    text: str = "identifiers"
    rows: int = 256
    columns: int = 320


_STORAGE = "1.2.840.10008.5.1.4.1.1."
KINDS = (
    Kind("CT", _STORAGE + "2", "MONOCHROME2", 12),
    Kind("MR", _STORAGE + "4", "MONOCHROME2", 16),
    Kind("US", _STORAGE + "6.1", "RGB", text="all"),
    Kind("US", _STORAGE + "3.1", "RGB", frames=3, text="all"),
    Kind("CR", _STORAGE + "1", "MONOCHROME1", 12, rows=384, columns=384),
    Kind("DX", _STORAGE + "1.1", "MONOCHROME2", 14, rows=384, columns=384),
    Kind("MG", _STORAGE + "1.2", "MONOCHROME1", 12, rows=416, columns=320),
    Kind("SC", _STORAGE + "7", "MONOCHROME2", text="all"),
    Kind("XC", _STORAGE + "77.1.4", "RGB", text="all"),
    Kind("PT", _STORAGE + "128", "MONOCHROME2", 16),
    Kind("NM", _STORAGE + "20", "MONOCHROME2", 12, frames=3),
    Kind("SR", _STORAGE + "88.22"),
    Kind("RTSTRUCT", _STORAGE + "481.3"),
    Kind("SEG", _STORAGE + "66.4"),
)
_MODALITY_OF_SC = "OT"


@dataclass(frozen=True)
class Made:
    """An instance that was written.

    Attributes:
        header: With what the key's columns need.
        hunted: What must be nowhere in its output.
    """

    header: Dataset
    answers: Answers
    hunted: tuple[str, ...]
    path: Path


def generate(dest: Path, subjects: int, seed: int, profile: str) -> int:
    """Write studies, key and hunt list below a folder; return how many instances there are.

    Args:
        dest: An empty folder, or none.
        subjects: How many.
        seed: The same gives the same.
        profile: Whose answers: a key of `rules.PROFILES`.
    """
    random = Random(seed)
    deck = sorted(int(tag, 16) for tag in read_rules(profile))
    random.shuffle(deck)
    made = []
    for number in range(subjects):
        subject = make_subject(random, number)
        made += list(_make_study(dest / "studies", random, subject, profile, deck))
    write_key(dest / "key.db", ((one.header, one.answers) for one in made))
    hunt = {str(one.header.SOPInstanceUID): sorted(set(one.hunted)) for one in made}
    (dest / "hunt.json").write_text(json.dumps(hunt, indent=1), encoding="utf-8")
    return len(made)


def _make_study(
    dest: Path, random: Random, subject: Subject, profile: str, deck: list[int]
) -> Iterator[Made]:
    study_uid = _make_uid(random)
    kinds = [KINDS[(subject.number + step) % len(KINDS)] for step in (0, 5)]
    for kind in kinds:
        series_uid, frame_uid = _make_uid(random), _make_uid(random)
        for number in range(1, INSTANCES // len(kinds) + 1):
            answers, hunted = Answers(), list(subject.list_texts())
            ds = _make_start(random, kind, number)
            planter = Planter(ds, answers, hunted, subject, random, profile)
            for keyword, uid in (
                ("SOPInstanceUID", _make_uid(random)),
                ("StudyInstanceUID", study_uid),
                ("SeriesInstanceUID", series_uid),
                ("FrameOfReferenceUID", frame_uid),
            ):
                planter.plant(keyword, uid, "UIDs")
            plant_header(planter, ds.Modality)
            if kind.modality == "SR":
                plant_report(planter)
            _plant_from_deck(planter, deck)
            _plant_overlay_and_icon(planter)
            path = dest / study_uid / f"{ds.SOPInstanceUID}.dcm"
            _finish(planter, kind, path)
            yield Made(_keep_columns(ds), answers, tuple(hunted), path)


def _make_start(random: Random, kind: Kind, number: int) -> Dataset:
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.SOPClassUID = kind.sop_class_uid
    ds.Modality = _MODALITY_OF_SC if kind.modality == "SC" else kind.modality
    ds.InstanceNumber, ds.SeriesNumber = str(number), "1"
    ds.StudyID = str(random.randrange(10**4, 10**5))
    ds.ImageType = ["ORIGINAL", "PRIMARY"]
    return ds


def _plant_from_deck(planter: Planter, deck: list[int]) -> None:
    """Plant the next rules of the table; after the last come the first again."""
    planted = 0
    for _ in range(len(deck)):
        tag = deck.pop(0)
        deck.append(tag)
        planted += plant_rule(planter, tag)
        if planted == RULES_AN_INSTANCE:
            return


def _plant_overlay_and_icon(planter: Planter) -> None:
    """Add an overlay and an icon whose bytes spell a name, on every third instance."""
    if planter.random.random() > 0.34:
        return
    ds, name = planter.ds, planter.subject.name.dicom
    spelled = name.encode("utf-8").ljust(128, b"\0")[:128]
    ds.add_new(0x60000010, "US", 32)
    ds.add_new(0x60000011, "US", 32)
    ds.add_new(0x60000040, "CS", "G")
    ds.add_new(0x60000050, "SS", [1, 1])
    ds.add_new(0x60000100, "US", 1)
    ds.add_new(0x60000102, "US", 0)
    ds.add_new(0x60003000, "OW", spelled)
    ds.add_new(0x60004000, "LT", f"Overlay for {name}")
    icon = Dataset()
    icon.SamplesPerPixel, icon.PhotometricInterpretation = 1, "MONOCHROME2"
    icon.Rows, icon.Columns, icon.BitsAllocated, icon.BitsStored = 8, 16, 8, 8
    icon.HighBit, icon.PixelRepresentation = 7, 0
    icon.PixelData = spelled
    icon["PixelData"].VR = "OB"
    ds.IconImageSequence = [icon]
    for path in ("<(6000,3000)>", "<(6000,4000)>", "<(0088,0200)>[<0000>]<(7fe0,0010)>"):
        planter.answers.add("text_removed", path, name, "overlays and icons")


def _finish(planter: Planter, kind: Kind, path: Path) -> None:
    """Give the instance its pixels, write it, and note what has to become of them."""
    ds, random = planter.ds, planter.random
    lines: tuple[Line, ...] = ()
    if kind.modality == "SEG":
        _set_segments(ds, random)
    elif not kind.photometric:
        ds.file_meta.TransferSyntaxUID = random.choice(NATIVE)
    else:
        lines = _set_picture(planter, kind)
    write_file(
        ds, path, f"{planter.subject.name.family.upper()}_WS".encode("ascii", "replace").decode()
    )
    if "PixelData" in ds:
        _note_pixels(planter, kind, lines, path)


def _set_picture(planter: Planter, kind: Kind) -> tuple[Line, ...]:
    random = planter.random
    has_text = random.random() < 0.6
    texts = _choose_texts(planter) if has_text else []
    state = random.getstate()
    frames, lines = [], ()
    for _ in range(kind.frames):
        # the same lines at the same places in every frame
        grey = draw_anatomy(random, kind.rows, kind.columns)
        after = random.getstate()
        random.setstate(state)
        picture = burn(random, grey, texts, is_colour=kind.photometric == "RGB")
        random.setstate(after)
        frames.append(picture.array)
        lines = picture.lines
    is_lossy_possible = kind.bits == 8
    choices = (*NATIVE, *LOSSLESS, *(LOSSY if is_lossy_possible else ()))
    syntax = random.choice(choices)
    set_pixels(planter.ds, _deepen(np.stack(frames), kind), kind.photometric, kind.bits, syntax)
    planter.ds.BurnedInAnnotation = "YES" if lines else random.choice(["NO", "YES"])
    return lines


def _choose_texts(planter: Planter) -> list[tuple[str, bool]]:
    subject, random = planter.subject, planter.random
    secrets = [
        subject.name.dicom,
        subject.name.plain,
        f"ID: {subject.patient_id}",
        f"DOB {subject.birth:%Y-%m-%d}",
        f"{subject.institution}",
        f"Acc {subject.accession}",
        f"{subject.name.family.upper()} {subject.patient_id}",
    ]
    clean = [random.choice(CLEAN)[:24], "R", "W 400 L 40", "SUPINE"]
    chosen = [(text, True) for text in random.sample(secrets, random.choice([1, 2, 3]))]
    if random.random() < 0.4:
        chosen.append((random.choice(clean), False))
    return chosen


def _deepen(frames: np.ndarray[Any, Any], kind: Kind) -> np.ndarray[Any, Any]:
    """Return frames of as many bits as the kind has, dark and bright swapped for MONOCHROME1."""
    if kind.photometric == "MONOCHROME1":
        frames = 255 - frames
    if kind.bits == 8:
        return frames
    deep: np.ndarray[Any, Any] = frames.astype("<u2") << (min(kind.bits, 12) - 8)
    return deep


def _set_segments(ds: Dataset, random: Random) -> None:
    mask = draw_anatomy(random, 64, 64) > 60
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.Rows, ds.Columns, ds.NumberOfFrames = 64, 64, 1
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 1, 1, 0, 0
    ds.SegmentationType = "BINARY"
    ds.PixelData = np.packbits(mask.ravel(), bitorder="little").tobytes()
    ds["PixelData"].VR = "OB"


def _note_pixels(planter: Planter, kind: Kind, lines: tuple[Line, ...], path: Path) -> None:
    answers = planter.answers
    boxes = []
    for line in lines:
        if not line.is_secret and kind.text == "identifiers":
            continue
        left, top, right, bottom = line.box
        margin = max(8, line.height_px // 2)
        boxes.append(
            [0, max(left - margin, 0), max(top - margin, 0), right + margin, bottom + margin]
        )
        if line.is_secret:
            region = {"text": line.text, "top_left": [left, top], "bottom_right": [right, bottom]}
            answers.add(
                "pixels_hidden", "<(7fe0,0010)>", "", _name_height(line), json.dumps(region)
            )
    samples = read_pixels(dcmread(path)).samples
    is_lossy = UID(planter.ds.file_meta.TransferSyntaxUID) in LOSSY
    wanted: dict[str, object] = {"boxes": boxes}
    if is_lossy:
        wanted["means"] = measure_tiles(samples, boxes).tobytes().hex()
    else:
        wanted["sha256"] = digest_outside(samples, boxes)
    category = "pixels beside text" if boxes else "pixels without text to hide"
    answers.add("pixels_retained", "<(7fe0,0010)>", "", category, json.dumps(wanted))


def _name_height(line: Line) -> str:
    for most in (14, 20):
        if line.height_px <= most:
            return f"burned in, up to {most} px"
    return "burned in, up to 32 px"


def _keep_columns(ds: Dataset) -> Dataset:
    kept = Dataset()
    for keyword in (
        "SOPInstanceUID",
        "SeriesInstanceUID",
        "StudyInstanceUID",
        "PatientID",
        "Modality",
        "SOPClassUID",
    ):
        setattr(kept, keyword, ds.get(keyword, ""))
    return kept


def _make_uid(random: Random) -> str:
    return str(generate_uid(_PREFIX, [str(random.random())]))
