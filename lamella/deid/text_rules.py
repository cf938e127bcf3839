# ruff: noqa: E501 (a form is read best in one line)
"""An engine without a model: the forms that identifiers have in radiology's free text.

Source:
    45 CFR 164.514(b)(2)(i), the eighteen kinds of identifiers; DEID (measured on 32 sentences).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from lamella.deid.spans import Kind, Span
from lamella.deid.text_dates import FORMS
from lamella.deid.vocabulary import ALLOWED, is_common

_NAME_REST = r"[^\W\d_'’.-]{1,40}(?:['’-][^\W\d_]{1,40})?"
_CAPITAL = rf"(?-i:[A-ZÀ-ÞŠŽ]){_NAME_REST}"
_CAPITALS = (
    rf"(?:(?-i:[A-Z])\.? ){{0,2}}{_CAPITAL}(?:[ ,]{{1,2}}(?:{_CAPITAL}|(?-i:[A-Z])\b\.?)){{0,3}}"
)
_ROLE = (
    r"patient(?:'s)?(?: name)?|pt(?:\.| name)?|name|subject|physician|surgeon|referr(?:ed by|ing(?: physician)?)"
    r"|radiologist|technologist|technician|operator|observer|attending|nurse|resident|reader|clinician"
)
_BY = r"(?:read|signed|performed|dictated|reported|reviewed|verified|approved|acquired|scanned|ordered|requested|referred|interpreted|seen|examined) by"
_LABELLED_NUMBER = (
    r"(?:mrn|m\.r\.n\.|medical record(?: number| no\.?)?|patient id|pat\.? ?id|pid|accession(?: number| no\.?)?"
    r"|acc(?:\.| no\.?|#)?|ssn|social security(?: number)?|account(?: number)?|acct\.?|case(?: number| no\.?)|hospital (?:no\.?|number)"
    r"|nhs(?: number| no\.?)?|policy(?: number)?|licen[sc]e(?: number)?|serial(?: number| no\.?)?|s/n|visit(?: number| id)|encounter)"
)

_PATTERNS: tuple[tuple[Kind, re.Pattern[str]], ...] = tuple(
    (kind, re.compile(form, re.IGNORECASE))
    for kind, form in (
        (Kind.CONTACT, r"[\w.+%-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,4}"),
        (Kind.CONTACT, r"(?:https?|ftp)://[^\s<>\"]{1,300}|\bwww\.[^\s<>\"]{1,300}"),
        (Kind.CONTACT, r"\b\d{1,3}(?:\.\d{1,3}){3}\b(?!\.\d)"),
        (Kind.CONTACT, r"(?<![\w.])(?:\+\d{1,3}[ .-]?)?(?:\(\d{2,4}\)[ .-]?|\d{3}[ .-])\d{3,4}[ .-]\d{3,4}(?![\w.])"),
        (Kind.CONTACT, r"(?<![\w.])\+\d{1,3}(?:[ .-]?\d{2,4}){2,5}(?!\w)"),
        (Kind.CONTACT, r"\b(?:phone|tel(?:ephone)?|fax|cell|mobile|pager|ext)\.?[ :#]{1,3}[\d() .+-]{4,24}"),
        (Kind.NUMBER, r"\b\d{3}-\d{2}-\d{4}\b"),
        (Kind.NUMBER, rf"\b{_LABELLED_NUMBER}[ :#=]{{1,3}}(?:is )?[A-Z0-9][\w./-]{{0,40}}\d[\w./-]{{0,40}}"),
        (Kind.NUMBER, rf"\b{_LABELLED_NUMBER}[ :#=]{{1,3}}\d[\w./-]{{0,40}}"),
        (Kind.NUMBER, r"(?<![\w.])(?=[\w-]{0,8}\d)[A-Z]{0,6}[-_]?\d{6,20}[A-Z]{0,3}(?![\w.]\d)(?!\w)"),
        (Kind.NUMBER, r"(?<![\w.])[A-Z]{2,6}[-_]\d{4,}(?:[-_]\w{1,12}){0,3}(?!\w)"),
        (Kind.UID, r"(?<![\w.])[0-2](?:\.(?:0|[1-9]\d{0,38})){5,30}(?![\w.]\d)"),
        (Kind.NAME, r"(?<!\w)[^\W\d_][\w'’.-]{0,40}(?: [^\W\d_][\w'’.-]{0,40})?\^(?:[^\W\d_][\w'’.-]{0,40})?(?:\^[\w'’.-]{0,40}){0,3}"),
        (Kind.NAME, rf"\b(?:dr|mr|mrs|ms|miss|prof|doctor|professor|frau|herr|mme|sr|sra)\b\.?,? {{1,2}}{_CAPITALS}"),
        (Kind.NAME, rf"\b{_CAPITALS},? (?-i:MD|M\.D\.|DO|RN|RT\(R\)|PhD|FRCR|DDS|MBBS)(?!\w)"),
        (Kind.NAME, rf"\b(?:{_ROLE})[:=] {{0,2}}{_CAPITALS}"),
        (Kind.NAME, rf"\b(?:{_ROLE}) {_CAPITALS}"),
        (Kind.NAME, rf"\b{_BY}:? (?:dr\.? )?{_CAPITALS}"),
        (Kind.NAME, r"(?-i:\b[A-Z][a-zà-ÿ]{1,20}, [A-Z][a-zà-ÿ]{1,20}\b)(?= (?:\d|mrn|dob|born))"),
        (Kind.PLACE, r"\b\d{1,6} (?-i:[A-Z])[\w'.-]{1,30}(?: [\w'.-]{1,30}){0,3} (?:street|st|avenue|ave|road|rd|boulevard|blvd|lane|ln|drive|dr|court|ct|way|place|pl|square|sq|strasse|straße)\b\.?"),
        (Kind.PLACE, r"(?-i:\b[A-Z][\w'.&-]{1,30}(?: (?:[A-Z][\w'.&-]{1,30}|of|the|and|de|du|la)){0,4} (?:Hospital|Hospitals|Clinic|Clinics|Medical Cent(?:er|re)|Health|Healthcare|Infirmary|Klinikum|Hôpital|University|Institute|Radiology|Imaging Center)\b)"),
        (Kind.PLACE, r"(?-i:\b(?:University|Hospital|Hôpital|Klinikum|Clinic|Institute) (?:of|de|du|la|for) [A-Z][\w'.-]{1,30}(?: [A-Z][\w'.-]{1,30}){0,3})"),
        (Kind.PLACE, r"(?-i:\b[A-Z]{2} \d{5}(?:-\d{4})?\b)"),
        (Kind.AGE, r"\b(?:9\d|1[0-4]\d)[ -]?(?:y(?:ea)?rs?|y/?o|y)\b(?:[ -]old)?"),
    )
)  # fmt: skip
_LEADING_ROLE = re.compile(
    rf"(?:(?:{_ROLE})[:=]? +|{_BY}:? +|(?:dr|mr|mrs|ms|prof)\.? +)", re.IGNORECASE
)
_WORD = re.compile(r"[^\W\d_]+")


class RulesFinder:
    """Finds identifiers by their form. The default: in core, fast, and without a model."""

    name = "rules 1"

    def find(self, text: str) -> list[Span]:
        """Return where identifiers stand.

        Dates are told apart, since a profile may keep or move them.
        """
        return [*self._find_dates(text), *self._find_others(text)]

    def _find_dates(self, text: str) -> Iterator[Span]:
        for form in FORMS:
            for found in form.finditer(text):
                before = text[found.start() - 1 : found.start()]
                if not (before.isalnum() or before == "."):
                    yield Span(found.start(), found.end(), Kind.DATE)

    def _find_others(self, text: str) -> Iterator[Span]:
        for kind, pattern in _PATTERNS:
            for found in pattern.finditer(text):
                start, end = found.span()
                if kind is Kind.NAME:
                    start += _measure_role(found[0])
                    if names_nobody(text[start:end]):
                        continue
                if kind is Kind.NUMBER and any(form.fullmatch(found[0]) for form in FORMS):
                    continue
                yield Span(start, end, kind)


def _measure_role(text: str) -> int:
    """Return how long the words before a name are: "Patient: ", "read by "."""
    found = _LEADING_ROLE.match(text)
    return found.end() if found else 0


def names_nobody(text: str) -> bool:
    """Tell whether all of it is vocabulary: anatomy, technique, eponyms, vendors."""
    words = [word.lower() for word in _WORD.findall(text)]
    return all(is_common(word) or word in ALLOWED for word in words)
