"""Apps of the embedded daemon over REST (contract: rest, section 3)."""

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from digitorn_testing._generated import models
from digitorn_testing.fakes import FakeDaemon, FakeModel, ToolDefinition
from support.recorder import APP, SECONDS, another, http

YAML = """
app:
  app_id: deployed
  name: Deployed
  version: 2.1.0
agents:
  - id: helper
    system_prompt: You deploy.
tools:
  - Bash
  - name: Read
    description: Reads a file.
modules: {shell: {}, files: {}}
greeting: Hello!
"""
FLAT = "app_id: flat\nsystem_prompt: Short.\n"


@pytest.fixture
def model() -> FakeModel:
    return FakeModel()


@pytest.fixture
def daemon(model: FakeModel) -> Any:
    with FakeDaemon(model=model) as running:
        yield running


def written(folder: Path, text: str) -> str:
    path = folder / "app.yaml"
    path.write_text(text, encoding="utf-8")
    return str(path)


async def deployed(client: httpx.AsyncClient, app_id: str) -> dict[str, Any]:
    """The deploy status once the app is up; the daemon has no event for it, so it is asked again."""
    async with asyncio.timeout(SECONDS):
        while True:
            status: dict[str, Any] = (await client.get(f"/api/apps/{app_id}/deploy-status")).json()["data"]
            if status["deployed"] or status["error"]:
                return status


async def test_an_app_is_deployed_a_moment_later(
    daemon: FakeDaemon, model: FakeModel, tmp_path: Path
) -> None:
    model.will_respond_with_text("up")
    async with http(daemon) as client:
        before = (await client.get("/api/apps/deployed/deploy-status")).json()["data"]
        assert before["deployed"] is False
        answer = await client.post("/api/apps/deploy", json={"yaml_path": written(tmp_path, YAML)})
        accepted = models.FileDeployAccepted.from_wire(answer.json()["data"])
        assert (accepted.app_id, accepted.version, accepted.status) == ("deployed", "2.1.0", "deploying")
        assert (await deployed(client, "deployed"))["error"] is None
        detail = models.AppDetail.from_wire((await client.get("/api/apps/deployed")).json()["data"])
        assert (detail.runtime_status, detail.total_tools, detail.greeting) == ("running", 2, "Hello!")
        assert detail.modules == ["shell", "files"]
        assert detail.agents == ["helper"]
        first = {"message": "hi", "queue_mode": "wait"}
        session = (await client.post("/api/apps/deployed/sessions", json=first)).json()["data"]
        assert session["greeting"] == "Hello!"
    request = model.last_request
    assert request is not None
    assert request.system_prompt == "You deploy."
    assert request.tools == (ToolDefinition("Bash"), ToolDefinition("Read", "Reads a file."))


async def test_an_app_is_uploaded(daemon: FakeDaemon) -> None:
    async with http(daemon) as client:
        form = {"assets": json.dumps({"a.txt": "x"}), "force": "false"}
        answer = await client.post("/api/apps/deploy/upload", files={"file": ("app.yaml", FLAT)}, data=form)
        accepted = models.UploadDeployAccepted.from_wire(answer.json()["data"])
        assert (accepted.app_id, accepted.asset_count) == ("flat", 1)
        assert (await deployed(client, "flat"))["deployed"] is True
        again = await client.post("/api/apps/deploy/upload", files={"file": ("app.yaml", FLAT)})
        assert again.json()["success"] is False
        forced = await client.post(
            "/api/apps/deploy/upload", files={"file": ("app.yaml", FLAT)}, data={"force": "true"}
        )
        assert forced.json()["success"] is True
        bad = await client.post(
            "/api/apps/deploy/upload", files={"file": ("app.yaml", FLAT)}, data={"assets": "[]"}
        )
        assert bad.status_code == 400
        large = await client.post("/api/apps/deploy/upload", files={"file": ("app.yaml", "#" * 1_000_001)})
        assert large.status_code == 413


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("a: [", "not YAML"),
        ("- a", "expected a mapping"),
        ("name: x", "app_id: missing"),
        ("app_id: '../etc'", "app_id: malformed"),
        ("app_id: x\ntools: Bash", "tools: expected a list"),
        ("app_id: x\ntools: [3]", "tools.0"),
        ("app_id: x\nname: [1]", "name: expected text"),
    ],
)
async def test_a_file_that_does_not_compile(
    daemon: FakeDaemon, tmp_path: Path, text: str, error: str
) -> None:
    path = written(tmp_path, text)
    async with http(daemon) as client:
        checked = (await client.post("/api/apps/validate", json={"yaml_path": path})).json()
        assert checked["success"] is False
        assert error in checked["data"]["errors"][0]
        answer = (await client.post("/api/apps/deploy", json={"yaml_path": path})).json()
        assert answer["success"] is False
        assert error in answer["error"]
        if text.startswith("app_id: x"):
            status = models.DeployStatus.from_wire(
                (await client.get("/api/apps/x/deploy-status")).json()["data"]
            )
            assert (status.deployed, status.yaml_path) == (False, path)
            assert error in (status.error or "")


