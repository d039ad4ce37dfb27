"""What a client and the embedded daemon remember of the calls between them."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from digitorn_testing import (
    ApiError,
    AsyncDevClient,
    AsyncLiveEventStream,
    DaemonUnreachable,
    Exchange,
    Exchanges,
    Forbidden,
    InvalidRequest,
    NotFound,
    RecordingApprovals,
    ServerError,
    SessionHandle,
    Unauthorized,
)
from digitorn_testing.events import MessageDone
from digitorn_testing.fakes import FakeDaemon, FakeModel
from support.fixtures import Place
from support.servers import hanging, refusing
from support.sessions import add_session

PASSWORD = "correct horse battery"


def operations(exchanges: Exchanges) -> list[str]:
    """The ids of what was called, in order."""
    return [one.operation for one in exchanges]


def everything(exchanges: Exchanges) -> str:
    """All that is kept, as text."""
    return "\n".join([repr(one) + str(one) + one.to_json() for one in exchanges] + [repr(exchanges)])


@pytest.mark.both_daemons
async def test_a_call_and_its_answer(client: AsyncDevClient, session: SessionHandle) -> None:
    before = datetime.now(UTC)
    page = await client.search(session.app_id, "cats", limit=3)
    (one,) = client.exchanges
    assert (one.operation, one.method, one.status) == ("search_sessions", "GET", 200)
    assert one.path == f"/api/apps/{session.app_id}/sessions/search"
    assert dict(one.query)["q"] == "cats"
    assert (one.request, one.request_size) == (None, 0)
    assert isinstance(one.response, dict)
    assert one.response["data"] == page.to_wire()
    assert one.response_size > 0
    assert (one.error, one.retry, one.correlation_id) == ("", 0, None)
    assert before - timedelta(seconds=1) < one.started <= datetime.now(UTC)
    assert 0 < one.duration < 10
    written = json.loads(one.to_json())
    assert (written["operation"], written["response"]) == ("search_sessions", one.response)
    assert "\n" not in one.to_json()


@pytest.mark.both_daemons
async def test_a_message_names_its_turn(
    client: AsyncDevClient, model: FakeModel, session: SessionHandle
) -> None:
    model.will_respond_with_text("one").will_respond_with_text("two")
    accepted = await client.post_message_raw(session, "hi")
    (sent,) = client.exchanges.of("send_message")
    assert sent.correlation_id == accepted.correlation_id is not None
    assert isinstance(sent.request, dict)
    assert sent.request["message"] == "hi"
    first = await client.new_session(session.app_id, message="hello")
    (created,) = client.exchanges.of("create_session")
    assert created.correlation_id == first.first_turn is not None


@pytest.mark.both_daemons
async def test_an_error_is_about_the_exchange_that_is_kept(
    client: AsyncDevClient, session: SessionHandle
) -> None:
    with pytest.raises(NotFound) as caught:
        await client.get_session(session)
    assert caught.value.exchange is client.exchanges[-1]
    assert caught.value.exchange.response is not None
    assert str(caught.value).startswith(f"{caught.value.reason}: {caught.value.exchange}. ")


async def test_calls_that_stay_without_an_answer() -> None:
    with refusing() as url:
        async with AsyncDevClient(daemon_url=url, token="x", retries=None) as client:
            with pytest.raises(DaemonUnreachable):
                await client.list_sessions("my-app")
            (one,) = client.exchanges
            assert (one.status, one.response, one.response_size) == (None, None, 0)
            assert one.error
            assert str(one).endswith(f"got no answer: {one.error}")
    with hanging() as url:
        async with AsyncDevClient(daemon_url=url, token="x", timeout=0.1) as client:
            with pytest.raises(DaemonUnreachable):
                await client.list_sessions("my-app")
            assert client.exchanges[-1].status is None
            assert client.exchanges[-1].duration >= 0.1


@pytest.mark.both_daemons
async def test_the_last_are_kept_and_the_others_counted(place: Place) -> None:
    async with place.async_client(keep_exchanges=2) as client:
        for limit in (1, 2, 3):
            await client.list_sessions(place.app_id, limit=limit)
        assert [dict(one.query)["limit"] for one in client.exchanges] == ["2", "3"]
        assert (len(client.exchanges), client.exchanges.dropped, client.exchanges.keep) == (2, 1, 2)
        assert [dict(one.query)["limit"] for one in client.exchanges[-1:]] == ["3"]
        client.exchanges.clear()
        assert (list(client.exchanges), client.exchanges.dropped) == ([], 0)
    async with place.async_client(keep_exchanges=0) as client:
        with pytest.raises(NotFound) as caught:
            await client.list_sessions("nope")
        assert (list(client.exchanges), client.exchanges.dropped) == ([], 1)
        # The error says as much as ever.
        assert str(caught.value.exchange) == "GET /api/apps/nope/sessions (list_sessions) answered 404"
        assert caught.value.exchange.response is None
    with pytest.raises(ValueError, match="0 or more"):
        AsyncDevClient(keep_exchanges=-1)
    async with AsyncDevClient.with_token("x" * 9, daemon_url=place.url, keep_exchanges=7) as client:
        assert client.exchanges.keep == 7


async def test_of_a_large_body_the_size_is_kept(daemon: FakeDaemon, client: AsyncDevClient) -> None:
    session = add_session(daemon)
    await client.write_file(session, "small.txt", "a" * 100)
    await client.write_file(session, "large.txt", "a" * 20_000)
    await client.read_file(session, "large.txt")
    small, large = client.exchanges.of("write_file")
    assert isinstance(small.request, dict)
    assert small.request["content"] == "a" * 100
    assert large.request is None
    assert large.request_size > 20_000
    (read,) = client.exchanges.of("get_file")
    assert read.response is None
    assert read.response_size > 20_000


@pytest.mark.both_daemons
async def test_a_form_with_a_file(client: AsyncDevClient) -> None:
    with pytest.raises(ApiError):
        await client.deploy_text("no: app", name="broken.yaml", secrets={"KEY": "sk-abcdefgh"})
    (one,) = client.exchanges
    assert isinstance(one.request, dict)
    assert one.request["file"] == "broken.yaml (7 bytes)"
    assert one.request["secrets"] == "***"
    assert "sk-abcdefgh" not in everything(client.exchanges)


@pytest.mark.both_daemons
async def test_the_calls_of_a_stream_are_on_the_clients_list(
    place: Place, client: AsyncDevClient, model: FakeModel, session: SessionHandle
) -> None:
    model.will_call_tool("Bash", {"command": "ls"}, result={}, requires_approval=True).will_stream_text(
        ["done"]
    )
    asked = RecordingApprovals()
    async with await client.send_live(session, "go", 10, approvals=asked) as stream:
        assert stream.events_of(MessageDone)
        before = len(client.exchanges)
        await stream.fill_gaps(since=0)
        assert operations(client.exchanges)[before:] == ["list_session_events", "get_session_state"]
        assert stream.exchanges is client.exchanges
    assert len(client.exchanges.of("resolve_approval")) == 1
    assert asked.request_count == 1
    by_hand = AsyncLiveEventStream(
        daemon_url=place.url, token=place.token, app_id=session.app_id, session_id=session.session_id
    )
    async with by_hand:
        await by_hand.fill_gaps(since=0)
    assert set(operations(by_hand.exchanges)) == {"list_session_events", "get_session_state"}


async def test_a_call_that_is_sent_again_with_a_new_token(daemon: FakeDaemon) -> None:
    async with AsyncDevClient(daemon_url=daemon.url) as client:
        await client.register("somebody", PASSWORD)
        expired = daemon.token("somebody", expires_in=-10)
        client._credentials.access_token = expired
        await client.list_sessions("my-app")
        found = [(one.operation, one.status, one.retry) for one in client.exchanges]
        assert found[1:] == [
            ("list_sessions", 401, 0),
            ("refresh_token", 200, 0),
            ("list_sessions", 200, 1),
        ]
        assert expired not in everything(client.exchanges)


async def test_no_secret_is_kept_anywhere(daemon: FakeDaemon) -> None:
    secrets = [PASSWORD, "another password", "sk-live-0123456789", "key-in-a-map", "key-in-a-field"]
    daemon.add_user("known@example.com", PASSWORD)
    async with AsyncDevClient(daemon_url=daemon.url) as client:
        tokens = await client.register("somebody", PASSWORD)
        secrets += [tokens.access_token, tokens.refresh_token or ""]
        with pytest.raises(Unauthorized):
            await client.login("known@example.com", "another password")
        # Where a secret turns up again in what goes under another name.
        with pytest.raises(ApiError):
            await client.api.apps.get_app(f"{PASSWORD}.{tokens.access_token}")
        await client.search("my-app", f"{PASSWORD} {tokens.access_token}")
        with pytest.raises((ApiError, InvalidRequest)):
            await client.deploy_text(f"key: {PASSWORD}", secrets={"KEY": "key-in-a-map"})
        with pytest.raises(Forbidden):
            await client.set_secret("my-app", "KEY", "sk-live-0123456789")
        await client.set_credential("_global", "openai", {"anything": "key-in-a-field"})
        await client.search("my-app", "sk-live-0123456789")
        await client.logout()
        kept = everything(client.exchanges)
        assert len(client.exchanges) == 9
        server_side = everything(daemon.exchanges)
        assert operations(daemon.exchanges) == operations(client.exchanges)
    # A token that the daemon has not seen in any answer of its own.
    secrets.append(token := daemon.token())
    async with daemon.async_client(token=token) as client:
        await client.search("my-app", token)
        kept += everything(client.exchanges)
    server_side += everything(daemon.exchanges)
    for secret in secrets:
        assert len(secret) > 8
        for text in (kept, server_side):
            assert secret not in text
            assert secret.replace(" ", "%20") not in text
    # And yet it is told who asked for what.
    assert kept.count("somebody") >= 1
    assert "KEY" in kept
    assert "bearer" in kept


async def test_the_daemon_remembers_what_reached_it(
    daemon: FakeDaemon, client: AsyncDevClient, model: FakeModel, session: SessionHandle
) -> None:
    model.will_respond_with_text("hello")
    result = await client.send(session, "hi", timeout=10)
    (sent,) = daemon.exchanges.of("send_message")
    ours: Exchange = client.exchanges.of("send_message")[0]
    assert (sent.method, sent.path, sent.status) == (ours.method, ours.path, ours.status)
    assert (sent.request, sent.response) == (ours.request, ours.response)
    assert (sent.request_size, sent.response_size) == (ours.request_size, ours.response_size)
    assert sent.correlation_id == result.correlation_id
    assert 0 < sent.duration <= ours.duration
    # An operation without behaviour is known too.
    with pytest.raises(ServerError, match="no behaviour for get_app_diagnostics"):
        await client.api.apps.get_app_diagnostics("my-app")
    assert [one.status for one in daemon.exchanges.of("get_app_diagnostics")] == [501]
    with pytest.raises(NotFound):
        await client.list_sessions("nope")
    assert daemon.exchanges.of("list_sessions")[-1].status == 404


async def test_the_daemon_keeps_as_many_as_it_is_told() -> None:
    with FakeDaemon(keep_exchanges=1) as daemon:
        async with daemon.async_client() as client:
            await client.api.health.get_liveness()
            await client.api.health.get_liveness()
    # They can be looked at when it has stopped.
    assert (len(daemon.exchanges), daemon.exchanges.dropped) == (1, 1)
    with FakeDaemon(keep_exchanges=0) as daemon:
        async with daemon.async_client() as client:
            await client.api.health.get_liveness()
        assert list(daemon.exchanges) == []
    with daemon:
        assert daemon.exchanges.dropped == 0
