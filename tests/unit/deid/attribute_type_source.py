"""Makes `lamella/deid/data/attribute_types.json` out of highdicom's copy of PS3.3.

    python tests/unit/deid/attribute_type_source.py > lamella/deid/data/attribute_types.json

Of 100,000 rows those stay that decide something: attributes which the Basic Profile may empty or
remove though their IOD wants them. A path is shortened to its last two tags, which tell the macro.
"""

from __future__ import annotations

import json
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pydicom.datadict import dictionary_VR, tag_for_keyword

_HIGHDICOM = find_spec("highdicom")
assert _HIGHDICOM is not None
assert _HIGHDICOM.origin is not None
STANDARD = Path(_HIGHDICOM.origin).parent / "_standard"  # to import it takes seconds
RULES = Path(__file__).parents[3] / "lamella" / "deid" / "data" / "ps315_2026d.json"
SAFETY_NET = frozenset(
    ["AE", "AS", "CS", "DA", "DT", "LO", "LT", "PN", "SH", "ST", "TM", "UC", "UN", "UR", "UT"]
)


def _read(name: str) -> Any:
    return json.loads((STANDARD / f"{name}.json").read_text())


def _find_deciding_tags() -> dict[str, str]:
    rules = json.loads(RULES.read_text())["rules"]
    return {rule["tag"]: rule["basic"] for rule in rules}


def _read_types() -> dict[str, dict[str, str]]:
    """Return for each `parent.tag` the strictest type in each module: 1, 2 or 3."""
    actions = _find_deciding_tags()
    types: dict[str, dict[str, str]] = {}
    for module, rows in _read("module_attribute_map").items():
        for row in rows:
            tag = tag_for_keyword(row["keyword"])
            if tag is None:
                continue
            action = actions.get(f"{tag:08X}")
            decides = dictionary_VR(tag) in SAFETY_NET if action is None else action not in "DU"
            if not decides:
                continue
            parent = f"{tag_for_keyword(row['path'][-1]):08X}" if row["path"] else ""
            of_module = types.setdefault(f"{parent}.{tag:08X}", {})
            of_module[module] = min(of_module.get(module, "3"), row["type"][:1])
    return types


def make() -> dict[str, Any]:
    """Return the file's content."""
    modules = {
        iod: {module["key"] for module in rows} for iod, rows in _read("iod_module_map").items()
    }
    sop_classes = _read("sop_class_iod_map")
    iods = sorted({iod for iod in sop_classes.values() if iod in modules})
    iods_of = {
        module: [number for number, iod in enumerate(iods) if module in modules[iod]]
        for module in {module for own in modules.values() for module in own}
    }
    types: dict[str, dict[str, list[str]]] = {}
    for path, of_module in sorted(_read_types().items()):
        strictest: dict[int, str] = {}
        for module, kind in of_module.items():
            for number in iods_of.get(module, ()):
                strictest[number] = min(kind, strictest.get(number, "3"))
        for number, kind in sorted(strictest.items()):
            if kind in "12":
                types.setdefault(path, {}).setdefault(kind, []).append(str(number))
    return {
        "source": {
            "standard": "DICOM PS3.3, as read by highdicom 0.28 (MIT) from innolitics' "
            "dicom-standard (MIT)",
            "types": "parent.tag (no parent at the top) -> type -> numbers of the IODs",
        },
        "iods": iods,
        "sop_classes": {
            uid: iods.index(iod) for uid, iod in sorted(sop_classes.items()) if iod in iods
        },
        "types": {
            path: {kind: " ".join(numbers) for kind, numbers in sorted(of_type.items())}
            for path, of_type in types.items()
        },
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(make(), indent=0) + "\n")
