"""Every Python block of the documentation runs, page by page, in order."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
# Its blocks are tests, with fixtures: tests/plugin runs them.
OF_PYTEST = "pytest.md"
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page: Path) -> list[tuple[int, str]]:
    """The Python blocks of a page, each with the line it begins at."""
    text = page.read_text(encoding="utf-8")
    return [(text.count("\n", 0, found.start(1)), found[1]) for found in BLOCK.finditer(text)]


@pytest.mark.parametrize(
    "page",
    [page for page in PAGES if blocks(page) and page.name != OF_PYTEST],
    ids=lambda page: page.name,
)
def test_the_blocks_of_a_page_run(page: Path) -> None:
    namespace: dict[str, object] = {"__name__": page.stem}
    for line, source in blocks(page):
        # Blank lines before it make tracebacks name the line of the page.
        exec(compile("\n" * line + source, str(page), "exec"), namespace)


def test_links_between_pages_lead_somewhere() -> None:
    for page in [*PAGES, ROOT / "CONTRIBUTING.md"]:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_pages_with_code_are_found() -> None:
    names = {page.name for page in PAGES if blocks(page)}
    assert names >= {"README.md", "apps.md", "getting-started.md", "streams.md", "assertions.md", "fakes.md"}
    assert names >= {"builders.md", "operations.md"}
