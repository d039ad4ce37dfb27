"""Turns are followed to their end, however that is told, by a stream that talks to nobody."""

import asyncio
import gc
import weakref

import pytest

from digitorn_testing import CallbackFailed, DaemonUnreachable, StreamClosed
from digitorn_testing._concurrency.backoff import Backoff
from digitorn_testing._errors import TooLarge
from digitorn_testing._events.meaning import TurnEnding
from digitorn_testing._stream import following as module
from digitorn_testing._stream.following import Following
from digitorn_testing._stream.patience import Refused
from digitorn_testing._stream.tasks import Tasks
from support.frames import SESSION, TURN, frame, message, result, text_turn, token, tool_start, user_message
from support.stream_parts import SECONDS, stream_core

OTHER = "fp-000000000002"


class Session:
    """A stream that does nothing but follow turns."""

    def __init__(self) -> None:
        self.core = stream_core()
        self.tasks = Tasks(self.core.log.close)
        self.fills: list[int | None] = []
        self.answers: list[tuple[bool, TurnEnding | None] | Exception] = []
        self.after_restart: list[bool] = []
        self.asked: list[str] = []
        self.was_asked = asyncio.Event()
        self.ended: list[str] = []
        self.missing: list[dict[str, object]] = []
        self.quiet = 1000.0
        self.refused: Refused | None = None
        self.catching_up = asyncio.Event()
        self.catching_up.set()
        self.following = Following(self.core, self.tasks, gaps=self, ask=self._ask, ended=self.ended.append)

    def quiet_seconds(self) -> float:
        return self.quiet

    async def caught_up(self, until: float) -> Refused | None:
        await self.catching_up.wait()
        return None

    async def fill_at_last(self, until: float, since: int) -> Refused | None:
        self.fills.append(since)
        await asyncio.sleep(0)
        self.feed(*self.missing)
        return self.refused

    async def _ask(self, correlation_id: str, was_restarted: bool) -> tuple[bool, TurnEnding | None]:
        self.asked.append(correlation_id)
        self.after_restart.append(was_restarted)
        self.was_asked.set()
        await asyncio.sleep(0)
        answer = self.answers.pop(0) if self.answers else (False, None)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def feed(self, *frames: object) -> None:
        """Frames arrive."""
        for one in frames:
            self.core.log.feed(one)

    async def follow(self, turn: str = TURN) -> None:
        """Follows a turn to its end."""
        async with asyncio.timeout(SECONDS):
            await self.following.follow(turn)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> Backoff:
    """Asks soon."""
    checks = Backoff(first_pause=0.01, growth=2.0, longest_pause=0.1, jitter=0.0)
    monkeypatch.setattr(module, "CHECKS", checks)
    return checks


async def test_a_turn_that_is_here_has_ended_without_a_question() -> None:
    session = Session()
    session.feed(*text_turn("a", "b"))
    await session.follow()
    assert session.core.log.turn_ended(TURN)
    assert (session.fills, session.asked, session.ended) == ([], [], [TURN])
    assert not session.core.turns.open


async def test_its_last_event_ends_it() -> None:
    session = Session()
    *frames, last = text_turn("a")
    session.feed(*frames)
    watch = session.following.follow(TURN)
    assert session.core.turns.open == {TURN}
    session.feed(last)
    await asyncio.wait_for(watch, SECONDS)
    assert session.core.log.turn_ended(TURN)


async def test_a_missing_event_is_read_before_it_counts_as_ended() -> None:
    session = Session()
    frames = text_turn("a", "b")
    session.missing = [frames.pop(2)]
    session.feed(*frames)
    await session.follow()
    assert session.fills == [0]
    assert [event.seq for event in session.core.log.turn(TURN)] == [1, 2, 3, 4, 5, 6, 7]


async def test_a_turn_that_began_before_the_stream_is_read_from_the_start() -> None:
    session = Session()
    frames = text_turn("a")
    session.missing = frames[:2]
    session.feed(*frames[2:])
    await session.follow()
    assert session.fills == [0]


