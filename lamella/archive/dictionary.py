"""VRs of attributes that do not carry their own, from pydicom's dictionaries as plain dicts.

Source:
    PS3.6 (data dictionary), PS3.5 §6.2.2 (unknown VR), §7.8 (private elements).
"""

from __future__ import annotations

from functools import lru_cache

from pydicom._private_dict import private_dictionaries
from pydicom.datadict import DicomDictionary, dictionary_VR

_PUBLIC_VRS: dict[int, str] = {int(tag): str(entry[0]) for tag, entry in DicomDictionary.items()}
_PRIVATE_VRS: dict[str, dict[str, str]] = {
    creator: {mask: str(entry[0]) for mask, entry in entries.items()}
    for creator, entries in private_dictionaries.items()
}


def is_private(tag: int) -> bool:
    """Return whether the group is odd."""
    return bool(tag >> 16 & 1)


def is_private_creator(tag: int) -> bool:
    """Return whether the tag reserves a block of private elements (PS3.5 §7.8.1)."""
    return bool(tag >> 16 & 1) and 0x10 <= tag & 0xFFFF < 0x100


@lru_cache(maxsize=4096)
def find_public_vr(tag: int) -> str | None:
    """Return the dictionary's VR of a standard attribute, or None.

    Ambiguous VRs come back as the dictionary words them, for example `US or SS`.
    """
    vr = _PUBLIC_VRS.get(tag)
    if vr is None and not is_private(tag):
        try:
            vr = str(dictionary_VR(tag))  # repeating groups, 50xx and 60xx
        except KeyError:
            return None
    return vr


@lru_cache(maxsize=16384)
def find_private_vr(tag: int, creator: str) -> str | None:
    """Return the VR of a private attribute of a known creator, or None."""
    entries = _PRIVATE_VRS.get(creator)
    if entries is None:
        return None
    text = f"{tag:08X}"
    for mask in (text, f"{text[:4]}xx{text[6:]}", f"{text[:2]}xxxx{text[6:]}"):
        if mask in entries:
            return entries[mask]
    return None
