"""What UIDs and attributes are called."""

from __future__ import annotations

import re

from pydicom.datadict import dictionary_description
from pydicom.uid import UID

from lamella.dimse_gateway.negotiation import STORAGE_CLASSES

_WORD = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


def name_uid(uid: str) -> str:
    """Return the name of a SOP class or transfer syntax as PS3.6 has it.

    Of what is newer than pydicom's dictionary it is the keyword, in words.
    """
    name = str(UID(uid).name)
    if name != uid:
        return name
    return _WORD.sub(" ", STORAGE_CLASSES.get(uid, uid))


def name_attribute(tag: str) -> str:
    """Return an attribute's name and tag; the tag is 8 hex digits."""
    return f"{dictionary_description(int(tag, 16))} ({tag[:4]},{tag[4:]})"


def say_yes(is_so: bool) -> str:
    """Return Y or N, as tables of a statement have it."""
    return "Y" if is_so else "N"
