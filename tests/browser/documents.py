"""A colour ultrasound cine, a PDF and an ECG."""

from __future__ import annotations

import io

import numpy as np
import pydicom
from PIL import Image
from pydicom.data import get_testdata_file
from pydicom.encaps import encapsulate
from pydicom.uid import EncapsulatedPDFStorage, JPEGBaseline8Bit

from tests.harness.samples import make_instance

CINE_STUDY = "1.2.826.0.1.3680043.10.9999.3"
PDF_STUDY = "1.2.826.0.1.3680043.10.9999.4"
N_FRAMES = 8
COLOURS = [(220, 40, 40), (40, 200, 60)]  # of even and of odd frames


def make_cine() -> bytes:
    """Return an ultrasound multi-frame, JPEG, whose frames are red and green in turn."""
    frames = []
    for index in range(N_FRAMES):
        picture = np.zeros((120, 160, 3), dtype=np.uint8)
        picture[:] = COLOURS[index % 2]
        buffer = io.BytesIO()
        Image.fromarray(picture).save(buffer, "JPEG", quality=90, subsampling=0)
        frames.append(buffer.getvalue())
    return make_instance(
        CINE_STUDY,
        f"{CINE_STUDY}.1",
        f"{CINE_STUDY}.1.1",
        patient_id="CINE",
        rows=120,
        columns=160,
        transfer_syntax=JPEGBaseline8Bit,
        SOPClassUID="1.2.840.10008.5.1.4.1.1.3.1",
        Modality="US",
        PatientName="Cine^Coloured",
        SeriesDescription="Red and green",
        NumberOfFrames=N_FRAMES,
        FrameTime=100,
        SamplesPerPixel=3,
        PlanarConfiguration=0,
        PhotometricInterpretation="YBR_FULL",
        BitsAllocated=8,
        BitsStored=8,
        HighBit=7,
        PixelData=encapsulate(frames),
    )


def make_pdf() -> bytes:
    """Return an encapsulated PDF of one page."""
    document = io.BytesIO()
    Image.new("RGB", (300, 400), (30, 90, 200)).save(document, "PDF")
    content = document.getvalue()
    file = make_instance(
        PDF_STUDY,
        f"{PDF_STUDY}.1",
        f"{PDF_STUDY}.1.1",
        patient_id="PDF",
        SOPClassUID=EncapsulatedPDFStorage,
        Modality="DOC",
        PatientName="Paper^Blue",
        SeriesDescription="Blue page",
        MIMETypeOfEncapsulatedDocument="application/pdf",
        DocumentTitle="Blue page",
        EncapsulatedDocument=content + b"\0" * (len(content) % 2),
        EncapsulatedDocumentLength=len(content),
    )
    ds = pydicom.dcmread(io.BytesIO(file))
    for keyword in ("Rows", "Columns", "PixelData", "BitsAllocated", "SamplesPerPixel"):
        delattr(ds, keyword)
    buffer = io.BytesIO()
    ds.save_as(buffer)
    return buffer.getvalue()


def read_ecg() -> tuple[str, bytes]:
    """Return pydicom's 12-lead ECG: its study and its file."""
    path = get_testdata_file("waveform_ecg.dcm", download=False)
    assert isinstance(path, str)
    with open(path, "rb") as file:
        content = file.read()
    return str(pydicom.dcmread(path, stop_before_pixels=True).StudyInstanceUID), content
