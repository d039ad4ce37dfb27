"""What an index shows of the package, and the files for those who work on it."""

import importlib.util
import re
import tomllib
from pathlib import Path
from types import ModuleType
from typing import Final

import pytest
import yaml

ROOT: Final = Path(__file__).parents[2]
README: Final = (ROOT / "README.md").read_text(encoding="utf-8")
REPOSITORY: Final = "https://example.com/team/digitorn-testing"


@pytest.fixture(scope="module")
def metadata() -> ModuleType:
    """The build's own script."""
    spec = importlib.util.spec_from_file_location("metadata_hook", ROOT / "scripts" / "metadata.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_relative_links_lead_into_the_repository(metadata: ModuleType) -> None:
    shown: str = metadata.readme(README, REPOSITORY)
    links = re.findall(r"\]\(([^)]+)\)", shown)
    assert [one for one in links if not one.startswith(("https://", "#"))] == []
    paths = [one.removeprefix(f"{REPOSITORY}/blob/main/") for one in links if one.startswith(REPOSITORY)]
    assert paths
    assert [one for one in paths if not (ROOT / one.partition("#")[0]).exists()] == []


def test_without_a_repository_they_become_text(metadata: ModuleType) -> None:
    shown: str = metadata.readme("See [Turns](docs/turns.md) and [Digitorn](https://docs.digitorn.ai).", "")
    assert shown == "See Turns and [Digitorn](https://docs.digitorn.ai)."


def test_the_addresses(metadata: ModuleType) -> None:
    assert set(metadata.urls(REPOSITORY)) == {"Documentation", "Source", "Issues", "Changelog"}
    assert set(metadata.urls("")) == {"Documentation"}


def test_ci_runs_every_python_that_the_package_names() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    named = {one.rpartition(" ")[2] for one in project["classifiers"] if re.search(r":: 3\.\d+$", one)}
    ci = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8"))
    assert set(ci["jobs"]["test"]["strategy"]["matrix"]["python"]) >= named
    assert project["requires-python"] == f">={min(named, key=lambda one: int(one[2:]))}"


def test_workflows_and_hooks_call_what_there_is() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    texts = [one.read_text(encoding="utf-8") for one in (ROOT / ".github").rglob("*.yml")]
    texts.append((ROOT / ".devcontainer" / "devcontainer.json").read_text(encoding="utf-8"))
    called = {name for text in texts for name in re.findall(r"make ([a-z-]+)", text)}
    assert called
    assert called <= targets
    for text in texts:
        yaml.safe_load(text)
    yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
