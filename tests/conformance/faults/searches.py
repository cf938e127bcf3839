"""Servers that search wrongly."""

import itertools
import json
import re

from ..reference import searching
from ..reference.messages import DICOM_JSON, DICOM_XML, JSON, Answer, Problem
from ..reference.server import Reference
from .making import (
    drop_parameters,
    fault,
    gone,
    is_multipart,
    is_search,
    on_answer,
    on_ask,
    on_data_sets,
    on_parts,
    on_search,
)

CONTROLS = searching.CONTROLS


def set_json(answer, document):
    answer.body = json.dumps(document).encode()


def read(answer):
    return json.loads(answer.body)


# Resources and results


@fault("does not search All Series and All Instances", "search")
class no_relational_search(Reference):
    def search(self, ask, parts):
        return gone() if parts in (["series"], ["instances"]) else super().search(ask, parts)


@fault("does not search for studies", "search")
class no_study_search(Reference):
    def search(self, ask, parts):
        return gone() if parts == ["studies"] else super().search(ask, parts)


@fault("does not search within a study", "search")
class no_hierarchy(Reference):
    def search(self, ask, parts):
        return gone() if len(parts) > 1 else super().search(ask, parts)


@on_answer("returns each result twice", "search", "page", where=is_search)
def results_twice(ask, answer):
    if answer.headers["Content-Type"] == DICOM_JSON:
        set_json(answer, read(answer) * 2)


@on_data_sets("writes tags in small letters", "search", "metadata")
def small_tags(data_set):
    return {tag.lower() + "x": element for tag, element in data_set.items()} | data_set


@on_answer("calls DICOM JSON application/json", "search", "metadata", "negotiate", "store")
def plain_json(ask, answer):
    if answer.headers.get("Content-Type") == DICOM_JSON:
        answer.headers["Content-Type"] = JSON


@on_answer("closes the connection instead of telling a length", "search", where=is_search)
def no_length(ask, answer):
    answer.headers["Content-Length"] = None
    answer.headers["Connection"] = "close"


@on_answer("answers 404 where a search finds nothing", "search", "match", where=is_search)
def nothing_is_404(ask, answer):
    return gone() if answer.body == b"[]" else answer


@on_answer("answers 204 where a search finds nothing", "search", where=is_search)
def nothing_is_204(ask, answer):
    return Answer(204) if answer.body == b"[]" else answer


@fault("searches everything whatever the path says", "search")
class path_ignored(Reference):
    def search(self, ask, parts):
        return super().search(ask, [parts[-1]])


@on_data_sets("returns UIDs alone", "search", "include", where=is_search)
def uids_alone(data_set):
    return {t: e for t, e in data_set.items() if t in searching.UIDS}


@on_data_sets("returns no UIDs but a search's own", "search", where=is_search)
def no_own_uids(data_set):
    return {t: e for t, e in data_set.items() if t not in ("0020000D", "0020000E")} | {
        "00080018": {"vr": "UI", "Value": ["1.2.3"]}
    }


@on_data_sets("counts one too many", "search", where=is_search)
def miscounts(data_set):
    for tag in ("00201206", "00201208", "00201209", "00280008"):
        if tag in data_set:
            data_set[tag]["Value"] = [int(data_set[tag]["Value"][0]) + 1]


@on_data_sets("keeps the first modality of a study", "search", where=is_search)
def first_modality(data_set):
    if "00080061" in data_set:
        del data_set["00080061"]["Value"][1:]


@on_data_sets("gives every level the Retrieve URL of its study", "search", where=is_search)
def retrieve_urls_of_studies(data_set):
    url = data_set["00081190"]["Value"][0]
    data_set["00081190"]["Value"] = [re.sub("/series/.*", "", url) + "/series"]


@on_data_sets("gives Retrieve URLs that lead elsewhere", "search", where=is_search)
def retrieve_urls_elsewhere(data_set):
    data_set["00081190"]["Value"] = [
        "http://127.0.0.1:9/no/such" + data_set["00081190"]["Value"][0]
    ]


