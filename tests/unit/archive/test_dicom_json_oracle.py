"""pydicom as the oracle: every attribute of every file at hand, and the share of the header path.

`pytest -s` prints the share. Only the differences that `dicom_json.DIFFERENCES` lists are allowed.
"""

import base64
import logging
import struct
import warnings
from collections import Counter
from pathlib import Path

import msgspec
import pydicom
import pytest
from pydicom.data import DATA_ROOT
from pydicom.valuerep import AMBIGUOUS_VR

from lamella.archive.dicom_json import DIFFERENCES, encode_attributes
from lamella.archive.header import has_preamble, read_header
from lamella.archive.source import MemorySource
from lamella.errors import InvalidInstance

SHARED = Path(__file__).parents[4] / "shared" / "data" / "dicom"
WORD_FORMATS = {"US": "H", "SS": "h", "UL": "I", "SL": "i", "FL": "f", "FD": "d"}
BULK_VRS = {"OB", "OD", "OF", "OL", "OV", "OW", "UN"}


def find_files() -> list[Path]:
    roots = [Path(str(DATA_ROOT)), *([SHARED] if SHARED.is_dir() else [])]
    files = [path for root in roots for path in sorted(root.rglob("*")) if path.is_file()]
    return [path for path in files if has_preamble(MemorySource(path.read_bytes()[:132]))]


def show_with_pydicom(ds: pydicom.Dataset, tag: int) -> dict | None:
    """pydicom's JSON of one element, or None where it fails."""
    try:
        return ds[tag].to_json_dict(None, 0)
    except Exception:  # noqa: BLE001  # whatever it is, pydicom gives no JSON
        return None


def compare(ours: dict, ds: pydicom.Dataset, little: bool, counts: Counter, where: str) -> None:
    tags = {f"{tag:08X}": tag for tag in list(ds.keys())}
    for key in sorted(ours.keys() | tags.keys()):
        place = f"{where}/{key}"
        if key in tags and ds[tags[key]].VR == "SQ" and ours.get(key, {}).get("vr") == "SQ":
            items = ours[key].get("Value", [])
            counts["empty sequence"] += not items
            assert "Value" not in ours[key] or items, place
            assert len(items) == len(ds[tags[key]].value), place
            for item, other in zip(items, ds[tags[key]].value, strict=True):
                compare(item, other, little, counts, place)
            continue
        theirs = show_with_pydicom(ds, tags[key]) if key in tags else None
        reason = "" if ours.get(key) == theirs else explain(key, ours.get(key), theirs, little)
        assert reason is not None, f"{place}: {ours.get(key)} is not {theirs}"
        counts[reason] += 1


def explain(key: str, ours: dict | None, theirs: dict | None, little: bool) -> str | None:
    """Name the listed difference, or None if it is none."""
    if key == "00080005" and ours == {"vr": "CS", "Value": ["ISO_IR 192"]}:
        return "charset"
    if ours is None:
        return "group length" if key.endswith("0000") else None
    if "BulkDataURI" in ours:
        size = len(base64.b64decode(theirs["InlineBinary"])) if theirs else 0
        is_pixel_data = key in {"7FE00008", "7FE00009", "7FE00010"}
        same_vr = theirs is not None and theirs["vr"] == ours["vr"]
        return "bulk" if same_vr and (size > 1024 or (is_pixel_data and size)) else None
    if theirs is None:
        texts = [value for value in ours.get("Value", []) if not isinstance(value, int | float)]
        if ours["vr"] in {"IS", "DS"} and texts:
            return "number text"
        return "wrong length" if ours["vr"] == "UN" else None
    if theirs["vr"] in AMBIGUOUS_VR:
        return "ambiguous"
    if theirs["vr"] != ours["vr"]:
        return None
    if ours["vr"] in BULK_VRS - {"OB", "UN"} and not little:
        raw = base64.b64decode(theirs["InlineBinary"])
        size = {"OW": 2, "OF": 4, "OL": 4, "OD": 8, "OV": 8}[ours["vr"]]
        words = [raw[at : at + size][::-1] for at in range(0, len(raw), size)]
        same = base64.b64decode(ours["InlineBinary"]) == b"".join(words)
        return "byte order" if same else None
    if not little and ours["vr"] in WORD_FORMATS:
        form = WORD_FORMATS[ours["vr"]]
        packed = [struct.pack("<" + form, value) for value in ours["Value"]]
        swapped = [struct.unpack(">" + form, word)[0] for word in packed]
        return "byte order" if swapped == theirs["Value"] else None
    return explain_values(ours["vr"], ours.get("Value", []), theirs.get("Value", []))


def explain_values(vr: str, ours: list, theirs: list) -> str | None:
    if vr in {"UV", "SV", "IS"} and ours == [
        value if abs(value) < 2**53 else str(value) for value in theirs
    ]:
        return "large integer"
    if vr == "PN":
        trimmed = [{key: group for key, group in name.items() if group} or None for name in theirs]
        return "person name" if trimmed == ours else None
    return "empty value" if [None if value == "" else value for value in theirs] == ours else None


@pytest.fixture
def quiet():
    """pydicom warns and logs about the odd files, which are here on purpose."""
    logging.disable(logging.CRITICAL)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
    logging.disable(logging.NOTSET)


@pytest.mark.usefixtures("quiet")
def test_every_attribute_agrees_with_pydicom_and_most_files_take_the_header_path():
    fast, slow, counts = 0, [], Counter()
    for path in find_files():
        header = read_header(MemorySource(path.read_bytes()))
        fast += header.fallback_reason is None
        if header.fallback_reason is not None:
            slow.append(f"{path.name} ({header.fallback_reason})")
        ours = msgspec.json.decode(encode_attributes(header.attributes))
        assert list(ours) == sorted(ours)
        little = header.transfer_syntax_uid != "1.2.840.10008.1.2.2"
        compare(ours, pydicom.dcmread(path), little, counts, path.name)
    share = fast / (fast + len(slow))
    print(f"\nheader path: {fast} of {fast + len(slow)} files ({share:.1%}); pydicom: {slow}")
    print(f"attributes alike: {counts.pop('')}; different as listed: {dict(counts)}")
    assert share >= 0.95
    assert set(counts) <= set(DIFFERENCES)


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("name", ["rtplan_truncated.dcm", "SC_rgb_jpeg.dcm", "MR_truncated.dcm"])
def test_odd_files_fall_back_to_pydicom(name):
    path = Path(str(DATA_ROOT)) / "test_files" / name
    header = read_header(MemorySource(path.read_bytes()))
    assert header.fallback_reason is not None
    assert header.attributes["00080016"]["vr"] == "UI"


def test_reasons_name_no_patient():
    path = Path(str(DATA_ROOT)) / "test_files" / "CT_small.dcm"
    data = bytearray(path.read_bytes()[:2000])
    at = data.find(b"\x08\x00\x16\x00UI")
    data[at + 4 : at + 6] = b"ZZ"
    with pytest.raises(InvalidInstance) as refused:
        read_header(MemorySource(data))
    assert "CompressedSamples" not in str(refused.value)
