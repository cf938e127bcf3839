"""DICOM JSON of one instance, as it is kept: made once at put, spliced into answers later.

Every attribute of the data set, none of the file meta, no group lengths; keys ascend; UTF-8. Bulk
values are either `InlineBinary` or `{"vr": …, "BulkDataURI": "bulkdata/<path>"}`, where the path
of a nested element names sequences and 0-based items: `bulkdata/54000100/0/54001010`.

The reading agrees with pydicom's `Dataset.to_json_dict` but for what `DIFFERENCES` lists; the
oracle test compares every attribute of every file it finds and allows these only.

Source:
    PS3.18 §F.2 (JSON model), §F.2.2 (character set, person names), §F.2.3 (numbers),
    §F.2.4 and §F.2.5 (empty values), §F.2.6 (bulk data).
"""

from __future__ import annotations

import msgspec

from lamella.archive.recorder import Attributes

CHARSET_KEY = "00080005"

DIFFERENCES: dict[str, str] = {
    "charset": "(0008,0005) is ISO_IR 192 wherever it stands, and added at the top, if any text is "
    "not ASCII; if all is ASCII it stays as it came.",
    "empty sequence": "A sequence without items has no Value; pydicom gives an empty array.",
    "empty value": "An empty value among several is null; pydicom gives an empty string or fails.",
    "group length": "(gggg,0000) is left out at every level.",
    "person name": "Empty component groups are left out; pydicom gives them as empty strings.",
    "number text": "IS and DS that are no numbers, or that a double cannot repeat digit by digit, "
    "are strings as written; pydicom fails or rounds. IS with a fraction keeps it.",
    "large integer": "SV, UV and IS beyond 2^53 - 1 are strings; pydicom gives numbers.",
    "not finite": 'FL and FD are "NaN", "Infinity" and "-Infinity"; JSON has no such numbers.',
    "byte order": "Inline bytes of OW, OF, OL, OD and OV are little endian whatever the file's; "
    "the value of UN is little endian in big-endian files too, which pydicom swaps.",
    "bulk": "Bulk VRs of more than 1,024 bytes, Pixel Data, Float and Double Float Pixel Data of "
    "any length, and other VRs of 1 MiB or more are BulkDataURI.",
    "ambiguous": "VRs that pydicom leaves ambiguous (US or SS or OW) are OW, or US where no Pixel "
    "Representation decides.",
    "wrong length": "Bytes that are no multiple of their VR's word are shown as UN.",
    "LUT descriptor": "A negative first value in SS stays; pydicom adds 65,536.",
    "escape": "GB 2312 under ISO 2022 is read without its escape sequence, and undeclared known "
    "escape sequences are honoured.",
    "padding": "Spaces and NULs around UIDs, AE titles and each text value are gone.",
    "long UN": "A standard attribute of 65,535 bytes or more written as UN has its dictionary VR.",
}

_encode = msgspec.json.Encoder().encode


def encode_attributes(attributes: Attributes) -> bytes:
    """Return the JSON document of a data set.

    Args:
        attributes: The structure, keys ascending. Changed in place if text is not ASCII.
    """
    document = _encode(attributes)
    if document.isascii():
        return document
    _declare_utf8(attributes)
    if CHARSET_KEY not in attributes:
        attributes[CHARSET_KEY] = {"vr": "CS", "Value": ["ISO_IR 192"]}
        attributes = {key: attributes[key] for key in sorted(attributes)}
    return _encode(attributes)


def _declare_utf8(attributes: Attributes) -> None:
    if CHARSET_KEY in attributes:
        attributes[CHARSET_KEY] = {"vr": "CS", "Value": ["ISO_IR 192"]}
    for element in attributes.values():
        if element["vr"] == "SQ":
            for item in element.get("Value", ()):
                _declare_utf8(item)
