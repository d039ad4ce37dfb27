"""What the generator writes, and that it writes the same twice."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from digitorn_codegen import ContractError, Settings, check, generate
from digitorn_codegen._cli import main
from support.strict_mypy import StrictMypy

Edit = Callable[[str, str, str], None]


def contents(settings: Settings) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(settings.out.iterdir()) if path.is_file()}


def run_in_package(settings: Settings, code: str) -> str:
    """Runs code with the generated package importable, in an interpreter of its own."""
    ran = subprocess.run(
        [sys.executable, "-c", code],
        cwd=settings.out.parent.parent,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.strip()


def test_the_same_contract_gives_the_same_bytes(toy: Settings) -> None:
    assert generate(toy)
    first = contents(toy)
    for path in toy.out.iterdir():
        path.unlink()
    assert generate(toy)
    assert contents(toy) == first
    assert generate(toy) == []


def test_check_is_silent_on_current_code(toy: Settings) -> None:
    generate(toy)
    assert check(toy) == ""


def test_check_tells_a_hand_edit(toy: Settings) -> None:
    generate(toy)
    models = toy.out / "_models.py"
    models.write_text(models.read_text().replace("A toy.", "A toy!"))
    diff = check(toy)
    assert '-    """A toy!"""' in diff
    assert '+    """A toy."""' in diff


def test_check_tells_a_contract_that_was_edited_alone(toy: Settings, edit: Edit) -> None:
    generate(toy)
    edit("openapi.yaml", "size: {type: number}", "size: {type: integer}")
    assert "+    size: Maybe[Int] = None" in check(toy)


def test_check_tells_a_missing_and_a_left_over_file(toy: Settings) -> None:
    generate(toy)
    (toy.out / "models.py").rename(toy.out / "old_models.py")
    diff = check(toy)
    assert "generated/client/models.py" in diff
    assert "committed/client/old_models.py" in diff


def test_generate_removes_what_is_no_longer_produced(toy: Settings) -> None:
    generate(toy)
    left_over = toy.out / "gone.py"
    left_over.write_bytes((toy.out / "models.py").read_bytes())
    assert generate(toy) == [left_over]
    assert not left_over.exists()


def test_the_command_answers_0_1_and_2(
    toy: Settings, edit: Edit, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(toy.openapi.parent)
    options = [
        f"--openapi={toy.openapi}",
        f"--events={toy.events}",
        f"--commands={toy.commands}",
        f"--package={toy.package}",
        f"--out={toy.out}",
    ]
    assert main(["generate", *options]) == 0
    assert main(["check", *options]) == 0
    edit("openapi.yaml", "A toy.", "Another toy.")
    assert main(["check", *options]) == 1
    assert "Another toy." in capsys.readouterr().out
    edit("openapi.yaml", "'#/components/schemas/PlayRequest'", "'#/components/schemas/Gone'")
    assert main(["check", *options]) == 2
    assert "Gone" in capsys.readouterr().err
    assert main(["check", "--openapi=nowhere.yaml"]) == 2
    assert "--package" in capsys.readouterr().err


def test_the_output_folder_may_hold_nothing_else(toy: Settings) -> None:
    toy.out.mkdir(parents=True)
    mine = toy.out / "mine.py"
    mine.write_text("x = 1\n")
    assert main(["generate", f"--openapi={toy.openapi}", "--package=p", f"--out={toy.out}"]) == 2
    assert [path.name for path in toy.out.iterdir()] == ["mine.py"]


def test_the_output_is_strictly_typed_and_importable(toy: Settings, strict_mypy: StrictMypy) -> None:
    generate(toy)
    (toy.out.parent / "__init__.py").touch()
    assert strict_mypy.complaints("-p", "toypkg", folder=toy.out.parent.parent) == []
    code = """
from toypkg.client import commands, events, rest, rest_async
print(events.EVENTS.payload_class('toy:moved', {}).__name__)
"""
    assert run_in_package(toy, code) == "ToyMoved"


LIVE = '"x-event-live": ["type", "op_id", "op_state", "payload"],'


def test_a_live_envelope_is_told_by_a_plain_look(toy: Settings, edit: Edit) -> None:
    edit("events/envelope.json", '"x-event-lifted"', f'{LIVE} "x-event-lifted"')
    generate(toy)
    (toy.out.parent / "__init__.py").touch()
    code = """
