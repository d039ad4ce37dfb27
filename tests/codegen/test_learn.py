"""Recorded traffic against a small contract, and the captured frames against that of this project."""

import json
from pathlib import Path
from typing import Any

import pytest

from digitorn_codegen._cli import main
from digitorn_codegen._learn import Learned, learn
from digitorn_codegen._sides import read_side

ROOT = Path(__file__).parents[2]

TEXT = {"type": "string"}
ITEM: dict[str, Any] = {
    "type": "object",
    "required": ["id"],
    "properties": {
        "id": TEXT,
        "size": {"type": "integer"},
        "kind": {"enum": ["a", "b"]},
        "note": {"anyOf": [{"type": "object", "properties": {"text": TEXT}}, {"type": "null"}]},
        "tags": {"type": "object", "additionalProperties": {"type": "integer"}},
        "any": {"type": "object"},
    },
}
OPENAPI: dict[str, Any] = {
    "openapi": "3.1.0",
    "info": {"title": "T", "version": "1"},
    "paths": {
        "/items": {
            "post": {
                "operationId": "add",
                "requestBody": {"content": {"application/json": {"schema": ITEM}}},
                "responses": {
                    "200": {
                        "description": "ok",
                        "content": {
                            "application/json": {
                                "schema": {
                                    "oneOf": [
                                        {
                                            "type": "object",
                                            "required": ["data"],
                                            "properties": {"data": {"type": "array", "items": ITEM}},
                                        },
                                        {
                                            "type": "object",
                                            "required": ["error"],
                                            "properties": {"error": TEXT},
                                        },
                                    ]
                                }
                            }
                        },
                    },
                    "204": {"description": "nothing"},
                    "4XX": {"description": "bad", "content": {"text/*": {}}},
                },
            }
        },
        "/items/{id}": {"get": {"operationId": "get", "responses": {"200": {"description": "ok"}}}},
        "/items/latest": {"get": {"operationId": "latest", "responses": {"404": {"description": "none"}}}},
        "/files/{path}": {
            "get": {
                "operationId": "read",
                "parameters": [{"name": "path", "in": "path", "x-path-segments": True, "schema": TEXT}],
                "responses": {"default": {"description": "what"}},
            }
        },
    },
}
EVENTS: dict[str, Any] = {
    "envelope": {
        "x-event-envelope": True,
        "x-event-lifted": {"op": "op"},
        "type": "object",
        "required": ["type"],
        "properties": {"type": TEXT, "payload": {"type": "object"}, "op": TEXT},
    },
    "moved": {"x-event-type": "moved", "x-event-defaults": {"op": "walk"}, **ITEM},
    "moved.far": {
        "x-event-type": "moved",
        "x-event-variant": {"requires": "miles"},
        "type": "object",
        "properties": {"miles": {"type": "integer"}},
    },
    "other": {"x-event-type": "other:*", "type": "object"},
}
COMMANDS: dict[str, Any] = {
    "join": {
        "x-command": "join",
        "$defs": {
            "JoinRequest": {"type": "object", "properties": {"room": TEXT}},
            "JoinAck": {
                "type": "object",
                "required": ["members"],
                "properties": {"members": {}, "events": {}},
            },
        },
    },
    "error": {"x-command-error": True, "type": "object", "required": ["no"], "properties": {"no": TEXT}},
}


def learned(tmp_path: Path, *lines: object) -> Learned:
    """What lines of recorded traffic teach about the contract above."""
    for folder, schemas in (("events", EVENTS), ("commands", COMMANDS)):
        (tmp_path / folder).mkdir(exist_ok=True)
        for name, schema in schemas.items():
            (tmp_path / folder / f"{name}.json").write_text(json.dumps(schema))
    (tmp_path / "openapi.json").write_text(json.dumps(OPENAPI))
    recording = tmp_path / "frames.jsonl"
    recording.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    return learn(read_side(tmp_path), [recording])


