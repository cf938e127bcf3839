"""Sections 5.2 and 7: the DIMSE services, and how associations are accepted."""

from __future__ import annotations

from lamella.archive.part10 import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from lamella.cli.statement.document import NOT_SUPPORTED, Section, Table
from lamella.cli.statement.statuses import write_statuses
from lamella.dimse_gateway.finding import (
    CANCELLED,
    IDENTIFIER_MISMATCH,
    LIMIT_REACHED,
    MOST_ANSWERS,
    OUT_OF_RESOURCES,
    SUCCESS,
    UNABLE_TO_PROCESS,
    WRONG_CONTEXT,
)
from lamella.dimse_gateway.gateway import QUIET_S
from lamella.dimse_gateway.negotiation import SERVICES, Service
from lamella.dimse_gateway.retrieving import ALL_FAILED, SOME_FAILED, UNKNOWN_DESTINATION
from lamella.dimse_gateway.server import ACSE_TIMEOUT_S
from lamella.dimse_gateway.transport import MAXIMUM_PDU_BYTES
from lamella.settings import Settings

_APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"
_OTHERS = (
    "Storage Commitment",
    "Query/Retrieve",
    "Basic Worklist Management",
    "Print Management",
)
_TEXTS = {
    "Verification": ("C-ECHO is answered with `0000`.",),
    "Storage": (
        "Level 2 (Full): all attributes are kept, private ones too, and none is coerced unless "
        "rules of the dataset ask for it (section 6.1). Instances become visible when the "
        "association ends, after "
        f"{QUIET_S:g} s of quiet, and every 2,000 instances. Private SOP classes, and those that "
        "no dictionary knows, are taken for storage. No extended negotiation is needed, and none "
        "is answered.",
    ),
    "Storage Commitment": (
        "Push Model, in implicit and explicit VR little endian. Instances that are durable at the "
        "called AE title's revision are kept for good, in a commit or not yet. The report is sent "
        "on the association of the request and, if the peer has not answered it there, on one that "
        "Lamella requests (as SCP, by role selection) of the peer of that AE title (`lamella peer "
        "add`), again and again until it is taken. Failure reasons are 0110, 0112, 0119, 0122 and "
        "0131; a request is answered with 0000, 0110, 0112, 0115, 0118, 0123 or 0213.",
    ),
    "Query/Retrieve": (
        "C-FIND at the levels PATIENT (Patient Root only), STUDY, SERIES and IMAGE. Every "
        "attribute that is not private is a key, for return and for matching: by single value, "
        "list of UIDs, universal, wildcard, range and sequence matching. Each request sees one "
        "commit, in which is what its association stored before. Answers have the keys that "
        "were asked, in UTF-8, and Retrieve AE Title and Instance Availability. Numbers of "
        "patients' related entities and private attributes are not supported (`FF01`).",
        "Extended negotiation offers relational queries, combined date and time matching, and "
        "fuzzy matching of person names; without it queries are hierarchical.",
        "C-MOVE and C-GET at the same levels, by unique keys and lists of UIDs, of one "
        "commit each. Instances go out as stored where the receiver accepts that, else in "
        "Explicit or Implicit VR Little Endian. C-GET needs SCP/SCU role selection; "
        "a C-MOVE goes to peers that were added, over an association that Lamella initiates. "
        "Pending answers count sub-operations; final ones list failed instances. "
        f"Final statuses: `{SUCCESS:04X}`; `{SOME_FAILED:04X}` some failed; `{ALL_FAILED:04X}` "
        f"all failed; `{UNKNOWN_DESTINATION:04X}` unknown destination; `{CANCELLED:04X}` "
        "cancelled; and the refusals of C-FIND.",
        f"Of C-FIND, final statuses: `{SUCCESS:04X}` all matches were sent; "
        f"`{LIMIT_REACHED:04X}` there are more than the {MOST_ANSWERS:,} sent; "
        f"`{CANCELLED:04X}` cancelled; `{OUT_OF_RESOURCES:04X}` out of resources; "
        f"`{IDENTIFIER_MISMATCH:04X}` the level is none "
        "of the model's, or a unique key of a level above is missing (Offending Element names "
        f"it); `{UNABLE_TO_PROCESS:04X}` the identifier cannot be read, a value is not valid for "
        f"its key, or the query failed; `{WRONG_CONTEXT:04X}` the presentation context is not for "
        "this query.",
    ),
}


