"""The Native DICOM Model as DICOM JSON: the way back of `native_model`.

Documents come from anybody, so there is a bound on their elements, and a document type, whose
entities could make a few bytes as long as they like, is refused.

Source:
    PS3.19 Annex A.1 (Native DICOM Model); PS3.18 §F.2 (JSON model), §F.3 (how both correspond).
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from typing import Any

from lamella.dicomweb.native_model import COMPONENTS, GROUPS
from lamella.errors import InvalidInstance

MOST_ELEMENTS = 300_000
MAX_DEPTH = 256

_VALUES = frozenset({"Value", "PersonName", "Item"})


class _Builder(ET.TreeBuilder):
    """Builds the tree of a document that is no bomb."""

    def __init__(self) -> None:
        super().__init__()
        self._count = self._depth = 0

    def start(self, tag: Any, attrs: Any, /) -> Any:
        self._count += 1
        self._depth += 1
        if self._count > MOST_ELEMENTS or self._depth > MAX_DEPTH:
            raise InvalidInstance("An XML document has too many elements, or nests them too deep.")
        return super().start(tag, attrs)

    def end(self, tag: str, /) -> Any:
        self._depth -= 1
        return super().end(tag)

    def doctype(self, name: str, pubid: str | None, system: str | None) -> None:
        """Refuse a document type declaration."""
        raise InvalidInstance("An XML document may not declare a document type.")


def read_native_model(document: bytes) -> dict[str, dict[str, Any]]:
    """Return the data set of an XML document.

    Numbers stay text, as the document has them.

    Raises:
        InvalidInstance: It is no Native DICOM Model.
    """
    try:
        parser = ET.XMLParser(target=_Builder())
        parser.feed(document)
        root: ET.Element = parser.close()
    except (ET.ParseError, ValueError, LookupError) as error:
        raise InvalidInstance("A metadata part is not well-formed XML.") from error
    if _local(root) != "NativeDicomModel":
        raise InvalidInstance("A metadata part is no Native DICOM Model.")
    return _read_attributes(root)


def _local(element: ET.Element) -> str:
    return element.tag.rpartition("}")[2]


def _read_attributes(parent: ET.Element) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for attribute in parent:
        tag, vr = attribute.get("tag"), attribute.get("vr")
        if _local(attribute) != "DicomAttribute" or not tag or not vr:
            raise InvalidInstance("A Native DICOM Model has something else than attributes.")
        found[tag.upper()] = _read_attribute(attribute, vr)
    return found


def _read_attribute(attribute: ET.Element, vr: str) -> dict[str, Any]:
    element: dict[str, Any] = {"vr": vr}
    values: dict[int, Any] = {}
    for child in attribute:
        kind = _local(child)
        if kind == "BulkData":
            element["BulkDataURI"] = child.get("uri") or child.get("uuid") or ""
        elif kind == "InlineBinary":
            element["InlineBinary"] = "".join((child.text or "").split())
        elif kind in _VALUES:
            values[_read_number(child)] = _read_value(child, kind)
    if values:
        element["Value"] = [values.get(number) for number in range(1, max(values) + 1)]
    return element


def _read_number(child: ET.Element) -> int:
    """Return which of several values one is, from 1."""
    text = child.get("number") or "1"
    if not text.isdecimal() or not 1 <= int(text[:9]) <= MOST_ELEMENTS:
        raise InvalidInstance("A value of a Native DICOM Model has no sound number.")
    return int(text)


def _read_value(child: ET.Element, kind: str) -> Any:
    if kind == "Item":
        return _read_attributes(child)
    if kind == "PersonName":
        groups = {_local(group): _read_group(group) for group in child}
        return {name: groups[name] for name in GROUPS if groups.get(name)}
    return child.text or None


def _read_group(group: ET.Element) -> str:
    parts = {_local(part): part.text or "" for part in group}
    return "^".join(parts.get(name, "") for name in COMPONENTS).rstrip("^")
