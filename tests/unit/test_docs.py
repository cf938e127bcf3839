"""The documentation holds together: links lead somewhere, and no page is lost."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
CODE = re.compile(r"^```.*?^```|^ {4}.*?$|`[^`\n]*`", re.M | re.S)
NOT_LETTERS = re.compile(r"[^\w\- ]")


def list_pages() -> list[Path]:
    return [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "bench").glob("*.md")]


def list_links(page: Path) -> list[tuple[Path, str]]:
    """Return what a page links to in the project: the file and the anchor, which may be ''."""
    found = []
    for link in LINK.findall(CODE.sub("", page.read_text(encoding="utf-8"))):
        if "://" not in link and not link.startswith("mailto:"):
            path, _, anchor = link.partition("#")
            found.append(((page.parent / path).resolve() if path else page, anchor))
    return found


def list_anchors(page: Path) -> set[str]:
    text = page.read_text(encoding="utf-8")
    headings = re.findall(r"^#+ (.*)$", text, re.M)
    made = {NOT_LETTERS.sub("", heading.lower()).replace(" ", "-") for heading in headings}
    return made | set(re.findall(r'<a id="([^"]+)">', text))


def test_links_lead_somewhere() -> None:
    links = [(page, *link) for page in list_pages() for link in list_links(page)]
    assert len(links) > 60
    lost = [(page.name, path) for page, path, _ in links if not path.exists()]
    assert lost == []
    lost = [
        (page.name, f"{path.name}#{anchor}")
        for page, path, anchor in links
        if anchor and anchor not in list_anchors(path)
    ]
    assert lost == []


def test_every_page_of_the_documentation_is_in_its_index() -> None:
    named = {path for path, _ in list_links(ROOT / "docs" / "README.md")}
    pages = {page for page in (ROOT / "docs").rglob("*.md") if "design" not in page.parts}
    assert pages - named == {ROOT / "docs" / "README.md"}
