"""An independent search: the bytes of an output for what must be nowhere, in many forms.

It knows nothing of DICOM but how a deflated data set begins, so that what hides in padding, in the
preamble, in private or unparsed bytes is found as well.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

_ENCODINGS = ("utf-8", "latin-1", "utf-16-le", "utf-16-be")
_DEFLATED = b"1.2.840.10008.1.2.1.99"
_META_END = re.compile(rb"\x02\x00\x00\x00UL\x04\x00(....)", re.DOTALL)
_LEAST_CHARACTERS = 6
"""Fewer turn up in compressed pixels by chance."""


@dataclass(frozen=True)
class Find:
    """Something that is left.

    Attributes:
        text: What was looked for; a secret.
    """

    path: Path
    text: str
    offset: int


def hunt(
    wanted: Mapping[str, Iterable[str]], output: Path, uids: Mapping[str, str]
) -> Iterator[Find]:
    """Yield what is left in the files of an output.

    Args:
        wanted: By original SOP Instance UID, what must be nowhere.
        output: Files, at any depth, each with its new SOP Instance UID in its bytes.
        uids: Old to new.
    """
    old = {new: uid for uid, new in uids.items() if uid in wanted}
    for path in sorted(one for one in output.rglob("*") if one.is_file()):
        content = unfold(path.read_bytes())
        found = [old[uid] for uid in _list_uids(content) if uid in old]
        everything = {text for uid in found for text in wanted[uid]}
        if everything:
            yield from (Find(path, text, offset) for text, offset in search(content, everything))


def read_wanted(path: Path) -> dict[str, list[str]]:
    """Read the list that the generator wrote."""
    return dict(json.loads(path.read_text(encoding="utf-8")))


def search(content: bytes, texts: Iterable[str]) -> Iterator[tuple[str, int]]:
    """Yield each text that is in some form in some bytes, and where."""
    lowered = content.lower()
    for text in texts:
        for form in spell(text):
            for encoding in _ENCODINGS:
                offset = lowered.find(_encode(form, encoding))
                if offset >= 0:
                    yield text, offset
                    break
            else:
                continue
            break


def spell(text: str) -> set[str]:
    """Return a text, and a name in other orders."""
    forms = {text}
    parts = [part for part in re.split(r"[\^ ]", text) if part]
    if "^" in text and len(parts) == 2:
        first, second = parts
        for one, two in ((first, second), (second, first)):
            forms |= {
                f"{one}^{two}",
                f"{one} {two}",
                f"{one}, {two}",
                f"{one},{two}",
                f"{one}_{two}",
            }
    return {form for form in forms if len(form) >= _LEAST_CHARACTERS}


def unfold(content: bytes) -> bytes:
    """Return a file's bytes, those of a deflated data set inflated behind them."""
    meta = _META_END.search(content[128:160])
    if _DEFLATED not in content[:1024] or meta is None:
        return content
    start = 128 + meta.end() + int.from_bytes(meta[1], "little")
    return content + zlib.decompress(content[start:], -zlib.MAX_WBITS)


def _encode(text: str, encoding: str) -> bytes:
    return text.lower().encode(encoding, "replace").lower()


def _list_uids(content: bytes) -> set[str]:
    return {uid.decode("ascii") for uid in re.findall(rb"[0-9.]{6,64}", content[:4096])}
