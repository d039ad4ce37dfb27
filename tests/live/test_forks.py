"""A client in a forked child, which has the parent's memory and none of its threads."""

import asyncio
import os
import signal
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from digitorn_testing import RecordedLog, Recording, SessionHandle, StreamClosed
from digitorn_testing._concurrency.background_loop import BACKGROUND
from digitorn_testing.events import MessageDone, ToolCall
from digitorn_testing.fakes import FakeDaemon, FakeModel

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")

_CHILD_SECONDS = 20


@pytest.fixture
def daemon(model: FakeModel) -> Iterator[FakeDaemon]:
    """A daemon that a child can reach."""
    with FakeDaemon() as running:
        running.add_app("my-app", model=model)
        yield running


def in_child(work: Callable[[], str]) -> str:
    """What some work gives in a forked child; raises what it raised there."""
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        # Later Pythons warn of threads; that it works all the same is what is tested.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        # A child that hangs is killed by this.
        signal.alarm(_CHILD_SECONDS)
        said, status = "", 1
        try:
            said, status = work(), 0
        except BaseException:  # noqa: BLE001 - told to the parent
            said = traceback.format_exc()
        finally:
            os.write(writing, said.encode()[:60_000])
            os._exit(status)
    os.close(writing)
    with open(reading, encoding="utf-8") as pipe:
        said = pipe.read()
    _, status = os.waitpid(child, 0)
    assert status == 0, f"the child ended with {status}: {said}"
    return said


def test_a_client_works_on_both_sides_of_a_fork(
    daemon: FakeDaemon, model: FakeModel, session: SessionHandle, tmp_path: Path
) -> None:
    model.will_stream_text(["hello"], times=None)
    with daemon.client() as client, client.record(tmp_path / "r.jsonl"):
        assert client.send(session, "one", timeout=10).content == "hello"
        stream = client.open_event_stream(session)
        heard: list[str] = []

        @stream.on(MessageDone)
        def hear(event: object) -> None:
            heard.append("done")

        def work() -> str:
            # The connection of the turns' stream is the parent's, and another one is made.
            said = client.send(session, "two", timeout=10).content
            other = client.new_session("my-app")
            with client.send_live(other, "three", total_timeout=10) as own:
                said += own.turn_result().content
            with pytest.raises(StreamClosed, match="belongs to the process that opened it"):
                stream.wait_for(ToolCall, timeout=5)
            with pytest.raises(StreamClosed, match="belongs to the process that opened it"):
                stream.fill_gaps()
            stream.stop()
            client.close()
            assert not BACKGROUND.is_running
            return said

        assert in_child(work) == "hellohello"
        # The parent's go on, over the connections that they had.
        accepted = client.post_message_raw(session, "four")
        assert stream.wait_for_turn(accepted, timeout=10).content == "hello"
        assert client.send(session, "five", timeout=10).content == "hello"
        stream.stop()
        assert heard.count("done") == 3
    # The recording is the parent's too.
    recording = Recording.load(tmp_path / "r.jsonl", damaged="raise")
    assert recording.is_complete
    assert [one.session_id for one in recording.sessions] == [session.session_id]
    assert len(RecordedLog.load(tmp_path / "r.jsonl").events_of(MessageDone)) == 4


def test_a_fork_while_other_threads_are_busy(
    daemon: FakeDaemon, model: FakeModel, session: SessionHandle
) -> None:
    model.will_stream_text(["x"] * 10, times=None)
    with daemon.client() as client:
        # What is imported late must be there: no child can end the import of a thread that it lacks.
        client.send(session, "go", timeout=10)
        ending, failed = threading.Event(), list[BaseException]()

        def chat() -> None:
            own = client.new_session("my-app")
            try:
                while not ending.is_set():
                    client.send(own, "go", timeout=10)
            except BaseException as error:  # noqa: BLE001 - told below
                failed.append(error)

        threads = [threading.Thread(target=chat) for _ in range(2)]
        for thread in threads:
            thread.start()
        try:
            # Locks may be held when it forks, by threads that the child has not.
            for _ in range(2):
                said = in_child(lambda: client.send(client.new_session("my-app"), "go", timeout=10).content)
                assert said == "x" * 10
        finally:
            ending.set()
            for thread in threads:
                thread.join()
        assert failed == []


def test_an_asynchronous_client_works_in_a_child(
    daemon: FakeDaemon, model: FakeModel, session: SessionHandle
) -> None:
    model.will_stream_text(["hello"], times=None)

    async def parent() -> None:
        client = daemon.async_client()
        assert (await client.send(session, "one", timeout=10)).content == "hello"
        stream = await client.open_event_stream(session)

        def work() -> str:
            async def child() -> str:
                with pytest.raises(StreamClosed, match="belongs to the process that opened it"):
                    await stream.wait_for(ToolCall, timeout=5)
                await stream.stop()
                said = (await client.send(session, "two", timeout=10)).content
                await client.aclose()
                return said

            # The loop that runs is the parent's.
            asyncio.events._set_running_loop(None)
            return asyncio.run(child())

        assert await asyncio.to_thread(in_child, work) == "hello"
        accepted = await client.post_message_raw(session, "three")
        assert (await stream.wait_for_turn(accepted, timeout=10)).content == "hello"
        await stream.stop()
        await client.aclose()

    asyncio.run(parent())


def test_an_embedded_daemon_is_the_parents(daemon: FakeDaemon, model: FakeModel) -> None:
    model.will_respond_with_text("hello", times=None)

    def work() -> str:
        daemon.stop()
        return "stopped"

    assert in_child(work) == "stopped"
    with daemon.client() as client:
        assert client.chat("my-app", "hi").content == "hello"
