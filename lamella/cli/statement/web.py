"""Section 5.3: the transactions of the web services, from the routes themselves."""

from __future__ import annotations

from collections.abc import Sequence

from lamella.archive.levels import COMPUTED, DEFAULTS, UNIQUE_KEYS, Level
from lamella.cli.statement.document import Section, Table
from lamella.cli.statement.names import name_attribute
from lamella.dicomweb.frame_types import LEGACY_NAMES
from lamella.qido.parameters import MAXIMUM_RESULTS
from lamella.web.capabilities import Operation

_MATCHING = (
    "Every attribute of a result's level and of those above is a matching key, by keyword or tag, "
    "within sequences by dotted path; at the instance level private attributes, too, with their "
    "creator. Single value, list of UIDs, list of codes, universal, wildcard (`*` and `?`), and "
    "range matching of dates, times and date-times; combined date and time ranges; with "
    "`multiplevaluematching` and `emptyvaluematching` those. Person names match regardless of "
    "case, by component and component group, in any repertoire; `fuzzymatching=true` finds "
    "prefixes and what sounds alike. An unknown parameter or attribute is answered by Warning 299."
)
_NEGOTIATION = (
    "Media types are negotiated by `Accept` (weights, wildcards, quoted and unquoted parameters, "
    "several transfer syntaxes), or by the query parameter `accept`, which goes before it. "
    "Nothing acceptable is 406. Without a `transfer-syntax` instances go out in Explicit VR Little "
    "Endian, unless there is but a lossy or undecodable form; with `transfer-syntax=*` as stored, "
    "except Implicit VR Little Endian and Explicit VR Big Endian, which are not used at all."
)
_STORE = (
    "Each request makes one commit or none. `If-Match` with a commit id is answered by 412 if the "
    "branch has moved; stores to a tag or commit by 405. File meta information and data set are "
    "kept as they came, but for coercion; of metadata with bulk data a file in UTF-8 is made."
)


def write_web(operations: Sequence[Operation]) -> Section:
    """Return the section.

    Args:
        operations: Of a DICOMweb root.
    """
    by_name = {name: [one for one in operations if one.name == name] for name in _names(operations)}
    kinds = {
        "Retrieve": [name for name in by_name if name.startswith("retrieve-")],
        "Store": [name for name in by_name if name == "store"],
        "Search": [name for name in by_name if name.startswith("search-")],
    }
    uri = "retrieve-by-uri"
    kinds["Retrieve"].remove(uri)
    listed = {uri, *(name for names in kinds.values() for name in names)}
    kinds["Other Transactions"] = [name for name in by_name if name not in listed]
    texts = {"Store": (_STORE,), "Search": (_MATCHING, *_list_attributes())}
    studies = [
        Section(title, (*texts.get(title, ()), *(_describe(by_name[name]) for name in names)))
        for title, names in kinds.items()
    ]
    media = Section("Media Types and Transfer Syntaxes", (_NEGOTIATION, _list_legacy_names()))
    return Section(
        "DICOM Web Services",
        (
            "Resources are below `/dicomweb/{dataset}/{revision}`, or `/dicomweb/{dataset}` for "
            "the default branch. Every answer names the commit that it was made from "
            "(`Lamella-Commit`); `ETag` and `If-None-Match`, `HEAD`, `OPTIONS` with a "
            "capabilities document (WADL or JSON), `Range` on single bodies and gzip of JSON are "
            "understood everywhere.",
        ),
        (
            Section("URI Web Service", (_describe(by_name[uri]),)),
            Section("Studies Web Service", (), (media, *studies)),
        ),
    )


def _names(operations: Sequence[Operation]) -> list[str]:
    return list(dict.fromkeys(one.name for one in operations))


def _describe(operations: Sequence[Operation]) -> Table:
    """Return one transaction as a table."""
    first = operations[0]
    methods = sorted({one.method for one in operations})
    rows = [
        ("Transaction", f"`{first.name}`: {first.summary}"),
        (
            "Section",
            f"PS3.18 §{first.transaction.section}"
            if first.transaction.section
            else "none: PS3.18 has no such transaction",
        ),
        ("Methods", ", ".join(methods)),
        ("Resources", _join(_list_paths(operations))),
    ]
    transaction = first.transaction
    if transaction.bodies:
        rows.append(("Takes", _join(transaction.bodies)))
    if transaction.answers:
        rows.append(("Answers", _join(transaction.answers)))
    if transaction.single_answers:
        rows.append(("Answers about one instance, besides", _join(transaction.single_answers)))
    if first.method != "DELETE":
        rows.append(("Query parameters", _join(first.parameters)))
    return Table(("", ""), tuple(rows))


def _list_paths(operations: Sequence[Operation]) -> list[str]:
    """Return the resources, the whole before its parts."""
    return sorted({f"/{one.path}" for one in operations}, key=lambda path: (path.count("/"), path))


def _join(texts: Sequence[str]) -> str:
    return ", ".join(f"`{text}`" for text in texts)


def _list_legacy_names() -> Table:
    rows = tuple((f"`{old}`", f"`{new}`") for old, new in LEGACY_NAMES.items())
    return Table(("Also understood in Accept", "as"), rows)


def _list_attributes() -> list[str | Table]:
    """Return what a search gives without being asked, level by level."""
    blocks: list[str | Table] = [
        "Besides what `includefield` names, results hold these attributes, and at `/series` and "
        f"`/instances` those of the upper levels. One answer has at most {MAXIMUM_RESULTS:,} "
        "results; Warning 299 says that there are more."
    ]
    for level in (Level.STUDY, Level.SERIES, Level.INSTANCE):
        rows = (
            (" > ".join(map(name_attribute, path)), _say_when(path[-1], vr))
            for path, vr in DEFAULTS[level].items()
        )
        blocks.append(Table((f"{level.name.capitalize()} level", "given"), tuple(rows)))
    return blocks


def _say_when(tag: str, vr: str | None) -> str:
    if tag in UNIQUE_KEYS.values():
        return "always"
    if tag in COMPUTED:
        return "always, made for the answer"
    return "always, empty if not known" if vr is not None else "if known"