@on_data_sets("leaves out what the levels above a result have", "search", where=is_search)
def no_upper_levels(data_set):
    lower = {tag for tag, level in searching.LEVELS.items() if level == searching.STUDY}
    if "0020000E" in data_set:
        kept = {t: e for t, e in data_set.items() if t not in lower}
        if "00080018" in kept:
            kept = {t: e for t, e in kept.items() if searching.LEVELS.get(t) != searching.SERIES}
        return {**kept, "0020000D": data_set["0020000D"]}
    return data_set


@on_data_sets("shows file meta in results", "search", "metadata")
def file_meta_shown(data_set):
    return {"00020010": {"vr": "UI", "Value": ["1.2.840.10008.1.2.1"]}, **data_set}


@on_data_sets("shows sequences of results without their items", "search", where=is_search)
def empty_sequences(data_set):
    return {t: {"vr": "SQ"} if e["vr"] == "SQ" else e for t, e in data_set.items()}


# Matching


@on_search("ignores what is to be matched", "match", "search", "negotiate")
def keys_ignored(search):
    search.keys = {k: v for k, v in search.keys.items() if k == ("x",)}


@on_search("finds nothing where a key is below the study level", "match")
def lower_keys_fail(search):
    if any(searching.LEVELS.get(path[0], 2) for path in search.keys):
        search.keys[("0020000D",)] = "1.2.3.4"


@on_search("matches every value but the first key's as if it were anything", "match")
def first_key_alone(search):
    search.keys = dict(itertools.islice(search.keys.items(), 1))


def _change_values(change):
    def apply(search):
        search.keys = {path: change(path, value) for path, value in search.keys.items()}

    return apply


@on_search("takes wildcards literally", "match")
def wildcards_literal(search):
    _change_values(lambda _, v: v.replace("*", "\0").replace("?", "\0"))(search)


@on_search("takes ? for any number of characters", "match")
def question_is_star(search):
    _change_values(lambda _, v: v.replace("?", "*"))(search)


@on_search("takes the wildcards of SQL for wildcards", "match")
def sql_wildcards(search):
    _change_values(lambda _, v: v.replace("%", "*").replace("_", "?"))(search)


@on_ask("does not decode what is percent-encoded in a query", "match", "include", "rendered")
def encoded_query(ask):
    ask.query = re.sub("%(?!22|3B|20)", "%25", ask.query) if ask.method == "GET" else ask.query


@on_ask("reads queries as ISO 8859-1", "match")
def query_in_latin(ask):
    ask.query = re.sub(
        "%([89A-F][0-9A-F])",
        lambda m: "".join(f"%{byte:02X}" for byte in chr(int(m[1], 16)).encode()),
        ask.query,
    )


@on_ask("keeps + in a query as it is", "match")
def plus_stays(ask):
    ask.query = ask.query.replace("+", "%2B")


@fault("matches values in either case", "match")
class either_case(Reference):
    def search(self, ask, parts):
        ask.query = re.sub("(AccessionNumber=)([a-z])", lambda m: m[1] + m[2].upper(), ask.query)
        ask.query = re.sub(r"(AccessionNumber=\w+)a(1|\*)", r"\1A\2", ask.query)
        return super().search(ask, parts)


@on_search("matches names in their own case alone", "match")
def names_in_own_case(search):
    _change_values(lambda p, v: v + "\0" if p == ("00100010",) and "ALPHA" in v else v)(search)


@on_search("leaves the ends of ranges out", "match")
def ranges_without_ends(search):
    def change(path, value):
        low, dash, high = value.partition("-")
        if not dash or path != ("00080020",):
            return value
        return f"{int(low) + 1 if low else ''}-{int(high) - 1 if high else ''}"

    _change_values(change)(search)


