"""Documents: lines that fit, links that lead somewhere, an index of all pages, facts that agree with the code."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml

import catalyst_cityscapes
from support.places import PROJECT

DOCS = sorted((PROJECT / "docs").rglob("*.md"))
NAMED = [PROJECT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")]
BESIDE = [PROJECT / name for name in ("benchmarks/README.md", "benchmarks/gpu.md", "initmodel/README.md")]
PAGES = [*NAMED, *DOCS, *BESIDE]
WIDTH = 120
LINK = re.compile(r"\[(?:[^\[\]]|`[^`]*`|!\[[^\]]*\]\([^)]*\))*\]\(([^)\s]+)\)")
METADATA = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
CITATION = yaml.safe_load((PROJECT / "CITATION.cff").read_text())


def name_of(page: Path) -> str:
    return str(page.relative_to(PROJECT))


def prose(page: Path) -> str:
    """A page without its code blocks, and without the code in its lines."""
    text = re.sub(r"^ *```.*?^ *```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"`[^`]+`", "code", text)


def links(page: Path) -> list[str]:
    """Targets of the page's links and pictures."""
    return LINK.findall(prose(page))


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```", "", page.read_text(), flags=re.M | re.S), flags=re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def is_unbreakable(line: str) -> bool:
    """Whether an address that fits on no line is what makes this one long."""
    return any("://" in word and len(word) > WIDTH - 8 for word in line.split())


def too_long(text: str) -> list[str]:
    return [line for line in text.splitlines() if len(line) > WIDTH and not is_unbreakable(line)]


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_lines_fit(page):
    assert too_long(page.read_text()) == []


def test_only_what_cannot_be_broken_may_be_longer():
    address = "https://example.org/" + "a" * WIDTH
    assert too_long(f"- {address}\n" + "word " * 24) == []
    assert too_long("word " * 25) == ["word " * 25]
    assert too_long("| " + "cell | " * 20) != []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_relative_links_lead_to_files_and_headings(page):
    for target in links(page):
        if target.startswith(("https://", "http://", "mailto:")):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), target
        assert not anchor or anchor in anchors(file), target


def test_links_are_found_wherever_they_stand(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("see [one\ntwo](a.md), `[no](b.md)` and\n```\n[no](c.md)\n```\n![p](d.png) [`code`](e.md#x)\n")
    assert links(page) == ["a.md", "d.png", "e.md#x"]


def test_every_page_is_in_the_index():
    index = PROJECT / "docs" / "README.md"
    linked = {(index.parent / target.partition("#")[0]).resolve() for target in links(index)}
    assert [name_of(page) for page in PAGES if page not in (index, *NAMED) and page not in linked] == []
    assert index in {(PROJECT / target).resolve() for target in links(PROJECT / "README.md")}


def test_readme_is_two_screens():
    assert len((PROJECT / "README.md").read_text().splitlines()) <= 100


def test_license_version_and_authors_agree():
    assert METADATA["license"] == CITATION["license"] == "MIT"
    assert METADATA["license-files"] == ["LICENSE"]
    text = (PROJECT / "LICENSE").read_text()
    assert text.startswith("MIT License\n")
    assert "the catalyst-cityscapes authors" in text
    assert CITATION["authors"] == [{"name": "The catalyst-cityscapes authors"}]
    assert CITATION["title"] == METADATA["name"]
    assert CITATION["version"] == catalyst_cityscapes.__version__
    assert (
        re.findall(r"^## \[(\d[^\]]*)\]", (PROJECT / "CHANGELOG.md").read_text(), flags=re.M)[0] == CITATION["version"]
    )


def test_the_citation_has_what_its_format_requires():
    assert CITATION["cff-version"] == "1.2.0"
    assert {"message", "title", "authors"} <= CITATION.keys()
    for reference in CITATION["references"]:
        assert {"type", "title", "authors"} <= reference.keys()
    assert "Pyramid Scene Parsing Network" in {reference["title"] for reference in CITATION["references"]}


def test_hooks_run_the_pinned_ruff():
    (repository,) = yaml.safe_load((PROJECT / ".pre-commit-config.yaml").read_text())["repos"]
    assert repository["repo"] == "local"
    assert [hook["entry"].split()[:2] for hook in repository["hooks"]] == [
        [".venv/bin/ruff", "check"],
        [".venv/bin/ruff", "format"],
    ]
    assert {hook["language"] for hook in repository["hooks"]} == {"system"}
