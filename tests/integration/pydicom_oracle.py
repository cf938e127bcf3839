"""What pydicom says that a file's metadata, pixels and bulk values are."""

from __future__ import annotations

import base64
import math
import struct
from collections.abc import Iterator
from typing import Any

import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.encaps import generate_frames
from pydicom.pixels import get_decoder
from pydicom.uid import ExplicitVRBigEndian
from pydicom.valuerep import AMBIGUOUS_VR

from tests.integration.corpus import quiet_pydicom

Json = dict[str, Any]

BULK_WORDS = {"OB": 1, "UN": 1, "OW": 2, "OF": 4, "OL": 4, "OD": 8, "OV": 8}
NUMBER_WORDS = {"US": "H", "SS": "h", "UL": "I", "SL": "i", "FL": "f", "FD": "d"}
PIXEL_KEYS = ("7FE00008", "7FE00009", "7FE00010")
INLINE_BYTES = 1024

RULES = {
    "group length": "PS3.18 §F.2.2: group length elements are not part of the JSON",
    "character set": "PS3.18 §F.2.2: JSON is UTF-8, and (0008,0005) says so where text needs it",
    "bulk data": "PS3.18 §F.2.6: a value may be given by a BulkDataURI",
    "empty": "PS3.18 §F.2.5: no Value for an empty attribute, null for an empty value of several",
    "name groups": "PS3.18 §F.2.2: component groups that are empty are absent",
    "number as text": "PS3.18 §F.2.3: IS and DS are strings where a number would not say the same",
    "large integer": "RFC 8259 §6: integers beyond 2^53 are not interoperable, so they are strings",
    "ambiguous": "PS3.5 §A.1, §A.2 and PS3.3: 'US or SS' and 'US or OW' are no VRs",
    "byte order": "PS3.18 §F.2.7: InlineBinary is little endian; PS3.5 §6.2.2: so is all of UN",
    "no multiple": "PS3.18 §F.2: bytes that are not values of their VR are shown as they are",
    "descriptor": "PS3.3 §C.11.1.1.1: the sign of a LUT Descriptor's values is what its VR says",
}
"""All the ways in which our metadata may differ from pydicom's, each with the rule behind it."""


def compare_metadata(ours: Json, ds: Dataset, where: str = "") -> Iterator[tuple[str, str]]:
    """Yield (place, difference) for each attribute that differs; a key of RULES, or a sentence."""
    is_big = ds.original_encoding[1] is False
    tags = {f"{int(tag):08X}": tag for tag in list(ds.keys())}
    for key in sorted(ours.keys() | tags.keys()):
        place = f"{where}/{key}"
        if key in tags and ds[tags[key]].VR == "SQ" and ours.get(key, {}).get("vr") == "SQ":
            items = ours[key].get("Value", [])
            if len(items) != len(ds[tags[key]].value) or ("Value" in ours[key] and not items):
                yield place, "another number of items"
            for index, (item, other) in enumerate(zip(items, ds[tags[key]].value, strict=False)):
                yield from compare_metadata(item, other, f"{place}/{index}")
            continue
        theirs = _describe(ds, tags[key]) if key in tags else None
        if ours.get(key) != theirs:
            yield place, _name_difference(key, ours.get(key), theirs, is_big)


def _describe(ds: Dataset, tag: int) -> Json | None:
    """Return pydicom's JSON of one element, or None where it fails."""
    try:
        return dict(ds[tag].to_json_dict(None, 0))
    except Exception:  # noqa: BLE001  # whatever it is, pydicom gives no JSON
        return None


def _name_difference(key: str, ours: Json | None, theirs: Json | None, is_big: bool) -> str:
    if ours is None:
        return "group length" if key.endswith("0000") else "missing"
    if key == "00080005" and ours == {"vr": "CS", "Value": ["ISO_IR 192"]}:
        return "character set"
    if "BulkDataURI" in ours:
        return _judge_bulk(key, ours, theirs)
    if theirs is None:
        return _judge_alone(ours)
    if theirs["vr"] in AMBIGUOUS_VR:
        return "ambiguous" if ours["vr"] in theirs["vr"].split(" or ") else "another VR"
    if theirs["vr"] != ours["vr"]:
        return f"VR {ours['vr']}, not {theirs['vr']}"
    if is_big and _swap_json(ours) == theirs:
        return "byte order"
    return _judge_values(key, ours["vr"], ours.get("Value", []), theirs.get("Value", []))


def _judge_bulk(key: str, ours: Json, theirs: Json | None) -> str:
    size = len(base64.b64decode(theirs.get("InlineBinary", ""))) if theirs else 0
    is_long = size > INLINE_BYTES or (key in PIXEL_KEYS and size > 0)
    if theirs is None or not is_long:
        return "a BulkDataURI that nothing calls for"
    return "bulk data" if ours["vr"] == theirs["vr"] else "another VR"


def _judge_alone(ours: Json) -> str:
    """Name why pydicom has no JSON for this."""
    texts = [value for value in ours.get("Value", []) if not isinstance(value, int | float)]
    if ours["vr"] in {"IS", "DS"} and texts:
        return "number as text"
    return "no multiple" if ours["vr"] == "UN" else "pydicom has none"


def _judge_values(key: str, vr: str, ours: list[Any], theirs: list[Any]) -> str:
    if vr in {"SV", "UV", "IS"} and ours == [
        value if abs(value) < 2**53 else str(value) for value in theirs
    ]:
        return "large integer"
    if vr == "PN" and ours == [_trim_name(name) for name in theirs]:
        return "name groups"
    if vr in {"DS", "IS"} and len(ours) == len(theirs):
        pairs = list(zip(ours, theirs, strict=True))
        if all(one == other or _is_same_number(one, other) for one, other in pairs):
            return "number as text"
    if key.startswith("0028110") and vr == "SS" and ours[1:] == theirs[1:]:
        return "descriptor"
    if ours == [None if value == "" else value for value in theirs]:
        return "empty"
    return f"{len(ours)} and {len(theirs)} values differ"


