"""Several contracts in one project: packages of their own over one runtime."""

import importlib
import json
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from digitorn_codegen import SettingsError, check, generate
from digitorn_codegen._cli import main
from digitorn_codegen._settings import from_pyproject, read_project
from support.strict_mypy import StrictMypy

TOY = Path(__file__).parent / "toy"

TABLES = """
[[tool.digitorn-codegen.contracts]]
openapi = "toys/openapi.yaml"
events = "toys/events"
commands = "toys/commands"
package = "several.toys"
out = "src/several/toys"

[[tool.digitorn-codegen.contracts]]
openapi = "shops/openapi.json"
events = "shops/events"
package = "several.shops"
out = "src/several/shops"
"""

# Other shapes under the names that the toys have, and one name of its own.
SHOPS: dict[str, Any] = {
    "openapi": "3.1.0",
    "info": {"title": "Shops", "version": "2"},
    "paths": {
        "/toys/{toy_id}": {
            "get": {
                "operationId": "get_toy",
                "tags": ["toys"],
                "parameters": [
                    {"name": "toy_id", "in": "path", "required": True, "schema": {"type": "integer"}}
                ],
                "responses": {
                    "200": {
                        "description": "ok",
                        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Toy"}}},
                    }
                },
            }
        }
    },
    "components": {
        "schemas": {
            "Toy": {"type": "object", "required": ["price"], "properties": {"price": {"type": "integer"}}}
        }
    },
}
EVENTS: dict[str, Any] = {
    "envelope": {
        "title": "EventEnvelope",
        "x-event-envelope": True,
        "type": "object",
        "required": ["type", "payload"],
        "properties": {"type": {"type": "string"}, "payload": {"type": "object"}},
    },
    "toy_moved": {
        "x-event-type": "toy:moved",
        "type": "object",
        "required": ["shelf"],
        "properties": {"shelf": {"type": "integer"}},
    },
    "shop_opened": {"x-event-type": "shop_opened", "type": "object"},
}

USE = """
from several.shops.payloads import ToyMoved as ShopToyMoved
from several.shops.rest import Api as ShopsApi
from several.toys._runtime import Call, EventPayload, Model, T
from several.toys.models import Toy
from several.toys.rest import Api as ToysApi


class Sending:
    def send(self, call: Call[T], /) -> T:
        return call.operation.read(b"{}")


def both(transport: Sending) -> list[Model]:
    return [ToysApi(transport).toys.get_toy("1"), ShopsApi(transport).toys.get_toy(1)]


moved: EventPayload = ShopToyMoved(shelf=1)
toy: Toy = ShopsApi(Sending()).toys.get_toy(1)
"""


def write(folder: Path, more: str = "", tables: str = TABLES) -> Path:
    """A project with the toy contract and the one above."""
    shutil.copytree(TOY, folder / "toys")
    (folder / "shops" / "events").mkdir(parents=True)
    (folder / "shops" / "openapi.json").write_text(json.dumps(SHOPS))
    for name, schema in EVENTS.items():
        (folder / "shops" / "events" / f"{name}.json").write_text(json.dumps(schema))
    (folder / "pyproject.toml").write_text(more + tables)
    return folder


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """That project, as the working directory."""
    monkeypatch.chdir(write(tmp_path))
    return tmp_path


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """That project with its packages, which are importable."""
    folder = write(tmp_path_factory.mktemp("project"))
    generate(read_project({}, from_pyproject(folder)))
    sys.path.insert(0, str(folder / "src"))
    importlib.invalidate_caches()
    yield folder
    sys.path.remove(str(folder / "src"))


@pytest.mark.usefixtures("generated")
def test_the_runtime_is_one() -> None:
    toys, shops = (importlib.import_module(f"several.{name}._runtime") for name in ("toys", "shops"))
    for name in ("Model", "EventPayload", "RestOperation", "Call", "EventRegistry", "NOT_GIVEN"):
        assert getattr(toys, name) is getattr(shops, name)
    toy, shop = (importlib.import_module(f"several.{name}.models").Toy for name in ("toys", "shops"))
    assert toy is not shop
    assert toy.__mro__[1] is shop.__mro__[1] is toys.Model


