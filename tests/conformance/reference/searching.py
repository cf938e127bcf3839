"""The reference server's searches."""

import re
from dataclasses import dataclass, field

from pydicom.datadict import dictionary_VR, keyword_dict, tag_for_keyword

from .messages import Problem

STUDY, SERIES, INSTANCE = 0, 1, 2
_TABLES = (
    ["StudyDate", "StudyTime", "AccessionNumber", "InstanceAvailability", "ModalitiesInStudy",
     "ReferringPhysicianName", "TimezoneOffsetFromUTC", "RetrieveURL", "PatientName", "PatientID",
     "PatientBirthDate", "PatientSex", "StudyInstanceUID", "StudyID",
     "NumberOfStudyRelatedSeries", "NumberOfStudyRelatedInstances"],
    ["Modality", "TimezoneOffsetFromUTC", "SeriesDescription", "RetrieveURL", "SeriesInstanceUID",
     "SeriesNumber", "NumberOfSeriesRelatedInstances", "PerformedProcedureStepStartDate",
     "PerformedProcedureStepStartTime", "RequestAttributesSequence"],
    ["SOPClassUID", "SOPInstanceUID", "InstanceAvailability", "TimezoneOffsetFromUTC",
     "RetrieveURL", "InstanceNumber", "Rows", "Columns", "BitsAllocated", "NumberOfFrames"],
)  # fmt: skip
_MORE = (["StudyDescription"], ["FrameOfReferenceUID", "ProtocolName", "Laterality"])
TABLES = [[f"{tag_for_keyword(name):08X}" for name in names] for names in _TABLES]
LEVELS = {f"{tag_for_keyword(n):08X}": level for level, names in enumerate(_MORE) for n in names}
for _level in (INSTANCE, SERIES, STUDY):
    LEVELS |= dict.fromkeys(TABLES[_level], _level)
CONTROLS = {"limit", "offset", "includefield", "fuzzymatching", "emptyvaluematching",
            "multiplevaluematching", "accept", "charset"}  # fmt: skip
FUZZY = "The fuzzymatching parameter is not supported. Only literal matching has been performed."
_OPEN = {"DA": ("00000000", "99999999"), "TM": ("000000", "235960")}
_TIMES = ("00080020", "00080030")
UIDS = ("0020000D", "0020000E", "00080018")


@dataclass
class Search:
    """A query string, read; faulty servers change it before it is run."""

    level: int
    keys: dict = field(default_factory=dict)
    include: set = field(default_factory=set)
    everything: bool = False
    limit: int = 1000
    offset: int = 0
    empty_values: bool = False
    all_values: bool = False
    warnings: list = field(default_factory=list)


def read_search(ask, level):
    search = Search(level)
    for name, value in parameters_of(ask):
        if name == "includefield":
            for part in filter(None, value.split(",")):
                path = find_path(part)
                search.everything |= part == "all"
                search.include |= {path[0]} if path else set()
        elif name in CONTROLS:
            read_control(search, name, value)
        elif (path := find_path(name)) is None:
            search.warnings.append(f"The parameter {name} is unknown and was ignored.")
        else:
            check_value(path, value)
            search.keys[path] = value
    return search


def parameters_of(ask):
    try:
        return ask.parameters
    except ValueError as error:
        raise Problem(400, "The query is no UTF-8.") from error


def read_control(search, name, value):
    if name in ("limit", "offset"):
        if not re.fullmatch("[0-9]{1,9}", value):
            raise Problem(400, f"{name} is no number.")
        setattr(search, name, int(value))
    elif name == "charset" and value.lower() not in ("utf-8", "utf8"):
        raise Problem(400, "That charset is unknown.")
    elif name.endswith("matching"):
        if value not in ("true", "false"):
            raise Problem(400, f"{name} is true or false.")
        search.empty_values |= name == "emptyvaluematching" and value == "true"
        search.all_values |= name == "multiplevaluematching" and value == "true"
        if name == "fuzzymatching" and value == "true":
            search.warnings.append(FUZZY)


def find_path(name):
    """Return a key as tags, None if it is unknown."""
    path = []
    for part in name.split("."):
        if re.fullmatch("[0-9A-Fa-f]{8}", part):
            path.append(part.upper())
        elif part in keyword_dict:
            path.append(f"{tag_for_keyword(part):08X}")
        else:
            return None
    return tuple(path)


def vr_of(path):
    tag = int(path[-1], 16)
    return "LO" if tag >> 16 & 1 else dictionary_VR(tag)


def check_value(path, value):
    vr = vr_of(path)
    wrong = {
        "DA": lambda: not re.fullmatch(f"({_DATE})?(-({_DATE})?)?", value),
        "TM": lambda: not re.fullmatch(f"({_TIME})?(-({_TIME})?)?", value),
        "UI": lambda: not re.fullmatch(r"[0-9.,\\]*", value),
    }
    if wrong.get(vr, lambda: False)():
        raise Problem(400, f"The value of {'.'.join(path)} is none of VR {vr}.")


_DATE = "[0-9]{4}(0[1-9]|1[0-2])[0-9]{2}"
_TIME = r"[0-2][0-9]([0-5][0-9]([0-5][0-9](\.[0-9]{1,6})?)?)?"