from toypkg.client.events import LIVE, live_members
fits = {"type": "a", "op_id": None, "op_state": "done", "payload": {}}
print(LIVE, live_members(fits), live_members({**fits, "op_state": None}) is not None)
for change in ({"type": None}, {"op_state": "gone"}, {"op_state": []}, {"payload": []}, {"new": 1}):
    assert live_members({**fits, **change}) is None, change
for name in fits:
    assert live_members({key: value for key, value in fits.items() if key != name}) is None, name
"""
    names = ("type", "op_id", "op_state", "payload")
    assert run_in_package(toy, code) == f"{names} {('a', None, 'done', dict[str, object]())} True"


def test_stubs_encode_paths_and_send_only_what_is_given(toy: Settings) -> None:
    generate(toy)
    (toy.out.parent / "__init__.py").touch()
    code = """
from toypkg.client.models import Toy
from toypkg.client.rest import Api

class Recorder:
    def send(self, call):
        print(call.operation.method, call.path, call.query, call.body)
        return Toy(id="x")

api = Api(Recorder())
api.toys.get_toy("a/../b?c", deep=True)
api.toys.get_toy("..")
api.toys.play("x", how="fast", class_=1, extra_body={"more": [Toy(id="y")]})
try:
    api.toys.get_toy("")
except ValueError as error:
    print(error)
"""
    assert run_in_package(toy, code).splitlines() == [
        "GET /toys/a%2F..%2Fb%3Fc (('deep', 'true'),) None",
        "GET /toys/%2E%2E () None",
        "POST /toys/x () {'how': 'fast', 'class': 1, 'more': [{'id': 'y'}]}",
        "get_toy: path parameter 'toy_id' is empty",
    ]


def test_events_inherit_shared_shapes_and_keep_unknown_members(toy: Settings) -> None:
    generate(toy)
    (toy.out.parent / "__init__.py").touch()
    code = """
from toypkg.client.events import EVENTS, LIFTED, WAYS, EventPayload, ToyMoved
moved = ToyMoved.from_wire({"x": 1, "toy": {"id": "a"}, "new": 2})
print(moved.x, moved.toy.id, moved.new, isinstance(moved, EventPayload), WAYS, LIFTED)
print(EVENTS.types_of(EventPayload))
try:
    ToyMoved.from_wire({"x": "1", "toy": {"id": "a"}})
except ValueError as error:
    print("refused")
