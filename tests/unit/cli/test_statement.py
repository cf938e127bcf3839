"""The conformance statement: it is current, it leaves nothing out, and its forms agree."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from litestar import Litestar

from lamella.app.application import list_dicomweb_routes
from lamella.archive.levels import DEFAULTS
from lamella.cli.main import main
from lamella.cli.statement.document import Contents, Section, Statement, Table
from lamella.cli.statement.names import name_attribute, name_uid
from lamella.cli.statement.statement import build_statement
from lamella.cli.statement.writers import to_html, to_markdown
from lamella.dimse_gateway.negotiation import SERVICES, STORAGE_CLASSES, TRANSFER_SYNTAX_UIDS
from lamella.web.capabilities import list_operations

KEPT = Path(__file__).parents[3] / "docs" / "conformance" / "statement.md"
SMALL = Statement(
    "Of <two> parts",
    ("A remark with `code`.",),
    (
        Section("First", (Table(("a", "b"), (("x | y", "`1 < 2`"),)),), (Section("Within"),)),
        Section("List", (Contents(),)),
        Section("Annex", ("Text & more.",), number="A.A"),
    ),
)


class Reader(HTMLParser):
    """Collects what a page holds.

    Attributes:
        open: Elements that have not ended.
    """

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.anchors: list[str] = []
        self.links: list[str] = []
        self.words: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag != "meta":
            self.open.append(tag)
        self.anchors += [str(given["id"])] if "id" in given else []
        self.links += [str(given["href"])] if "href" in given else []

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] != ["style"]:
            self.words += data.split()


def test_the_kept_statement_is_current() -> None:
    assert KEPT.read_text(encoding="utf-8") == to_markdown(build_statement()), (
        "make it anew: lamella conformance statement --output docs/conformance/statement.md"
    )


def test_nothing_is_left_out() -> None:
    text = to_markdown(build_statement())
    for uid in {*STORAGE_CLASSES, *TRANSFER_SYNTAX_UIDS}:
        assert f"| {name_uid(uid)} | `{uid}` |" in text
        assert name_uid(uid) != uid
    for operation in list_operations(
        Litestar(list_dicomweb_routes(), openapi_config=None, logging_config=None).routes
    ):
        assert f"`/{operation.path}`" in text
        assert f"`{operation.name}`: {operation.summary}" in text
        for media_type in (*operation.answers, *operation.transaction.bodies):
            assert f"`{media_type}`" in text
    for defaults in DEFAULTS.values():
        for path in defaults:
            assert name_attribute(path[-1]) in text
    for service in SERVICES:
        assert f"| {service.name} | PS3.4 {service.section} |" in text


def test_it_has_the_sections_of_the_template() -> None:
    headings = [one.text for one in build_statement().list_headings() if one.depth == 1]
    assert headings == [
        "1 Overview",
        "2 Table of Contents",
        "3 Introduction",
        "4 Implementation Model",
        "5 Service and Interoperability Description",
        "6 Configuration",
        "7 Network and Media Communication Details",
        "8 Security",
        "A.A Information Object Definitions",
        "A.B Structured Report Content Encoding",
        "A.C Security Details",
        "A.D Mapping of Attributes",
        "A.E Code Set Usage",
    ]


def test_both_forms_say_the_same() -> None:
    statement = build_statement()
    page = Reader(to_html(statement))
    assert page.open == []
    assert len({*page.anchors}) == len(page.anchors) == len(statement.list_headings())
    assert {link.removeprefix("#") for link in page.links} <= {*page.anchors}
    text = re.sub(
        r"<a id=.*|^\|( --- \|)+$|^ *- \[|\]\(#.*\)$", "", to_markdown(statement), flags=re.M
    )
    words = re.sub(r"^#+ |[|`]", " ", text, flags=re.M).split()
    title = statement.title.split()
    assert [word for word in page.words if word != "|"] == [*title, *words]


def test_markdown() -> None:
    assert to_markdown(SMALL).splitlines() == [
        *("# Of <two> parts", "", "A remark with `code`.", ""),
        *('<a id="section-1"></a>', "", "## 1 First", ""),
        *("| a | b |", "| --- | --- |", "| x \\| y | `1 < 2` |", ""),
        *('<a id="section-1-1"></a>', "", "### 1.1 Within", ""),
        *('<a id="section-2"></a>', "", "## 2 List", ""),
        *("- [1 First](#section-1)", "  - [1.1 Within](#section-1-1)", "- [2 List](#section-2)"),
        *("- [A.A Annex](#section-a-a)", ""),
        *('<a id="section-a-a"></a>', "", "## A.A Annex", "", "Text & more."),
    ]


def test_html() -> None:
    page = to_html(SMALL)
    assert "<h1>Of &lt;two&gt; parts</h1>" in page
    assert "<td>x | y</td><td><code>1 &lt; 2</code></td>" in page
    assert '<h3 id="section-1-1">1.1 Within</h3>' in page
    assert "<p>Text &amp; more.</p>" in page
    assert Reader(page).links == ["#section-1", "#section-1-1", "#section-2", "#section-a-a"]


def test_a_table_has_no_gaps() -> None:
    with pytest.raises(ValueError, match="another number of cells"):
        Table(("a", "b"), (("only one",),))


class TestCommand:
    def test_it_prints(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["conformance", "statement"]) == 0
        assert capsys.readouterr().out == KEPT.read_text(encoding="utf-8")

    def test_it_writes(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        path = tmp_path / "statement.html"
        arguments = ["conformance", "statement", "--format", "html", "--output", str(path)]
        assert main(arguments) == 0
        assert capsys.readouterr().out == ""
        assert path.read_text(encoding="utf-8") == to_html(build_statement())

    @pytest.mark.parametrize(
        "arguments",
        [
            ["conformance", "statement", "--output", "."],
            ["conformance", "http://127.0.0.1:1/", "--format", "html"],
            ["conformance", "http://127.0.0.1:1/", "--output", "x.html"],
        ],
    )
    def test_wrong_usage(self, arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
        assert main(arguments) == 2
        assert len(capsys.readouterr().err.splitlines()) == 1
