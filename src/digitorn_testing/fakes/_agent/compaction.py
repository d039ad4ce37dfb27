"""Compaction on demand (contract: rest, section 4.9; events, section 5.7)."""

from collections.abc import Iterable
from typing import Final

from digitorn_testing._generated.events import Compaction
from digitorn_testing._generated.models import CompactedSession
from digitorn_testing._generated.payloads import CompactionRange
from digitorn_testing.fakes._model.requests import ModelMessage
from digitorn_testing.fakes._store.context import estimate_messages
from digitorn_testing.fakes._store.conversation import Cut, Entry
from digitorn_testing.fakes._store.sessions import Session

from .bus import EventBus
from .rows import LogRows

_KEPT: Final = 4
"""How many of the last messages stay as they are."""

_LONGEST_LINE: Final = 80


async def compact(session: Session, bus: EventBus, rows: LogRows) -> CompactedSession:
    """Puts a summary in the place of all but the last messages that the model sees.

    Args:
        session: The session.
        bus: Where the event is published.
        rows: What the log holds of it beside the event.
    """
    conversation = session.conversation
    seen = conversation.for_model()
    if session.turn is not None:
        # The contract knows no failure for this, but a note.
        return _unchanged(len(seen), "a turn is running; compact when it has ended")
    place = conversation.place_before_last(_KEPT)
    summarized, kept = conversation.entries[:place], conversation.entries[place:]
    if 1 + len(kept) >= len(seen):
        return _unchanged(len(seen), "the conversation is too short to compact")
    # Nothing is awaited until the event takes this number.
    at_seq = session.log.last_seq + 1
    conversation.cut = Cut(place, _summary(summarized), conversation.compactions + 1, at_seq)
    left = conversation.for_model()
    payload = Compaction(
        reason="manual",
        strategy="summarize",
        tokens_before=estimate_messages(seen),
        tokens_after=estimate_messages(left),
        kept_range=_range(kept),
        compacted_range=_range(summarized),
        summary_text=conversation.cut.summary.content,
        memory_snapshot={},
        tools_snapshot={},
        setup_summary=[],
        tool_examples=[],
        tool_injection_mode="direct",
    )
    await bus.publish(session, payload)
    rows.compacted(session, payload)
    return CompactedSession(before=len(seen), after=len(left), freed=len(seen) - len(left))


def _unchanged(count: int, note: str) -> CompactedSession:
    return CompactedSession(before=count, after=count, freed=0, note=note)


def _range(entries: list[Entry]) -> CompactionRange:
    return CompactionRange(from_seq=entries[0].seq, to_seq=entries[-1].seq)


def _summary(entries: list[Entry]) -> ModelMessage:
    lines = _lines(one.message for one in entries)
    # A model expects the user to speak first.
    return ModelMessage("user", "\n".join([f"Summary of the first {len(entries)} messages:", *lines]))


def _lines(messages: Iterable[ModelMessage]) -> Iterable[str]:
    for message in messages:
        said = [" ".join(message.content.split())] if message.role != "tool" else []
        called = [f"called {call.name}" for call in message.tool_calls]
        for text in [*said, *called]:
            if text:
                yield f"- {message.role}: {text[:_LONGEST_LINE]}"
