"""Every Python block of the documentation runs, page by page, in order."""

import re
from pathlib import Path

import pytest

from support.documents import blocks, run_blocks

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
# Its blocks are tests, with fixtures: tests/plugin runs them.
OF_PYTEST = "pytest.md"


@pytest.mark.parametrize(
    "page",
    [page for page in PAGES if blocks(page) and page.name != OF_PYTEST],
    ids=lambda page: page.name,
)
def test_the_blocks_of_a_page_run(page: Path) -> None:
    run_blocks(page)


def test_links_between_pages_lead_somewhere() -> None:
    for page in [*PAGES, ROOT / "CONTRIBUTING.md"]:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_pages_with_code_are_found() -> None:
    names = {page.name for page in PAGES if blocks(page)}
    assert names >= {"README.md", "apps.md", "getting-started.md", "streams.md", "assertions.md", "fakes.md"}
    assert names >= {"builders.md", "operations.md"}
