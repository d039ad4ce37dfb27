"""What `learn` drafts: event schemas and operations that a contract lacks, inferred from recorded traffic."""

import importlib
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from digitorn_codegen import Settings, generate
from digitorn_codegen._cli import main
from digitorn_codegen._infer import Shape, is_id
from digitorn_codegen._learn import NO_CONTRACT, Learned, learn, write_drafts
from digitorn_codegen._sides import operations_of, read_parts, read_side
from digitorn_testing import SessionHandle
from digitorn_testing.fakes import FakeDaemon, FakeModel

from .conftest import Recorder
from .test_learn import called, kinds

ROOT = Path(__file__).parents[2]
FRAMES = ROOT / "tests" / "data" / "frames-1.0.3.jsonl"
SECRET = "s3cr3t-value"


def seen(tmp_path: Path, *lines: object, enums: bool = False) -> Learned:
    """What lines teach where there is no contract."""
    recording = tmp_path / "seen.jsonl"
    recording.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    return learn(NO_CONTRACT, [recording], enums=enums)


def document(found: Learned) -> Any:
    """The draft of the operations."""
    assert found.openapi is not None
    return found.openapi


def event(wire: str, **payload: object) -> dict[str, object]:
    return {"type": wire, "payload": payload, "seq": 1}


# --- events


def test_event_types_of_like_names_are_kept_apart(toy: Settings, tmp_path: Path) -> None:
    wires = [
        "loan:made",
        "loan/made",
        "Loan:Made",
        "book.lost",
        "book_lost",
        "con",
        "envelope",
        "...",
        "é",
        "É",
    ]
    recording = tmp_path / "seen.jsonl"
    lines = [event(wire, **{f"m{number}": number}) for number, wire in enumerate(wires)]
    recording.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    assert toy.events is not None
    found = learn(read_parts(toy.openapi, toy.events, toy.commands), [recording])
    written = write_drafts(found, toy.events)
    names = [path.name.casefold() for path in toy.events.iterdir()]
    assert len(set(names)) == len(names)
    assert "con.json" not in names
    drafts = [json.loads(path.read_text()) for path in written]
    assert {one["x-event-type"]: list(one["properties"]) for one in drafts} == {
        wire: [f"m{number}"] for number, wire in enumerate(wires)
    }
    assert len({one["title"] for one in drafts}) == len(wires)
    warnings: list[str] = []
    generate(toy, warnings.append)
    assert warnings == []
    assert not learn(read_parts(toy.openapi, toy.events, toy.commands), [recording]).drafts


def test_a_wire_name_that_would_be_a_pattern_has_no_draft(tmp_path: Path) -> None:
    found = seen(tmp_path, event("any*"), event("any"))
    assert list(found.drafts) == ["any"]
    assert found.skipped == [
        "any*: no draft: in a schema the * would stand for every name with that beginning"
    ]


def test_pushes_have_no_envelope(tmp_path: Path) -> None:
    push = {"what": "push", "name": "rang", "data": {"at": 1}}
    found = seen(tmp_path, push, event("rang_twice", at=1))
    assert found.drafts["rang"]["x-event-enveloped"] is False
    assert "x-event-enveloped" not in found.drafts["rang_twice"]


def test_the_envelope_is_drafted_where_there_is_none(tmp_path: Path) -> None:
    bare = {"what": "event", "event": {"type": "ticked", "seq": 3, "room": 1, "payload": None}}
    found = seen(tmp_path, event("rang", at=1), {**event("rang", at=2), "room": None}, bare)
    write_drafts(found, tmp_path / "events")
    envelope = json.loads((tmp_path / "events" / "envelope.json").read_text())
    assert (envelope["x-event-envelope"], envelope["required"]) == (True, ["payload", "seq", "type"])
    assert envelope["properties"]["payload"] == {"type": ["object", "null"]}
    assert envelope["properties"]["room"] == {"type": ["integer", "null"]}
    assert seen(tmp_path, {"what": "push", "name": "rang", "data": {}}).envelope is None


# --- recordings


def test_a_recording_of_a_client_fits_the_contract(tmp_path: Path) -> None:
    path = tmp_path / "session.jsonl"
    # Line breaks that only some readers of text take for one.
    text = "one\u2028two\x85three\x0c"
    with FakeDaemon() as daemon:
        daemon.add_app("app", model=FakeModel().will_stream_text([text]))
        with daemon.client() as client, client.record(path):
            session = SessionHandle(session_id="s-1", app_id="app", daemon_url=daemon.url)
            assert client.send(session, "hi", timeout=30).content == text
    found = learn(read_side(ROOT / "schema"), [path])
    assert (found.skipped, found.unknown, found.drafts, found.openapi) == ([], [], {}, None)
    assert found.counts["events"] > 5
    assert found.counts["calls"] > 1
    assert not [title for title in found.differences if kinds(found, title)]


