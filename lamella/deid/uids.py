"""Which UIDs are the standard's own.

Source:
    PS3.6 Annex A.
"""

from __future__ import annotations

from pydicom.uid import UID_dictionary

_SOP_CLASSES = "1.2.840.10008.5.1.4."
_TRANSFER_SYNTAXES = "1.2.840.10008.1.2."


def is_registered(uid: str) -> bool:
    """Tell whether a UID names something that the standard defines, and so nobody's data.

    SOP classes and transfer syntaxes newer than pydicom's dictionary are known by their roots,
    which have no arc for instances.
    """
    if not uid or uid in UID_dictionary:
        return True
    return uid.startswith((_SOP_CLASSES, _TRANSFER_SYNTAXES)) and len(uid) <= 34
