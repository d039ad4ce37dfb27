"""Whatever is wrong with a contract, the generator says so: it never fails in another way."""

import copy
import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from codegen.conftest import TOY
from codegen.test_calls import PATHS
from codegen.test_constructs import PATHS_3_0, SCHEMAS_3_0
from digitorn_codegen import ContractError, Settings, SettingsError, _generate
from digitorn_codegen import _contract as contract

TREES: dict[str, object] = {
    "openapi.yaml": yaml.safe_load((TOY / "openapi.yaml").read_text(encoding="utf-8")),
    **{
        path.relative_to(TOY).as_posix(): json.loads(path.read_text(encoding="utf-8"))
        for folder in ("events", "commands")
        for path in sorted((TOY / folder).iterdir())
    },
}
# What the toy has not: every style, body and construct.
RICH = copy.deepcopy(TREES)
RICH["openapi.yaml"]["paths"].update({**PATHS, **PATHS_3_0})  # type: ignore[index]
RICH["openapi.yaml"]["components"]["schemas"].update(  # type: ignore[index]
    {name: schema for name, schema in SCHEMAS_3_0.items() if name != "Owner"}
)

VALUES: list[object] = [
    *(None, True, False, 0, -1, 1.5, "", "x", "#/components/schemas/Toy", "\u2028\\\"\"\"", "a/b~{c}%7B"),
    *([], {}, [[]], {"$ref": "#"}, {"$ref": ""}, {"$ref": 1}, {"$ref": "#/components/schemas/Toy"}, "class"),
    *({"type": "object", "properties": {"a": {"$ref": "#/paths"}}}, {"allOf": [{}]}, "object", "null", 10**30),
    *({"enum": []}, {"oneOf": []}, {"type": []}, {"nullable": True}, ["string", "null"], {"discriminator": {}}),
]


def places(tree: object, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """Every place below a value."""
    keys: list[str | int] = []
    if isinstance(tree, dict):
        keys = [str(key) for key in tree]
    elif isinstance(tree, list):
        keys = list(range(len(tree)))
    found: list[tuple[str | int, ...]] = []
    for key in keys:
        found += [(*path, key), *places(tree[key], (*path, key))]  # type: ignore[index,call-overload]
    return found


def mutate(trees: dict[str, object], draw: Callable[[st.SearchStrategy[object]], object]) -> None:
    """Deletes, replaces, copies or renames one random node."""
    every = [(name, *path) for name, tree in trees.items() for path in places(tree)]
    spot = draw(st.sampled_from(every))
    assert isinstance(spot, tuple)
    parent: object = trees
    for key in spot[:-1]:
        parent = parent[key]  # type: ignore[index]
    last, what = spot[-1], draw(st.sampled_from(["delete", "replace", "copy", "rename"]))
    if what == "delete":
        del parent[last]  # type: ignore[attr-defined]
    elif what == "replace":
        parent[last] = copy.deepcopy(draw(st.sampled_from(VALUES)))  # type: ignore[index]
    elif what == "copy":
        source = draw(st.sampled_from(every))
        value: object = trees
        assert isinstance(source, tuple)
        for key in source:
            value = value.get(key) if isinstance(value, dict) else value[key] if isinstance(value, list) and isinstance(key, int) and key < len(value) else None
        parent[last] = copy.deepcopy(value)  # type: ignore[index]
    elif isinstance(parent, dict):
        parent[draw(st.sampled_from(["", "x-y", "Toy", "class", "2", "é", "a b", "$ref", "default", "GetToyResult"]))] = parent.pop(last)


@st.composite
def contracts(draw: Callable[[st.SearchStrategy[object]], object], source: dict[str, object]) -> dict[str, object]:
    """Copies of a contract with a few random faults."""
    trees: dict[str, object] = copy.deepcopy(source)
    count = draw(st.integers(1, 4))
    assert isinstance(count, int)
    for _ in range(count):
        mutate(trees, draw)
    return trees


def written(folder: Path, trees: dict[str, object]) -> Settings:
    for name, tree in trees.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(tree), encoding="utf-8")
    return Settings(
        openapi=folder / "openapi.yaml",
        events=folder / "events",
        commands=folder / "commands",
        package="p",
        out=folder / "out",
    )


def attempt(trees: dict[str, object], run: Callable[[Settings], object]) -> None:
    folder = Path(tempfile.mkdtemp())
    try:
        run(written(folder, trees))
    except ContractError as error:
        assert error.reason.strip()
        assert error.file.is_relative_to(folder)
    except SettingsError as error:
        assert str(error)
    finally:
        shutil.rmtree(folder)


UNHURRIED = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]


@pytest.mark.timeout(120)
@settings(max_examples=150, deadline=None, suppress_health_check=UNHURRIED)
@given(trees=contracts(TREES))
def test_a_faulty_contract_is_read_or_refused(trees: dict[str, object]) -> None:
    attempt(trees, contract.load)


@pytest.mark.timeout(120)
@settings(max_examples=60, deadline=None, suppress_health_check=UNHURRIED)
@given(trees=contracts(RICH))
def test_a_faulty_contract_of_every_construct_is_read_or_refused(trees: dict[str, object]) -> None:
    attempt(trees, contract.load)


@pytest.mark.timeout(120)
@settings(max_examples=8, deadline=None, suppress_health_check=UNHURRIED)
@given(trees=contracts(TREES))
def test_a_faulty_contract_is_generated_from_or_refused(trees: dict[str, object]) -> None:
    attempt(trees, _generate.render)
