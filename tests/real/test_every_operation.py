"""Each operation of the contract, called on the released daemon by its stub: the answer is typed."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from digitorn_testing import DevClient
from digitorn_testing._generated.operations import OPERATIONS
from digitorn_testing._plugin import real
from digitorn_testing._real.daemon import RealDaemon
from digitorn_testing.builders import AppBuilder
from digitorn_testing.fakes import FakeModel, FakeModelServer
from real.every_operation import NOT_CALLED, PACKAGE, REFUSED, call_every_operation, definition, table

CALLS = Path(__file__).parents[2] / "docs" / "contract" / "calls.md"
"""The table as it is documented."""

APP = "every"
ASKING = "every-asking"
ONE_SHOT = "every-one-shot"
CALL_SECONDS = 30.0
PAUSE_SECONDS = 0.2

_PACKAGE_TOML = f"""
[package]
id = "{PACKAGE}"
name = "A package"
version = "1.0.0"
description = "Made by a test."
"""


@dataclass(frozen=True)
class Prepared:
    """A daemon with something for every operation to act on.

    Attributes:
        client: A client of an administrator.
        known: Values for arguments by name.
        particular: Arguments of some operations.
    """

    client: DevClient
    known: Mapping[str, object]
    particular: Mapping[str, Mapping[str, object]]


@pytest.fixture
def prepared(own_daemon: RealDaemon, tmp_path: Path) -> Iterator[Prepared]:
    model = FakeModel()
    model.when(contains="Say it").will_call_tool("Bash", {"command": "echo it"})
    model.will_respond_with_text("Hello.", times=None)
    token = own_daemon.token("alice", is_admin=True)
    with (
        FakeModelServer(model) as server,
        DevClient(own_daemon.url, token=token, timeout=CALL_SECONDS) as client,
    ):
        deploy(client, server)
        session = client.new_session(APP)
        client.send(session, "Hello.", timeout=CALL_SECONDS)
        asking, request_id, entry_id, item_id = waiting(client)
        file, package = tmp_path / "app.yaml", tmp_path / "package"
        file.write_text(definition("every-file"), encoding="utf-8")
        package.mkdir()
        (package / "package.toml").write_text(_PACKAGE_TOML, encoding="utf-8")
        (package / "app.yaml").write_text(definition(PACKAGE), encoding="utf-8")
        installed = {"source_type": "local", "source_uri": str(package), "accept_permissions": True}
        yield Prepared(
            client,
            {
                "app_id": APP,
                "session_id": session.session_id,
                "sid": session.session_id,
                "item_id": item_id,
                "yaml_path": str(file),
            },
            {
                "deploy_app": {"yaml_path": str(file)},
                "install_app": installed,
                "resolve_approval": {"app_id": ASKING, "request_id": request_id, "approved": True},
                "cancel_queued_message": {"app_id": ASKING, "session_id": asking, "entry_id": entry_id},
                "run_app": {"app_id": ONE_SHOT},
                "upload_widget_file": {"session_id": session.session_id},
                "run_pipeline": {"steps": [{"app": ONE_SHOT}]},
            },
        )


def deploy(client: DevClient, server: FakeModelServer) -> None:
    """Deploys the apps."""
    app = real.app_of(APP, server)
    for module in ("memory", "workspace", "preview"):
        app = app.with_module(module)
    one_shot = real.app_of(ONE_SHOT, server).to_yaml().replace('mode: "conversation"', 'mode: "one_shot"')
    skilled = app.to_yaml() + "dev:\n  allow_user_skills: true\n"
    key = {real.KEY_SECRET: server.api_key}
    for text in (skilled, one_shot, real.app_of(ASKING, server).with_default_policy("approve").to_yaml()):
        client.deploy_app(AppBuilder.from_yaml(text), secrets=key)


def waiting(client: DevClient) -> tuple[str, str, str, str]:
    """A session whose turn asks, its request, a message that waits there, and what the inbox has of it."""
    session = client.new_session(ASKING)
    deadline = time.monotonic() + CALL_SECONDS
    client.api.messages.send_message(ASKING, session.session_id, message="Say it.")
    pending = client.list_pending_approvals(ASKING)
    items = client.api.user.list_inbox().items
    while not (pending and items):
        assert time.monotonic() < deadline
        time.sleep(PAUSE_SECONDS)
        pending = client.list_pending_approvals(ASKING)
        items = client.api.user.list_inbox().items
    # The daemon calls the first that waits running.
    for message in ("Second.", "Third."):
        client.api.messages.send_message(ASKING, session.session_id, message=message)
    entries = client.api.queue.list_session_queue(ASKING, session.session_id).entries
    queued = next(one.id for one in entries if one.status == "queued")
    return session.session_id, pending[0].request_id, queued, items[0].id


@pytest.mark.timeout(600)
def test_every_operation(prepared: Prepared) -> None:
    outcomes = list(call_every_operation(prepared.client, prepared.known, prepared.particular))
    print(*table(outcomes, with_seconds=True), sep="\n")
    called = [one for one in outcomes if one.name not in NOT_CALLED]
    refused = {one.name: one.status for one in called if one.status}
    print(
        f"{len(outcomes)} operations: {len(called) - len(refused)} answers of their type, "
        f"{len(refused)} errors of the API, {len(NOT_CALLED)} not called"
    )
    assert [one for one in outcomes if one.name in NOT_CALLED and one.request.startswith("GET ")] == []
    assert sorted(one.name for one in outcomes) == sorted(one.id for one in OPERATIONS)
    assert [one for one in called if one.is_fault] == []
    expected = {name: status for name, (status, _) in REFUSED.items()}
    assert {
        one.name: (one.status, one.told) for one in called if expected.get(one.name, 0) != one.status
    } == {}
    documented = CALLS.read_text(encoding="utf-8").splitlines()
    assert [line for line in documented if line.startswith("|")] == table(outcomes, with_seconds=False)
