"""What a de-identified data set says about itself.

Source:
    PS3.15 §E.1.1 step 6, §E.3; PS3.3 §C.7.1.1 and §C.12.1.1.1.
"""

from __future__ import annotations

from collections.abc import Sequence

from pydicom import Dataset

from lamella.deid.codes import BASIC, OPTION_CODES, Code
from lamella.deid.plans import Plan

_TEMPORAL = {
    "retain_longitudinal_full_dates": "UNMODIFIED",
    "retain_longitudinal_modified_dates": "MODIFIED",
}


def mark(attributes: Dataset, plan: Plan, applied: Sequence[Code]) -> tuple[Code, ...]:
    """Write Patient Identity Removed and how, and return the codes that stand there.

    Args:
        attributes: Changed in place.
        plan: Of the profile that was applied.
        applied: Codes of what was done besides the header.
    """
    options = (code for option, code in OPTION_CODES.items() if option in plan.options)
    codes = tuple(sorted({BASIC, *options, *applied}, key=lambda code: code.value))
    attributes.PatientIdentityRemoved = "YES"
    attributes.DeidentificationMethod = f"Lamella, PS3.15 {plan.profile.edition}"
    attributes.DeidentificationMethodCodeSequence = [_make_item(code) for code in codes]
    attributes.LongitudinalTemporalInformationModified = next(
        (value for option, value in _TEMPORAL.items() if option in plan.options), "REMOVED"
    )
    return codes


def mark_more(attributes: Dataset, code: Code) -> None:
    """Write one more code of what was done, unless it stands there.

    Args:
        attributes: De-identified; changed in place.
        code: Of what was done since.
    """
    items = list(attributes.get("DeidentificationMethodCodeSequence") or ())
    if all(item.get("CodeValue") != code.value for item in items):
        items = sorted([*items, _make_item(code)], key=lambda item: str(item.CodeValue))
        attributes.DeidentificationMethodCodeSequence = items


def _make_item(code: Code) -> Dataset:
    item = Dataset()
    item.CodeValue = code.value
    item.CodingSchemeDesignator = "DCM"
    item.CodeMeaning = code.meaning
    return item