@on_search("takes a range that is open at one end for nothing", "match")
def closed_ranges(search):
    _change_values(lambda _, v: "00010101" if v.startswith("-") or v.endswith("-") else v)(search)


@on_search("matches date and time one by one", "match")
def moments_apart(search):
    moments = {path: v for path, v in search.keys.items() if path[0] in ("00080020", "00080030")}
    if len(moments) == 2:
        search.keys[("00080030",)] = "000000-000001"


@on_search("matches lists of UIDs as one", "match", "negotiate")
def uid_lists_fail(search):
    _change_values(lambda p, v: "1.2.3" if re.search(r"[0-9][,\\][0-9]", v) else v)(search)


@on_search("matches lists of modalities as one", "match")
def modality_lists_fail(search):
    _change_values(lambda p, v: v.replace(",", "|") if p == ("00080061",) else v)(search)


@on_search("passes over attributes in sequences", "match")
def sequences_passed_over(search):
    search.keys = {path: v for path, v in search.keys.items() if len(path) == 1}


@on_search("finds nothing by an attribute in a sequence", "match")
def sequences_fail(search):
    _change_values(lambda p, v: "\0" if len(p) > 1 else v)(search)


@on_search("takes an empty value for an empty value", "match")
def empty_is_empty(search):
    _change_values(lambda _, v: v or "\0")(search)


@on_ask("reads tags in capital letters alone", "match")
def capital_tags(ask):
    ask.query = re.sub("0020000d", "NoSuchTag", ask.query)


@on_ask("reads keywords alone", "match", "include")
def keywords_alone(ask):
    ask.query = re.sub("(^|&|,|=)([0-9]{8})(?=[=&,]|$)", r"\1NoSuch", ask.query)


@on_answer("says nothing of fuzzymatching, and does not match so", "match", where=is_search)
def fuzzy_silent(ask, answer):
    answer.headers.pop("Warning", None)


@on_answer("warns of fuzzymatching in other words", "match", where=is_search)
def fuzzy_in_other_words(ask, answer):
    text = answer.headers.get("Warning", "")
    answer.headers["Warning"] = text.replace(searching.FUZZY, "fuzzymatching is not supported.")


@on_answer("warns of fuzzymatching=false", "match", where=is_search)
def fuzzy_false_warned(ask, answer):
    if "fuzzymatching=false" in ask.query:
        answer.headers["Warning"] = f"299 {ask.root}: {searching.FUZZY}"


@on_search("passes over emptyvaluematching and multiplevaluematching", "match")
def newer_matching_ignored(search):
    search.empty_values = search.all_values = False


@on_search("passes over private attributes", "match", "include")
def private_passed_over(search):
    search.keys = {p: v for p, v in search.keys.items() if int(p[0][:4], 16) % 2 == 0}
    search.include = {tag for tag in search.include if int(tag[:4], 16) % 2 == 0}


@on_search("takes the offset from UTC for something to match", "match")
def timezone_matched(search):
    if ("00080201",) in search.keys:
        search.keys[("00100020",)] = "\0"


@on_search("matches the alphabetic group of a name alone", "match")
def alphabetic_alone(search):
    _change_values(lambda p, v: "\0" if any(ord(c) > 0x2FFF for c in v) else v)(search)


@on_search("matches a name of several groups as a whole alone", "match")
def groups_as_whole(search):
    _change_values(lambda p, v: "\0" if "Epsilon^Tarou" in v else v)(search)


# Pages


@on_search("ignores limit", "page")
def limit_ignored(search):
    search.limit = 1000


@on_search("ignores offset", "page")
def offset_ignored(search):
    search.offset = 0


@on_search("sends two results at most where a limit is given", "page")
def two_at_most(search):
    search.limit = search.limit if search.limit in (0, 1, 1000) else 2


@on_search("takes limit=0 for no limit", "page")
def limit_zero_is_all(search):
    search.limit = search.limit or 1000


