"""Sections 6 and 8: what can be set, and what guards the doors."""

from __future__ import annotations

from lamella.cli.flags import SERVER_FLAGS, STORAGE_FLAGS
from lamella.cli.statement.document import NOT_SUPPORTED, Section, Table
from lamella.settings import Settings
from lamella.vcs.refs import DUPLICATES


def write_configuration() -> Section:
    """Return section 6."""
    settings = Table(
        ("Setting", "What for"),
        tuple(
            (f"`LAMELLA_{name.upper()}`", text) for name, _, text in (*STORAGE_FLAGS, *SERVER_FLAGS)
        ),
    )
    policies = ", ".join(f"`{name}`" for name in DUPLICATES)
    return Section(
        "Configuration",
        (),
        (
            Section(
                "General Configuration Parameters",
                (
                    "By flag, environment or `lamella.toml`; what is in parentheses is the "
                    "default.",
                    settings,
                    f"Each dataset has a policy for stores under a known UID: {policies}. It may "
                    "have rules that change text attributes of what comes in, by sender and by "
                    "value; none by default. What was there before is kept in Original Attributes "
                    "Sequence (0400,0561), and the store is answered with `B000`.",
                ),
            ),
            Section("Configuration of DIMSE Services", (_list_ports(),)),
            Section(
                "Configuration of DICOM Web Services",
                ("None besides the settings above and the datasets' policies.",),
            ),
        ),
    )


def _list_ports() -> Table:
    settings = Settings()
    return Table(
        ("Door", "Address by default", "AE title"),
        (
            ("DIMSE", f"`{settings.dimse}`", f"`{settings.aet}`"),
            ("HTTP", f"`{settings.http}`", ""),
        ),
    )


def write_security() -> Section:
    """Return section 8."""
    return Section(
        "Security",
        (),
        (
            Section(
                "Introduction",
                (
                    "Both doors are on loopback by default. A bind beyond it that nothing guards "
                    "is refused, unless `LAMELLA_INSECURE=1` says that something else guards it.",
                ),
            ),
            Section(
                "External Network Requirements",
                ("None. The system's clock should be kept right: it dates commits.",),
            ),
            Section("TCP Port Configuration", (_list_ports(),)),
            Section(
                "DICOM Security Profiles",
                (
                    "Secure transport (TLS), user identity, audit trail, digital signatures and "
                    "media security: not supported. TLS of web services is a reverse proxy's task.",
                ),
            ),
            Section("User Identity Negotiation", (f"{NOT_SUPPORTED} It is not answered.",)),
            Section(
                "Web Services Security Features",
                (
                    "No authentication of its own in this version. Pages of other origins may read "
                    "answers where `LAMELLA_CORS_ORIGINS` lets them.",
                ),
            ),
            Section(
                "Other Security Features",
                (
                    "DIMSE callers can be limited to a list of AE titles. Logs and error messages "
                    "carry UIDs, never values of patients. Each commit tells its author, time and "
                    "what made it.",
                ),
            ),
        ),
    )