@pytest.mark.usefixtures("generated")
def test_the_events_of_one_contract_are_not_those_of_the_other() -> None:
    toys, shops = (importlib.import_module(f"several.{name}.events").EVENTS for name in ("toys", "shops"))
    moved = shops.read("toy:moved", {"shelf": 1})
    assert moved.shelf == 1
    with pytest.raises(ValidationError):
        toys.read("toy:moved", {"shelf": 1})
    assert toys.read("shop_opened", {}) is None
    assert toys.spec_of(type(moved)) is None


def test_strict_mypy_checks_both_in_one_run(generated: Path, strict_mypy: StrictMypy) -> None:
    source = generated / "src"
    (source / "use.py").write_text(USE)
    (complaint,) = strict_mypy.complaints("-p", "several", "-m", "use", folder=source)
    assert complaint.file == "use.py"
    assert re.search(r'expression has type "several\.shops\.\w+\.Toy"', complaint.text)


def test_both_are_checked(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["generate"]) == 0
    assert main(["check"]) == 0
    for name in ("toys", "shops"):
        rest = project / "src" / "several" / name / "rest.py"
        text = rest.read_text()
        rest.write_text(f"{text}# by hand\n")
        capsys.readouterr()
        assert main(["check"]) == 1
        assert "-# by hand" in capsys.readouterr().out
        rest.write_text(text)
    assert main(["check"]) == 0


def test_nothing_is_written_when_one_is_broken(project: Path) -> None:
    (project / "shops" / "openapi.json").write_text("{}")
    assert main(["generate"]) == 2
    assert not (project / "src").exists()


def test_a_runtime_in_a_folder_of_its_own(tmp_path: Path) -> None:
    table = '[tool.digitorn-codegen.runtime]\npackage = "several.base"\nout = "src/several/base"\n'
    settings = read_project({}, from_pyproject(write(tmp_path, table)))
    generate(settings)
    base = tmp_path / "src" / "several" / "base"
    modules = ("__init__", "_checks", "_encoding", "_lazy", "_runtime", "_streams", "_surrogates")
    assert {path.name for path in base.iterdir()} == {f"{name}.py" for name in modules}
    for name in ("toys", "shops"):
        copy = base.with_name(name) / "_runtime.py"
        assert copy.read_text().endswith("from several.base._runtime import *\n")
    assert check(settings) == ""
    (base / "_runtime.py").write_text("# Generated by digitorn-codegen\n")
    assert "generated/base/_runtime.py" in check(settings[1])
    generate(settings[1])
    assert check(settings) == ""


def test_one_contract_may_have_its_runtime_elsewhere(tmp_path: Path) -> None:
    alone = TABLES.split("\n\n")[0].replace("[[tool.digitorn-codegen.contracts]]", "[tool.digitorn-codegen]")
    runtime = '\n[tool.digitorn-codegen.runtime]\npackage = "several.base"\nout = "src/several/base"\n'
    settings = read_project({}, from_pyproject(write(tmp_path, tables=alone + runtime)))
    generate(settings)
    assert "class Model(" in (tmp_path / "src" / "several" / "base" / "_runtime.py").read_text()
    assert "class Model(" not in (tmp_path / "src" / "several" / "toys" / "_runtime.py").read_text()
    assert check(settings) == ""


def test_twins_and_aliases_of_the_project_and_of_a_contract(tmp_path: Path) -> None:
    more = """
[tool.digitorn-codegen.twin-names]
Early = "Late"

[[tool.digitorn-codegen.twins]]
source = "tests/_async"
out = "tests/_sync"

[[tool.digitorn-codegen.aliases]]
source = "src"
out = "src/published"
modules = {toys = "several.toys.models", shops = "several.shops.payloads"}
"""
    own = '\n[[tool.digitorn-codegen.contracts.twins]]\nsource = "own/_async"\nout = "own/_sync"\n'
    write(tmp_path, more, TABLES.replace("\n[[", own + "\n[[").removeprefix(own))
    for name in ("tests", "own"):
        (tmp_path / name / "_async").mkdir(parents=True)
        (tmp_path / name / "_async" / "a.py").write_text("class Early: ...\n")
    settings = read_project({}, from_pyproject(tmp_path))
    generate(settings)
    for name in ("tests", "own"):
        assert "class Late: ..." in (tmp_path / name / "_sync" / "a.py").read_text()
    assert '"Toy"' in (tmp_path / "src" / "published" / "toys.py").read_text()
    assert '"ShopOpened"' in (tmp_path / "src" / "published" / "shops.py").read_text()
    assert check(settings) == ""


