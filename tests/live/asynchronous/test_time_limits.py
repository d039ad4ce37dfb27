"""Time limits: none at all, and those that are no limits."""

import math

import pytest

from digitorn_testing import AsyncDevClient
from digitorn_testing.events import MessageDone
from digitorn_testing.fakes import FakeDaemon, FakeModel
from support.sessions import add_session


async def test_there_need_be_no_limit(daemon: FakeDaemon, model: FakeModel) -> None:
    session = add_session(daemon)
    for _ in range(5):
        model.will_stream_text(["Some text ", "in two pieces."])
    async with daemon.async_client(timeout=math.inf) as client:
        assert (await client.send(session, "1")).ok
        assert (await client.chat("my-app", "2", timeout=math.inf)).ok
        await client.wait_for_session(session, math.inf)
        turn = await client.start_turn(session, "3", timeout=math.inf)
        assert "".join([delta async for delta in turn.text_deltas()]) == (await turn.result(math.inf)).content
        stream = await client.send_live(session, "4", math.inf)
        stream.timeout = math.inf
        assert (await stream.wait_for(MessageDone)).type == "message_done"
        assert (await stream.wait_for_connection(lambda it: it.state == "joined")).state == "joined"
        again = stream.turn(await client.post_message_raw(session, "5"))
        assert (await again.wait_for(MessageDone)).correlation_id == again.correlation_id
        assert await stream.drain(math.inf)
        await stream.stop(math.inf)


@pytest.mark.parametrize("limit", [-0.1, math.nan])
async def test_what_is_no_limit_is_refused(
    daemon: FakeDaemon, client: AsyncDevClient, model: FakeModel, limit: float
) -> None:
    session = add_session(daemon)
    said = "a timeout must be 0 or more seconds, or math.inf for no limit; not"
    async with await client.open_event_stream(session) as stream:
        with pytest.raises(ValueError, match=said):
            await client.send(session, "go", timeout=limit)
        with pytest.raises(ValueError, match=said):
            await client.send_live(session, "go", limit)
        for wait in (stream.wait_for, stream.poll_for):
            with pytest.raises(ValueError, match=said):
                await wait(MessageDone, timeout=limit)
        with pytest.raises(ValueError, match=said):
            await stream.wait_for_connection(lambda _: False, timeout=limit)
        with pytest.raises(ValueError, match=said):
            stream.turn("fp-000000000000", timeout=limit)
        with pytest.raises(ValueError, match=said):
            await stream.wait_for_turn("fp-000000000000", timeout=limit)
        with pytest.raises(ValueError, match=said):
            await client.start_turn(session, "go", timeout=limit)
        with pytest.raises(ValueError, match=said):
            await client.wait_for_session(session, limit)
    assert model.requests == []