def _trim_name(name: Any) -> Any:
    return {group: text for group, text in name.items() if text} or None if name else None


def _is_same_number(text: Any, number: Any) -> bool:
    try:
        return isinstance(text, str) and math.isclose(float(text), float(number))
    except (TypeError, ValueError):
        return False


def _swap_json(element: Json) -> Json:
    """Return an element as it would be had nobody swapped its words."""
    vr = element["vr"]
    if "InlineBinary" in element and vr in BULK_WORDS:
        raw = swap(base64.b64decode(element["InlineBinary"]), 2 if vr == "UN" else BULK_WORDS[vr])
        return {"vr": vr, "InlineBinary": base64.b64encode(raw).decode()}
    if vr in NUMBER_WORDS and "Value" in element:
        packed = [struct.pack("<" + NUMBER_WORDS[vr], value) for value in element["Value"]]
        unpacked = [struct.unpack(">" + NUMBER_WORDS[vr], word)[0] for word in packed]
        return {"vr": vr, "Value": unpacked}
    return element


def swap(value: bytes, word_bytes: int) -> bytes:
    """Return a value with the bytes of each word in the other order."""
    if word_bytes == 1:
        return value
    return np.frombuffer(value, f"u{word_bytes}").byteswap().tobytes()


def find_bulk_values(document: Json, path: str = "") -> Iterator[tuple[str, Json]]:
    """Yield (path, element) of each element that is given by a BulkDataURI."""
    for key, element in document.items():
        if "BulkDataURI" in element:
            yield path + key, element
        if element["vr"] == "SQ":
            for index, item in enumerate(element.get("Value", [])):
                yield from find_bulk_values(item, f"{path}{key}/{index}/")


def read_value(ds: Dataset, path: str) -> bytes:
    """Return the value at a bulk data path, little endian, as pydicom reads it."""
    is_big = ds.original_encoding[1] is False
    *steps, key = path.split("/")
    for tag, index in zip(steps[::2], steps[1::2], strict=True):
        ds = ds[int(tag, 16)].value[int(index)]
    element = ds[int(key, 16)]
    value = element.value.encode() if isinstance(element.value, str) else bytes(element.value)
    words = BULK_WORDS.get("OW" if " or " in element.VR else element.VR, 1)
    if key == "7FE00010" and words == 2:
        words = max(words, ds.BitsAllocated // 8)  # pydicom's pixel_array wants it so
    return swap(value, words) if is_big else value


def read_codestreams(ds: Dataset) -> list[bytes]:
    """Return the encapsulated frames."""
    offsets = None
    if "ExtendedOffsetTable" in ds:
        offsets = (ds.ExtendedOffsetTable, ds.ExtendedOffsetTableLengths)
    with quiet_pydicom():
        return list(
            generate_frames(
                ds.PixelData, number_of_frames=count_frames(ds), extended_offsets=offsets
            )
        )


def count_frames(ds: Dataset) -> int:
    """Return Number of Frames; 1 if absent or no number."""
    text = str(ds.get("NumberOfFrames") or 1)
    return int(text) if text.isdecimal() else 1


def decode_frame(ds: Dataset, frame_index: int) -> bytes | None:
    """Return an encapsulated frame decoded, by pixel; None if pydicom cannot.

    Colour is what `Dataset.decompress()` makes it for JPEG with a DCT, else as it was encoded.
    """
    uid = ds.file_meta.TransferSyntaxUID
    is_dct = uid in ("1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51")
    with quiet_pydicom():
        try:
            array, _ = get_decoder(uid).as_array(ds, index=frame_index, raw=not is_dct)
        except (NotImplementedError, RuntimeError, AttributeError, ValueError, TypeError, KeyError):
            return None
    if ds.BitsAllocated == 1:
        return np.packbits(array.ravel(), bitorder="little").tobytes()
    return bytes(array.astype(array.dtype.newbyteorder("<")).tobytes())


def read_native_frame(ds: Dataset, frame_index: int) -> bytes:
    """Return a native frame as it lies in the value, little endian, from its own first bit on.

    Raises:
        ValueError, AttributeError, TypeError: The attributes do not say what a frame is.
    """
    key = next(key for key in reversed(PIXEL_KEYS) if int(key, 16) in ds)
    value = read_value(ds, key)
    bits = {"7FE00008": 32, "7FE00009": 64}.get(key) or ds.BitsAllocated
    count = int(ds.get("NumberOfFrames") or 1)  # as pydicom does
    samples = ds.Rows * ds.Columns * ds.get("SamplesPerPixel", 1)
    if ds.get("PhotometricInterpretation") == "YBR_FULL_422":
        samples = samples // 3 * 2
    frame_bits = samples * bits
    if frame_bits * count > len(value) * 8:
        raise ValueError("The value is too short.")
    if bits == 1:
        unpacked = np.unpackbits(np.frombuffer(value, "u1"), bitorder="little")
        frame = unpacked[frame_index * frame_bits : (frame_index + 1) * frame_bits]
        return np.packbits(frame, bitorder="little").tobytes()
    length = frame_bits // 8
    return value[frame_index * length : (frame_index + 1) * length]


def is_big_endian(ds: pydicom.FileDataset) -> bool:
    """Whether a file is Explicit VR Big Endian."""
    return bool(ds.file_meta.get("TransferSyntaxUID") == ExplicitVRBigEndian)
