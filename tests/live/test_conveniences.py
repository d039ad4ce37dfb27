"""What test authors reach for, by short names: each answers its typed shape over the wire."""

from pathlib import Path

import pytest

from digitorn.testing import ApiError, DevClient, EventTimeout, NotFound, SessionHandle, models
from digitorn.testing.fakes import FakeDaemon, FakeModel

APP = "app: {app_id: made, name: Made}\nsystem_prompt: Be brief.\n"


def test_deploying_from_text_and_from_a_file_and_undeploying(tmp_path: Path) -> None:
    model = FakeModel().will_respond_with_text("hi", times=None)
    with FakeDaemon(model=model) as daemon, daemon.client() as client:
        assert client.deploy_text(APP).app_id == "made"
        assert client.wait_for_app("made").app_id == "made"
        assert client.chat("made", "hello").content == "hi"
        with pytest.raises(ApiError):
            client.deploy_text("nonsense: [")
        file = tmp_path / "other.yaml"
        file.write_text(APP.replace("made", "other"))
        assert client.deploy(file, force=True, secrets={"KEY": "value"}).app_id == "other"
        client.wait_for_app("other")
        assert client.undeploy("made").app_id == "made"
        with pytest.raises(NotFound):
            client.chat("made", "hello")
        with pytest.raises(EventTimeout, match="is not deployed"):
            client.wait_for_app("nobody", timeout=0.1)
        with pytest.raises(FileNotFoundError):
            client.deploy(tmp_path / "none.yaml")


def test_a_sessions_parts(client: DevClient, model: FakeModel, session: SessionHandle) -> None:
    model.will_respond_with_text("An answer about whales.")
    client.send_live(session, "whales?", total_timeout=10).stop()
    history = client.get_history(session)
    assert [message.role for message in history.messages] == ["user", "assistant"]
    assert [hit.session_id for hit in client.search("my-app", "whales").sessions] == [session.session_id]
    assert client.get_queue(session, include_finished=True).session_id == session.session_id
    assert client.clear_queue(session).cancelled == 0
    assert client.abort(session).was_active is False
    with pytest.raises(ApiError):
        client.cancel_queued(session, "nobody")


def test_everything_else_answers_its_shape(
    client: DevClient, model: FakeModel, session: SessionHandle
) -> None:
    model.will_respond_with_text("hi")
    client.send_live(session, "hi", total_timeout=10).stop()
    assert isinstance(client.list_secrets("my-app"), models.SecretKeys)
    assert isinstance(client.set_secret("my-app", "KEY", "value"), models.SecretStored)
    assert isinstance(client.delete_secret("my-app", "KEY"), models.SecretDeleted)
    assert isinstance(client.list_credentials(), models.CredentialList)
    assert isinstance(client.set_credential("_global", "openai", {"api_key": "k"}), models.Credential)
    assert isinstance(client.delete_credential("_global", "openai"), models.CredentialDeletion)
    assert isinstance(client.list_triggers("my-app"), models.TriggerOverview)
    assert isinstance(client.fire_trigger("my-app", "t"), models.TriggerFired)
    assert isinstance(client.create_background_session("my-app", name="n"), models.BackgroundSession)
    assert isinstance(client.list_background_sessions("my-app"), models.BackgroundSessionPage)
    assert isinstance(client.export(session), models.SessionExport)
    assert isinstance(client.get_memory(session), models.SessionMemory)
    assert isinstance(client.list_tasks(session), models.ShellTaskList)
    assert isinstance(client.get_workspace(session), models.WorkspaceView)
    assert isinstance(client.write_file(session, "src/a.py", "x = 1\n"), models.FileWriteResult)
    assert client.read_file(session, "src/a.py").payload.content == "x = 1\n"