def run(search, found, root, holdings):
    """Return the results and how many matches are left.

    Args:
        found: Instances under the path of the search.
    """
    matches = [
        (group, attributes)
        for group in group_up(found, search.level)
        if matches_all(search, attributes := gather(group, search.level, root, holdings))
    ]
    page = matches[search.offset : search.offset + search.limit]
    left = len(matches) - search.offset - len(page)
    return [attributes for _, attributes in page], max(0, left)


def group_up(found, level):
    groups = {}
    for item in found:
        groups.setdefault(item.key[: level + 1], []).append(item)
    return groups.values()


def gather(group, level, root, holdings):
    """Return all attributes of a study, a series or an instance, those above it included."""
    first = group[0]
    found = {t: e for t, e in first.json.items() if level == INSTANCE or LEVELS.get(t, 2) <= level}
    siblings = holdings.select(first.key[0])
    modalities = sorted({str(item.ds.Modality) for item in siblings})
    found["00080061"] = {"vr": "CS", "Value": modalities}
    series = {item.key[1] for item in siblings}
    found["00201206"] = {"vr": "IS", "Value": [len(series)]}
    found["00201208"] = {"vr": "IS", "Value": [len(siblings)]}
    found["00080056"] = {"vr": "CS", "Value": ["ONLINE"]}
    if level >= SERIES:
        own = [item for item in siblings if item.key[1] == first.key[1]]
        found["00201209"] = {"vr": "IS", "Value": [len(own)]}
    url = root + "/".join(first.path.split("/")[: 2 * level + 3])
    found["00081190"] = {"vr": "UR", "Value": [url]}
    return found


def matches_all(search, attributes):
    return matches_moment(search, attributes) and all(
        matches(search, path, value, attributes) for path, value in search.keys.items()
    )


def matches_moment(search, attributes):
    """Match ranges of date and time as one (PS3.4 §C.2.2.2.5.3)."""
    values = [search.keys.get((tag,), "") for tag in _TIMES]
    if not all("-" in value for value in values):
        return True
    dates, times = (value.split("-") for value in values)
    own = "".join(str(attributes.get(tag, {}).get("Value", [""])[0]) for tag in _TIMES)
    low = (dates[0] or "0" * 8) + times[0].ljust(6, "0")
    high = (dates[1] or "9" * 8) + (times[1] or "24").ljust(6, "9")
    return low <= own <= high


def matches(search, path, value, attributes):
    if path[0] in ("00080201", "00080005") or (int(path[0][:4], 16) % 2 and path[0][4:6] == "00"):
        return True
    if path[0] in _TIMES and all("-" in search.keys.get((tag,), "") for tag in _TIMES):
        return True
    if LEVELS.get(path[0], INSTANCE) > search.level:
        return True
    if value == '""' and search.empty_values:
        return not attributes.get(path[0], {}).get("Value")
    if not value.strip("*"):
        return True
    if path[0] == "00080061" and search.all_values:
        return set(value.split(",")) <= set(attributes[path[0]]["Value"])
    return any(one_matches(vr_of(path), value, own, path) for own in read_values(attributes, path))


def read_values(attributes, path):
    values = attributes.get(path[0], {}).get("Value") or []
    if len(path) == 1:
        return [v for v in values if v is not None]
    return [deep for item in values for deep in read_values(item, path[1:])]


def one_matches(vr, wanted, own, path):
    if vr == "UI":
        return str(own) in re.split(r"[,\\]", wanted)
    if vr in _OPEN:
        low, dash, high = wanted.partition("-")
        if not dash:
            return str(own) == wanted
        floor, ceiling = _OPEN[vr]
        low, high = low or floor, (high or ceiling)
        return low.ljust(6, "0") <= str(own) <= high.ljust(6, "9") + ".999999"
    if vr == "PN":
        groups = [own.get(name, "") for name in ("Alphabetic", "Ideographic", "Phonetic")]
        texts = [*groups, "=".join(groups).rstrip("=")]
        return any(like(wanted.lower(), text.lower()) for text in texts)
    if path == ("00080061",):
        return str(own) in wanted.split(",")
    return like(wanted, str(own))


def like(pattern, text):
    parts = re.split(r"([*?])", pattern)
    regex = "".join({"*": ".*", "?": "."}.get(part, re.escape(part)) for part in parts)
    return re.fullmatch(regex, text, re.S) is not None


def shape(search, attributes, depth):
    """Return what a result shows.

    Args:
        depth: How many levels the path of the search names.
    """
    wanted = {tag for level in {search.level, *range(depth, search.level)} for tag in TABLES[level]}
    wanted |= {t for t in search.include if LEVELS.get(t, INSTANCE) <= search.level}
    wanted |= {path[0] for path in search.keys if LEVELS.get(path[0], INSTANCE) <= search.level}
    private = {t for t in wanted if int(t[:4], 16) % 2}
    wanted |= {f"{t[:4]}00{t[4:6]}" for t in private} | set(UIDS[: search.level + 1])
    if search.everything:
        wanted |= {t for t in attributes if LEVELS.get(t, INSTANCE) <= search.level}
    return {tag: attributes[tag] for tag in sorted(wanted) if tag in attributes}