async def test_an_end_without_a_name_has_the_daemon_asked_at_once() -> None:
    session = Session()
    session.feed(user_message("hi", seq=1))
    session.answers = [(True, "cancelled")]
    watch = session.following.follow(TURN)
    session.feed(frame("queue_cleared", {"session_id": SESSION, "cancelled": 1}, seq=2, correlation_id=None))
    async with asyncio.timeout(module.CHECKS.first_pause):
        await session.was_asked.wait()
    await asyncio.wait_for(watch, SECONDS)
    assert session.core.endings.get(TURN) == "cancelled"


async def test_an_end_without_a_name_that_came_before_has_the_daemon_asked_at_once() -> None:
    session = Session()
    session.quiet = 0.0
    earlier = frame("queue_cleared", {"session_id": SESSION, "cancelled": 1}, seq=1, correlation_id=None)
    session.feed(earlier, user_message("hi", seq=2))
    watch = session.following.follow(TURN)
    await asyncio.sleep(0)
    assert session.asked == []
    watch.cancel()
    session = Session()
    session.quiet = 0.0
    session.feed(user_message("hi", seq=2), {**earlier, "seq": 3})
    session.answers = [(True, "cancelled")]
    await session.follow()
    assert session.core.endings.get(TURN) == "cancelled"


async def test_the_end_of_another_turn_asks_nobody() -> None:
    session = Session()
    session.feed(user_message("hi", seq=1))
    watch = session.following.follow(TURN)
    other = {**message("message_done", seq=2, fast_path=True), "correlation_id": OTHER}
    session.feed(
        other, *[{**one, "seq": one["seq"] + 2, "event_id": f"x-{one['seq']}"} for one in text_turn("a")]
    )
    await asyncio.wait_for(watch, SECONDS)
    assert session.asked == []


async def test_missing_numbers_alone_are_not_read() -> None:
    session = Session()
    session.feed(*[{**one, "seq": 10 * int(one["seq"])} for one in text_turn("a", "b")])
    await session.follow()
    assert (session.fills, session.asked) == ([], [])


async def test_a_tool_call_without_an_end_is_read_for() -> None:
    session = Session()
    frames = text_turn("a")
    frames[2:2] = [tool_start("Bash", call_id="c", seq=2, event_id="ev-call")]
    session.feed(*[{**one, "seq": seq} for seq, one in enumerate(frames, 1)])
    await session.follow()
    assert session.fills == [0]


async def test_a_turn_has_ended_when_what_was_missed_before_the_join_is_here() -> None:
    session = Session()
    session.catching_up.clear()
    session.feed(*text_turn("a"))
    watch = session.following.follow(TURN)
    done, _ = await asyncio.wait({watch}, timeout=0.05)
    assert not done
    session.catching_up.set()
    await asyncio.wait_for(watch, SECONDS)


async def test_a_turn_of_a_session_that_is_not_silent_is_not_asked_for(quick: Backoff) -> None:
    session = Session()
    session.quiet = 0.0
    session.feed(user_message("hi", seq=1))
    watch = session.following.follow(TURN)
    done, _ = await asyncio.wait({watch}, timeout=20 * quick.first_pause)
    assert (done, session.asked) == (set(), [])
    session.quiet = 1000.0
    session.answers.append((True, "cancelled"))
    await asyncio.wait_for(watch, SECONDS)


@pytest.mark.usefixtures("quick")
async def test_after_a_silence_the_daemon_is_asked_again_and_again() -> None:
    session = Session()
    session.feed(user_message("hi", seq=1))
    session.answers = [DaemonUnreachable("url", "refused"), (True, "timed_out")]
    await session.follow()
    assert session.asked == [TURN, TURN]
    assert session.core.endings.get(TURN) == "timed_out"


def begun(session: Session) -> None:
    """A turn that runs, on a stream that is connected."""
    session.core.link.runs_in("process-1")
    session.feed(
        user_message("hi", seq=1),
        message("message_started", seq=2, position=0, fast_path=True, source="fast"),
        token("ab", seq=3),
    )


def restart(session: Session) -> None:
    """The daemon is another process from here on."""
    assert session.core.link.runs_in("process-2")
    session.following.restarted()


async def test_a_turn_that_a_restart_cut_off_has_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KNOWN_SECONDS", 0.05)
    session = Session()
    begun(session)
    watch = session.following.follow(TURN)
    session.answers = [(False, "lost")] * 9
    restart(session)
    await asyncio.wait_for(watch, SECONDS)
    assert len(session.asked) >= 2 and all(session.after_restart)
    result = session.core.turn_result(TURN)
    assert (result.status, result.content, result.errors[-1].code) == ("failed", "ab", "daemon_restart")
    assert session.core.log.running_turn is None