@fault("has another order each time", "page")
class another_order(Reference):
    turn = itertools.count()

    def change_answer(self, ask, answer):
        if is_search(ask) and answer.headers.get("Content-Type") == DICOM_JSON:
            found = read(answer)
            turn = next(self.turn) % max(1, len(found))
            set_json(answer, found[turn:] + found[:turn])
        return answer


@on_answer("loses the last result", "page", "match", where=is_search)
def last_lost(ask, answer):
    if answer.headers["Content-Type"] == DICOM_JSON and len(read(answer)) > 2:
        set_json(answer, read(answer)[:-1])


@on_search("gives pages of one at offset 0 whatever is asked", "page")
def first_page_again(search):
    search.offset = 0 if search.limit == 1 else search.offset


@on_answer("says always that there is more", "page", where=is_search)
def always_more(ask, answer):
    answer.headers["Warning"] = (
        f"299 {ask.root}: There are 3 additional results that can be requested"
    )


@on_ask("passes over numbers that are none", "page", "negotiate")
def bad_numbers_passed_over(ask):
    ask.query = re.sub("(^|&)(limit|offset)=(-1|abc)", r"\1", ask.query)


# includefield


@on_search("ignores includefield", "include")
def include_ignored(search):
    search.include, search.everything = set(), False


@on_search("includes the first of several attributes", "include")
def first_included(search):
    search.include = set(sorted(search.include)[:1])


@fault("includes attributes of lower levels", "include")
class lower_included(Reference):
    def search(self, ask, parts):
        answer = super().search(ask, parts)
        if "includefield=S" in ask.query and answer.headers["Content-Type"] == DICOM_JSON:
            found = read(answer)
            for data_set in found:
                data_set["0008103E"] = data_set["00080018"] = {"vr": "LO", "Value": ["x"]}
            set_json(answer, found)
        return answer


@on_ask("refuses attributes that it does not know", "include", "negotiate")
def unknown_refused(ask):
    if re.search("NoSuchAttribute|nosuchparameter", ask.query):
        ask.query = "limit=none"


@on_answer("returns what is in the tables alone", "include", where=is_search)
def tables_alone(ask, answer):
    if answer.headers["Content-Type"] == DICOM_JSON:
        tags = {tag for table in searching.TABLES for tag in table}
        set_json(answer, [{t: e for t, e in d.items() if t in tags} for d in read(answer)])


# Media types and errors


@on_ask("passes over Accept", "negotiate", "metadata", "instance", "frames", "bulk")
def accept_passed_over(ask):
    if ask.method == "GET":
        ask.headers["accept"] = "*/*"
        drop_parameters(ask, "accept")


@on_ask("reads the first media range of Accept alone", "negotiate", "instance")
def first_range_alone(ask):
    ask.headers["accept"] = ask.headers.get("accept", "").partition(",")[0]


@on_ask(
    "needs Accept to be what it expects, letter by letter",
    "negotiate",
    "metadata",
    "frames",
    "instance",
)
def accept_by_letter(ask):
    known = (DICOM_JSON, "image/", 'multipart/related; type="', "application/dicom")
    accept = ask.headers.get("accept", "")
    if ask.method == "GET" and (
        not accept.startswith(known) or "," in accept or "charset" in accept
    ):
        ask.headers["accept"] = "no/such"


@on_ask(
    "does not read media types that are not in quotation marks", "negotiate", "instance", "frames"
)
def quotes_needed(ask):
    ask.headers["accept"] = re.sub(
        'type=([^"])', r"type=no/such-\1", ask.headers.get("accept", "*/*"), flags=re.I
    )


@on_ask("passes over q-values", "negotiate", "instance")
def quality_passed_over(ask):
    ask.headers["accept"] = re.sub("; ?q=[0-9.]+", "", ask.headers.get("accept", "*/*"))


