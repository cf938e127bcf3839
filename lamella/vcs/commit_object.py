"""Commits as bytes: a tree, where it came from, who made it, when and why.

A commit is the msgpack array

    ["commit", 1, tree, [parent, …], author, committer, time_us, message, kind, provenance]

with digests as 32 raw bytes, the time as an integer and the keys of maps ascending, so that
a commit has one encoding; its id is the SHA-256 of that, in hex. No patient attributes belong
in it: an erasure must leave every id valid.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final, Literal

import msgspec

from lamella.errors import IntegrityError
from lamella.vcs.nodes import Digest, compute_digest

COMMIT_FORMAT: Final = 1
"""Format number of the commits written today; a dataset keeps its format for life."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MAX_TIME_US: Final = (datetime.max.replace(tzinfo=UTC) - _EPOCH) // timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Commit:
    """One version of a dataset.

    Attributes:
        tree: Root digest of the tree, 32 bytes.
        parents: Commit ids, the branch's own history first; none for the first commit.
        author: Who the content is from.
        committer: Who made the commit.
        time_us: Microseconds since 1970-01-01T00:00:00Z.
        message: What a person reads in the log.
        kind: How it came about: "initial", "store", "delete", "import", "merge", "revert",
            "deid" and what comes later.
        provenance: What a machine reads: str keys, values None, bool, int (64 bits), finite
            float, str, bytes, or lists and maps of such. Kept with ascending keys.
    """

    tree: bytes
    parents: tuple[str, ...]
    author: str
    committer: str
    time_us: int
    message: str
    kind: str
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Put provenance into the one form that is encoded.

        Raises:
            TypeError: Provenance holds a value of another kind.
            ValueError: Provenance holds a float that is not finite, or the time is out of
                the years 1970 to 9999.
        """
        if not 0 <= self.time_us <= _MAX_TIME_US:
            raise ValueError(f"{self.time_us} µs is no time of a commit")
        object.__setattr__(self, "provenance", _arrange(dict(self.provenance)))

    @property
    def commit_id(self) -> str:
        """The commit's id, 64 hex digits."""
        return compute_commit_id(encode_commit(self))

    def describe(self, commit_id: str) -> dict[str, Any]:
        """Return the commit as the API and `--json` show it.

        Args:
            commit_id: The commit's id, which the caller has at hand.
        """
        return {
            "id": commit_id,
            "tree": self.tree.hex(),
            "parents": list(self.parents),
            "author": self.author,
            "committer": self.committer,
            "time": format_time(self.time_us),
            "message": self.message,
            "kind": self.kind,
            "provenance": _show(self.provenance),
        }


class _Encoded(
    msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True, tag="commit"
):
    format: Literal[1]
    tree: Digest
    parents: tuple[Digest, ...]
    author: str
    committer: str
    time_us: Annotated[int, msgspec.Meta(ge=0, le=_MAX_TIME_US)]
    message: str
    kind: str
    provenance: dict[str, Any]


_ENCODER = msgspec.msgpack.Encoder(order="deterministic")
_DECODER = msgspec.msgpack.Decoder(_Encoded)


def encode_commit(commit: Commit) -> bytes:
    """Return a commit's canonical bytes."""
    return _ENCODER.encode(
        _Encoded(
            COMMIT_FORMAT,
            commit.tree,
            tuple(bytes.fromhex(parent) for parent in commit.parents),
            commit.author,
            commit.committer,
            commit.time_us,
            commit.message,
            commit.kind,
            dict(commit.provenance),
        )
    )


def decode_commit(encoded: bytes) -> Commit:
    """Return the commit that canonical bytes stand for.

    Raises:
        IntegrityError: The bytes are no commit of a known format, or not in the one form
            that `encode_commit` makes.
    """
    try:
        wire = _DECODER.decode(encoded)
        commit = Commit(
            wire.tree,
            tuple(parent.hex() for parent in wire.parents),
            wire.author,
            wire.committer,
            wire.time_us,
            wire.message,
            wire.kind,
            wire.provenance,
        )
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, TypeError, ValueError) as e:
        name = compute_commit_id(encoded)
        raise IntegrityError(f"commit {name} cannot be decoded: {e}") from e
    if encode_commit(commit) != encoded:
        raise IntegrityError(f"commit {compute_commit_id(encoded)} is not in canonical form")
    return commit


def compute_commit_id(encoded: bytes) -> str:
    """Return the id of an encoded commit: its SHA-256, 64 hex digits."""
    return compute_digest(encoded).hex()


def format_time(time_us: int) -> str:
    """Return a time as RFC 3339 in UTC, with microseconds and `Z`.

    Args:
        time_us: Microseconds since 1970-01-01T00:00:00Z.

    Source:
        RFC 3339 §5.6.
    """
    moment = _EPOCH + timedelta(microseconds=time_us)
    return moment.isoformat(timespec="microseconds").removesuffix("+00:00") + "Z"


def _arrange(value: Any) -> Any:
    """Return a provenance value with ascending keys and lists for tuples."""
    if isinstance(value, Mapping):
        if not all(isinstance(key, str) for key in value):
            raise TypeError("provenance has a key that is no string")
        return {key: _arrange(value[key]) for key in sorted(value)}
    if isinstance(value, list | tuple):
        return [_arrange(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("provenance has a number that is not finite")
    if value is None or isinstance(value, bool | int | float | str | bytes):
        return value
    raise TypeError(f"provenance cannot hold a {type(value).__name__}")


def _show(value: Any) -> Any:
    """Return a provenance value as JSON has it: bytes as hex."""
    if isinstance(value, Mapping):
        return {key: _show(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_show(item) for item in value]
    return value.hex() if isinstance(value, bytes) else value
