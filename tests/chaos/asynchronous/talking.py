"""One session's part of a chaos run: turn after turn, read in every way."""

import random
import time
from collections.abc import Callable

from chaos.tally import Talk
from digitorn_testing import (
    AsyncDevClient,
    AsyncLiveEventStream,
    DigitornError,
    EventTimeout,
    LiveEvent,
    TurnResult,
    UnconfirmedMessage,
)
from digitorn_testing.events import Result


async def talk(
    client: AsyncDevClient,
    stream: AsyncLiveEventStream,
    told: Talk,
    chance: random.Random,
    *,
    turns: int,
    is_right: Callable[[TurnResult], bool],
    timeout: float,
    until: float = float("inf"),
    has_result: bool = True,
) -> None:
    """Has some turns, and counts what is not as it should be.

    Args:
        client: Sends the messages.
        stream: The session's events.
        told: What happened so far.
        chance: Chooses how a turn is read.
        turns: How many.
        is_right: Whether a turn ended as it may.
        timeout: Seconds for one wait; one that takes longer counts as hung.
        until: Begins no further turn after this moment of `time.monotonic`.
        has_result: Whether every turn has an event with its result.
    """
    for _ in range(turns):
        if time.monotonic() > until:
            return
        try:
            # Each message is another one, so that the daemon's log tells how often it was executed.
            accepted = await client.post_message_raw(
                stream.session, f"message {told.sent + told.unconfirmed}"
            )
        except UnconfirmedMessage:
            told.unconfirmed += 1
            continue
        told.sent += 1
        turn = accepted.correlation_id
        try:
            match chance.randrange(3):
                case 0:
                    given = [event async for event in stream.turn_events(accepted, timeout=timeout)]
                    told.read(given, (await stream.wait_for_turn(accepted, timeout=timeout)).events)
                case 1 if has_result:
                    await stream.wait_for(Result, where=_of(turn), timeout=timeout)
                    await stream.wait_for_turn(accepted, timeout=timeout)
                case _:
                    await stream.wait_for_turn(accepted, timeout=timeout)
        except EventTimeout as error:
            told.hung.append(f"turn {turn} of session {stream.session_id}: {error}")
            continue
        except DigitornError as error:
            told.wrong.append(f"turn {turn} of session {stream.session_id}: {error}")
            continue
        result = stream.turn_result(turn)
        if not is_right(result):
            outcome = f"{result.status}, {result.error!r}, {result.text!r}"
            told.wrong.append(f"turn {turn} of session {stream.session_id}: {outcome}")


def _of(turn: str | None) -> Callable[[LiveEvent[Result]], bool]:
    return lambda event: event.correlation_id == turn
