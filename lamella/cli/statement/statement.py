"""The statement, section by section.

Source:
    PS3.2 Annex N (template of a Conformance Statement).
"""

from __future__ import annotations

from litestar import Litestar

from lamella import __version__
from lamella.app.application import list_dicomweb_routes
from lamella.cli.statement.document import Contents, Section, Statement
from lamella.cli.statement.introduction import write_introduction, write_model
from lamella.cli.statement.network import write_dimse, write_network
from lamella.cli.statement.operation import write_configuration, write_security
from lamella.cli.statement.overview import write_overview
from lamella.cli.statement.web import write_web
from lamella.web.capabilities import Operation, list_operations


def build_statement() -> Statement:
    """Return the statement of this version, as it is installed."""
    operations = list_operations(
        Litestar(list_dicomweb_routes(), openapi_config=None, logging_config=None).routes
    )
    return Statement(
        "DICOM Conformance Statement: Lamella",
        (
            f"Product: Lamella {__version__}. Made by `lamella conformance statement` from the "
            "tables that the program itself works by.",
        ),
        (
            write_overview(operations),
            Section("Table of Contents", (Contents(),)),
            write_introduction(),
            write_model(),
            _write_services(operations),
            write_configuration(),
            write_network(),
            write_security(),
            *_write_annexes(),
        ),
    )


def _write_services(operations: list[Operation]) -> Section:
    return Section(
        "Service and Interoperability Description",
        (),
        (
            Section(
                "Mapping of Services to Application Entities",
                (
                    "The DIMSE gateway offers all DIMSE services, the web server all web services; "
                    "both work on the same datasets.",
                ),
            ),
            write_dimse(),
            write_web(operations),
            Section("Media Services", ("None are offered; see section 1.4.",)),
            Section("Real-Time Video Services", ("None.",)),
            Section(
                "Cross-Service Considerations",
                (
                    "Whatever door an instance came through, it is judged alike, found by all "
                    "searches of its branch, and retrieved in the same forms. One commit is of one "
                    "request, association or import batch.",
                ),
            ),
            Section(
                "Specific Character Sets",
                (
                    "Stored text is kept as it came, but for coercion. Web services write UTF-8, "
                    "with `ISO_IR 192` "
                    "where it is not ASCII. Keys of a search are UTF-8, and match values in any "
                    "repertoire of section 1.7.",
                ),
            ),
        ),
    )


def _write_annexes() -> tuple[Section, ...]:
    created = "Lamella creates no instances of its own"
    return (
        Section(
            "Information Object Definitions",
            (
                f"{created}. Forms of stored instances that web services make say what changed: "
                "Transfer Syntax UID, Photometric Interpretation, Planar Configuration, and, where "
                "something is lost, Lossy Image Compression (0028,2110) to Lossy Image Compression "
                "Method (0028,2114). Study, Series and SOP Instance UID are required of what is "
                "stored.",
            ),
            number="A.A",
        ),
        Section("Structured Report Content Encoding", (f"{created}.",), number="A.B"),
        Section("Security Details", ("See section 8.",), number="A.C"),
        Section("Mapping of Attributes", (f"{created}: nothing is mapped.",), number="A.D"),
        Section("Code Set Usage", ("None.",), number="A.E"),
    )