async def test_validating_tells_what_is_declared(daemon: FakeDaemon, tmp_path: Path) -> None:
    async with http(daemon) as client:
        answer = await client.post("/api/apps/validate", json={"yaml_path": written(tmp_path, YAML)})
        summary = models.AppValidation.from_wire(answer.json()["data"])
        assert (summary.app_id, summary.modules, summary.agents) == (
            "deployed",
            ["shell", "files"],
            ["helper"],
        )
        missing = await client.post("/api/apps/validate", json={"yaml_path": str(tmp_path / "none.yaml")})
        assert missing.status_code == 404
        assert (await client.post("/api/apps/deploy", json={})).status_code == 400


async def test_an_app_is_switched_off_and_on(daemon: FakeDaemon) -> None:
    daemon.add_app(APP)
    eve = daemon.add_user("eve@example.com", "a-long-password")
    async with http(daemon) as client, http(daemon, eve) as other:
        off = (await client.post(f"/api/apps/{APP}/disable", json={"reason": "tests"})).json()["data"]
        assert (off["disabled"], off["was_deployed"]) == (True, True)
        assert (await client.post(f"/api/apps/{APP}/sessions")).status_code == 404
        assert (await client.get("/api/apps")).json()["data"] == []
        listed = (await client.get("/api/apps", params={"include_disabled": True})).json()["data"]
        assert [one["runtime_status"] for one in listed] == ["disabled"]
        assert (await other.post(f"/api/apps/{APP}/enable")).status_code == 403
        on = (await client.post(f"/api/apps/{APP}/enable")).json()["data"]
        assert (on["enabled"], on["was_disabled"]) == (True, True)
        assert (await client.get(f"/api/apps/{APP}/status")).status_code == 200
        assert (await client.post(f"/api/apps/{APP}/reload")).json()["data"]["reloaded"] is True
        assert (await client.post("/api/apps/none/disable")).json()["success"] is False


async def test_an_app_is_removed(daemon: FakeDaemon) -> None:
    daemon.add_app(APP, model=FakeModel().will_respond_with_text("a", times=None))
    async with another(daemon) as talk:
        await talk.run("hi")
        kept = (await talk.client.delete(f"/api/apps/{APP}", params={"undeploy_only": True})).json()["data"]
        assert (kept["undeployed"], kept["deleted"]) == (True, False)
        assert (await talk.client.get(f"/api/apps/{APP}")).json()["data"]["runtime_status"] == "not_deployed"
        gone = (await talk.client.delete(f"/api/apps/{APP}")).json()["data"]
        assert (gone["deleted"], gone["history_preserved"]) == (True, False)
        assert (await talk.client.get(f"/api/apps/{APP}")).status_code == 404
        daemon.add_app(APP)
        assert (await talk.client.get(talk.path)).status_code == 404


@pytest.mark.parametrize("app_id", ["-x", "a..b", "a.", "a b", "x" * 129])
async def test_malformed_ids(daemon: FakeDaemon, app_id: str) -> None:
    with pytest.raises(ValueError, match="malformed"):
        daemon.add_app(app_id)
    daemon.add_app(APP)
    async with http(daemon) as client:
        assert (await client.get(f"/api/apps/{app_id}/status")).status_code == 400
        assert (await client.get(f"/api/apps/{APP}/sessions/{app_id}")).status_code == 400


async def test_a_request_of_the_wrong_form(daemon: FakeDaemon) -> None:
    daemon.add_app(APP)
    async with http(daemon) as client:
        wrong = await client.post(f"/api/apps/{APP}/sessions/s/messages", json={"message": 1})
        assert wrong.status_code == 422
        assert models.HTTPValidationError.from_wire(wrong.json()).details[0].loc == ["body", "message"]
        page = await client.get(f"/api/apps/{APP}/sessions", params={"limit": 201})
        assert page.status_code == 422
