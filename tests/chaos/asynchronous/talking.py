"""One session's part of a chaos run: turn after turn, read in every way."""

import random
from collections.abc import Callable

from chaos.tally import Talk
from digitorn_testing import AsyncDevClient, AsyncLiveEventStream, EventTimeout, LiveEvent, UnconfirmedMessage
from digitorn_testing.events import Result


async def talk(
    client: AsyncDevClient,
    stream: AsyncLiveEventStream,
    told: Talk,
    chance: random.Random,
    *,
    turns: int,
    text: str,
    timeout: float,
) -> None:
    """Has some turns, and counts what is not as it should be.

    Args:
        client: Sends the messages.
        stream: The session's events.
        told: What happened so far.
        chance: Chooses how a turn is read.
        turns: How many.
        text: What the model says in each.
        timeout: Seconds for one wait; one that takes longer counts as hung.
    """
    for _ in range(turns):
        try:
            accepted = await client.post_message_raw(stream.session, "go")
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
                case 1:
                    await stream.wait_for(Result, where=_of(turn), timeout=timeout)
                    await stream.wait_for_turn(accepted, timeout=timeout)
                case _:
                    await stream.wait_for_turn(accepted, timeout=timeout)
        except EventTimeout:
            told.hung += 1
            continue
        told.wrong += stream.turn_result(turn).text != text


def _of(turn: str | None) -> Callable[[LiveEvent[Result]], bool]:
    return lambda event: event.correlation_id == turn
