"""The code of the published SDK description, block by block; users have it in the blocking form."""

import uuid

import pytest

from digitorn.testing import (
    AppHandle,
    AsyncDevClient,
    AsyncLiveEventStream,
    LiveEvent,
    SessionHandle,
    TurnResult,
    assertions,
)
from digitorn.testing.fakes import FakeDaemon, FakeModel
from support.fixtures import Place

EMAIL, PASSWORD = "someone@example.com", "correct horse battery"


def test_public_surface() -> None:
    for symbol in (AsyncDevClient, AppHandle, LiveEvent, AsyncLiveEventStream, SessionHandle, TurnResult):
        assert isinstance(symbol, type)
    assert callable(assertions.event_order)


def test_connecting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DIGITORN_DEV_DAEMON_URL", raising=False)
    monkeypatch.delenv("DIGITORN_DAEMON_URL", raising=False)
    client = AsyncDevClient(daemon_url=None, auto_approve=True, timeout=3600.0, token=None)
    assert client.daemon_url == "http://127.0.0.1:8000"
    monkeypatch.setenv("DIGITORN_DAEMON_URL", "http://one:1/")
    assert AsyncDevClient().daemon_url == "http://one:1"
    monkeypatch.setenv("DIGITORN_DEV_DAEMON_URL", "http://two:2")
    assert AsyncDevClient().daemon_url == "http://two:2"
    assert AsyncDevClient(daemon_url="http://three:3").daemon_url == "http://three:3"
    with pytest.raises(ValueError, match="must start with http"):
        AsyncDevClient(daemon_url="localhost:8000")


@pytest.mark.both_daemons
async def test_one_shot_chat(
    client: AsyncDevClient, model: FakeModel, capsys: pytest.CaptureFixture[str], place: Place
) -> None:
    model.will_respond_with_text("Hello yourself.")
    result = await client.chat(app_id=place.app_id, message="Hello!")
    print(result.content)
    assert capsys.readouterr().out == "Hello yourself.\n"
    assert result.status == "completed"
    assert result.error is None
    assert result.usage is not None
    assert result.duration >= 0


@pytest.mark.both_daemons
async def test_live_event_stream(
    place: Place, client: AsyncDevClient, model: FakeModel, capsys: pytest.CaptureFixture[str]
) -> None:
    model.will_stream_text(["Pong to you, ", "too."])
    session = SessionHandle(
        session_id=f"test-{uuid.uuid4().hex[:8]}",
        app_id=place.app_id,
        daemon_url=place.url,
        workspace="",
    )

    stream = await client.send_live(session, "ping", total_timeout=60.0)
    try:
        events = stream.events()
        for ev in events:
            print(ev["type"], ev.get("payload", {}))
    finally:
        await stream.stop(timeout=2.0)

    out = capsys.readouterr().out
    assert "token {'delta': 'Pong to you, '" in out
    assert "message_done {" in out


@pytest.mark.both_daemons
async def test_manual_control(client: AsyncDevClient, model: FakeModel, session: SessionHandle) -> None:
    model.will_respond_with_text("pong")
    # Step 1 - POST without waiting
    await client.post_message_raw(session, "ping")

    # Step 2 - wait for the daemon to register the session
    await client.wait_for_session(session, timeout=20.0)

    # Step 3 - open the stream without waiting (already waited)
    from digitorn.testing.events import AsyncLiveEventStream

    stream = AsyncLiveEventStream(
        daemon_url=client.daemon_url,
        token=client._get_auth_token(),
        app_id=session.app_id,
        session_id=session.session_id,
    )
    await stream.start()

    # Step 4 - wait for an arbitrary event type
    done = await stream.wait_for("message_done", timeout=45.0)
    await stream.stop()
    assert done["type"] == "message_done"
    assert assertions.contains_text(stream.events(), "pong")


@pytest.mark.both_daemons
async def test_assertions(client: AsyncDevClient, model: FakeModel, session: SessionHandle) -> None:
    model.will_call_tool("Bash", {"command": "ls"}, result={"stdout": "a"}).will_respond_with_text(
        "One file."
    )
    async with await client.send_live(session, "list the files") as stream:
        events = assertions.sort_by_seq(stream.events())

        ok, detail = assertions.event_order(
            events, ["user_message", "message_started", "tool_start", "tool_call", "message_done"]
        )
        assert ok, detail
        assert assertions.contains_text(events, "One file.")
        assert assertions.tool_called(events, "Bash", params={"command": "ls"}, success=True)
        assert assertions.no_errors(events)


@pytest.mark.both_daemons
async def test_approvals(place: Place, model: FakeModel, session: SessionHandle) -> None:
    model.will_call_tool("Bash", {"command": "rm -f a"}, requires_approval=True).will_respond_with_text(
        "Done."
    )
    app_id = session.app_id
    async with place.async_client(auto_approve=False) as client:
        accepted = await client.post_message_raw(session, "remove it")
        async with await client.open_event_stream(session) as stream:
            await stream.wait_for("approval_request", timeout=10)

            pending = await client.list_pending_approvals(app_id)
            (request_id,) = [one.request_id for one in pending]
            await client.resolve_approval(app_id, request_id, approved=True)

            await stream.wait_for_turn(accepted, timeout=10)
            assert assertions.tool_called(stream.events(), "Bash", success=True)


async def test_auth(daemon: FakeDaemon, model: FakeModel) -> None:
    async with AsyncDevClient(daemon_url=daemon.url) as anonymous:
        tokens = await anonymous.register("someone", PASSWORD, email=EMAIL)
        assert tokens.access_token
        assert (await anonymous.api.auth.get_me()).email == EMAIL
    model.will_respond_with_text("hi", times=None)
    async with await AsyncDevClient.with_user(EMAIL, PASSWORD, daemon_url=daemon.url) as client:
        assert (await client.chat("my-app", "hi")).content == "hi"
    async with await AsyncDevClient.with_user(
        "new@example.com", PASSWORD, register_if_missing=True, daemon_url=daemon.url
    ) as client:
        assert (await client.chat("my-app", "hi")).content == "hi"
    async with AsyncDevClient.with_token(daemon.token(), daemon_url=daemon.url) as client:
        assert (await client.login(EMAIL, PASSWORD)).access_token == client._get_auth_token()


def test_scenarios_import_the_handles_from_models() -> None:
    from digitorn.testing.models import SessionHandle as FromModels

    assert FromModels is SessionHandle