def called(method: str, path: str, status: int, answer: object = None, body: object = None) -> object:
    return {
        "what": "http",
        "method": method,
        "path": path,
        "status": status,
        "answer": answer,
        "body": body,
    }


def kinds(found: Learned, title: str) -> dict[str, list[str]]:
    """The differences of one place, but what was never seen."""
    return {kind: paths for kind, paths in found.differences.get(title, {}).items() if kind != "unseen"}


def event(payload: object, **members: object) -> dict[str, Any]:
    return {"type": "moved", "payload": payload, **members}


def test_the_forms_of_a_line(tmp_path: Path) -> None:
    bare = event({"id": "1"})
    found = learned(
        tmp_path,
        bare,
        {"what": "event", "event": bare},
        {"what": "push", "name": "moved", "data": {"id": "1"}},
        {"what": "ack", "command": "join", "request": {}, "ack": {"members": [], "events": [bare]}},
        called("GET", "/items/1?deep=1", 200, None),
        {"record": "header"},
        {"record": "event", "frame": bare},
        {"record": "exchange", "exchange": {"method": "GET", "path": "/items/1", "status": 200}},
        {"what": "event", "event": {"type": 1}},
        {"what": "http", "path": "/items/1"},
    )
    assert found.counts == {"events": 5, "calls": 2, "commands": 1}
    assert [line.rpartition("frames.jsonl:")[2] for line in found.skipped] == [
        "9: no event, exchange or command",
        "10: no event, exchange or command",
    ]
    assert [title for title in found.differences if kinds(found, title)] == []


def test_events_without_a_payload(tmp_path: Path) -> None:
    found = learned(
        tmp_path,
        {"what": "event", "event": {"type": "ticked"}},
        {"what": "push", "name": "rang", "data": None},
        {"record": "event", "frame": {"type": "moved", "payload": None}},
        # Any JSON object may have a type.
        {"type": "ticked"},
    )
    assert (set(found.drafts), kinds(found, "moved")) == ({"rang", "ticked"}, {"missing": ["id"]})
    assert found.drafts["ticked"]["type"] == "object"
    assert [line.rpartition("frames.jsonl:")[2] for line in found.skipped] == [
        "4: no event, exchange or command"
    ]


def test_rows_of_a_log_are_events_but_have_no_say_about_the_envelope(tmp_path: Path) -> None:
    row = event({"id": 1}, row_id=7, op="run")
    found = learned(tmp_path, called("GET", "/files/log", 200, {"gap_events": [row, {"type": "no event"}]}))
    assert kinds(found, "moved") == {"type": ["id (is integer)"]}
    assert kinds(found, "the envelope of events") == {}


def test_members_below_the_first_level(tmp_path: Path) -> None:
    payload = {
        "id": "1",
        "note": {"text": None, "more": 1},
        "tags": {"a": "b"},
        "any": {"thing": 1},
        "kind": "c",
        "op": "walk",
    }
    found = learned(tmp_path, event(payload, op="walk", extra=1))
    assert found.differences["moved"] == {
        "undeclared": ["note.more"],
        "unseen": ["size"],
        "null": ["note.text"],
        "type": ["tags.* (is string)"],
        "value": ['kind (is "c")'],
    }
    assert kinds(found, "the envelope of events") == {"undeclared": ["extra"]}


def test_variants_and_patterns_are_told_apart(tmp_path: Path) -> None:
    found = learned(
        tmp_path,
        event({"miles": 1, "size": 1}),
        event({"size": 1}),
        {"type": "other:thing", "payload": {"x": 1}},
        {"type": "new", "payload": {"x": 1}},
    )
    assert kinds(found, "moved (miles)") == {"undeclared": ["size"]}
    assert kinds(found, "moved") == {"missing": ["id"]}
    assert set(found.drafts) == {"new"}


