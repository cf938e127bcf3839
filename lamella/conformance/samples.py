"""The instances of a run: synthetic, small, of several kinds, under UIDs that nobody else has.

Names and numbers start with a word drawn for the run, so that a search for them finds nothing
else on a server that holds other people's data as well.

    study     patient  what is in it
    ct        1        series of 3 CT slices, one SR document
    frames    1        3 frames of 8 bits and odd length, Implicit VR Little Endian
    coded     1        RLE in colour, lossy JPEG, big-endian, MONOCHROME1
    rich      2        one instance with every VR
    latin     3        ISO_IR 100
    cyrillic  4        ISO_IR 144
    japanese  5        ISO 2022 IR 87
    document  6        an encapsulated PDF
"""

from __future__ import annotations

import io
import secrets
import string
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from pydicom import Dataset, FileDataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

CT_CLASS = "1.2.840.10008.5.1.4.1.1.2"
SR_CLASS = "1.2.840.10008.5.1.4.1.1.88.11"
SC_CLASS = "1.2.840.10008.5.1.4.1.1.7"
GRAYSCALE_BYTE_CLASS = "1.2.840.10008.5.1.4.1.1.7.2"
COLOUR_CLASS = "1.2.840.10008.5.1.4.1.1.7.4"
PDF_CLASS = "1.2.840.10008.5.1.4.1.1.104.1"
EXPLICIT_LITTLE, IMPLICIT_LITTLE = str(ExplicitVRLittleEndian), str(ImplicitVRLittleEndian)
EXPLICIT_BIG = str(ExplicitVRBigEndian)
RLE, JPEG = "1.2.840.10008.1.2.5", "1.2.840.10008.1.2.4.50"
PRIVATE_CREATOR = "LAMELLA CONFORMANCE"


def make_uid() -> str:
    """Return a UID that nobody else has (PS3.5 §B.2)."""
    return f"2.25.{secrets.randbits(127)}"


@dataclass(frozen=True)
class Sample:
    """One instance of a run.

    Attributes:
        name: Within the run.
        ds: Its attributes; `file` is what is stored.
        file: Part 10.
        frames: Native little-endian bytes of each frame, decoded; empty without pixels.
        stored_frames: The frames as they lie in the file.
    """

    name: str
    study: str
    ds: Dataset = field(repr=False)
    file: bytes = field(repr=False)
    frames: tuple[bytes, ...] = field(default=(), repr=False)
    stored_frames: tuple[bytes, ...] = field(default=(), repr=False)

    @property
    def study_uid(self) -> str:
        """Study Instance UID."""
        return str(self.ds.StudyInstanceUID)

    @property
    def series_uid(self) -> str:
        """Series Instance UID."""
        return str(self.ds.SeriesInstanceUID)

    @property
    def sop_uid(self) -> str:
        """SOP Instance UID."""
        return str(self.ds.SOPInstanceUID)

    @property
    def transfer_syntax(self) -> str:
        """Transfer Syntax UID of the file."""
        return str(self.ds.file_meta.TransferSyntaxUID)

    @property
    def study_path(self) -> str:
        """Path of the study's resource."""
        return f"/studies/{self.study_uid}"

    @property
    def series_path(self) -> str:
        """Path of the series's resource."""
        return f"{self.study_path}/series/{self.series_uid}"

    @property
    def path(self) -> str:
        """Path of the instance's resource."""
        return f"{self.series_path}/instances/{self.sop_uid}"


