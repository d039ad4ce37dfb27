"""Secrets, credentials, background sessions and activations: whose they are, and what becomes of them."""

from collections.abc import Iterator

import pytest

from digitorn_testing import ApiError, DevClient, Forbidden, NotFound
from digitorn_testing.builders import AppBuilder
from digitorn_testing.fakes import FakeDaemon, FakeModel, User

DEFINITION = """
app: {app_id: jobs, name: Jobs}
runtime:
  mode: background
  triggers:
    - {id: nightly, type: cron, schedule: "0 0 * * *", message: "Report on {{event.body}}."}
    - {id: mine, type: http, path: /mine, routing: user, routing_key: x}
    - {id: one, type: watch, paths: ["*.txt"], routing: session, routing_key: x}
security:
  credentials_schema:
    providers:
      - {name: openai, type: api_key}
      - {name: shared, scope: per_app_shared}
      - {name: daemon, scope: system_wide}
"""


@pytest.fixture
def model() -> FakeModel:
    return FakeModel()


@pytest.fixture
def daemon(model: FakeModel) -> Iterator[FakeDaemon]:
    with FakeDaemon(listen=False, model=model, examples="refuse") as running:
        running.deploy(AppBuilder.from_yaml(DEFINITION))
        yield running


@pytest.fixture
def client(daemon: FakeDaemon) -> Iterator[DevClient]:
    with daemon.client() as connected:
        yield connected


@pytest.fixture
def eve(daemon: FakeDaemon) -> User:
    return daemon.add_user("eve@example.com", "a-long-password")


@pytest.fixture
def her_client(daemon: FakeDaemon, eve: User) -> Iterator[DevClient]:
    with daemon.client(token=daemon.token(eve)) as connected:
        yield connected


def test_secrets_need_a_permission_and_go_with_their_app(
    daemon: FakeDaemon, client: DevClient, her_client: DevClient
) -> None:
    for call in (
        lambda: her_client.set_secret("jobs", "KEY", "x"),
        lambda: her_client.api.secrets.set_secrets("jobs", secrets={"KEY": "x"}),
        lambda: her_client.delete_secret("jobs", "KEY"),
    ):
        with pytest.raises(Forbidden, match="Missing permission: apps:write"):
            call()
    client.deploy_text(DEFINITION, force=True, secrets={"ONE": "1", "TWO": "2"})
    daemon.drain()
    assert her_client.list_secrets("jobs").keys == ["ONE", "TWO"]
    with pytest.raises(ApiError, match=r"1 secret\(s\) failed to set: \[''\]"):
        client.api.secrets.set_secrets("jobs", secrets={"": "x", "THREE": "3"})
    daemon.restart()
    assert client.list_secrets("jobs").keys == ["ONE", "THREE", "TWO"]
    client.delete_app("jobs")
    assert client.list_secrets("jobs").keys == []


def test_credentials_are_those_of_their_user(client: DevClient, her_client: DevClient) -> None:
    hers = her_client.set_credential("_global", "openai", {"api_key": "0123456789"})
    assert client.list_credentials().credentials == []
    for call in (
        lambda: client.api.credentials.get_credential(hers.id),
        lambda: client.api.credentials.update_credential(hers.id, label="mine"),
        lambda: client.api.credentials.delete_credential(hers.id),
    ):
        with pytest.raises(Forbidden, match="your own credentials"):
            call()
    with pytest.raises(NotFound):
        client.delete_credential("_global", "openai")
    assert her_client.list_credentials().count == 1
    assert "0123456789" not in str(her_client.list_credentials())


def test_an_app_declares_its_credentials(client: DevClient, her_client: DevClient) -> None:
    # One of a user is for all apps.
    assert client.set_credential("jobs", "openai", {"api_key": "k"}).app_id is None
    with pytest.raises(NotFound, match="Provider 'other' not declared in app schema"):
        client.set_credential("jobs", "other", {})
    with pytest.raises(NotFound, match="App 'absent' not deployed"):
        client.set_credential("absent", "openai", {})
    shared = client.set_credential("jobs", "shared", {"key": "k"})
    assert (shared.app_id, shared.user_id, shared.scope) == ("jobs", None, "per_app_shared")
    with pytest.raises(Forbidden):
        her_client.set_credential("jobs", "shared", {"key": "k"})
    with pytest.raises(Forbidden):
        client.set_credential("jobs", "daemon", {"key": "k"})
    # The released daemon fails on two of one provider.
    client.api.credentials.create_credential(provider_name="openai", fields={}, label="second")
    with pytest.raises(ApiError, match="Internal server error"):
        client.api.credentials.get_user_credential("_global", "openai")


