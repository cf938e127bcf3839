"""The Native DICOM Model, read into the shape of DICOM JSON and written from it.

Source:
    PS3.19 §A.1.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from typing import Any

from pydicom.datadict import keyword_for_tag

from lamella.conformance.expect import DataSet

NAMESPACE = "http://dicom.nema.org/PS3.19/models/NativeDICOM"
_NUMBERS = frozenset({"FL", "FD", "SL", "SS", "SV", "UL", "US", "UV", "IS", "DS"})


def read_native(body: bytes) -> DataSet:
    """Return a NativeDicomModel document as DICOM JSON has it; numbers become floats.

    Raises:
        ValueError: It is no such document.
    """
    try:
        root = ET.fromstring(body)
    except ET.ParseError as error:
        raise ValueError(f"no XML: {error}") from error
    if _local(root) != "NativeDicomModel":
        raise ValueError(f"the root element is {_local(root)}")
    return _read_attributes(root)


def write_native(data_set: DataSet) -> bytes:
    """Return DICOM JSON as a NativeDicomModel document."""
    root = ET.Element("NativeDicomModel", {"xml:space": "preserve", "xmlns": NAMESPACE})
    _write_attributes(root, data_set)
    return bytes(ET.tostring(root, encoding="utf-8", xml_declaration=True))


def _local(element: ET.Element) -> str:
    return element.tag.rpartition("}")[2]


def _read_attributes(parent: ET.Element) -> DataSet:
    found: DataSet = {}
    for attribute in parent:
        if _local(attribute) != "DicomAttribute":
            raise ValueError(f"{_local(attribute)} stands where DicomAttribute should")
        tag, vr = attribute.get("tag"), attribute.get("vr")
        if not tag or not vr:
            raise ValueError("a DicomAttribute has no tag or no vr")
        found[tag.upper()] = _read_attribute(attribute, vr)
    return found


def _read_attribute(attribute: ET.Element, vr: str) -> dict[str, Any]:
    element: dict[str, Any] = {"vr": vr}
    for child in attribute:
        kind = _local(child)
        if kind == "BulkData":
            element["BulkDataURI"] = child.get("uri") or child.get("uuid")
        elif kind == "InlineBinary":
            element["InlineBinary"] = (child.text or "").strip()
        elif kind in ("Value", "PersonName", "Item"):
            if not child.get("number"):
                raise ValueError(f"{kind} in {attribute.get('tag')} has no number")
            element.setdefault("Value", []).append(_read_value(child, kind, vr))
        else:
            raise ValueError(f"{kind} is no child of DicomAttribute")
    return element


def _read_value(child: ET.Element, kind: str, vr: str) -> Any:
    if kind == "Item":
        return _read_attributes(child)
    if kind == "PersonName":
        return {_local(group): _read_name(group) for group in child}
    text = child.text or ""
    return float(text) if vr in _NUMBERS and text else text


def _read_name(group: ET.Element) -> str:
    parts = {_local(part): part.text or "" for part in group}
    order = ("FamilyName", "GivenName", "MiddleName", "NamePrefix", "NameSuffix")
    return "^".join(parts.get(name, "") for name in order).rstrip("^")


def _write_attributes(parent: ET.Element, data_set: DataSet) -> None:
    for tag, element in data_set.items():
        names = {"tag": tag, "vr": element["vr"]}
        keyword = keyword_for_tag(int(tag, 16))
        if keyword:
            names["keyword"] = keyword
        attribute = ET.SubElement(parent, "DicomAttribute", names)
        if "BulkDataURI" in element:
            ET.SubElement(attribute, "BulkData", {"uri": element["BulkDataURI"]})
        if "InlineBinary" in element:
            ET.SubElement(attribute, "InlineBinary").text = element["InlineBinary"]
        for number, item in enumerate(element.get("Value", ()), 1):
            _write_value(attribute, element["vr"], number, item)


def _write_value(attribute: ET.Element, vr: str, number: int, item: Any) -> None:
    place = {"number": str(number)}
    if vr == "SQ":
        _write_attributes(ET.SubElement(attribute, "Item", place), item)
    elif vr == "PN":
        person = ET.SubElement(attribute, "PersonName", place)
        for group, text in item.items():
            names = ("FamilyName", "GivenName", "MiddleName", "NamePrefix", "NameSuffix")
            within = ET.SubElement(person, group)
            for name, component in zip(names, text.split("^"), strict=False):
                if component:
                    ET.SubElement(within, name).text = component
    else:
        ET.SubElement(attribute, "Value", place).text = "" if item is None else str(item)