def test_a_command_about_one_contract_says_which(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [{"type": "toy:moved", "payload": {"shelf": 1}}, {"type": "closed", "payload": {"at": 1}}]
    (project / "seen.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    assert main(["learn", "seen.jsonl"]) == 2
    assert "say with --contract which one: several.toys, several.shops" in capsys.readouterr().err
    assert main(["learn", "--contract=shops", "seen.jsonl"]) == 0
    assert (project / "shops" / "events" / "closed.json").is_file()
    assert "toy:moved: seen, not declared" not in capsys.readouterr().out
    assert main(["pull", "shops/openapi.json"]) == 2
    assert main(["pull", "--contract=several.shops", "shops/openapi.json"]) == 0
    assert main(["pull", "--contract=gone", "shops/openapi.json"]) == 2
    assert "names 0 contracts; there are: several.toys, several.shops" in capsys.readouterr().err
    assert main(["generate", "--contract=toys"]) == 0
    assert (project / "src" / "several" / "toys").is_dir()
    assert not (project / "src" / "several" / "shops").exists()


def test_diff_compares_a_contract_of_two_projects(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("old", "new"):
        write(tmp_path / name)
    (tmp_path / "new" / "shops" / "events" / "shop_opened.json").unlink()
    monkeypatch.chdir(tmp_path)
    assert main(["diff", "--contract=toys", "old", "new"]) == 0
    assert main(["diff", "--contract=shops", "old", "new"]) == 1
    assert "shop_opened" in capsys.readouterr().out
    assert main(["diff", "--contract=shops", "old/shops", "new/shops"]) == 2
    assert "hold a pyproject.toml" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("src/several/shops", "src/several/toys", "several/toys is the folder of another output"),
        ("src/several/shops", "src/several/Toys", "several/Toys is the folder of another output"),
        ('"several.shops"', '"several.toys"', "the package several.toys would be generated twice"),
        ('"several.shops"', '"several.TOYS"', "would be generated twice"),
        ('"several.shops"', '"several.toys.rest"', "several.toys.rest is inside the generated package"),
        ('"several.shops"', '"1-2"', "no name of a package"),
        ('openapi = "shops/openapi.json"\n', "", "--openapi is missing"),
        ('events = "shops/events"', "more = 1", "unknown setting 'more'"),
    ],
)
def test_contracts_that_clash_are_refused(tmp_path: Path, old: str, new: str, reason: str) -> None:
    assert old in TABLES
    write(tmp_path, tables=TABLES.replace(old, new))
    with pytest.raises(SettingsError, match=reason):
        read_project({}, from_pyproject(tmp_path))


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ('openapi = "a.yaml"', "'openapi' stands beside"),
        ("runtime = 1", "has a package and an out"),
        ('runtime = {package = "several.base"}', "has a package and an out"),
        ('runtime = {package = "several.toys", out = "b"}', "several.toys would be generated twice"),
        ('runtime = {package = "b", out = "src/several/toys"}', "several/toys is the folder of another"),
        ("twins = 1", "array of tables"),
        ("aliases = {}", "array of tables"),
    ],
)
def test_tables_of_the_project_that_are_wrong_are_refused(tmp_path: Path, more: str, reason: str) -> None:
    write(tmp_path, f"[tool.digitorn-codegen]\n{more}\n")
    with pytest.raises(SettingsError, match=reason):
        read_project({}, from_pyproject(tmp_path))


def test_options_are_for_one_contract(project: Path) -> None:
    table = from_pyproject(project)
    (found,) = read_project({"package": "several.shops", "out": Path("o")}, table)
    assert (found.openapi, found.out) == (project / "shops" / "openapi.json", Path("o"))
    assert found.runtime is not None
    assert found.runtime.package == "several.toys"
    with pytest.raises(SettingsError, match="several contracts; say with --contract"):
        read_project({"out": Path("o")}, table)
    (found,) = read_project({"out": Path("o")}, table, "toys")
    assert (found.package, found.runtime) == ("several.toys", None)
    with pytest.raises(SettingsError, match=r"contracts\]\] is an array"):
        read_project({}, {"contracts": []})