def test_a_line_that_was_changed_is_left_out(tmp_path: Path) -> None:
    line = '{"record":"event","stream":"1.1","at":"","frame":{"type":"a","payload":{}},"crc":"00000000"}\n'
    path = tmp_path / "session.jsonl"
    path.write_text(line + line.replace(',"crc":"00000000"', ""))
    found = learn(NO_CONTRACT, [path])
    assert found.skipped == [f"{path}:1: its checksum does not fit"]
    assert found.counts == {"events": 1}


def recorded(method: str, path: str, status: int | None, **members: object) -> dict[str, object]:
    """A line of a recording that holds an exchange."""
    exchange: dict[str, object] = {"operation": "", "method": method, "path": path, "status": status}
    return {"record": "exchange", "part": "1", "exchange": {**exchange, "query": [], **members}}


def test_bodies_of_recorded_exchanges(tmp_path: Path) -> None:
    file = {"file": "a.txt (3 bytes)", "note": "x"}
    found = seen(
        tmp_path,
        recorded("POST", "/files", 200, request=file, request_size=9, response="done", response_size=4),
        recorded(
            "POST", "/form", 200, request="a=1&b=&b=2", request_size=10, response="done", response_size=6
        ),
        recorded("POST", "/text", 204, request="plain words", request_size=11, response_size=0),
        recorded("GET", "/large", 200, response=None, response_size=2_000_000),
        recorded("GET", "/gone", None, error="no answer"),
    )
    paths = document(found)["paths"]
    assert set(paths) == {"/files", "/form", "/text", "/large"}
    assert found.skipped == []
    files, form, text = (paths[path]["post"] for path in ("/files", "/form", "/text"))
    assert files["requestBody"]["content"]["multipart/form-data"]["schema"]["properties"] == {
        "file": {"type": "string", "contentMediaType": "application/octet-stream"},
        "note": {"type": "string"},
    }
    assert files["responses"]["200"]["content"] == {"text/plain": {"schema": {"type": "string"}}}
    assert form["requestBody"]["content"]["application/x-www-form-urlencoded"]["schema"]["properties"] == {
        "a": {"type": "string"},
        "b": {"type": "array", "items": {"type": "string"}},
    }
    assert form["responses"]["200"]["content"] == {"application/json": {"schema": {"type": "string"}}}
    assert text["requestBody"]["content"] == {"text/plain": {"schema": {"type": "string"}}}
    assert text["responses"]["204"] == {"description": "No Content"}
    assert paths["/large"]["get"]["responses"]["200"]["content"] == {"*/*": {}}


# --- operations


def book(number: int, **members: object) -> dict[str, object]:
    return {"id": f"b-{number}", "title": "Emma", "pages": 300, **members}


LIBRARY = [
    called(
        "GET", "/api/v1/books?limit=10&tag=a&tag=b", 200, {"books": [book(1), book(2, loan=None)], "total": 2}
    ),
    called("GET", "/api/v1/books?limit=20&deep=true", 200, {"books": [], "total": 0}),
    called("POST", "/api/v1/books", 201, book(3), {"title": "Emma"}),
    called("POST", "/api/v1/books", 201, book(4), {"title": "Emma", "pages": 1}),
    called(
        "POST",
        "/api/v1/books",
        422,
        {"reason": "empty", "place": "title"},
        {"title": 1, "wrong": "on purpose"},
    ),
    called("GET", "/api/v1/books/b-1", 200, book(1, loan={"since": 1, "by": "ann"})),
    called("GET", "/api/v1/books/b-9", 404, {"reason": "no such book", "place": "id"}),
    called("GET", "/api/v1/nothing", 404, {"reason": "no such path", "place": ""}),
    called("DELETE", "/api/v1/books/b-2", 204, "(None)"),
    called("GET", "/api/v1/shelves/left/books", 200, {"7": book(7), "8": book(8)}),
    called("GET", "/api/v1/shelves", 200, [{"slug": "left", "size": 1}, {"slug": "right", "size": 2.5}]),
    called("GET", "/api/v1/report", 200, "(text/csv; charset=utf-8)"),
]


