"""Elements by what their VR makes them, before they are decoded.

Source:
    PS3.5 §6.2; PS3.6 (the dictionary).
"""

from __future__ import annotations

from functools import lru_cache

from pydicom import DataElement
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import RawDataElement

LONG_TEXTS = frozenset({"LT", "ST", "UC", "UT"})
TEXTS = LONG_TEXTS | {"LO", "SH"}
STRUCTURAL = frozenset({0x00080005, 0x00080060, 0x0040A010, 0x0040A040, 0x0040A050})
"""Code strings without which nothing else can be read: character set, modality, relationship and
value types, continuity of content. A patient named "Text" does not change them."""
KEPT_BYTES = frozenset(
    {
        0x00282000,  # ICC Profile
        0x00281201, 0x00281202, 0x00281203, 0x00281204,
        0x00281221, 0x00281222, 0x00281223, 0x00281224,
        0x00283006,  # LUT Data
        0x54000100,  # Waveform Padding and Data, sample by sample
        0x54000110, 0x54000112, 0x5400100A, 0x54001010,
        0x00660023, 0x00660024, 0x00660025, 0x00660040, 0x00660041, 0x00660042,
        0x7FE00010,
    }
)  # fmt: skip
"""Binary attributes that are numbers: samples, look-up tables, profiles of colour."""


@lru_cache(maxsize=8192)
def _look_up(tag: int) -> str:
    try:
        # "US or SS" and such: which of them does not matter here
        return str(dictionary_VR(tag)).split(" ")[-1]
    except KeyError:
        return "UN"


def find_vr(element: DataElement | RawDataElement) -> str:
    """Return an element's VR, the dictionary's where the file has none."""
    vr = element.VR
    if vr in (None, "UN") and not element.tag.is_private:
        return _look_up(int(element.tag))
    return vr or "UN"
