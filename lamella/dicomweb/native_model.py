"""DICOM JSON as XML: the Native DICOM Model.

Source:
    PS3.19 Annex A.1 (Native DICOM Model); PS3.18 §8.7.3.2 and §F.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from xml.sax.saxutils import escape, quoteattr

from pydicom.datadict import keyword_for_tag

NAMESPACE = "http://dicom.nema.org/PS3.19/models/NativeDICOM"
_HEAD = (
    '<?xml version="1.0" encoding="UTF-8"?>\n'
    f'<NativeDicomModel xmlns="{NAMESPACE}" xml:space="preserve">'
)
_TAIL = "</NativeDicomModel>"
GROUPS = ("Alphabetic", "Ideographic", "Phonetic")
COMPONENTS = ("FamilyName", "GivenName", "MiddleName", "NamePrefix", "NameSuffix")
# XML 1.0 has no way to say these characters at all; DICOM's control characters are among them
_UNSAYABLE = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

Attributes = Mapping[str, Mapping[str, Any]]


def write_native_model(attributes: Attributes) -> bytes:
    """Return one data set as an XML document in UTF-8.

    Args:
        attributes: DICOM JSON, tags ascending.
    """
    return "".join([_HEAD, *_write_attributes(attributes), _TAIL]).encode()


def _write_attributes(attributes: Attributes) -> Iterator[str]:
    for tag, element in attributes.items():
        yield f'<DicomAttribute tag="{tag}" vr="{element["vr"]}"{_describe(tag, attributes)}>'
        yield from _write_value(element)
        yield "</DicomAttribute>"


def _describe(tag: str, attributes: Attributes) -> str:
    """Return the keyword of a standard attribute, or the creator of a private one."""
    if int(tag[:4], 16) % 2 == 0:
        keyword = keyword_for_tag(int(tag, 16))
        return f' keyword="{keyword}"' if keyword else ""
    block = tag[4:6]
    creator = attributes.get(f"{tag[:4]}00{block}", {}).get("Value", [None])[0]
    if block == "00" or not isinstance(creator, str):
        return ""
    return f" privateCreator={quoteattr(_clean(creator))}"


def _write_value(element: Mapping[str, Any]) -> Iterator[str]:
    if "BulkDataURI" in element:
        yield f"<BulkData uri={quoteattr(element['BulkDataURI'])}/>"
    elif "InlineBinary" in element:
        yield f"<InlineBinary>{element['InlineBinary']}</InlineBinary>"
    elif element["vr"] == "SQ":
        yield from _write_items(element.get("Value", ()))
    elif element["vr"] == "PN":
        yield from _write_names(element.get("Value", ()))
    else:
        for number, value in enumerate(element.get("Value", ()), 1):
            if value is not None:
                yield f'<Value number="{number}">{escape(_clean(str(value)))}</Value>'


def _write_items(items: Sequence[Attributes | None]) -> Iterator[str]:
    for number, item in enumerate(items, 1):
        yield f'<Item number="{number}">'
        yield from _write_attributes(item or {})
        yield "</Item>"


def _write_names(names: Sequence[Mapping[str, str] | None]) -> Iterator[str]:
    for number, name in enumerate(names, 1):
        if not name:
            continue
        yield f'<PersonName number="{number}">'
        for group in GROUPS:
            if name.get(group):
                yield f"<{group}>{_write_components(name[group])}</{group}>"
        yield "</PersonName>"


def _write_components(group: str) -> str:
    return "".join(
        f"<{component}>{escape(_clean(part))}</{component}>"
        for component, part in zip(COMPONENTS, group.split("^"), strict=False)
        if part
    )


def _clean(text: str) -> str:
    return _UNSAYABLE.sub("\N{REPLACEMENT CHARACTER}", text)
