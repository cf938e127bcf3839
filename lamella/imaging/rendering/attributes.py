"""What of an instance's attributes a frame's rendering needs, as flat DICOM JSON.

Functional groups of a multi-frame are resolved for the frame, so that whatever renders it sees
one data set of a few elements.

Source:
    PS3.3 §C.7.6.16 (multi-frame functional groups), §C.11.1 (Modality LUT), §C.11.2 (VOI LUT),
    §C.7.6.3 (image pixel), §C.11.15 (ICC profile).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

Json = dict[str, Any]

NUMBER_OF_FRAMES = "00280008"
_FRAME_RATES, _FRAME_TIME_MS = ("00082144", "00180040"), "00181063"
_USUAL_RATE, _HIGHEST_RATE = 10.0, 60.0
_SHARED_GROUPS, _FRAME_GROUPS = "52009229", "52009230"
_PIXEL_VALUE_TRANSFORMATION, _FRAME_VOI_LUT = "00289145", "00289132"
_OPTICAL_PATHS, _ICC_PROFILE = "00480105", "00282000"
_RESCALE = ("00281052", "00281053")
_WINDOW = ("00281050", "00281051", "00281056")
_LUT_SEQUENCES = ("00283000", "00283010")
_IMAGE = (
    "00080016", "00280002", "00280004", "00280006", "00280010", "00280011", "00280100",
    "00280101", "00280102", "00280103", "00280120", "00280121", *_RESCALE, *_WINDOW,
    *_LUT_SEQUENCES, "20500020", _ICC_PROFILE,
    *(f"0028110{n}" for n in range(1, 4)), *(f"0028120{n}" for n in range(1, 4)),
    *(f"0028122{n}" for n in range(1, 4)),
)  # fmt: skip
# Shown by `annotation=patient` and `annotation=technique`.
PATIENT = ("00100010", "00100020", "00100030", "00100040")
TECHNIQUE = (
    "00080060", "00080070", "0008103E", "00180015", "00180050", "00180060", "00181150",
    "00181151", "00180080", "00180081", "00180087", "00181030",
)  # fmt: skip
FLOAT_PIXEL_DATA, DOUBLE_FLOAT_PIXEL_DATA = "7FE00008", "7FE00009"


def first_value(attributes: Mapping[str, Any], tag: str) -> Any:
    """Return the first value of an element of DICOM JSON, or None."""
    values = attributes.get(tag, {}).get("Value") or [None]
    return values[0]


def read_number(attributes: Mapping[str, Any], tag: str) -> float | None:
    """Return the first value as a number; None where it is absent or no number."""
    try:
        return float(first_value(attributes, tag))
    except (TypeError, ValueError):
        return None


def select_attributes(
    document: Mapping[str, Any], frame_index: int, annotation: tuple[str, ...] = ()
) -> Json:
    """Return what one frame's rendering needs.

    Args:
        document: DICOM JSON of the instance; long tables may still be BulkDataURI.
        frame_index: 0-based.
        annotation: `patient`, `technique`.
    """
    wanted = [*_IMAGE]
    wanted += PATIENT if "patient" in annotation else ()
    wanted += TECHNIQUE if "technique" in annotation else ()
    selected = {tag: document[tag] for tag in wanted if tag in document}
    for group in (FLOAT_PIXEL_DATA, DOUBLE_FLOAT_PIXEL_DATA):
        if group in document:
            selected[group] = {"vr": document[group].get("vr", "OF")}
    optical_path = first_value(document, _OPTICAL_PATHS) or {}
    if _ICC_PROFILE in optical_path:
        selected.setdefault(_ICC_PROFILE, optical_path[_ICC_PROFILE])
    for macro in _find_macros(document, frame_index):
        selected.update({tag: macro[tag] for tag in wanted if tag in macro})
    return selected


def _find_macros(document: Mapping[str, Any], frame_index: int) -> Iterator[Json]:
    """Yield the macros that say how a frame looks, shared ones before the frame's own."""
    per_frame = document.get(_FRAME_GROUPS, {}).get("Value", [])
    own = per_frame[frame_index] if frame_index < len(per_frame) else {}
    for groups in (first_value(document, _SHARED_GROUPS) or {}, own):
        for macro in (_PIXEL_VALUE_TRANSFORMATION, _FRAME_VOI_LUT):
            yield first_value(groups or {}, macro) or {}


def find_bulk_elements(attributes: Mapping[str, Any]) -> Iterator[Json]:
    """Yield the elements whose values are elsewhere, to be filled in as `InlineBinary`."""
    for element in attributes.values():
        if "BulkDataURI" in element:
            yield element
        if element.get("vr") == "SQ":
            for item in element.get("Value", []):
                yield from find_bulk_elements(item or {})


def count_frames(document: Mapping[str, Any]) -> int:
    """Return Number of Frames; 1 if absent or no positive number."""
    number = read_number(document, NUMBER_OF_FRAMES)
    return max(1, int(number)) if number is not None else 1


def read_frame_rate(document: Mapping[str, Any]) -> float:
    """Return how many frames a second a movie shows, at most 60.

    Source:
        PS3.3 §C.7.6.5 (cine): Recommended Display Frame Rate, Cine Rate, Frame Time.
    """
    rates = [read_number(document, tag) for tag in _FRAME_RATES]
    time_ms = read_number(document, _FRAME_TIME_MS)
    rates.append(1000 / time_ms if time_ms and time_ms > 0 else None)
    rate = next((rate for rate in rates if rate is not None and rate > 0), _USUAL_RATE)
    return min(max(rate, 0.2), _HIGHEST_RATE)
