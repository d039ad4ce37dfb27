"""Whatever is wrong with a contract, the generator says so: it never fails in another way."""

import copy
import json
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeAlias, cast

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from codegen.conftest import TOY
from codegen.test_calls import PATHS
from codegen.test_constructs import PATHS_3_0, SCHEMAS_3_0
from digitorn_codegen import ContractError, Settings, SettingsError, _generate
from digitorn_codegen import _contract as contract

Node: TypeAlias = Any
"""JSON of which nothing is known."""

TREES: dict[str, Node] = {
    "openapi.yaml": yaml.safe_load((TOY / "openapi.yaml").read_text(encoding="utf-8")),
    **{
        path.relative_to(TOY).as_posix(): json.loads(path.read_text(encoding="utf-8"))
        for folder in ("events", "commands")
        for path in sorted((TOY / folder).iterdir())
    },
}
# What the toy has not: every style, body and construct.
RICH = copy.deepcopy(TREES)
RICH["openapi.yaml"]["paths"].update({**PATHS, **PATHS_3_0})
RICH["openapi.yaml"]["components"]["schemas"].update(
    # Exclusive bounds are written otherwise in 3.1.
    {name: schema for name, schema in SCHEMAS_3_0.items() if name != "Owner"}
)

VALUES: list[object] = [
    *(None, True, False, 0, -1, 1.5, "", "x", "#/components/schemas/Toy", '\u2028\\"""', "a/b~{c}%7B"),
    *([], {}, [[]], {"$ref": "#"}, {"$ref": ""}, {"$ref": 1}, {"$ref": "#/components/schemas/Toy"}, "class"),
    *(
        {"type": "object", "properties": {"a": {"$ref": "#/paths"}}},
        {"allOf": [{}]},
        "object",
        "null",
        10**30,
    ),
    *(
        {"enum": []},
        {"oneOf": []},
        {"type": []},
        {"nullable": True},
        ["string", "null"],
        {"discriminator": {}},
    ),
]


Draw: TypeAlias = Callable[[st.SearchStrategy[Any]], Any]
NAMES = ["", "x-y", "Toy", "class", "2", "é", "a b", "$ref", "default", "GetToyResult", "properties"]


def places(tree: Node, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """Every place below a value."""
    keys: list[Node] = []
    if isinstance(tree, dict):
        keys = list(cast("dict[str, object]", tree))
    elif isinstance(tree, Sequence) and not isinstance(tree, str):
        keys = list(range(len(cast("Sequence[object]", tree))))
    found: list[tuple[str | int, ...]] = []
    for key in keys:
        found += [(*path, key), *places(tree[key], (*path, key))]
    return found


def at(tree: Node, path: tuple[str | int, ...]) -> Node:
    """What stands at a place."""
    for key in path:
        tree = tree[key]
    return tree


def mutate(trees: dict[str, Node], draw: Draw) -> None:
    """Deletes, replaces, copies or renames one random node."""
    every = [(name, *path) for name, tree in trees.items() for path in places(tree)]
    spot: tuple[str | int, ...] = draw(st.sampled_from(every))
    parent, last = at(trees, spot[:-1]), spot[-1]
    what: str = draw(st.sampled_from(["delete", "replace", "copy", "rename"]))
    if what == "delete":
        del parent[last]
    elif what == "replace":
        parent[last] = copy.deepcopy(draw(st.sampled_from(VALUES)))
    elif what == "copy":
        parent[last] = copy.deepcopy(at(trees, draw(st.sampled_from(every))))
    elif isinstance(parent, dict):
        members = cast("dict[str, object]", parent)
        members[draw(st.sampled_from(NAMES))] = members.pop(str(last))


@st.composite
def contracts(draw: Draw, source: dict[str, Node]) -> dict[str, Node]:
    """Copies of a contract with a few random faults."""
    trees: dict[str, Node] = copy.deepcopy(source)
    for _ in range(draw(st.integers(1, 4))):
        mutate(trees, draw)
    return trees


def written(folder: Path, trees: dict[str, Node]) -> Settings:
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


def attempt(trees: dict[str, Node], run: Callable[[Settings], object]) -> None:
    """Runs over a contract; whatever is raised but the two kinds of error goes through."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        fault: ContractError | SettingsError | None = None
        try:
            run(written(folder, trees))
        except (ContractError, SettingsError) as error:
            fault = error
        if isinstance(fault, ContractError):
            assert fault.reason.strip()
            assert fault.file.is_relative_to(folder)


UNHURRIED = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]


@pytest.mark.timeout(120)
@settings(max_examples=80, deadline=None, suppress_health_check=UNHURRIED)
@given(trees=contracts(TREES))
def test_a_faulty_contract_is_read_or_refused(trees: dict[str, Node]) -> None:
    attempt(trees, contract.load)


@pytest.mark.timeout(120)
@settings(max_examples=30, deadline=None, suppress_health_check=UNHURRIED)
@given(trees=contracts(RICH))
def test_a_faulty_contract_of_every_construct_is_read_or_refused(trees: dict[str, Node]) -> None:
    attempt(trees, contract.load)


@pytest.mark.timeout(120)
@settings(max_examples=5, deadline=None, suppress_health_check=UNHURRIED)
@given(trees=contracts(TREES))
def test_a_faulty_contract_is_generated_from_or_refused(trees: dict[str, Node]) -> None:
    attempt(trees, _generate.render)
