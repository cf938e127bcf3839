"""Ledgers: what of a folder of the export is surely there, and what may be.

Each level has one: of the export its studies, of a study its series, of a series its instances.
Before anything below is touched, all that will be is noted as unsure; when it is done, as sure.
So a run that was cut off at any point leaves nothing that the next takes for right, and nothing
that it does not know of.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from lamella.errors import InvalidRequest


class Ledger(msgspec.Struct, frozen=True):
    """What is in a folder.

    Attributes:
        content: Names all of the folder's content, if it is complete; else ''.
        sure: Name of each child that is there → what names its content.
        unsure: Children that may be there, wholly or in part.
    """

    content: str = ""
    sure: dict[str, str] = {}
    unsure: tuple[str, ...] = ()

    @classmethod
    def decode(cls, data: bytes | None) -> Ledger:
        """Return a ledger that was written, or an empty one.

        Raises:
            InvalidRequest: It is none.
        """
        if data is None:
            return cls()
        try:
            return msgspec.json.decode(data, type=cls)
        except msgspec.MsgspecError as error:
            raise InvalidRequest("The destination has a ledger that cannot be read.") from error

    def encode(self) -> bytes:
        """Return the ledger as it is written."""
        return msgspec.json.encode(self)

    def plan(self, wanted: Mapping[str, str]) -> Plan:
        """Return what has to be done for a folder to hold these children, by name."""
        same = {name: content for name, content in wanted.items() if self.sure.get(name) == content}
        known = {*self.sure, *self.unsure}
        return Plan(
            same,
            tuple(name for name in wanted if name not in same),
            tuple(sorted(known - wanted.keys())),
            frozenset(known),
        )


@dataclass(frozen=True, slots=True)
class Plan:
    """What has to be done in a folder.

    Attributes:
        same: Children that stay as they are.
        changed: Children to write.
        gone: Children to remove.
        known: Children that may be there.
    """

    same: Mapping[str, str]
    changed: tuple[str, ...]
    gone: tuple[str, ...]
    known: frozenset[str]

    def begin(self) -> Ledger:
        """Return the ledger of a folder in which this is under way."""
        return Ledger("", dict(self.same), (*self.changed, *self.gone))