"""
    assert run_in_package(toy, code).splitlines() == [
        "1 a 2 True ('up', 'down') (('op_id', 'op_id'),)",
        "('toy:moved',)",
        "refused",
    ]


BROKEN = {
    "dangling ref": (
        "openapi.yaml",
        "schema: {$ref: '#/components/schemas/PlayRequest'}",
        "schema: {$ref: '#/components/schemas/Missing'}",
        "openapi.yaml",
        "/paths/~1toys~1{toy_id}/post/requestBody/content/application~1json/schema/$ref",
        "/components/schemas/Missing",
    ),
    "undeclared path parameter": (
        "openapi.yaml",
        "/toys/{toy_id}:",
        "/toys/{toy_id}/{other}:",
        "openapi.yaml",
        "",
        "other",
    ),
    "invalid OpenAPI": (
        "openapi.yaml",
        'info: {title: Toy, version: "1"}',
        "info: {title: Toy}",
        "openapi.yaml",
        "/info",
        "version",
    ),
    "unsupported version": (
        "openapi.yaml",
        "openapi: 3.1.0",
        "openapi: 2.0.0",
        "openapi.yaml",
        "/openapi",
        "3.0, 3.1 and 3.2",
    ),
    "a key twice": (
        "openapi.yaml",
        "tags: [toys]",
        "tags: [toys]\n      tags: [toys]",
        "openapi.yaml",
        "",
        "twice",
    ),
    "no YAML": ("openapi.yaml", "openapi: 3.1.0", "openapi: [3.1.0", "openapi.yaml", "", "not valid YAML"),
    "event without a type": (
        "events/toy_moved.json",
        '"x-event-type": "toy:moved",',
        "",
        "toy_moved.json",
        "",
        "'x-event-type' is missing",
    ),
    "event that is no object": (
        "events/toy_moved.json",
        '"type": "object"',
        '"type": "string"',
        "toy_moved.json",
        "/type",
        "an event payload is an object",
    ),
    "invalid JSON Schema": (
        "events/toy_moved.json",
        '"type": "object"',
        '"type": "thing"',
        "toy_moved.json",
        "/type",
        "not valid JSON Schema",
    ),
    "no JSON": ("events/toy_moved.json", "{", "{,", "toy_moved.json", "", "not valid JSON"),
    "dangling ref into another file": (
        "events/toy_moved.json",
        "shared.json#/$defs/Place",
        "shared.json#/$defs/Nowhere",
        "toy_moved.json",
        "/allOf/0/$ref",
        "/$defs/Nowhere",
    ),
    "ref to a file that is not there": (
        "events/toy_moved.json",
        "shared.json#",
        "lost.json#",
        "toy_moved.json",
        "/allOf/0/$ref",
        "no file 'lost.json'",
    ),
    "ref into the network": (
        "events/toy_moved.json",
        "shared.json#/$defs/Place",
        "http://example.com/place.json",
        "toy_moved.json",
        "/allOf/0/$ref",
        "leaves the local files",
    ),
    "lifted into nothing": (
        "events/envelope.json",
        '"op_id": "op_id"',
        '"op_id": "nothing"',
        "envelope.json",
        "/x-event-lifted/op_id",
        "no 'nothing'",
    ),
    "live without such a member": (
        "events/envelope.json",
        '"x-event-lifted"',
        '"x-event-live": ["type", "nothing"], "x-event-lifted"',
        "envelope.json",
        "/x-event-live/1",
        "no 'nothing'",
    ),
    "live with a member that takes more than a look": (
        "events/envelope.json",
        '"type": "object",\n  "properties": {',
        '"type": "object", "x-event-live": ["op_ids"], "properties": {"op_ids": {"type": "array"},',
        "envelope.json",
        "/x-event-live/0",
        "neither a text, an integer, a flag nor an object",
    ),
    "command without an ack": (
        "commands/join.json",
        "JoinAck",
        "JoinAnswer",
        "join.json",
        "/$defs",
        "…Ack",
    ),
}


@pytest.mark.parametrize("case", BROKEN, ids=lambda name: name.replace(" ", "-"))
def test_a_broken_contract_is_refused_with_its_place_and_nothing_is_written(
    case: str, toy: Settings, edit: Edit
) -> None:
    name, old, new, file, pointer, reason = BROKEN[case]
    edit(name, old, new)
    with pytest.raises(ContractError) as caught:
        generate(toy)
    assert caught.value.file.name == file
    assert caught.value.pointer.startswith(pointer)
    assert reason in caught.value.reason
    assert not toy.out.exists()


def test_two_events_of_one_type_are_refused(toy: Settings) -> None:
    assert toy.events is not None
    other = toy.events / "toy_moved_again.json"
    other.write_bytes((toy.events / "toy_moved.json").read_bytes())
    with pytest.raises(ContractError, match="already that of"):
        generate(toy)


def test_a_contract_without_events_makes_a_rest_client_alone(without_events: Settings) -> None:
    generate(without_events)
    assert {path.name for path in without_events.out.iterdir()} == {
        ".digest",
        "__init__.py",
        "_checks.py",
        "_encoding.py",
        "_lazy.py",
        "_models_toys.py",
        "_runtime.py",
        "_streams.py",
        "_surrogates.py",
        "_unused_models.py",
        "models.py",
        "operations.py",
        "rest.py",
        "rest_async.py",
    }


def test_the_project_holds_no_knowledge_of_any_daemon() -> None:
    source = Path(str(sys.modules["digitorn_codegen"].__file__)).parent
    allowed = ("digitorn-codegen", "digitorn_codegen")
    for path in [*source.rglob("*.py"), *source.rglob("*.jinja")]:
        text = path.read_text(encoding="utf-8").lower()
        for word in allowed:
            text = text.replace(word, "")
        assert "digitorn" not in text, path