class SampleSet:
    """All samples of a run.

    Attributes:
        word: What names and numbers of this run start with: a capital and six small letters.
    """

    def __init__(self, word: str | None = None) -> None:
        letters = (secrets.choice(string.ascii_lowercase) for _ in range(6))
        self.word = word or "Q" + "".join(letters)
        self.study_uids = {name: make_uid() for name in _STUDIES}

    @cached_property
    def by_name(self) -> dict[str, Sample]:
        """The samples by name, in the order in which they are stored."""
        from lamella.conformance import pixels, rich

        made = [
            *pixels.make_ct(self),
            pixels.make_report(self),
            pixels.make_frames(self),
            pixels.make_rle(self),
            pixels.make_jpeg(self),
            pixels.make_big_endian(self),
            pixels.make_monochrome1(self),
            rich.make_rich(self),
            *rich.make_names(self),
            rich.make_document(self),
        ]
        return {sample.name: sample for sample in made}

    def __getitem__(self, name: str) -> Sample:
        return self.by_name[name]

    def patient_id(self, number: int = 1) -> str:
        """Return the Patient ID of one of the run's patients."""
        return f"CF-{self.word}-{number}"

    def start(self, study: str, sop_class: str, modality: str) -> Dataset:
        """Return attributes of a new instance in one of the studies, as far as all have them."""
        ds = Dataset()
        ds.SOPClassUID, ds.SOPInstanceUID = sop_class, make_uid()
        ds.StudyInstanceUID = self.study_uids[study]
        ds.SeriesInstanceUID = make_uid()
        facts = _STUDIES[study]
        ds.StudyDate, ds.StudyTime = facts.date, facts.time
        ds.AccessionNumber = f"{self.word}A{facts.number}"
        ds.StudyID = f"{self.word}S{facts.number}"
        ds.StudyDescription = f"{self.word} {facts.description}"
        ds.ReferringPhysicianName = f"{self.word}Ref{facts.number}^Rita"
        ds.PatientName = f"{self.word}{facts.name}"
        ds.PatientID = self.patient_id(facts.patient)
        ds.PatientBirthDate, ds.PatientSex = facts.born, facts.sex
        ds.TimezoneOffsetFromUTC = "+0100"
        ds.Modality, ds.SeriesNumber, ds.InstanceNumber = modality, 1, 1
        return ds


@dataclass(frozen=True)
class _Facts:
    number: int
    patient: int
    name: str
    date: str
    time: str
    description: str
    born: str = "19700102"
    sex: str = "F"


_STUDIES = {
    "ct": _Facts(1, 1, "Alpha^Anna^Maria", "20200115", "103000.250", "Chest routine"),
    "frames": _Facts(2, 1, "Alpha^Anna^Maria", "20200220", "110000", "Loop"),
    "coded": _Facts(3, 1, "Alpha^Anna^Maria", "20210310", "093000", "Codecs"),
    "rich": _Facts(4, 2, "Beta^Bert", "20190704", "120000", "Every VR", "19551231", "M"),
    "latin": _Facts(5, 3, "Gamma^Jörg", "20190101", "080000", "Größe", "19800101", "M"),
    "cyrillic": _Facts(6, 4, "Delta^Иван", "20190102", "080000", "Names", "19800101", "M"),
    "japanese": _Facts(
        7,
        5,
        "Epsilon^Tarou=山田^太郎=やまだ^たろう",
        "20190103",
        "080000",
        "Names",
        "19800101",
        "M",
    ),
    "document": _Facts(8, 6, "Zeta^Zoe", "20190104", "080000", "Letter", "19800101", "O"),
}


def write_file(ds: Dataset, transfer_syntax: str = EXPLICIT_LITTLE) -> bytes:
    """Return a Part 10 file of a data set, to which it adds the file meta information."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = ds.SOPClassUID
    meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    meta.TransferSyntaxUID = transfer_syntax
    meta.ImplementationClassUID = "1.2.826.0.1.3680043.9.7434.1"
    ds.file_meta = meta
    buffer = io.BytesIO()
    ds.save_as(
        buffer,
        implicit_vr=transfer_syntax == IMPLICIT_LITTLE,
        little_endian=transfer_syntax != EXPLICIT_BIG,
        enforce_file_format=True,
    )
    return buffer.getvalue()


def read_file(file: bytes) -> FileDataset:
    """Return the data set of a Part 10 file.

    Raises:
        ValueError: It is none, or is cut off.
    """
    from pydicom import dcmread
    from pydicom.errors import InvalidDicomError

    try:
        ds = dcmread(io.BytesIO(file))
        ds.walk(lambda _, __: None)
    except (InvalidDicomError, EOFError, NotImplementedError, KeyError, OSError) as error:
        raise ValueError(str(error)) from error
    return ds


def finish(
    name: str,
    study: str,
    ds: Dataset,
    transfer_syntax: str = EXPLICIT_LITTLE,
    frames: tuple[bytes, ...] = (),
    stored_frames: tuple[bytes, ...] | None = None,
) -> Sample:
    """Return a data set as a sample."""
    file = write_file(ds, transfer_syntax)
    return Sample(name, study, ds, file, frames, frames if stored_frames is None else stored_frames)


def copy_with(sample: Sample, **attributes: Any) -> Dataset:
    """Return a copy of a sample's attributes under a new SOP Instance UID, some replaced."""
    import copy

    ds = copy.deepcopy(sample.ds)
    ds.SOPInstanceUID = make_uid()
    for keyword, value in attributes.items():
        setattr(ds, keyword, value)
    return ds
