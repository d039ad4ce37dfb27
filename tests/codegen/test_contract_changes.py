"""The example in docs/contract-example.md says what the commands really print."""

import subprocess
from pathlib import Path

import pytest

from digitorn_codegen._diff import compare
from digitorn_codegen._learn import learn
from digitorn_codegen._sides import Side, read_side

ROOT = Path(__file__).parents[2]
FRAMES = ROOT / "tests" / "data" / "frames-1.0.3.jsonl"
# The last commits before and after the contract became that of the released daemon.
OLD, NEW = "d9214de", "427ec03"


@pytest.fixture(scope="module")
def page() -> list[str]:
    """The lines of the page."""
    return (ROOT / "docs" / "contract-example.md").read_text(encoding="utf-8").splitlines()


def contract_of(commit: str, folder: Path) -> Side:
    """The contract as it was at a commit."""
    archive = subprocess.run(["git", "archive", commit, "schema"], cwd=ROOT, capture_output=True)
    if archive.returncode:
        pytest.skip(f"this clone has no commit {commit}")
    subprocess.run(["tar", "x", "-C", folder], input=archive.stdout, check=True)
    return read_side(folder / "schema")


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Side:
    """The contract before."""
    return contract_of(OLD, tmp_path_factory.mktemp("old"))


def test_the_changes_that_the_page_shows(
    page: list[str], old: Side, tmp_path_factory: pytest.TempPathFactory
) -> None:
    changes = compare(old, contract_of(NEW, tmp_path_factory.mktemp("new")))
    breaking = sum(change.breaking for change in changes)
    assert f"{len(changes)} changes, {breaking} of them breaking" in page
    shown = [line for line in page if line.startswith(("BREAKING  ", "compatible  "))]
    assert len(shown) > 8
    assert set(shown) <= {str(change) for change in changes}


def test_the_differences_that_the_page_shows(page: list[str], old: Side) -> None:
    learned = learn(old, [FRAMES])
    start = page.index("$ digitorn-codegen learn tests/data/frames-1.0.3.jsonl")
    shown = page[start + 1 : page.index("```", start)]
    end = f"{learned.counts['events']} events, {learned.counts['commands']} commands, "
    assert shown[-1].startswith(end)
    drafts = [f"drafted schema/events/{wire}.json" for wire in learned.drafts]
    drafts.append("drafted schema/openapi.draft.json")
    assert len(shown) > 8
    assert set(shown[:-1]) - {"…"} <= {*learned.lines(), *drafts}