def test_operations_are_drafted(tmp_path: Path) -> None:
    paths = document(seen(tmp_path, *LIBRARY))["paths"]
    assert {(path, method): one["operationId"] for path in paths for method, one in paths[path].items()} == {
        ("/api/v1/books", "get"): "list_v1_books",
        ("/api/v1/books", "post"): "create_v1_book",
        ("/api/v1/books/{book_id}", "delete"): "delete_v1_book",
        ("/api/v1/books/{book_id}", "get"): "get_v1_book",
        ("/api/v1/report", "get"): "get_v1_report",
        ("/api/v1/shelves", "get"): "list_v1_shelves",
        ("/api/v1/shelves/{shelve_id}/books", "get"): "list_v1_shelve_books",
    }
    listed, created, got = (
        paths["/api/v1/books"]["get"],
        paths["/api/v1/books"]["post"],
        paths["/api/v1/books/{book_id}"],
    )
    assert [(one["name"], one["schema"], "required" in one) for one in listed["parameters"]] == [
        ("deep", {"type": "boolean"}, False),
        ("limit", {"type": "integer"}, False),
        ("tag", {"type": "array", "items": {"type": "string"}}, False),
    ]
    assert (listed["tags"], got["delete"]["responses"]) == (["books"], {"204": {"description": "No Content"}})
    assert set(created["responses"]) == {"201", "422"}
    assert set(got["get"]["responses"]) == {"200", "404"}
    assert paths["/api/v1/report"]["get"]["responses"]["200"]["content"] == {
        "text/csv": {"schema": {"type": "string"}}
    }


def test_models_are_merged_from_all_observations(tmp_path: Path) -> None:
    drafted = document(seen(tmp_path, *LIBRARY))
    schemas, paths = drafted["components"]["schemas"], drafted["paths"]
    # Two books have a member that others lack, but they are what one operation answers.
    assert schemas["Book"]["required"] == ["id", "pages", "title"]
    assert schemas["CreateV1BookRequest"] == {
        "type": "object",
        "properties": {"pages": {"type": "integer"}, "title": {"type": "string"}},
        "required": ["title"],
    }
    assert schemas["Error"]["required"] == ["place", "reason"]
    shelves = paths["/api/v1/shelves"]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
    assert shelves == {"type": "array", "items": {"$ref": "#/components/schemas/Shelve"}}
    assert schemas["Shelve"]["properties"]["size"] == {"type": "number"}
    books = paths["/api/v1/shelves/{shelve_id}/books"]["get"]["responses"]["200"]["content"]
    (name,) = re.findall(r"schemas/(\w+)", json.dumps(books))
    assert books["application/json"]["schema"] == {
        "type": "object",
        "additionalProperties": {"$ref": f"#/components/schemas/{name}"},
    }


