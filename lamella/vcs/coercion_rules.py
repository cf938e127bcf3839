"""What a dataset's policy changes of the instances that come in: a list of rules, as JSON.

    [{"sender": "dimse:CT*", "default": {"IssuerOfPatientID": "HOSPITAL A"}},
     {"where": {"Modality": "CT"}, "trim": ["PatientID"], "upper": ["PatientID"]},
     {"map": {"InstitutionName": {"St Mary": "Saint Mary's Hospital"}}},
     {"charset": "ISO_IR 100"}]

Rules apply one after the other, each to what those before it made. Within a rule the order is
charset, trim, upper, map, prefix, default, set, remove. Only text attributes of the data set
itself can be changed: no UIDs, nothing that describes pixels.

Source:
    PS3.4 §B.4.1 (coercion by a storage SCP); PS3.3 §C.12.1.1.9 (Original Attributes).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from functools import lru_cache

import msgspec
from pydicom.datadict import dictionary_VR, tag_for_keyword

from lamella.archive.values import TEXT_VRS
from lamella.errors import InvalidRequest

MOST_RULES = 1000
LONGEST_POLICY = 1 << 18
_CHANGEABLE_VRS = TEXT_VRS - {"UI"}
_FIXED_GROUPS = frozenset({0x0000, 0x0002, 0x0028})
_FIXED = frozenset({0x00080005})
_CHARSET = re.compile(r"(ISO_IR [0-9]{1,3}|ISO 2022 IR [0-9]{1,3}|GB18030|GBK)(\\[A-Z0-9_ ]+)*")
_BLANKS = re.compile(r"\s+")

Texts = dict[int, str]
"""Values by tag: several are separated by backslashes, groups of a name by equals signs."""


class Rule(msgspec.Struct, forbid_unknown_fields=True, frozen=True, omit_defaults=True):
    """One rule.

    Attributes:
        sender: Whom it is for, with `*` and `?`: `dimse:AE TITLE`, or a commit's author.
        where: What an instance has to have, by keyword, with `*` and `?`; '' is no value.
        charset: Specific Character Set of an instance that declares none.
        trim: Values lose blanks at their ends, and all but one of several in a row.
        upper: Values are in capitals.
        map: Values that are replaced by others.
        prefix: What a value begins with, if there is one.
        default: Values where there are none.
        set: Values.
        remove: Attributes that go.
    """

    sender: str = "*"
    where: dict[str, str] = {}
    charset: str = ""
    trim: tuple[str, ...] = ()
    upper: tuple[str, ...] = ()
    map: dict[str, dict[str, str]] = {}
    prefix: dict[str, str] = {}
    default: dict[str, str] = {}
    set: dict[str, str] = {}
    remove: tuple[str, ...] = ()

    def list_changed(self) -> Iterator[str]:
        """Yield the keywords of attributes that the rule may change."""
        for names in (self.trim, self.upper, self.remove):
            yield from names
        for values in (self.map, self.prefix, self.default, self.set):
            yield from values


_RULES = msgspec.json.Decoder(tuple[Rule, ...])


def check_policy(text: str) -> str:
    """Return a policy as it is kept; '' for one without rules.

    Raises:
        InvalidRequest: It is none; says what is wrong.
    """
    if len(text) > LONGEST_POLICY:
        raise InvalidRequest(f"A coercion policy has at most {LONGEST_POLICY:,} characters.")
    try:
        rules = _RULES.decode(text) if text.strip() else ()
    except msgspec.MsgspecError as error:
        raise InvalidRequest(f"The coercion policy is no list of rules: {error}.") from error
    if len(rules) > MOST_RULES:
        raise InvalidRequest(f"A coercion policy has at most {MOST_RULES:,} rules.")
    for rule in rules:
        _check_rule(rule)
    return msgspec.json.encode(rules).decode() if rules else ""


@lru_cache(maxsize=64)
def read_policy(text: str) -> tuple[Rule, ...]:
    """Return the rules of a policy that is kept."""
    return _RULES.decode(text) if text else ()


def describe_policy(text: str) -> list[dict[str, object]]:
    """Return the rules of a policy that is kept, as JSON shows them."""
    return [msgspec.to_builtins(rule) for rule in read_policy(text)]


def apply_rules(rules: tuple[Rule, ...], texts: Texts) -> Texts:
    """Return what rules make of an instance's values; '' where they leave none.

    Args:
        rules: Those of the sender.
        texts: All values that rules may look at.
    """
    made = dict(texts)
    for rule in rules:
        if all(fnmatchcase(_get(made, name), glob) for name, glob in rule.where.items()):
            _apply(rule, made)
    return made


def find_tag(keyword: str) -> int:
    """Return the tag of an attribute that a policy may name.

    Raises:
        InvalidRequest: There is none, or it may not be changed.
    """
    tag = tag_for_keyword(keyword)
    if tag is None:
        raise InvalidRequest(f"{keyword!r} is no keyword of an attribute.")
    if dictionary_VR(tag) not in _CHANGEABLE_VRS or tag >> 16 in _FIXED_GROUPS or tag in _FIXED:
        raise InvalidRequest(f"{keyword} cannot be changed by a coercion policy.")
    return int(tag)


def _check_rule(rule: Rule) -> None:
    for keyword in rule.list_changed():
        find_tag(keyword)
    for keyword in rule.where:
        if tag_for_keyword(keyword) is None:
            raise InvalidRequest(f"{keyword!r} is no keyword of an attribute.")
    if rule.charset and not _CHARSET.fullmatch(rule.charset):
        raise InvalidRequest(f"{rule.charset!r} is no defined term of a character set.")


def _apply(rule: Rule, texts: Texts) -> None:
    for keyword in rule.trim:
        _change(texts, keyword, _BLANKS.sub(" ", _get(texts, keyword)).strip())
    for keyword in rule.upper:
        _change(texts, keyword, _get(texts, keyword).upper())
    for keyword, values in rule.map.items():
        old = _get(texts, keyword)
        _change(texts, keyword, values.get(old, old))
    for keyword, prefix in rule.prefix.items():
        old = _get(texts, keyword)
        if old and not old.startswith(prefix):
            _change(texts, keyword, prefix + old)
    for keyword, value in rule.default.items():
        _change(texts, keyword, _get(texts, keyword) or value)
    for keyword, value in rule.set.items():
        _change(texts, keyword, value)
    for keyword in rule.remove:
        _change(texts, keyword, "")


def _get(texts: Mapping[int, str], keyword: str) -> str:
    return texts.get(tag_for_keyword(keyword) or 0, "")


def _change(texts: Texts, keyword: str, value: str) -> None:
    texts[find_tag(keyword)] = value
