"""Which level of the query model an attribute belongs to, and what a search returns by default.

The tables are facts of the standard, generated from its IOD and module tables (edition 2025)
by this rule, over the attributes that stand at the top level of a module:

- patient: in a module of the Patient IE (Patient, Clinical Trial Subject), or in the Patient
  Identification and Patient Demographic modules;
- study: else, in a module of the Study IE (General Study, Patient Study, Clinical Trial Study);
- series: else, only in modules of the Series, Equipment and Frame of Reference IEs of patient
  images, so that it cannot differ between the instances of a series (Pixel Padding Value, which
  can, is left out);
- instance: everything else, private attributes among it.

Retired attributes that old files carry (Other Patient IDs, Ethnic Group, Medical Record
Locator, Issuer of Admission ID, Study Comments) were added by hand, the attributes that exist
only in queries (PS3.4 Table C.3-1) too.

Source:
    PS3.3 Annex A (IODs), Annex C (modules); PS3.4 §C.3, §C.6; PS3.18 Tables 10.6.3-3/4/5.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final


class Level(IntEnum):
    """A level of the query model, ordered from the whole to the part.

    Source:
        PS3.4 §C.6.1.1 (Query/Retrieve Levels); DICOMweb searches begin at `STUDY`.
    """

    PATIENT = 0
    STUDY = 1
    SERIES = 2
    INSTANCE = 3


SPECIFIC_CHARACTER_SET: Final = "00080005"
SOP_CLASS_UID: Final = "00080016"
SOP_INSTANCE_UID: Final = "00080018"
INSTANCE_AVAILABILITY: Final = "00080056"
MODALITY: Final = "00080060"
MODALITIES_IN_STUDY: Final = "00080061"
SOP_CLASSES_IN_STUDY: Final = "00080062"
TIMEZONE_OFFSET: Final = "00080201"
RETRIEVE_URL: Final = "00081190"
PATIENT_ID: Final = "00100020"
ISSUER_OF_PATIENT_ID: Final = "00100021"
STUDY_INSTANCE_UID: Final = "0020000D"
SERIES_INSTANCE_UID: Final = "0020000E"
STUDY_RELATED_SERIES: Final = "00201206"
STUDY_RELATED_INSTANCES: Final = "00201208"
SERIES_RELATED_INSTANCES: Final = "00201209"

EVERY_LEVEL: Final = frozenset(
    {SPECIFIC_CHARACTER_SET, "00080054", INSTANCE_AVAILABILITY, TIMEZONE_OFFSET, RETRIEVE_URL}
)
"""True of a patient, study, series or instance alike, so never below the level that is asked."""

COMPUTED: Final = frozenset(
    {
        "00080054",
        INSTANCE_AVAILABILITY,
        RETRIEVE_URL,
        "00201200",
        "00201202",
        "00201204",
        STUDY_RELATED_SERIES,
        STUDY_RELATED_INSTANCES,
        SERIES_RELATED_INSTANCES,
    }
)
"""Made for the answer (counts, URL, availability): returned, never stored and never matched."""


def _tags(table: str) -> frozenset[str]:
    return frozenset(table.split())


_PATIENT: Final = _tags(
    """
    00081120 00100010 00100020 00100021 00100022 00100024 00100026 00100027 00100030 00100032
    00100033 00100034 00100035 00100040 00100050 00100101 00100200 00100212 00100213 00100216
    00100218 00100219 00100221 00101000 00101001 00101002 00101005 00101040 00101060 00101080
    00101081 00101090 00101100 00102150 00102152 00102154 00102155 00102160 00102161 001021F0
    00102201 00102202 00102292 00102293 00102294 00102297 00102298 00102299 00104000 00120010
    00120020 00120021 00120022 00120023 00120030 00120031 00120032 00120040 00120041 00120042
    00120043 00120062 00120063 00120064 00120081 00120082 00403001
    00201200 00201202 00201204
    """
)

_STUDY: Final = _tags(
    """
    00080020 00080030 00080050 00080051 00080090 00080096 0008009C 0008009D 00081030 00081032
    00081048 00081049 00081060 00081062 00081080 00081084 00081110 00101010 00101020 00101021
    00101022 00101023 00101024 00101030 00102000 00102110 00102180 001021A0 001021B0 001021C0
    001021D0 00102203 00120050 00120051 00120052 00120053 00120054 00120055 00120083 0020000D
    00200010 00321033 00321034 00321066 00321067 00324000 00380010 00380011 00380014 00380060
    00380062 00380064 00380500 00401012
    00080061 00080062 00080063 00201206 00201208
    """
)

_SERIES: Final = _tags(
    """
    00080021 00080031 00080060 00080068 00080070 00080080 00080081 00081010 0008103E 0008103F
    00081040 00081041 00081050 00081052 00081070 00081072 00081090 00081111 00081250
    00102210 00120060 00120071 00120072 00120073 0016004D 0016004E 0016004F 00160050 00160051
    00180015 00180074 00180075 00181000 00181002 00181008 0018100A 0018100B 00181010 00181016
    00181018 00181019 00181020 00181022 00181023 00181030 00181050 0018106A 0018106C 00181121
    00181180 00181200 00181201 00181204 00181205 00181260 00181261 00181800 00181801 00181802
    00181803 0020000E 00200011 00200052 00200060 00200200 00201040 00209307 00209308 00209309
    0020930A 0020930B 0020930C 00209312 00209313 00280108 00280109 00400244 00400245 00400250
    00400251 00400253 00400254 00400260 00400261 00400275 00400280 00540101 00541000 00541001
    00541004 00541006 00541101 00541102 00541103 00541104 00541200 00541201 00541202 00541203
    00541220 00800013
    00201209
    """
)

_LEVELS: Final[dict[str, Level]] = (
    dict.fromkeys(_SERIES, Level.SERIES)
    | dict.fromkeys(_STUDY, Level.STUDY)
    | dict.fromkeys(_PATIENT | EVERY_LEVEL, Level.PATIENT)
)

Path = tuple[str, ...]
"""Where an attribute stands: 8-digit upper-case tags from the top level down."""

DEFAULT_STUDY: Final[dict[Path, str | None]] = {
    ("00080020",): "DA",
    ("00080030",): "TM",
    ("00080050",): "SH",
    (INSTANCE_AVAILABILITY,): None,
    (MODALITIES_IN_STUDY,): "CS",
    ("00080090",): "PN",
    (TIMEZONE_OFFSET,): None,
    (RETRIEVE_URL,): None,
    ("00100010",): "PN",
    (PATIENT_ID,): "LO",
    ("00100030",): "DA",
    ("00100040",): "CS",
    (STUDY_INSTANCE_UID,): "UI",
    ("00200010",): "SH",
    (STUDY_RELATED_SERIES,): None,
    (STUDY_RELATED_INSTANCES,): None,
}
"""Table 10.6.3-3. With a VR: returned empty when unknown (type R); `None`: only when known."""

DEFAULT_SERIES: Final[dict[Path, str | None]] = {
    (MODALITY,): "CS",
    (TIMEZONE_OFFSET,): None,
    ("0008103E",): None,
    (RETRIEVE_URL,): None,
    (SERIES_INSTANCE_UID,): "UI",
    ("00200011",): "IS",
    (SERIES_RELATED_INSTANCES,): None,
    ("00400244",): None,
    ("00400245",): None,
    ("00400275", "00400009"): None,
    ("00400275", "00401001"): None,
}
"""Table 10.6.3-4, read like `DEFAULT_STUDY`."""

DEFAULT_INSTANCE: Final[dict[Path, str | None]] = {
    (SOP_CLASS_UID,): "UI",
    (SOP_INSTANCE_UID,): "UI",
    (INSTANCE_AVAILABILITY,): None,
    (TIMEZONE_OFFSET,): None,
    (RETRIEVE_URL,): None,
    ("00200013",): "IS",
    ("00280008",): None,
    ("00280010",): None,
    ("00280011",): None,
    ("00280100",): None,
}
"""Table 10.6.3-5, read like `DEFAULT_STUDY`."""

DEFAULTS: Final[dict[Level, dict[Path, str | None]]] = {
    Level.STUDY: DEFAULT_STUDY,
    Level.SERIES: DEFAULT_SERIES,
    Level.INSTANCE: DEFAULT_INSTANCE,
}

UNIQUE_KEYS: Final[dict[Level, str]] = {
    Level.PATIENT: PATIENT_ID,
    Level.STUDY: STUDY_INSTANCE_UID,
    Level.SERIES: SERIES_INSTANCE_UID,
    Level.INSTANCE: SOP_INSTANCE_UID,
}
"""The attribute that names an entity of a level (PS3.4 §C.6.1.1, key type U)."""


def level_of(tag: str) -> Level:
    """Tell the level that the attribute `tag` (8 upper-case hex digits) belongs to.

    Source:
        PS3.3 Annex A: the information entity of the attribute's module; see the module's rule.
    """
    return _LEVELS.get(tag, Level.INSTANCE)
