"""Which answer of a script is whose: each turn has its own, whether or not it comes to ask the model."""

import asyncio

from digitorn_testing import SessionHandle
from digitorn_testing.fakes import FakeDaemon, FakeModel, ModelRequest
from support.recorder import APP, SECONDS, Talk, talking


async def aborted(talk: Talk) -> None:
    """Sends a message whose turn is cut off before it asks the model."""
    (sent, _) = await asyncio.gather(talk.send("What is 1+1?"), abort_at_once(talk))
    await talk.end(sent["correlation_id"])


async def abort_at_once(talk: Talk) -> None:
    """Cuts off the turn as soon as there is one, in the same round of the daemon's loop."""
    state = talk.daemon._running()

    async def abort() -> None:
        while True:
            session = state.sessions.repository.get(talk.session_id)
            if session is not None and session.turn is not None:
                state.dispatcher.cut_off(session, purge_queue=False)
                return
            await asyncio.sleep(0)

    await asyncio.wrap_future(talk.daemon._running_thread().submit(abort()))


async def test_a_turn_that_is_cut_off_before_it_asks_keeps_its_answer() -> None:
    model = FakeModel().will_respond_with_text("2").will_respond_with_text("4")
    async with talking(model) as talk:
        await aborted(talk)
        assert model.request_count == 0
        await talk.run("What is 2+2?")
        assert talk.recorder.of("result")[-1]["payload"]["content"] == "4"
    model.assert_exhausted()


async def test_so_does_one_that_a_rule_would_have_answered() -> None:
    model = FakeModel().will_respond_with_text("queue")
    model.when(contains="1+1", times=1).will_respond_with_text("2")
    model.when(contains="+").will_respond_with_text("sum")
    async with talking(model) as talk:
        await aborted(talk)
        await talk.run("What is 1+1?")
        assert talk.recorder.of("result")[-1]["payload"]["content"] == "sum"
        await talk.run("Hello?")
        assert talk.recorder.of("result")[-1]["payload"]["content"] == "queue"


def test_a_turn_that_fails_before_it_asks_keeps_its_answer_too(daemon: FakeDaemon, model: FakeModel) -> None:
    model.will_respond_with_text("first").will_respond_with_text("second")
    with daemon.client() as client, daemon.faults.switch_on("wrong_event_loop", times=1):
        session = client.new_session(APP)
        assert client.send(session, "one", timeout=SECONDS).status == "failed"
        assert client.send(session, "two", timeout=SECONDS).content == "second"


def test_a_message_that_leaves_the_queue_takes_no_answer(daemon: FakeDaemon, model: FakeModel) -> None:
    model.will_stream_forever().will_respond_with_text("second").will_respond_with_text("fourth")
    with daemon.client() as client:
        session = client.new_session(APP)
        first = client.start_turn(session, "first", timeout=SECONDS)
        model.wait_for_requests(1, timeout=SECONDS)
        second = client.start_turn(session, "second", timeout=SECONDS)
        third = client.post_message_raw(session, "third")
        (entry,) = (one for one in client.get_queue(session).entries if one.message == "third")
        assert third.status == "queued"
        assert client.api.queue.cancel_queued_message(APP, session.session_id, entry.id).cancelled
        client.abort(session)
        assert first.result().status == "cancelled"
        assert second.result().content == "second"
        assert client.send(session, "fourth", timeout=SECONDS).content == "fourth"


def test_sessions_of_one_model_have_answers_in_the_order_of_their_requests(
    daemon: FakeDaemon, model: FakeModel
) -> None:
    def told(request: ModelRequest) -> str:
        return f"to {request.session_id}"

    model.will_answer(told, times=None)
    with daemon.client() as client:
        sessions: list[SessionHandle] = [client.new_session(APP) for _ in range(3)]
        turns = [client.start_turn(one, "hi", timeout=SECONDS) for one in sessions]
        assert [one.result().content for one in turns] == [f"to {one.session_id}" for one in sessions]
