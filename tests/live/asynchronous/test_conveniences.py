"""What test authors reach for, by short names: each answers its typed shape over the wire."""

from pathlib import Path

import pytest

from digitorn_testing import ApiError, AsyncDevClient, EventTimeout, NotFound, SessionHandle, models
from digitorn_testing.fakes import FakeDaemon, FakeModel
from support.faces import async_eventually

APP = "app: {app_id: made, name: Made}\nsystem_prompt: Be brief.\n"


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """The definition of the app `other`, in a file."""
    file = tmp_path / "other.yaml"
    file.write_text(APP.replace("made", "other"))
    return file


async def test_deploying_from_text_and_from_a_file_and_undeploying(other: Path) -> None:
    model = FakeModel().will_respond_with_text("hi", times=None)
    with FakeDaemon(model=model) as daemon:
        async with daemon.async_client() as client:
            assert (await client.deploy_text(APP)).app_id == "made"
            assert (await client.wait_for_app("made")).app_id == "made"
            assert (await client.chat("made", "hello")).content == "hi"
            with pytest.raises(ApiError):
                await client.deploy_text("nonsense: [")
            assert (await client.deploy(other, force=True, secrets={"KEY": "value"})).app_id == "other"
            await client.wait_for_app("other")
            assert (await client.undeploy("made")).app_id == "made"
            with pytest.raises(NotFound):
                await client.chat("made", "hello")
            with pytest.raises(EventTimeout, match="is not deployed"):
                await client.wait_for_app("nobody", timeout=0.5)
            with pytest.raises(FileNotFoundError):
                await client.deploy(other.with_name("none.yaml"))


@pytest.mark.both_daemons
async def test_a_sessions_parts(client: AsyncDevClient, model: FakeModel, session: SessionHandle) -> None:
    model.will_respond_with_text("An answer about whales.")
    await (await client.send_live(session, "whales?", total_timeout=10)).stop()
    # The released daemon saves a turn shortly after its end.
    history = await async_eventually(
        lambda: client.get_history(session), lambda saved: len(saved.messages) > 1
    )
    assert [message.role for message in history.messages] == ["user", "assistant"]
    assert [hit.session_id for hit in (await client.search(session.app_id, "whales")).sessions] == [
        session.session_id
    ]
    assert (await client.get_queue(session, include_finished=True)).session_id == session.session_id
    assert (await client.clear_queue(session)).cancelled == 0
    assert (await client.abort(session)).was_active is False
    with pytest.raises(ApiError):
        await client.cancel_queued(session, "nobody")


async def test_everything_else_answers_its_shape(
    client: AsyncDevClient, model: FakeModel, session: SessionHandle
) -> None:
    model.will_respond_with_text("hi")
    await (await client.send_live(session, "hi", total_timeout=10)).stop()
    assert isinstance(await client.list_secrets(session.app_id), models.SecretKeys)
    assert isinstance(await client.set_secret(session.app_id, "KEY", "value"), models.SecretStored)
    assert isinstance(await client.delete_secret(session.app_id, "KEY"), models.SecretDeleted)
    assert isinstance(await client.list_credentials(), models.CredentialList)
    assert isinstance(await client.set_credential("_global", "openai", {"api_key": "k"}), models.Credential)
    assert isinstance(await client.delete_credential("_global", "openai"), models.CredentialDeletion)
    assert isinstance(await client.list_triggers(session.app_id), models.TriggerOverview)
    with pytest.raises(NotFound):
        await client.fire_trigger(session.app_id, "t")
    assert isinstance(
        await client.create_background_session(session.app_id, name="n"), models.BackgroundSession
    )
    assert isinstance(await client.list_background_sessions(session.app_id), models.BackgroundSessionPage)
    assert isinstance(await client.export(session), models.SessionExport)
    assert isinstance(await client.get_memory(session), models.SessionMemory)
    assert isinstance(await client.list_tasks(session), models.ShellTaskList)
    assert isinstance(await client.get_workspace(session), models.WorkspaceView)
    assert isinstance(await client.write_file(session, "src/a.py", "x = 1\n"), models.FileWriteResult)
    assert isinstance(await client.read_file(session, "src/a.py"), models.WorkspaceFile)
