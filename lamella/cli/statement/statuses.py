"""Section 7.3: what answers say, from the one tree of errors."""

from __future__ import annotations

from collections.abc import Iterator

from lamella import errors
from lamella.cli.statement.document import Section, Table
from lamella.errors import LamellaError
from lamella.stow.results import COERCED, ELEMENTS_DISCARDED

SUCCESSES = (
    ("200", "all of it; of a search without matches an empty array"),
    ("202", "a store of which some failed, or has a warning"),
    ("204", "deleted"),
    ("206", "a part: the range asked for, or what of several instances can be given as asked"),
    ("304", "the client has it (`If-None-Match`)"),
)


def write_statuses() -> Section:
    """Return the section."""
    return Section(
        "Status Codes",
        (),
        (
            Section(
                "General",
                (
                    "An association or request that breaks off stores nothing of the instance in "
                    "transit; what was acknowledged before stays.",
                ),
            ),
            Section(
                "DIMSE Services",
                (
                    "C-STORE answers `0000` when the instance is on disk, and else one of these, "
                    "with an Error Comment. `0111` and `0124` are of PS3.7 Annex C. "
                    f"`{COERCED:04X}` is a success with a warning: attributes were changed.",
                    _list_dimse(),
                ),
            ),
            Section(
                "DICOM Web Services",
                (
                    "Errors have a body of `application/json` with `title` and `detail` (RFC "
                    "9457).",
                    _list_http(),
                    "Of instances that a store refuses, Failure Reason is the status of the table "
                    f"of DIMSE services; `{COERCED:04X}` as Warning Reason says that attributes "
                    f"were changed, `{ELEMENTS_DISCARDED:04X}` that elements were left out. Beside "
                    "it stands an Error Comment (0000,0902).",
                ),
            ),
        ),
    )


def _list_dimse() -> Table:
    kinds = [kind for kind in _list_errors() if _is_about_instances(kind)]
    codes: dict[int, list[str]] = {}
    for kind in kinds:
        codes.setdefault(kind.dimse_status, []).append(kind.title)
    rows = ((f"`{code:04X}`", "; ".join(dict.fromkeys(codes[code]))) for code in sorted(codes))
    return Table(("Status", "Meaning"), tuple(rows))


def _list_http() -> Table:
    codes: dict[int, list[str]] = {}
    for kind in _list_errors():
        codes.setdefault(kind.http_status, []).append(kind.title)
    failures = ((str(code), "; ".join(dict.fromkeys(codes[code]))) for code in sorted(codes))
    return Table(("Status", "Meaning"), (*SUCCESSES, *failures))


def _list_errors() -> Iterator[type[LamellaError]]:
    """Yield the errors of the tree in the order of its module."""
    for kind in vars(errors).values():
        if isinstance(kind, type) and issubclass(kind, LamellaError):
            yield kind


def _is_about_instances(kind: type[LamellaError]) -> bool:
    """Tell whether a store of one instance can end so."""
    causes = (
        errors.NotFound,
        errors.ReadOnlyRevision,
        errors.InstanceConflict,
        errors.InstanceRefused,
        errors.IntegrityError,
        errors.OutOfResources,
    )
    return issubclass(kind, causes)
