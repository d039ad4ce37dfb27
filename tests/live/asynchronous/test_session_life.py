"""Everything a person does with a session, from its creation to its end."""

import pytest

from digitorn_testing import (
    ApiError,
    AsyncDevClient,
    EventTimeout,
    InvalidRequest,
    JoinRefused,
    NotFound,
    SessionHandle,
    StreamClosed,
)
from digitorn_testing.events import Compaction, Token
from digitorn_testing.fakes import FakeDaemon, FakeModel
from support.faces import async_eventually
from support.fixtures import Place
from support.sessions import add_session


def said(model: FakeModel) -> list[tuple[str, str]]:
    """What the model was shown last."""
    assert model.last_request is not None
    return [(one.role, one.content) for one in model.last_request.messages]


async def test_create_list_search_get(client: AsyncDevClient, model: FakeModel, place: Place) -> None:
    model.will_respond_with_text("About cats.").will_respond_with_text("About whales.")
    whales = await client.new_session(place.app_id, workspace="/srv/whales")
    cats = await client.new_session(place.app_id, message="Tell me about cats")
    await (await client.turn(cats, cats.first_turn)).result(timeout=10)
    await client.send(whales, "Tell me about whales", timeout=10)
    page = await client.list_sessions(place.app_id)
    assert [one.session_id for one in page.sessions] == [whales.session_id, cats.session_id]
    assert (page.total, page.limit, page.offset) == (2, 50, 0)
    assert len((await client.list_sessions(place.app_id, limit=1, offset=1)).sessions) == 1
    hits = (await client.search(place.app_id, "whales")).sessions
    assert [hit.session_id for hit in hits] == [whales.session_id]
    detail = await client.get_session(whales)
    assert (detail.title, detail.message_count, detail.workspace) == (
        "Tell me about whales",
        3,
        "/srv/whales",
    )
    assert not detail.is_active


@pytest.mark.both_daemons
async def test_a_session_is_taken_up_again_by_this_client_and_by_a_new_one(
    place: Place, client: AsyncDevClient, model: FakeModel
) -> None:
    for text in ("one", "two", "three"):
        model.will_respond_with_text(text)
    session = await client.new_session(place.app_id, workspace="/srv")

    async def saved(messages: int) -> None:
        """The released daemon saves a turn shortly after its end, and may lose turns that follow too soon."""
        await async_eventually(
            lambda: client.get_history(session), lambda history: len(history.messages) == messages
        )

    await client.send(session, "1", timeout=10)
    await saved(2)
    again = await client.open_session(place.app_id, session.session_id)
    assert again == session
    await client.send(again, "2", timeout=10)
    await saved(4)
    async with place.async_client() as other:
        taken = await other.open_session(place.app_id, session.session_id)
        assert (await other.send(taken, "3", timeout=10)).content == "three"
        await saved(6)
        history = await other.get_history(taken)
    expected = [("user", "1"), ("assistant", "one"), ("user", "2"), ("assistant", "two"), ("user", "3")]
    assert [(one.role, one.content) for one in history.messages] == [*expected, ("assistant", "three")]
    assert said(model) == expected


async def test_an_interrupted_turn_is_resumed(
    place: Place, client: AsyncDevClient, model: FakeModel, session: SessionHandle
) -> None:
    model.will_stream_text(["x"] * 500, delay=0.01).will_respond_with_text("resumed")
    turn = await client.start_turn(session, "go")
    await turn.wait_for(Token, timeout=10)
    await turn.abort()
    assert (await turn.result(timeout=10)).status == "cancelled"
    assert (await client.get_session(session)).interrupted
    async with place.async_client() as other:
        assert (await other.resume(session)).resumed
        async with await other.open_event_stream(session) as stream:
            await stream.wait_for("result", timeout=10)
        outcome = await other.resume(session)
        assert (outcome.resumed, outcome.reason) == (False, "nothing to resume")
        history = await other.get_history(session)
    assert [(one.role, one.content) for one in history.messages][-1] == ("assistant", "resumed")


async def test_a_fork_has_the_history_and_goes_its_own_way(
    client: AsyncDevClient, model: FakeModel, session: SessionHandle
) -> None:
    model.will_respond_with_text("one")
    await client.send(session, "1", timeout=10)
    fork = await client.fork(session)
    assert fork != session
    model.will_respond_with_text("in the fork")
    assert (await client.send(fork, "2", timeout=10)).content == "in the fork"
    assert said(model) == [("user", "1"), ("assistant", "one"), ("user", "2")]
    model.will_respond_with_text("in the source")
    assert (await client.send(session, "3", timeout=10)).content == "in the source"
    assert said(model) == [("user", "1"), ("assistant", "one"), ("user", "3")]
    assert (await client.list_sessions(session.app_id)).total == 2


async def test_compacting_shortens_what_the_model_sees(
    client: AsyncDevClient, model: FakeModel, session: SessionHandle
) -> None:
    model.will_respond_with_text("yes", times=None)
    for number in range(6):
        await client.send(session, f"message {number}", timeout=10)
    async with await client.open_event_stream(session) as stream:
        compacted = await client.compact(session)
        event = await stream.wait_for(Compaction, timeout=10)
        assert event.payload.reason == "manual"
    assert compacted.freed == compacted.before - compacted.after > 0
    await client.send(session, "and now", timeout=10)
    assert len(said(model)) == compacted.after + 1
    assert len((await client.get_history(session)).messages) == 14


