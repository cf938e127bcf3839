"""Section 1: what there is, on a page."""

from __future__ import annotations

from lamella.cli.statement.document import NOT_SUPPORTED, Section, Table
from lamella.cli.statement.encodings import (
    list_character_sets,
    list_sop_classes,
    list_transfer_syntaxes,
)
from lamella.dimse_gateway.negotiation import SERVICES
from lamella.web.capabilities import Operation

_CONTENT = (
    "Instances of every storage SOP class are stored, found and given back byte for byte, retired "
    "and private classes and those newer than this version, too. Lamella creates no instances of "
    "its own. The classes that the standard names:"
)
_SYNTAXES = (
    "Instances are stored in the transfer syntax that they come in. A Y under *decoded* and "
    "*encoded* says what web services can make of frames, as far as the encoder suits the pixels."
)
_OTHER_DIMSE = ("Workflow Management", "Query/Retrieve", "Print Management")
_OTHER_WEB = (
    "Worklist Service (UPS-RS)",
    "Non-Patient Instance Service",
    "Storage Commitment Service",
    "Modality Scheduled Procedure Step Service",
    "Modality Performed Procedure Step Service",
)


def write_overview(operations: list[Operation]) -> Section:
    """Return the section.

    Args:
        operations: Of a DICOMweb root.
    """
    return Section(
        "Overview",
        (
            "Lamella is an archive of DICOM instances with versions: each dataset has branches, "
            "tags and a history of commits, and each search and retrieval sees one commit.",
        ),
        (
            Section(
                "Content and Transfer",
                (_CONTENT, list_sop_classes(), _SYNTAXES, list_transfer_syntaxes()),
            ),
            Section("DIMSE Services", (_list_dimse(),)),
            Section("DICOM Web Services", (_list_web(operations),)),
            Section(
                "Media Services",
                (
                    "No media are written. `lamella import` reads the files of a folder, a "
                    "file-set or a zip archive; a DICOMDIR itself is not read, the files beside "
                    "it are.",
                ),
            ),
            Section("Real-Time Video Service", (NOT_SUPPORTED,)),
            Section("De-Identification Profiles", (NOT_SUPPORTED,)),
            Section(
                "Specific Character Sets",
                (
                    "Text is read in these repertoires, and given out by web services in UTF-8. "
                    "What no character set says is read as ISO 8859-1.",
                    list_character_sets(),
                ),
            ),
        ),
    )


def _list_dimse() -> Table:
    offered = [
        (service.name, f"PS3.4 {service.section}", ", ".join(service.operations), "N", "Y")
        for service in SERVICES
    ]
    names = {service.name for service in SERVICES}
    missing = [(name, "", "", "N", "N") for name in _OTHER_DIMSE if name not in names]
    header = ("Service", "Section", "Operations", "SCU", "SCP")
    return Table(header, (*offered, *missing))


def _list_web(operations: list[Operation]) -> Table:
    found = {(_name_service(one), one.name, one.transaction.section) for one in operations}
    offered = [
        (service, f"`{name}`", f"PS3.18 §{section}" if section else "none", "N", "Y")
        for service, name, section in sorted(found)
    ]
    missing = [(name, "", "", "N", "N") for name in _OTHER_WEB]
    header = ("Service", "Transaction", "Section", "User Agent", "Origin Server")
    return Table(header, (*offered, *missing))


def _name_service(operation: Operation) -> str:
    return "URI Service" if operation.transaction.section.startswith("9") else "Studies Service"