def test_a_default_that_no_event_had(tmp_path: Path) -> None:
    payload = {"id": "1"}
    run, walk = event(payload, op="run"), event(payload, op="walk")
    assert kinds(learned(tmp_path, run, event(payload)), "moved") == {"default": ['op "walk" (is "run")']}
    assert kinds(learned(tmp_path, run, walk), "moved") == {}


def test_answers_and_bodies(tmp_path: Path) -> None:
    found = learned(
        tmp_path,
        called("POST", "/items", 200, {"data": [{"id": "1", "new": 1}, {"size": None}]}, {"id": None}),
        called("POST", "/items", 200, {"error": "no", "why": "so"}, {"id": "1", "more": 1}),
        called("POST", "/items", 404, "(text/plain; charset=utf-8)", {"wrong": "on purpose"}),
        called("POST", "/items", 409, "(image/png)"),
        called("POST", "/items", 204, "(None)"),
        called("POST", "/items", 500),
    )
    assert kinds(found, "POST /items 200") == {
        "undeclared": ["data[].new", "why"],
        "missing": ["data[].id"],
        "null": ["data[].size"],
    }
    assert kinds(found, "POST /items, body") == {"undeclared": ["more"], "null": ["id"]}
    assert kinds(found, "POST /items") == {"undeclared": ["status 500"]}
    assert kinds(found, "POST /items 409") == {"undeclared": ["image/png"]}
    assert not {"POST /items 404", "POST /items 204"} & set(found.differences)


def test_operations_are_recognised(tmp_path: Path) -> None:
    found = learned(
        tmp_path,
        called("GET", "/items/latest", 404),
        called("GET", "/files/a/b.txt", 200),
        called("GET", "/items/a/b", 200),
        called("GET", "/items/a/c", 404),
        called("PUT", "/items/1", 200),
        {"what": "ack", "command": "leave", "request": {}, "ack": {}},
    )
    assert found.unknown == ["GET /items/{id}/b", "PUT /items/{id}", "command leave"]
    assert found.differences == {}


def test_commands_and_their_failures(tmp_path: Path) -> None:
    def ack(request: object, answer: object) -> object:
        return {"what": "ack", "command": "join", "request": request, "ack": answer}

    found = learned(
        tmp_path,
        ack({"room": 1}, {"members": [], "extra": 1}),
        ack({"room": "wrong", "on": "purpose"}, {"no": "room", "code": 1}),
    )
    assert kinds(found, "command join, request") == {"type": ["room (is integer)"]}
    assert kinds(found, "command join, ack") == {"undeclared": ["extra"]}
    assert kinds(found, "command join, failure") == {"undeclared": ["code"]}


def test_the_captured_frames_fit_the_contract() -> None:
    found = learn(read_side(ROOT / "schema"), [ROOT / "tests" / "data" / "frames-1.0.3.jsonl"])
    assert (found.unknown, found.drafts, found.skipped) == ([], {}, [])
    misfits = {title: kinds(found, title) for title in found.differences if kinds(found, title)}
    assert misfits == {
        # An older client's member, sent to see that the daemon ignores it.
        "command join_session, request": {"undeclared": ["since"]},
        # Only the ends of background tasks are in the frames.
        "bg_task_update": {"default": ['op_state "running" (is "completed" or "failed")']},
    }
    assert found.counts == {"events": 2204, "calls": 529, "commands": 64}


def test_the_command_says_what_differs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    frames = tmp_path / "frames.jsonl"
    answer = called("GET", "/healthz", 200, {"status": None})
    frames.write_text(f"{json.dumps(answer)}\n{json.dumps(called('GET', '/made-up', 200))}\n")
    assert main(["learn", f"--drafts={tmp_path / 'drafts'}", str(frames)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "GET /made-up: not in the contract",
        "GET /healthz 200: null, not nullable: status",
        f"drafted {tmp_path / 'drafts' / 'openapi' / 'openapi.draft.json'}",
        "2 calls read, 0 types of events and 1 operations that the contract lacks",
    ]