@on_ask("passes over the query parameter accept", "negotiate", "metadata", "instance", "rendered")
def accept_parameter_passed_over(ask):
    if ask.method == "GET":
        drop_parameters(ask, "accept")


@on_ask("refuses the query parameter accept", "negotiate", "rendered", "thumbnail")
def accept_parameter_refused(ask):
    if "accept=" in ask.query:
        ask.headers["accept"] = "no/such"
        drop_parameters(ask, "accept")


@on_ask("has no XML", "negotiate", "metadata", "store")
def no_xml(ask):
    if DICOM_XML in ask.headers.get("accept", "") + ask.query:
        ask.headers["accept"] = "no/such"
        drop_parameters(ask, "accept")


@on_answer("sends XML as a single part", "negotiate", "metadata")
def xml_single(ask, answer):
    if is_multipart(answer) and DICOM_XML in answer.headers["Content-Type"]:
        answer.headers["Content-Type"] = DICOM_XML


@on_parts("calls parts of XML text/xml", "negotiate")
def xml_parts_misnamed(parts):
    return [("text/xml" if kind == DICOM_XML else kind, where, body) for kind, where, body in parts]


@on_parts("writes XML of its own make", "negotiate", "metadata")
def other_xml(parts):
    return [
        (k, w, b.replace(b"NativeDicomModel", b"Model") if DICOM_XML in k else b)
        for k, w, b in parts
    ]


@on_parts("leaves values and attributes out of XML", "negotiate", "metadata")
def poor_xml(parts):
    pattern = rb'<DicomAttribute [^>]*keyword="PatientSex"[^>]*>.*?</DicomAttribute>'
    return [(k, w, re.sub(pattern, b"", b)) for k, w, b in parts]


@on_ask("refuses charsets, UTF-8 too", "negotiate")
def charset_refused(ask):
    ask.query = re.sub("charset=utf-8", "charset=none", ask.query)
    if "charset" in ask.headers.get("accept", ""):
        ask.headers["accept"] = "no/such"


@on_ask("passes over charsets, unknown ones too", "negotiate")
def charset_passed_over(ask):
    drop_parameters(ask, "charset")


@on_answer("does not name what it passed over", "negotiate", where=is_search)
def unknown_unnamed(ask, answer):
    answer.headers.pop("Warning", None)


@on_ask("passes over values that are none", "negotiate")
def bad_values_passed_over(ask):
    bad = (
        r"StudyDate=yesterday|StudyDate=20201301"
        r"|StudyTime=noon|StudyInstanceUID=not-a-uid|fuzzymatching=maybe|PatientName=%FF%FE"
    )
    ask.query = re.sub(bad, "", ask.query)


@on_ask("refuses long queries", "negotiate")
def long_queries_refused(ask):
    if len(ask.query) > 4000:
        ask.query = "limit=none"


@fault("fails at strange queries", "negotiate")
class strange_queries_fail(Reference):
    def search(self, ask, parts):
        if "%00" in ask.query or "0010002=" in ask.query:
            raise Problem(500, "Oh.")
        return super().search(ask, parts)


@on_answer("sends errors as pages", "negotiate", "http", "refuse", ok=False)
def errors_as_pages(ask, answer):
    if answer.status >= 400:
        answer.headers["Content-Type"] = "text/html"
        answer.body = b"<h1>Error</h1>"


@on_answer("sends errors without a body", "negotiate", "refuse", "http", ok=False)
def errors_empty(ask, answer):
    if answer.status >= 400:
        answer.body = b""
        answer.headers.pop("Content-Type", None)


@on_answer("shows tracebacks and values of patients", "negotiate", "http", ok=False)
def errors_leak(ask, answer):
    if answer.status >= 400:
        answer.body += b'Traceback (most recent call last): File "server.py" ' + ask.query.encode()


@on_answer("sends errors without a Content-Type", "http", ok=False)
def errors_untyped(ask, answer):
    if answer.status >= 400:
        del answer.headers["Content-Type"]
