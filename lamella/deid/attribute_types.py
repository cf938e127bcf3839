"""Whether an IOD wants an attribute: what compound actions are resolved by.

Source:
    PS3.3 (IODs and modules); PS3.5 §7.4 (types); PS3.15 §E.1 (Z/D, X/Z, X/D, X/Z/D, X/Z/U*).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from lamella.deid.actions import Action
from lamella.deid.tables import read_data

FUNCTIONAL_GROUPS = frozenset({0x52009229, 0x52009230})


@dataclass(frozen=True, slots=True)
class AttributeTypes:
    """Types by parent and tag: 1 must have a value, 2 must be there; else it may be left out.

    Conditional types count as if their condition held: whoever wrote the attribute thought so.
    """

    by_iod: Mapping[tuple[int, int], Mapping[int, str]]
    strictest: Mapping[tuple[int, int], str]
    iods: Mapping[str, int]

    def find(self, sop_class_uid: str, parent: int, tag: int) -> str:
        """Return "1", "2" or "3".

        Args:
            sop_class_uid: One that PS3.4 does not know is taken for all of them at once.
            parent: The tag of the sequence that the attribute is in; 0 at the top.
            tag: The attribute.
        """
        iod = self.iods.get(sop_class_uid)
        if iod is None:
            return self.strictest.get((parent, tag), "3")
        return self.by_iod.get((parent, tag), {}).get(iod, "3")


@lru_cache(maxsize=1)
def read_types() -> AttributeTypes:
    """Return the types of all attributes that de-identification may empty or remove."""
    data = read_data("attribute_types.json")
    by_iod = {}
    strictest = {}
    for path, of_type in data["types"].items():
        parent, tag = path.split(".")
        key = (int(parent or "0", 16), int(tag, 16))
        strictest[key] = min(of_type)
        by_iod[key] = {
            int(number): kind for kind, numbers in of_type.items() for number in numbers.split()
        }
    return AttributeTypes(by_iod, strictest, data["sop_classes"])


def resolve(action: str, kind: str) -> Action:
    """Return what an action, compound or not, comes down to for an attribute of this type.

    Args:
        action: As the table has it.
        kind: "1", "2" or "3".
    """
    choices = action.replace("*", "").split("/")
    if len(choices) > 1:
        # what is not offered (X of Z/D, Z of X/D) is replaced by the next that leaves more
        order = ["X", "Z", choices[-1]]
        first = {"3": 0, "2": 1, "1": 2}[kind]
        if choices[-1] == "U" and kind == "2":
            first = 2  # references under new UIDs tell nothing; without them others hang in the air
        choices = [choice for choice in order[first:] if choice in choices]
    chosen = Action(choices[0])
    # a value that must be there becomes a dummy (PS3.15 §E.1.1, note 1 of step 2)
    emptied = chosen in (Action.ZERO, Action.REMOVE)
    return Action.DUMMY if kind == "1" and emptied else chosen
