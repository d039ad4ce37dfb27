"""Every Python example of the documentation runs, alone, and prints what the page says."""

import re
from pathlib import Path

import pytest
import yaml

import digitorn_testing
import digitorn_testing.fakes
from support.documents import Example, examples

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([ROOT / "README.md", *DOCS.glob("*.md")])
# Their examples are tests, with fixtures: tests/plugin runs them.
OF_PYTEST = {"pytest.md"}


@pytest.mark.parametrize(
    "example", [one for page in PAGES if page.name not in OF_PYTEST for one in examples(page)], ids=str
)
def test_an_example_runs_alone(example: Example) -> None:
    example.run()


def test_links_between_pages_lead_somewhere() -> None:
    for page in [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text(encoding="utf-8")):
            generated = target.startswith("reference/") or target in {"contributing.md", "changelog.md"}
            assert generated or (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_pages_with_examples_are_found() -> None:
    names = {page.name for page in PAGES if examples(page)}
    assert names >= {"README.md", "apps.md", "messages.md", "streams.md", "assertions.md", "fakes.md"}


def test_every_page_is_in_the_navigation() -> None:
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    listed = set(re.findall(r"[\w/-]+\.md", str(yaml.safe_load(text)["nav"])))
    assert {page.name for page in DOCS.glob("*.md")} <= listed


def test_a_wrong_output_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("```python\nprint(1)\nprint(2)\n```\n\n```text\n1\n3\n```\n", encoding="utf-8")
    with pytest.raises(AssertionError, match="prints\n1\n2\n"):
        examples(page)[0].run()


def test_an_example_has_nothing_of_another_one_unless_it_says_so(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("```python\none = 1\n```\n\n```python\nprint(one)\n```\n", encoding="utf-8")
    with pytest.raises(NameError):
        examples(page)[1].run()
    continued = page.read_text(encoding="utf-8").replace(
        "\n\n```python", "\n\nThis continues the example above:\n\n```python"
    )
    page.write_text(continued, encoding="utf-8")
    examples(page)[1].run()


def test_troubleshooting_has_every_public_error() -> None:
    explained = set(
        re.findall(r"^### (\w+)$", (DOCS / "troubleshooting.md").read_text("utf-8"), re.MULTILINE)
    )
    public = {
        name
        for module in (digitorn_testing, digitorn_testing.fakes)
        for name in module.__all__
        if isinstance(one := getattr(module, name), type) and issubclass(one, Exception)
    }
    assert explained == public - {"DigitornError"}