async def test_undo_takes_back_a_change_of_a_file(
    daemon: FakeDaemon, client: AsyncDevClient, model: FakeModel, session: SessionHandle
) -> None:
    session = add_session(daemon)
    await client.write_file(session, "a.txt", "one")
    await client.write_file(session, "a.txt", "two")
    undone = await client.undo(session)
    assert (undone.path, undone.restored_bytes, undone.remaining) == ("a.txt", 3, 1)
    assert (await client.read_file(session, "a.txt")).payload.content == "one"
    await client.undo(session)
    with pytest.raises(NotFound):
        await client.read_file(session, "a.txt")
    with pytest.raises(ApiError) as caught:
        await client.undo(session)
    assert caught.value.status == 200


@pytest.mark.both_daemons
async def test_export_has_the_conversation(
    client: AsyncDevClient, model: FakeModel, session: SessionHandle
) -> None:
    model.will_call_tool("Bash", {"command": "ls"}, result={"stdout": "a"}).will_respond_with_text(
        "There is a."
    )
    await client.send(session, "What is there?", timeout=10)
    # The released daemon saves a turn shortly after its end.
    document = await async_eventually(lambda: client.export(session), lambda saved: saved.turns > 0)
    assert (document.format, document.turns) == ("markdown", 1)
    for text in ("What is there?", "Bash", "There is a."):
        assert text in document.content
    with pytest.raises(ApiError, match="pdf"):
        await client.export(session, format="pdf")


@pytest.mark.both_daemons
async def test_many_sessions_at_once(client: AsyncDevClient, model: FakeModel, place: Place) -> None:
    model.will_stream_text(["a", "b"], delay=0.01, times=None)
    sessions = [await client.new_session(place.app_id) for _ in range(12)]
    turns = [await client.start_turn(one, "go") for one in sessions]
    assert [(await turn.result(timeout=20)).content for turn in turns] == ["ab"] * 12


async def test_a_deleted_session_is_gone_for_every_use(
    client: AsyncDevClient, model: FakeModel, session: SessionHandle
) -> None:
    model.will_respond_with_text("hi").will_stream_text(["x"] * 500, delay=0.01)
    await client.send(session, "1", timeout=10)
    running = await client.start_turn(session, "2")
    assert (await client.delete(session)).deleted
    assert (await running.result(timeout=10)).status == "cancelled"
    for use in (
        client.get_session,
        client.get_history,
        client.get_queue,
        client.clear_queue,
        client.get_memory,
        client.list_tasks,
        client.export,
        client.fork,
        client.compact,
        client.undo,
        client.resume,
        client.abort,
        client.delete,
        client.open_event_stream,
        client.get_workspace,
    ):
        with pytest.raises(NotFound):
            await use(session)
    with pytest.raises(NotFound):
        await client.open_session(session.app_id, session.session_id)
    with pytest.raises(NotFound):
        await client.cancel_queued(session, "row")
    for send in (client.send, client.start_turn, client.send_live, client.post_message_raw):
        with pytest.raises(NotFound):
            await send(session, "3")
    assert (await client.list_sessions(session.app_id)).total == 0


async def test_what_the_daemon_keeps_of_sessions_is_counted(
    daemon: FakeDaemon, client: AsyncDevClient, model: FakeModel
) -> None:
    model.will_respond_with_text("hi")
    kept = daemon.sessions
    one, two = [add_session(daemon) for _ in range(2)]
    assert (len(kept), kept.add_count) == (2, 2)
    await client.send(one, "hello", timeout=10)
    stored = kept.get(one.session_id)
    assert stored is not None
    assert [message.content for message in stored.conversation.messages] == ["hello", "hi"]
    await client.delete(two)
    assert (two.session_id in kept, kept.remove_count, len(kept)) == (False, 1, 1)
    kept.reset_counts()
    with pytest.raises(NotFound):
        await client.open_session("my-app", two.session_id)
    assert (kept.get_count, kept.miss_count, kept.add_count) == (1, 1, 0)


@pytest.mark.both_daemons
async def test_a_session_that_never_was(client: AsyncDevClient, session: SessionHandle) -> None:
    for use in (
        client.get_session,
        client.get_history,
        client.fork,
        client.resume,
        client.abort,
        client.delete,
    ):
        with pytest.raises(NotFound):
            await use(session)
    with pytest.raises(NotFound):
        await client.open_session(session.app_id, "nobody")
    with pytest.raises(JoinRefused):
        await client.open_event_stream(session)
    with pytest.raises(EventTimeout, match="is created by its first message"):
        await client.wait_for_session(session, timeout=0.5)
    with pytest.raises(NotFound):
        await client.new_session("no-app", message="hi")
    with pytest.raises(InvalidRequest):
        await client.open_session(session.app_id, "a..b")
    with pytest.raises(ValueError, match="cannot be a part of a path"):
        await client.open_session(session.app_id, "..")


async def test_a_stream_starts_once(daemon: FakeDaemon, client: AsyncDevClient) -> None:
    stream = await client.open_event_stream(add_session(daemon))
    with pytest.raises(StreamClosed, match="was started before"):
        await stream.start()
    await stream.stop()
    with pytest.raises(StreamClosed, match="was started before"):
        await stream.start()