def test_background_sessions_are_seen_by_their_owner_and_by_administrators(
    client: DevClient, her_client: DevClient, eve: User
) -> None:
    mine, hers = (one.create_background_session("jobs", name="x") for one in (client, her_client))
    # With one session a user, its name is not asked for.
    assert (mine.name, her_client.create_background_session("jobs").id) == ("default", hers.id)
    assert [one.user_id for one in her_client.list_background_sessions("jobs").sessions] == [eve.user_id]
    assert client.list_background_sessions("jobs").count == 2
    with pytest.raises(Forbidden, match="Not your session"):
        her_client.api.background.get_background_payload("jobs", mine.id)
    assert client.api.background.get_background_payload("jobs", hers.id).prompt == ""


def test_files_of_a_payload(client: DevClient, model: FakeModel, daemon: FakeDaemon) -> None:
    api, session = client.api.background, client.create_background_session("jobs")
    for name, content in (("a.txt", b"A"), ("../b.bin", b"\xff"), ("c.png", b"png")):
        api.upload_background_payload_file("jobs", session.id, file=(name, content))
    with pytest.raises(ApiError, match="invalid filename"):
        api.upload_background_payload_file("jobs", session.id, file=(".hidden", b""))
    model.will_respond_with_text("Seen.")
    client.fire_trigger("jobs", "nightly")
    daemon.drain()
    assert model.requests[0].last_text.endswith(
        "---\nAttached files:\n--- a.txt ---\nA\n--- end a.txt ---\n\n"
        "Attached (below this message): 1 image(s)\n\n"
        "Notes:\n- b.bin: binary (application/octet-stream, 1 bytes) not inlined\n"
    )
    left = api.delete_background_payload_file("jobs", session.id, "a.txt")
    assert [one.name for one in left.files] == ["b.bin", "c.png"]
    with pytest.raises(NotFound, match="file not found"):
        api.delete_background_payload_file("jobs", session.id, "a.txt")


def test_triggers_are_routed(client: DevClient, her_client: DevClient, model: FakeModel) -> None:
    model.will_respond_with_text("Done.", times=None)
    mine, hers = (one.create_background_session("jobs") for one in (client, her_client))
    # Fired by hand, a trigger names nobody: it finds everybody, or no session (as on the released daemon).
    assert set(client.fire_trigger("jobs", "mine").target_session_ids) == {mine.id, hers.id}
    assert client.fire_trigger("jobs", "one").target_session_ids == []
    tried = client.api.background.test_trigger("jobs", "nightly", body="whales")
    assert (tried.message, tried.response) == ("Report on whales.", "Done.")


def test_a_trigger_pauses_after_several_failures(
    client: DevClient, model: FakeModel, daemon: FakeDaemon
) -> None:
    model.will_fail("auth_error", "401 unauthorized", times=None)
    for _ in range(3):
        assert client.fire_trigger("jobs", "nightly").fired
        daemon.drain()
    page = client.api.background.list_activations("jobs", trigger_id="nightly", status="failed")
    assert (page.total, [one.error for one in page.activations]) == (2, ["401 unauthorized"] * 2)


def test_a_tool_runs_in_the_background(client: DevClient, model: FakeModel, daemon: FakeDaemon) -> None:
    def count() -> str:
        return "three"

    daemon.deploy(AppBuilder.from_yaml(DEFINITION).with_tool(count))
    model.will_call_tool("count", {}).will_respond_with_text("Three.")
    client.fire_trigger("jobs", "nightly")
    daemon.drain()
    (activation,) = client.api.background.list_activations("jobs").activations
    (event,) = client.api.background.list_activation_events("jobs", activation.id).events
    assert (event.data["name"], event.data["success"], activation.response) == ("count", True, "Three.")
    with pytest.raises(NotFound, match="does not belong to this app"):
        client.api.background.list_activation_events("other", activation.id)
    # No session shows it.
    assert client.list_sessions("jobs").sessions == []