async def test_a_turn_that_the_daemon_knows_a_moment_later_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KNOWN_SECONDS", 0.05)
    session = Session()
    begun(session)
    watch = session.following.follow(TURN)
    session.answers = [(False, "lost"), (False, None), (False, "lost"), (False, None), (True, "completed")]
    restart(session)
    await asyncio.wait_for(watch, SECONDS)
    assert session.core.endings.get(TURN) == "completed"


async def test_a_turn_that_had_ended_before_a_restart_keeps_its_result() -> None:
    session = Session()
    session.core.link.runs_in("process-1")
    session.feed(*text_turn("a"))
    await session.follow()
    restart(session)
    assert (session.asked, session.core.turn_result(TURN).status) == ([], "completed")


async def test_an_outcome_that_no_event_tells_is_asked_for() -> None:
    session = Session()
    session.feed(
        user_message("hi", seq=1),
        message("message_started", seq=2, position=1, fast_path=True),
        message("message_done", seq=3, fast_path=True),
    )
    session.answers = [(True, "cancelled")]
    await session.follow()
    assert session.core.endings.get(TURN) == "cancelled"


async def test_the_end_of_the_text_is_that_of_the_answer() -> None:
    session = Session()
    session.feed(
        user_message("hi", seq=1),
        message("message_started", seq=2, position=1, fast_path=True),
        token("ab", seq=3),
        result("abcd", seq=4),
        message("message_done", seq=5, fast_path=True),
    )
    await session.follow()
    found = session.core.turn_result(TURN)
    assert (found.text, found.deltas_complete, session.fills) == ("abcd", True, [])
    assert found.messages[0].deltas == ("ab", "cd")


async def test_a_policy_that_raised_fails_the_turn() -> None:
    session = Session()
    watch = session.following.follow(TURN)
    assert session.following.fail(TURN, CallbackFailed("approval policy x raised"))
    await asyncio.wait_for(watch, SECONDS)
    assert isinstance(session.core.log.turn_error(TURN), CallbackFailed)
    assert not session.following.fail(TURN, CallbackFailed("nobody waits any more"))
    assert not session.following.fail(None, CallbackFailed("nobody ever waited"))


async def test_a_turn_ends_with_its_stream() -> None:
    session = Session()
    watch = session.following.follow(TURN)
    session.core.log.close(StreamClosed("it was stopped"))
    await asyncio.wait_for(watch, SECONDS)
    assert isinstance(session.core.log.turn_error(TURN), StreamClosed)
    assert not session.core.log.turn_ended(TURN)


@pytest.mark.usefixtures("quick")
async def test_an_answer_that_is_too_large_closes_the_stream() -> None:
    session = Session()
    session.answers = [TooLarge("the log", ["too long"])]
    await session.follow()
    assert isinstance(session.core.log.closed, TooLarge)


async def test_draining_waits_for_open_turns_alone() -> None:
    session = Session()
    assert await session.following.drain(SECONDS)
    session.following.follow(TURN)
    assert not await session.following.drain(0.01)
    session.feed(*text_turn("a"))
    assert await session.following.drain(SECONDS)
    assert session.following.watch_of(TURN) is not None


async def test_the_oldest_turns_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("digitorn_testing._stream.core._MOST_TURNS", 2)
    session = Session()
    session.feed(*text_turn("a"))
    await session.follow()
    for number in range(3):
        turn = f"fp-{number}"
        watch = session.following.follow(turn)
        session.following.fail(turn, CallbackFailed("x"))
        await asyncio.wait_for(watch, SECONDS)
    assert session.following.watch_of(TURN) is None
    assert list(session.core.turns.watches) == ["fp-1", "fp-2"]


@pytest.mark.usefixtures("quick")
async def test_a_turn_that_is_waited_for_keeps_nobody_alive() -> None:
    session = Session()
    watch = session.following.follow(TURN)
    await asyncio.sleep(0)
    reference = weakref.ref(session.following)
    del session
    gc.collect()
    assert reference() is None
    # It finds nobody when it looks next, and ends.
    await asyncio.wait_for(watch, SECONDS)
