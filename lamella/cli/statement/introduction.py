"""Sections 3 and 4: whom the statement is for, and how the parts of Lamella work together."""

from __future__ import annotations

from lamella import __version__
from lamella.cli.statement.document import Section, Table
from lamella.settings import Settings

_TERMS = Table(
    ("Term", "Meaning"),
    (
        ("dataset", "a versioned collection of instances, with branches, tags and rights"),
        ("branch", "a name for a head that moves with each commit"),
        ("tag", "a name for a commit, which does not move"),
        ("commit", "an unchangeable state of a dataset, named by its SHA-256"),
        ("revision", "a branch, tag or commit, or a branch at an instant or some commits back"),
    ),
)
_ABBREVIATIONS = (
    "AE: Application Entity. DIMSE: DICOM Message Service Element. SCP, SCU: Service Class "
    "Provider, User. SOP: Service-Object Pair. QIDO-RS, WADO-RS, STOW-RS: the search, retrieve and "
    "store transactions of the Studies Service. UID: Unique Identifier. VR: Value Representation."
)


def write_introduction() -> Section:
    """Return section 3."""
    return Section(
        "Introduction",
        (),
        (
            Section(
                "Revision History",
                (f"Of version {__version__}; `CHANGELOG.md` tells what changed.",),
            ),
            Section(
                "Audience",
                (
                    "Those who connect Lamella to modalities, archives, viewers and programs, and "
                    "know the DICOM standard.",
                ),
            ),
            Section(
                "Remarks",
                (
                    "Statements that agree do not prove that two products work together: try it. "
                    "`lamella conformance URL` examines any DICOMweb server, this one among them. "
                    "Lamella is not a medical device.",
                ),
            ),
            Section("Terms and Definitions", (_TERMS,)),
            Section("Abbreviations", (_ABBREVIATIONS,)),
            Section(
                "References",
                (
                    "NEMA PS3, Digital Imaging and Communications in Medicine; this statement "
                    "follows PS3.2 Annex N. RFC 9110 (HTTP), RFC 9457 (problem details).",
                ),
            ),
        ),
    )


def write_model() -> Section:
    """Return section 4."""
    aet = Settings().aet
    return Section(
        "Implementation Model",
        (),
        (
            Section(
                "Application Entities and Data Flow",
                (
                    Table(
                        ("Entity", "Real-world activity", "Data"),
                        (
                            (
                                f"DIMSE gateway (AE title, by default `{aet}`)",
                                "modalities and archives push instances",
                                "C-STORE requests → staged instances → one commit an association",
                            ),
                            (
                                "Web server (below `/dicomweb/{dataset}/{revision}`)",
                                "programs and viewers store, search, retrieve, delete",
                                "requests → one commit each; answers from one commit",
                            ),
                            (
                                "`lamella import`",
                                "an administrator brings in files",
                                "files → a commit for 2,000 instances or less",
                            ),
                        ),
                    ),
                    "An instance is acknowledged when it would survive a power cut, and can be "
                    "found when its commit is made: with a web request's answer, and at the end "
                    "of an association.",
                ),
            ),
            Section(
                "Sequencing",
                (
                    "Nothing has to come in an order. A store of what is there already changes "
                    "nothing and succeeds; a changed header is a new version; other content under "
                    "a known UID is refused as a conflict, and kept until a person decides. The "
                    "dataset's policy can be another: section 6.1.",
                ),
            ),
        ),
    )