def write_dimse() -> Section:
    """Return section 5.2."""
    offered = [
        Section(
            f"{service.name} Service",
            (
                f"SCP of {', '.join(service.operations)} (PS3.4 {service.section}) for "
                f"{_count(service)}.",
                *_TEXTS.get(service.name, ()),
            ),
        )
        for service in SERVICES
    ]
    names = {service.name for service in SERVICES}
    others = (
        "Storage Commitment",
        "Query/Retrieve",
        "Basic Worklist Management",
        "Print Management",
    )
    missing = [Section(f"{name} Service", (NOT_SUPPORTED,)) for name in others if name not in names]
    return Section("DIMSE Services", (), (*offered, *missing))


def _count(service: Service) -> str:
    n_classes = len(service.sop_classes)
    count = "1 SOP class" if n_classes == 1 else f"{n_classes} SOP classes"
    return f"{count}, and others (section 1.1)" if service.takes_others else count


def write_network() -> Section:
    """Return section 7."""
    return Section(
        "Network and Media Communication Details",
        (),
        (
            Section("General", (), (Section("General Association Parameters", (_list_limits(),)),)),
            Section("Specifications", (), (_write_entity(),)),
            write_statuses(),
        ),
    )


def _list_limits() -> Table:
    settings = Settings()
    return Table(
        ("Parameter", "Value"),
        (
            ("Application Context Name", f"`{_APPLICATION_CONTEXT}`"),
            ("Implementation Class UID", f"`{IMPLEMENTATION_CLASS_UID}`"),
            ("Implementation Version Name", f"`{IMPLEMENTATION_VERSION_NAME}`"),
            ("Maximum PDU size offered", f"{MAXIMUM_PDU_BYTES:,} bytes"),
            (
                "Associations accepted at a time",
                f"{settings.dimse_associations} (`LAMELLA_DIMSE_ASSOCIATIONS`)",
            ),
            (
                "Associations initiated",
                "one for each C-MOVE, push, pull and forwarded commit; for reports of storage "
                "commitments",
            ),
            ("Asynchronous operations window", "declined: one operation at a time"),
            ("Secure transport", "TLS 1.2 and 1.3 (PS3.15 §B.10), if it is set up"),
            ("Wait for an association request", f"{ACSE_TIMEOUT_S:g} s"),
            ("Silence before an abort", f"{settings.dimse_timeout} s (`LAMELLA_DIMSE_TIMEOUT`)"),
            ("Addresses", "IPv4 and IPv6"),
        ),
    )


def _write_entity() -> Section:
    return Section(
        "DIMSE Gateway",
        (
            "Associations are accepted whose called AE title is known (`LAMELLA_AET`, or added by "
            "`lamella aet add`) and whose calling AE title is in that one's list or else in "
            "`LAMELLA_CALLING_AETS`, if that is set; over TLS, if that is set up "
            "(`LAMELLA_DIMSE_TLS_CERT`), and with a user identity (name and passcode, or JSON Web "
            "Token), if users are set up. Each presentation context is judged by "
            "itself, and accepted in the first transfer syntax of the proposal that can be stored "
            "(section 1.1). SCP/SCU role selection is answered for storage SOP classes. A stopping "
            "gateway lets associations end for some seconds, then aborts them, and commits what it "
            "acknowledged.",
            Table(
                ("Rejection", "Result, source, reason"),
                (
                    ("called AE title not recognized", "1, 1, 7"),
                    ("calling AE title not recognized", "1, 1, 3"),
                    ("no valid user identity, where one is asked for", "1, 1, 1"),
                    ("too many associations, in all or of one peer", "2, 3, 2"),
                    ("too many requests of one peer, or the database cannot be asked", "2, 3, 1"),
                ),
            ),
        ),
    )
