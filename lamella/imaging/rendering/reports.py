"""Structured reports and key objects as people read them: HTML and plain text.

The content tree is walked as it nests; every text of it is escaped.

Source:
    PS3.3 §C.17.3 (SR document content), §C.18 (value types), §C.17.2 (document general).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from html import escape
from typing import Any

from lamella.imaging.rendering.attributes import first_value

Json = Mapping[str, Any]

_CONTENT, _VALUE_TYPE, _CONCEPT_NAME = "0040A730", "0040A040", "0040A043"
_MEANING, _REFERENCED_ITEM = "00080104", "0040DB73"
_SCALARS = {
    "TEXT": "0040A160",
    "PNAME": "0040A123",
    "DATE": "0040A121",
    "TIME": "0040A122",
    "DATETIME": "0040A120",
    "UIDREF": "0040A124",
}
_REFERENCES = ("IMAGE", "COMPOSITE", "WAVEFORM")
_HEADER = (
    ("Patient", "00100010"),
    ("Patient ID", "00100020"),
    ("Birth date", "00100030"),
    ("Sex", "00100040"),
    ("Study date", "00080020"),
    ("Accession number", "00080050"),
    ("Content date", "00080023"),
    ("Completion", "0040A491"),
    ("Verification", "0040A493"),
)
_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:50rem;margin:2rem auto;padding:0 1rem}"
    "dl{display:grid;grid-template-columns:max-content 1fr;gap:0 1rem}dt{color:#666}dd{margin:0}"
    "ul{padding-left:1.25rem}.name{color:#555}"
)
_MOST_COORDINATES = 8


@dataclass(frozen=True)
class Line:
    """One content item.

    Attributes:
        depth: 0 for children of the document itself.
        name: Of the concept; may be empty.
        value: As text; empty for containers.
        is_container: Whether its children are a section.
    """

    depth: int
    name: str
    value: str
    is_container: bool


def write_html(document: Json) -> bytes:
    """Return a report as an HTML page.

    Args:
        document: DICOM JSON of the instance.
    """
    title = escape(_read_title(document))
    facts = "".join(f"<dt>{escape(k)}<dd>{escape(v)}" for k, v in _read_header(document))
    body = "".join(_write_items(walk(document)))
    return (
        f'<!doctype html><html><head><meta charset="utf-8"><title>{title}</title>'
        f"<style>{_STYLE}</style></head><body><h1>{title}</h1><dl>{facts}</dl>{body}"
        "</body></html>\n"
    ).encode()


def write_text(document: Json) -> bytes:
    """Return a report as plain text in UTF-8, indented as it nests."""
    lines = [_read_title(document), ""]
    lines += [f"{name}: {value}" for name, value in _read_header(document)]
    lines.append("")
    for line in walk(document):
        text = ": ".join(part for part in (line.name, line.value) if part)
        indent = "  " * line.depth
        lines.append(indent + text.replace("\n", "\n" + indent + "  "))
    return ("\n".join(lines) + "\n").encode()


def walk(item: Json, depth: int = 0) -> Iterator[Line]:
    """Yield the content items below an item, each before its children."""
    for child in item.get(_CONTENT, {}).get("Value", []):
        if not child:
            continue
        kind = str(first_value(child, _VALUE_TYPE) or "")
        name, value = _read_code(child, _CONCEPT_NAME), _read_value(child, kind)
        yield Line(depth, name, value, kind == "CONTAINER")
        yield from walk(child, depth + 1)


def _write_items(lines: Iterator[Line]) -> Iterator[str]:
    """Yield lists within lists; a container's name is in bold."""
    depth = -1
    for line in lines:
        if line.depth > depth:
            yield "<ul>" * (line.depth - depth)
        else:
            yield "</ul>" * (depth - line.depth)
        depth = line.depth
        name = escape(line.name)
        value = escape(line.value).replace("\n", "<br>")
        if line.is_container:
            yield f"<li><strong>{name}</strong> {value}"
        elif name:
            yield f'<li><span class="name">{name}:</span> {value}'
        else:
            yield f"<li>{value}"
    yield "</ul>" * (depth + 1)


def _read_title(document: Json) -> str:
    return _read_code(document, _CONCEPT_NAME) or _as_text(document, "00081030") or "Report"


def _read_header(document: Json) -> Iterator[tuple[str, str]]:
    for name, tag in _HEADER:
        value = _as_text(document, tag)
        if value:
            yield name, value


def _read_value(item: Json, kind: str) -> str:
    """Return the value of a content item as text."""
    if kind in _SCALARS:
        return _as_text(item, _SCALARS[kind])
    if kind == "CODE":
        return _read_code(item, "0040A168")
    if kind == "NUM":
        measured = first_value(item, "0040A300") or {}
        unit = _read_unit(measured)
        return " ".join(part for part in (_as_text(measured, "0040A30A"), unit) if part)
    if kind in _REFERENCES:
        reference = first_value(item, "00081199") or {}
        frames = ", ".join(map(str, reference.get("00081160", {}).get("Value", [])))
        uid = _as_text(reference, "00081155")
        return f"{uid}, frames {frames}" if frames else uid
    if kind.startswith(("SCOORD", "TCOORD")):
        return _read_coordinates(item)
    if _REFERENCED_ITEM in item:
        numbers = item[_REFERENCED_ITEM].get("Value", [])
        return "see item " + ".".join(map(str, numbers))
    return ""


def _read_unit(measured: Json) -> str:
    """Return a unit as its UCUM code, which is what people write; nothing for plain numbers."""
    unit = first_value(measured, "004008EA") or {}
    code = _as_text(unit, "00080100")
    return "" if code in ("1", "{ratio}") else code or _as_text(unit, _MEANING)


def _read_coordinates(item: Json) -> str:
    shape = _as_text(item, "00700023") or _as_text(item, "0040A130")
    numbers = item.get("00700022", {}).get("Value", [])
    shown = ", ".join(f"{number:g}" for number in numbers[:_MOST_COORDINATES] if number is not None)
    more = " …" if len(numbers) > _MOST_COORDINATES else ""
    return f"{shape} {shown}{more}".strip()


def _read_code(item: Json, tag: str) -> str:
    code = first_value(item, tag) or {}
    return _as_text(code, _MEANING) or _as_text(code, "00080100")


def _as_text(item: Json, tag: str) -> str:
    value = first_value(item, tag)
    if isinstance(value, dict):
        value = value.get("Alphabetic") or value.get("Ideographic") or value.get("Phonetic") or ""
        value = " ".join(part for part in value.split("^") if part)
    return "" if value is None else str(value).replace("\r\n", "\n").strip()
