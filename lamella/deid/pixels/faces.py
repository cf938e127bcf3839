"""Whether a face could be rebuilt of a series: a head in many thin parallel slices.

Source:
    PS3.15 §E.3.2 (Clean Recognizable Visual Features Option).
"""

from __future__ import annotations

import re

from pydicom import Dataset

_MODALITIES = frozenset({"CT", "MR", "PT"})
_HEAD = re.compile(
    r"\b(?:head|brain|face|facial|skull|neuro|cranial|cranium|sinus|sinuses|orbit|orbits|iac|"
    r"pituitary|cerebr\w*|t1.?mprage|mprage|dental|mandible|maxillofacial)\b",
    re.IGNORECASE,
)
_PLACES = (
    "BodyPartExamined",
    "StudyDescription",
    "SeriesDescription",
    "ProtocolName",
    "RequestedProcedureDescription",
    "PerformedProcedureStepDescription",
)
_LEAST_SLICES = 24
_THICKEST_MM = 5.0
_LEAST_PIXELS = 128


def may_show_face(attributes: Dataset, n_slices: int) -> bool:
    """Tell whether a face could be rebuilt of the series that an instance belongs to.

    Args:
        attributes: Of the source, where descriptions have not been cleaned yet.
        n_slices: How many slices the series has: instances, or frames of this one.
    """
    if attributes.get("Modality") not in _MODALITIES or n_slices < _LEAST_SLICES:
        return False
    if min(attributes.get("Rows") or 0, attributes.get("Columns") or 0) < _LEAST_PIXELS:
        return False
    thickness = attributes.get("SpacingBetweenSlices") or attributes.get("SliceThickness")
    if thickness is not None and abs(float(thickness)) > _THICKEST_MM:
        return False
    return any(_HEAD.search(str(attributes.get(place, ""))) for place in _PLACES)
