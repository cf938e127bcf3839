"""Synthetic studies that show whether a viewer shows what was stored."""

from __future__ import annotations

import numpy as np

from tests.harness.samples import make_instance

CT_STUDY = "1.2.826.0.1.3680043.10.9999.1"
N_SLICES = 12
SIZE = 128


def make_slice(number: int, *, is_inverted: bool = False) -> bytes:
    """Return an axial CT slice: rings that get wider from slice to slice, -1000 to 1000 HU.

    Args:
        number: From 1.
        is_inverted: What was light is dark.
    """
    y, x = np.mgrid[0:SIZE, 0:SIZE] - SIZE / 2
    waves = np.sin(np.hypot(x, y) / (4 + number / 2))
    hounsfield = 1000 * (-waves if is_inverted else waves)
    return make_instance(
        CT_STUDY,
        f"{CT_STUDY}.1",
        f"{CT_STUDY}.1.{number}",
        patient_id="RINGS",
        rows=SIZE,
        columns=SIZE,
        PatientName="Rings^Concentric",
        StudyDescription="Rings",
        SeriesDescription="Axial rings",
        AccessionNumber="ACC1",
        StudyID="1",
        FrameOfReferenceUID=f"{CT_STUDY}.9",
        InstanceNumber=number,
        ImagePositionPatient=[0, 0, 2 * number],
        ImageOrientationPatient=[1, 0, 0, 0, 1, 0],
        PixelSpacing=[1, 1],
        SliceThickness=2,
        RescaleSlope=1,
        RescaleIntercept=-1024,
        WindowCenter=0,
        WindowWidth=2000,
        PixelData=(hounsfield + 1024).astype("<u2").tobytes(),
    )


def make_stack(*, is_inverted: bool = False) -> list[bytes]:
    """Return the slices of the CT study."""
    return [make_slice(number, is_inverted=is_inverted) for number in range(1, N_SLICES + 1)]


def make_head() -> bytes:
    """Return another patient's MR image, for a study list to tell apart."""
    study = "1.2.826.0.1.3680043.10.9999.2"
    return make_instance(
        study,
        f"{study}.1",
        f"{study}.1.1",
        patient_id="HEAD",
        PatientName="Head^Plain",
        StudyDate="20250304",
        StudyDescription="Head",
        AccessionNumber="ACC2",
        Modality="MR",
        SOPClassUID="1.2.840.10008.5.1.4.1.1.4",
    )