def test_a_client_is_generated_of_the_drafts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    lines = [*LIBRARY, event("rang", at=1)]
    Path("seen.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    assert main(["learn", "--drafts=drafts", "seen.jsonl"]) == 0
    assert "12 calls, 1 events read, 1 types of events and 7 operations" in capsys.readouterr().out
    settings = Settings(
        openapi=Path("drafts/openapi/openapi.draft.json"),
        events=Path("drafts"),
        package="drafted_client",
        out=Path("drafted_client"),
    )
    generate(settings)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    recorder = Recorder()
    api = importlib.import_module("drafted_client.rest").Api(recorder)
    api.books.get_v1_book("b-1")
    (call,) = recorder.calls
    assert call.path == "/api/v1/books/b-1"
    assert call.operation.read(json.dumps(book(1)).encode()).title == "Emma"
    # What was inferred from the traffic fits it.
    found = learn(read_parts(settings.openapi, settings.events), [Path("seen.jsonl")])
    assert (found.unknown, found.openapi, found.drafts) == ([], None, {})
    assert not [title for title in found.differences if kinds(found, title)]


def test_a_contract_is_told_only_what_is_new(toy: Settings, tmp_path: Path) -> None:
    recording = tmp_path / "seen.jsonl"
    lines = [
        called("GET", "/toys/t-1", 200, {"success": True, "data": {"id": "t-1"}}),
        called("DELETE", "/toys/bear", 204, "(None)"),
        called("PUT", "/toys/search", 200, {"hits": 1, "more": False}, {"words": "bear"}),
        called("GET", "/toys/bear/parts", 200, [{"name": "ear", "price": 1}]),
        called("GET", "/toys/t-1/parts", 404, {"detail": "none"}),
    ]
    recording.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    found = learn(read_parts(toy.openapi, toy.events, toy.commands), [recording])
    assert found.unknown == ["DELETE /toys/{toy_id}", "GET /toys/{toy_id}/parts", "PUT /toys/search"]
    drafted = document(found)
    assert set(drafted["paths"]) == {"/toys/{toy_id}", "/toys/{toy_id}/parts", "/toys/search"}
    assert set(drafted["paths"]["/toys/{toy_id}/parts"]["get"]["responses"]) == {"200", "404"}
    assert set(drafted["paths"]["/toys/{toy_id}"]) == {"delete"}
    assert drafted["info"]["title"] == "Toy (draft)"


def test_the_draft_of_operations_stands_beside_the_contract(
    toy: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = toy.openapi.parent.parent
    monkeypatch.chdir(root)
    (root / "pyproject.toml").write_text(
        '[tool.digitorn-codegen]\nopenapi = "schema/openapi.yaml"\npackage = "p"\nout = "p"\n'
    )
    (root / "seen.jsonl").write_text(json.dumps(called("GET", "/shops", 200, [])) + "\n")
    draft = root / "schema" / "openapi.draft.json"
    assert main(["learn", "seen.jsonl"]) == 0
    assert f"drafted {draft.relative_to(root)}" in capsys.readouterr().out
    draft.write_text("mine")
    assert main(["learn", "seen.jsonl"]) == 0
    assert "openapi.draft.json exists and was left as it is" in capsys.readouterr().err
    assert draft.read_text() == "mine"
    (root / "seen.jsonl").write_text(json.dumps(event("rang")) + "\n")
    assert main(["learn", "seen.jsonl"]) == 2
    assert "--drafts is missing" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("called_paths", "drafted"),
    [
        (["/books/1", "/books/22"], ["/books/{book_id}"]),
        (["/books/550e8400-e29b-41d4-a716-446655440000"], ["/books/{book_id}"]),
        (["/categories/c_1/boxes/a%20b@c"], ["/categories/{category_id}/boxes/{box_id}"]),
        (["/api/v2/users/me", "/api/v2/users/7"], ["/api/v2/users/me", "/api/v2/users/{user_id}"]),
        (["/1/2"], ["/{id}/{id2}"]),
        (["/books/", "/books"], ["/books", "/books/"]),
        (["/health/live", "/health/ready"], ["/health/live", "/health/ready"]),
        (["/reset-token/aB3dE"], ["/reset-token/{reset_token_id}"]),
    ],
)
def test_paths(tmp_path: Path, called_paths: list[str], drafted: list[str]) -> None:
    found = seen(tmp_path, *(called("GET", path, 200, {"ok": True}) for path in called_paths))
    assert [line.removeprefix("GET ") for line in found.unknown] == drafted


def test_words_are_parameters_if_answers_say_so(tmp_path: Path) -> None:
    def answers(*answers: object) -> list[str]:
        places = zip(("emma", "dune"), answers, strict=False)
        return seen(tmp_path, *(called("GET", f"/books/{name}", 200, one) for name, one in places)).unknown

    both = ["GET /books/dune", "GET /books/emma"]
    one = ["GET /books/{book_id}"]
    assert answers({"data": {"name": "emma"}}, {"data": {"name": "dune"}}) == one
    assert answers({"a": 1, "b": 1, "c": 1}, {"a": 2, "b": 2, "c": 2}) == one
    assert answers({"a": 1, "b": 1, "c": 1}, {"a": 2, "b": 2, "d": 2}) == both
    assert answers({"a": 1, "b": 1, "c": []}, {"a": 2, "b": 2, "c": []}) == both
    assert answers({"a": 1}, {"a": 1}) == both
    changed = [called("PUT", "/books/emma", 200), called("GET", "/old/books/emma", 200)]
    assert seen(tmp_path, *changed).unknown == ["GET /old/books/{book_id}", "PUT /books/{book_id}"]


# --- shapes


@pytest.mark.parametrize(
    "name", ["7", "b-1", "msg_01ab2c", "2026-01-01", "a@b.c", "0123abcd", "application/json", ""]
)
def test_names_of_things(name: str) -> None:
    assert is_id(name)


@pytest.mark.parametrize(
    "name", ["id", "line_1", "sha256", "v1", "created_at", "facade", "address_street1", "content-type"]
)
def test_names_of_members(name: str) -> None:
    assert not is_id(name)


def inferred(*values: Any, enums: bool = False) -> object:
    shape = Shape()
    for value in values:
        shape.add(value)
    return shape.schema(enums=enums)


def test_types_are_united() -> None:
    assert inferred(1, 2.5) == {"type": "number"}
    assert inferred(1, "a", None) == {"type": ["integer", "string", "null"]}
    assert inferred(None) == inferred() == {}
    assert inferred([1], None) == {"type": ["array", "null"], "items": {"type": "integer"}}
    assert inferred([], 1) == {"anyOf": [{"type": "array", "items": {}}, {"type": "integer"}]}
    assert inferred({"a": 1, "b": 1}, {"a": True}) == {
        "type": "object",
        "properties": {"a": {"type": ["boolean", "integer"]}, "b": {"type": "integer"}},
        "required": ["a"],
    }
    assert inferred({"total": 1, "b-1": {"x": 1}, "b-2": {}}) == {
        "type": "object",
        "properties": {"total": {"type": "integer"}},
        "required": ["total"],
        "additionalProperties": {"type": "object", "properties": {"x": {"type": "integer"}}},
    }


def test_enums_are_inferred_on_request_alone() -> None:
    assert inferred("on", "off", "on") == {"type": "string"}
    assert inferred("on", "off", "on", None, enums=True) == {
        "type": ["string", "null"],
        "enum": ["off", "on", None],
    }
    several: list[tuple[str, ...]] = [
        ("on", "on"),
        ("on", "off"),
        ("b-1", "b-2", "b-1"),
        ("two words", "on", "on"),
    ]
    for values in several:
        assert inferred(*values, enums=True) == {"type": "string"}


# --- secrets

TRAFFIC: dict[str, Callable[[], list[object]]] = {
    "a member": lambda: [called("GET", "/me", 200, {"access_token": SECRET, "copy": SECRET})],
    "a path": lambda: [
        called("POST", "/login", 200, {"token": SECRET}),
        called("GET", f"/reset/{SECRET}", 200, {}),
    ],
    "a name": lambda: [called("POST", "/login", 200, {"token": SECRET, "by": {SECRET: 1, f"x {SECRET}": 1}})],
    "a query": lambda: [called("GET", f"/me?api_key={SECRET}&again={SECRET}", 200, {"seen": SECRET})],
    "an event type": lambda: [event(f"for:{SECRET}", password=SECRET), event("other", text=SECRET)],
    "an enum": lambda: [
        called("GET", "/me", 200, {"token": text, "kind": text}) for text in [SECRET, SECRET, "other-one"]
    ],
}


@pytest.mark.parametrize("where", TRAFFIC)
def test_secrets_are_in_no_draft_and_in_no_line(tmp_path: Path, where: str) -> None:
    found = seen(tmp_path, *TRAFFIC[where](), enums=True)
    written = write_drafts(found, tmp_path / "events", tmp_path / "openapi.json")
    assert written
    for text in (*found.lines(), *found.skipped, *(path.name + path.read_text() for path in written)):
        assert SECRET not in text
        assert "***" not in text.replace("/***", "") or where == "an event type"


def test_tokens_are_known_without_their_scheme_and_words_stay(tmp_path: Path) -> None:
    found = seen(
        tmp_path,
        called("GET", "/me", 200, {"authorization": f"Bearer {SECRET}", "secret": "password"}),
        called("POST", f"/reset/{SECRET}", 200, {"password": 1, "by": 1}),
    )
    assert SECRET not in json.dumps(found.openapi)
    assert '"password"' in json.dumps(found.openapi)


# --- the daemon's own traffic


def test_the_captured_frames_are_drafted_as_the_contract_has_them(tmp_path: Path) -> None:
    found = learn(NO_CONTRACT, [FRAMES])
    drafted = {re.sub(r"\{.*?\}", "{}", one) for one in found.unknown if not one.startswith("command ")}
    real = {
        f"{method} {re.sub(r'{.*?}', '{}', path)}"
        for method, path in operations_of(read_side(ROOT / "schema"))
    }
    # The others have names of things that occur once and look like any word.
    assert len(drafted & real) >= 225
    assert len(drafted - real) <= 14
    write_drafts(found, tmp_path / "events", tmp_path / "openapi.json")
    again = learn(read_parts(tmp_path / "openapi.json", tmp_path / "events"), [FRAMES])
    assert (again.openapi, again.drafts) == (None, {})
    assert not [title for title in again.differences if kinds(again, title)]
