"""REST shapes come in modules of their own, each of which is loaded when one of its shapes is used."""

import ast
import importlib
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from codegen.conftest import Client, Make, document, ok, ref


def operation(tag: str, schema: object) -> dict[str, object]:
    """An operation of a tag that answers with a schema."""
    return {"get": {"operationId": f"get_{tag}", "tags": [tag], "responses": {"200": ok(schema)}}}


def shape(**members: object) -> dict[str, object]:
    """An object that may refer to others."""
    return {"type": "object", "properties": members}


SCHEMAS = {
    "Cat": shape(tail=ref("Tail"), owner=ref("Owner")),
    "Dog": shape(bone=ref("Bone"), owner=ref("Owner")),
    "Tail": shape(length={"type": "number"}),
    "Bone": shape(buried_by=ref("Dog")),
    "Owner": shape(address=ref("Address"), friends={"type": "array", "items": ref("Owner")}),
    "Address": shape(street={"type": "string"}),
    "Unasked": shape(cat=ref("Cat")),
}


@pytest.fixture(scope="module")
def client(make: Make) -> Client:
    """Two tags with shapes of their own and some that they share."""
    paths = {"/cat": operation("cats", ref("Cat")), "/dog": operation("dogs", ref("Dog"))}
    return make(document(paths, SCHEMAS))


def test_a_shape_lies_where_its_only_user_or_all_its_users_are(client: Client) -> None:
    models = client.module("models")
    homes = {name: getattr(models, name).__module__.rpartition(".")[2] for name in SCHEMAS}
    assert homes == {
        "Cat": "_models_cats",
        "Tail": "_models_cats",
        "Dog": "_models_dogs",
        "Bone": "_models_dogs",
        "Owner": "_models",
        "Address": "_models",
        "Unasked": "_unused_models",
    }
    assert models.__all__ == sorted(SCHEMAS)
    assert set(models.__all__) <= set(dir(models))


def test_shapes_refer_to_those_of_other_modules(client: Client) -> None:
    models = client.module("models")
    wire: dict[str, Any] = {
        "cat": {"tail": {"length": 1.5}, "owner": {"address": {"street": "x"}, "friends": [{}]}}
    }
    found = models.Unasked.from_wire(wire)
    assert isinstance(found.cat.owner.friends[0], models.Owner)
    assert found.to_wire() == wire
    assert models.Dog.from_wire({"bone": {"buried_by": {}}}).bone.buried_by == models.Dog()


def test_modules_import_only_shared_shapes_and_the_unused_ones_anything(client: Client) -> None:
    out = client.settings.out
    assert imported(out / "_models.py") == {"_checks", "_runtime"}
    assert imported(out / "_models_cats.py") == {"_checks", "_runtime", "_models"}
    assert imported(out / "_models_dogs.py") == {"_checks", "_runtime", "_models"}
    assert imported(out / "_unused_models.py") == {"_checks", "_runtime", "_models_cats"}


def imported(file: Path) -> set[str]:
    """The modules of its package that a module imports."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    return {str(node.module) for node in tree.body if isinstance(node, ast.ImportFrom) and node.level}


def test_stubs_load_the_shapes_that_are_used(client: Client) -> None:
    """Making a call takes none, and reading its answer those of its tag."""
    package = client.settings.package
    code = f"""
import sys
from {package} import operations, rest, rest_async

def loaded():
    return sorted(name.rpartition(".")[2] for name in sys.modules if name.startswith("{package}._models"))

class Transport:
    def send(self, call):
        self.call = call

transport = Transport()
rest.Api(transport).cats.get_cats()
print(loaded())
print(transport.call.operation.read(b'{{"tail": {{"length": 2}}}}').tail.length, loaded())
print(operations.GET_CATS.result.__name__)
"""
    ran = subprocess.run(
        [sys.executable, "-c", code],
        cwd=client.settings.out.parent,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert ran.stdout.splitlines() == ["[]", "2.0 ['_models', '_models_cats']", "Cat"], ran.stderr


def test_type_checkers_know_every_shape(client: Client) -> None:
    package = client.settings.package
    folder = client.settings.out.parent
    (folder / "use.py").write_text(
        f"from {package}.models import Cat, Nope\nreveal_type(Cat().tail)\nreveal_type(Cat().tial)\n"
    )
    said = [str(one) for one in client.mypy.complaints("use.py", folder=folder)]
    assert len(said) == 2, said
    assert any('has no attribute "Nope"' in one for one in said)
    assert any('"Cat" has no attribute "tial"' in one for one in said)


def test_threads_may_use_a_shape_at_once(make: Make) -> None:
    """Each thread meets modules that another one is just loading."""
    tags = [f"tag{number}" for number in range(8)]
    schemas = {tag: shape(own=ref(f"{tag}_own"), all=ref("Shared")) for tag in tags}
    schemas |= {f"{tag}_own": shape() for tag in tags} | {"Shared": shape()}
    client = make(document({f"/{tag}": operation(tag, ref(tag)) for tag in tags}, schemas))
    models: Any = client.module("models")
    names = list(models.__all__)
    together = threading.Barrier(8)
    found: list[dict[str, object]] = []

    def use(turn: int) -> None:
        together.wait(20)
        found.append({name: getattr(models, name) for name in names[turn:] + names[:turn]})

    threads = [threading.Thread(target=use, args=(turn,), daemon=True) for turn in range(8)]
    for one in threads:
        one.start()
    for one in threads:
        one.join(20)
    assert len(found) == 8
    assert all(one == found[0] for one in found)
    assert importlib.import_module(f"{client.settings.package}._models").Shared is models.Shared


def extending(base: str, **members: object) -> dict[str, object]:
    """A shape that extends another one."""
    return {"allOf": [ref(base), shape(**members)]}


def test_an_heir_lies_where_it_is_used_unless_its_base_is_part_of_a_circle(make: Make) -> None:
    schemas = {
        "Plain": shape(tail=ref("Tail")),
        "Tail": shape(length={"type": "number"}),
        "PlainHeir": extending("Plain", name={"type": "string"}),
        "Round": shape(next=ref("Other")),
        "Other": shape(back=ref("Round")),
        "RoundHeir": extending("Round", name={"type": "string"}),
    }
    bases = {"anyOf": [ref("Plain"), ref("Round"), ref("Other")]}
    paths = {
        "/first": operation("first", bases),
        "/second": operation("second", bases),
        "/third": operation("third", {"anyOf": [ref("PlainHeir"), ref("RoundHeir")]}),
    }
    models = make(document(paths, schemas)).module("models")
    assert models.PlainHeir.__module__.endswith("._models_third")
    assert models.PlainHeir.from_wire({"tail": {"length": 1.5}}).tail == models.Tail(length=1.5)
    # When pydantic reads `Round`, `Other` is missing; it looks for it where the heir stands.
    assert models.RoundHeir.from_wire({"next": {"back": {}}}).next.back == models.Round()
