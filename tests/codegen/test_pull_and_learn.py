"""The contract against a running server, and against recorded events."""

import json
from pathlib import Path
from typing import Any

import pytest

from digitorn_codegen import ContractError, generate
from digitorn_codegen._cli import main
from digitorn_codegen._learn import learn, write_drafts
from digitorn_codegen._pull import disagreements, fetched
from digitorn_codegen._settings import Settings
from digitorn_codegen._sides import read_side
from digitorn_testing.fakes import FakeDaemon

ROOT = Path(__file__).parents[2]
SCHEMA = ROOT / "schema"


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """Recorded events: a known type, one of a pattern, an unknown one, and lines that are none."""
    events: list[dict[str, Any]] = [
        {"type": "token", "seq": 1, "payload": {"delta": "a", "brand_new": 1}},
        {"type": "preview:anything", "seq": 2, "payload": {"x": 1}},
        {"type": "solar:flare", "seq": 3, "payload": {"size": 1, "name": "x", "parts": [{"a": 1}]}},
        {"type": "solar:flare", "seq": 4, "payload": {"size": 2.5, "parts": []}},
    ]
    path = tmp_path / "events.jsonl"
    lines = [json.dumps(event) for event in events]
    path.write_text("\n".join([*lines, "", "{broken", "[1]", '{"type": "token"}']) + "\n")
    return path


def test_recordings_teach_what_the_contract_lacks(recording: Path) -> None:
    learned = learn(read_side(SCHEMA), [recording])
    assert learned.counts == {"events": 4}
    assert learned.differences["token"]["undeclared"] == ["brand_new"]
    assert "count" in learned.differences["token"]["unseen"]
    assert set(learned.drafts) == {"solar:flare"}
    draft = learned.drafts["solar:flare"]
    assert draft["x-draft"] is True
    assert draft["title"] == "SolarFlare"
    assert draft["required"] == ["parts", "size"]
    assert [line.partition(": ")[0].rpartition(":")[2] for line in learned.skipped] == ["6", "7", "8"]


def test_drafts_overwrite_nothing_and_generate(recording: Path, toy: Settings) -> None:
    assert toy.events is not None
    learned = learn(read_side(SCHEMA), [recording])
    (written,) = write_drafts(learned, toy.events)
    assert written.name == "solar.flare.json"
    generate(toy)
    assert "class SolarFlare(EventPayload)" in (toy.out / "payloads.py").read_text()
    mine = json.dumps({"x-event-type": "solar:flare", "type": "object"})
    written.write_text(mine)
    assert write_drafts(learned, toy.events) == []
    assert written.read_text() == mine
    written.write_text("no schema")
    assert [path.name for path in write_drafts(learned, toy.events)] == ["solar.flare-2.json"]
    assert written.read_text() == "no schema"


def test_the_learn_command(
    recording: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    assert main(["learn", f"--drafts={tmp_path / 'drafts'}", str(recording)]) == 0
    out, err = capsys.readouterr()
    assert "token: seen, not declared: brand_new" in out
    assert "solar.flare.json" in out
    assert "4 events read, 1 types of events and 0 operations that the contract lacks" in out
    assert "events.jsonl:6: not JSON" in err
    assert main(["learn", str(tmp_path / "none.jsonl")]) == 2


def test_a_daemon_is_compared_by_url(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    before = {path: path.read_bytes() for path in SCHEMA.rglob("*.*")}
    with FakeDaemon() as daemon:
        with fetched(daemon.url) as document:
            assert json.loads(document.read_text())["openapi"].startswith("3.1")
        main(["pull", daemon.url])
        main(["diff", str(SCHEMA / "openapi.yaml"), daemon.url])
    out = capsys.readouterr().out
    assert f"disagreements with {daemon_url(out)}; nothing was written" in out
    assert {path: path.read_bytes() for path in SCHEMA.rglob("*.*")} == before


def daemon_url(out: str) -> str:
    return out.partition("disagreements with ")[2].partition(";")[0]


def test_how_a_server_disagrees(tmp_path: Path) -> None:
    contract = json.loads(json.dumps(read_side(ROOT / "tests" / "codegen" / "toy").openapi.root))
    server = json.loads(json.dumps(contract))
    paths = server["paths"]
    paths["/toys/{id}"] = paths.pop("/toys/{toy_id}")
    get, post = paths["/toys/{id}"]["get"], paths["/toys/{id}"]["post"]
    get["parameters"] = [
        {"name": "id", "in": "path", "required": True, "schema": {"type": "string"}},
        {"name": "wide", "in": "query", "schema": {"type": "string"}},
    ]
    post["parameters"][0]["name"] = "id"
    play = server["components"]["schemas"]["PlayRequest"]
    play["required"] = ["how", "note"]
    play["properties"]["speed"] = {"type": "integer"}
    paths["/new"] = {"get": {"responses": {"200": {"description": "ok"}}}}
    contract["paths"]["/old"] = {"delete": {"responses": {"204": {"description": "ok"}}}}
    for name, document in (("contract", contract), ("server", server)):
        (tmp_path / f"{name}.json").write_text(json.dumps(document))
    assert disagreements(read_side(tmp_path / "contract.json"), read_side(tmp_path / "server.json")) == [
        "only in the contract: DELETE /old",
        "only on the server: GET /new",
        "GET /toys/{toy_id}: parameter only in the contract: query parameter 'deep'",
        "GET /toys/{toy_id}: parameter only on the server: query parameter 'wide'",
        "POST /toys/{toy_id}: member of the body only on the server: speed",
        "POST /toys/{toy_id}: member of the body note is required on the server, not in the contract",
    ]


def test_a_document_is_pulled_from_a_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    document = read_side(SCHEMA / "openapi.yaml").openapi.root
    paths = document["paths"]
    assert isinstance(paths, dict)
    assert main(["pull", str(SCHEMA / "openapi.yaml")]) == 0
    file = tmp_path / "openapi.json"
    file.write_text(
        json.dumps({**document, "paths": {key: paths[key] for key in paths if key != "/healthz"}})
    )
    capsys.readouterr()
    assert main(["pull", str(file)]) == 1
    assert capsys.readouterr().out.splitlines() == [
        "only in the contract: GET /healthz",
        f"1 disagreements with {file}; nothing was written",
    ]


def test_what_cannot_be_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diff", str(tmp_path), str(tmp_path)]) == 2
    with FakeDaemon() as daemon:
        url = daemon.url
        assert main(["diff", f"{url}/nothing.json", url]) == 2
        err = capsys.readouterr().err
        assert f"{url}/nothing.json: the server answers 404 Not Found, not its document" in err
        assert "pass its file instead of the URL" in err
    assert main(["diff", url, url]) == 2
    assert url in capsys.readouterr().err
    with pytest.raises(ContractError):
        read_side(tmp_path / "none.yaml")


def test_the_diff_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    toy = ROOT / "tests" / "codegen" / "toy"
    changed = tmp_path / "openapi.yaml"
    changed.write_text((toy / "openapi.yaml").read_text().replace("enum: [fast, slow]", "enum: [fast]"))
    assert main(["diff", str(toy / "openapi.yaml"), str(changed)]) == 1
    assert "1 changes, 1 of them breaking" in capsys.readouterr().out
    assert main(["diff", "--json", str(changed), str(toy / "openapi.yaml")]) == 0
    assert [one["rule"] for one in json.loads(capsys.readouterr().out)] == ["request-value-added"]
