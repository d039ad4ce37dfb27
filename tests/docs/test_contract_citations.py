"""Every citation of the contract's prose leads to a heading in `docs/contract/`."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]
CONTRACT: Final = ROOT / "docs" / "contract"
CITING: Final = ("src", "codegen", "tests", "schema", "docs")
SUFFIXES: Final = {".json", ".md", ".py", ".yaml"}

_NUMBER = r"\d+(?:\.\d+)*"
_NUMBERS = rf"section {_NUMBER}|sections {_NUMBER}(?:, {_NUMBER})*(?: and| to) {_NUMBER}"
_PART = rf"(?:events|rest), (?:{_NUMBERS})"
CITATION: Final = re.compile(rf"\(contract: {_PART}(?:; {_PART})*\)")
"""`(contract: events, section 4.2)`, with several numbers and with both parts if need be."""
# What means to be a citation, whatever form it has.
ATTEMPT: Final = re.compile(r"\bcontract: (?:events|rest)\b[^)]{0,80}\)?")
# The section of a fact as data: a number, and perhaps a name that the section mentions.
DATA: Final = re.compile(r"\bsection=\"([^\"]*)\"")


def texts(*folders: str) -> Iterator[tuple[str, str]]:
    """The files that may cite, each with its text; what a comment or docstring wraps is on one line."""
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix in SUFFIXES and path != Path(__file__):
                text = path.read_text(encoding="utf-8")
                yield str(path.relative_to(ROOT)), re.sub(r"\s*\n\s*(?:#\s*)?", " ", text)


def sections(part: str) -> dict[str, str]:
    """The sections of a part of the contract by number, each with its text."""
    text = (CONTRACT / f"{part}.md").read_text(encoding="utf-8")
    pieces = re.split(r"^#{2,3} (\d+(?:\.\d+)?)\.? ", text, flags=re.MULTILINE)
    return dict(zip(pieces[1::2], pieces[2::2], strict=True))


SECTIONS: Final = {part: sections(part) for part in ("events", "rest")}


def faults(text: str) -> list[str]:
    """The citations in a text that have another form or lead nowhere."""
    found = [one[0] for one in ATTEMPT.finditer(CITATION.sub("", text))]
    for citation in CITATION.finditer(text):
        for part, numbers in re.findall(rf"(events|rest), ({_NUMBERS})", citation[0]):
            found += [citation[0] for one in re.findall(_NUMBER, numbers) if one not in SECTIONS[part]]
    for said in DATA.findall(text):
        number, _, name = said.partition(", ")
        if name not in SECTIONS["events"].get(number, "") or number not in SECTIONS["events"]:
            found.append(f'section="{said}"')
    return found


def test_every_citation_leads_to_a_heading() -> None:
    assert {path: found for path, text in texts(*CITING) if (found := faults(text))} == {}


def test_the_sources_name_no_section_but_those_of_the_contract() -> None:
    # Other documents have a sign of their own: RFC 9110 §9.2.2.
    stray = re.compile(r".{0,60}\b(?:[Ss]ections?|[Tt]raps?) \d.{0,20}")
    found = {path: stray.findall(CITATION.sub("", text)) for path, text in texts("src")}
    assert {path: lines for path, lines in found.items() if lines} == {}


def test_the_citations_are_found() -> None:
    assert sum(len(CITATION.findall(text)) for _, text in texts("src")) > 100
    assert sum(len(DATA.findall(text)) for _, text in texts("src")) > 20


@pytest.mark.parametrize(
    "text",
    [
        "(contract: events, section 99)",
        "(contract: events, sections 4.2 and 4.99)",
        "(contract: events, section 8, trap 3)",
        "(contract: events, 6.6)",
        "(contract: rest, Conventions)",
        "(contract: rest, section 4.6; events, section 99)",
        'section="99"',
        'section="5.1, no_such_event"',
    ],
)
def test_a_citation_that_leads_nowhere_is_found(text: str) -> None:
    assert faults(text)


def test_links_within_the_contract_lead_to_headings() -> None:
    anchors = {
        page.name: {
            re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")
            for title in re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
        }
        for page in CONTRACT.glob("*.md")
    }
    for page in CONTRACT.glob("*.md"):
        for target, anchor in re.findall(r"\]\(([\w.]*)#([^)]+)\)", page.read_text(encoding="utf-8")):
            assert anchor in anchors[target or page.name], f"{page.name}: {target}#{anchor}"
        for target in re.findall(r"\]\(([\w./]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
