"""Other pixels are another instance, even where UIDs are retained."""

from __future__ import annotations

import io

import pydicom
from pydicom import Dataset

from lamella.deid.pipeline import Pipeline
from lamella.deid.profiles import Profile
from lamella.deid.results import Verdict
from tests.unit.deid.pixels.pictured import burn, draw_noise, make_image
from tests.unit.deid.subjects_at_hand import KEY, UID

SOP = "1.2.826.0.1.3680043.8.498.1"


def _make(*, marked: bool) -> bytes:
    picture = draw_noise(160, 320)
    if marked:
        burn(picture, "ZEBEDEE QUENTIN", 12, 24, size=20)
    image = make_image([picture], Modality="OT", PatientName="Zebedee^Quentin", PatientID="MRN4711")
    image.SOPInstanceUID = SOP
    image.StudyInstanceUID, image.SeriesInstanceUID = f"{SOP}.1", f"{SOP}.2"
    reference = Dataset()
    reference.ReferencedSOPInstanceUID = UID
    image.ReferencedImageSequence = [reference]
    stream = io.BytesIO()
    pydicom.dcmwrite(stream, image, enforce_file_format=True)
    return stream.getvalue()


def test_an_instance_whose_pixels_change_gets_a_new_uid_though_uids_stay() -> None:
    pipeline = Pipeline(Profile(name="test", options=("retain_uids",)), KEY)
    untouched = pipeline.run(_make(marked=False), 1)
    blacked = pipeline.run(_make(marked=True), 1)
    assert (untouched.verdict, blacked.verdict) == (Verdict.PASS, Verdict.PASS)
    before = pydicom.dcmread(io.BytesIO(untouched.data))
    after = pydicom.dcmread(io.BytesIO(blacked.data))
    assert before.SOPInstanceUID == before.file_meta.MediaStorageSOPInstanceUID == SOP
    assert after.SOPInstanceUID == after.file_meta.MediaStorageSOPInstanceUID == KEY.map_uid(SOP)
    assert blacked.uids is not None
    assert blacked.uids[SOP] == KEY.map_uid(SOP)
    for one in (before, after):
        assert one.StudyInstanceUID == f"{SOP}.1"
        assert one.ReferencedImageSequence[0].ReferencedSOPInstanceUID == UID
