"""The conversation of a session: all that was said, and the part of it that the model sees."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final

from digitorn_testing.fakes._model.requests import ModelMessage

CUT_OFF: Final = "The call was cut off."
"""What the model is told of a call whose turn ended before the tool did."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One message of a conversation.

    Attributes:
        message: The message.
        seq: The session's number when it was said.
        at: When it was said, in seconds since the Unix epoch.
        thinking: Reasoning that led to it.
    """

    message: ModelMessage
    seq: int
    thinking: str | None = None
    at: float = field(default_factory=time.time)


@dataclass(frozen=True, slots=True)
class Cut:
    """How far a conversation is compacted.

    Attributes:
        place: Place of the first message that the model still sees.
        summary: What it sees instead of those before.
        count: How often the conversation was compacted.
        at_seq: Number of the event that told of it; None if that is in another session's log.
    """

    place: int
    summary: ModelMessage
    count: int
    at_seq: int | None


@dataclass(slots=True, eq=False)
class Conversation:
    """What was said in a session.

    Compacting takes nothing out of it: it only moves the place from which on the model sees it.

    Attributes:
        entries: The messages, oldest first.
        cut: How far it is compacted; None if it never was.
    """

    entries: list[Entry] = field(default_factory=list[Entry])
    cut: Cut | None = None

    @property
    def messages(self) -> list[ModelMessage]:
        """Every message."""
        return [one.message for one in self.entries]

    @property
    def shown(self) -> list[ModelMessage]:
        """The messages of the user and the assistant."""
        return [one for one in self.messages if one.role != "tool"]

    @property
    def turns(self) -> int:
        """How often the user spoke."""
        return sum(one.role == "user" for one in self.messages)

    @property
    def results(self) -> dict[str, str]:
        """The results of tool calls by the ids of the calls."""
        return {one.tool_call_id: one.content for one in self.messages if one.tool_call_id is not None}

    @property
    def compactions(self) -> int:
        """How often it was compacted."""
        return self.cut.count if self.cut is not None else 0

    @property
    def seen(self) -> list[Entry]:
        """The entries that the model sees."""
        if self.cut is None:
            return self.entries
        first = self.entries[self.cut.place]
        return [Entry(self.cut.summary, first.seq, at=first.at), *self.entries[self.cut.place :]]

    def for_model(self) -> list[ModelMessage]:
        """The messages that the model sees."""
        return [one.message for one in self.seen]

    @property
    def open_calls(self) -> list[str]:
        """The ids of the calls that have no result yet."""
        results = self.results
        asked = [call.id for message in self.messages for call in message.tool_calls]
        return [one for one in asked if one not in results]

    @property
    def is_unanswered(self) -> bool:
        """Whether the model has not answered the user's last message."""
        return bool(self.entries) and self.entries[-1].message.role == "user"

    def forget_unanswered(self) -> None:
        """Takes out the user's last message if the model has not answered it."""
        if self.is_unanswered:
            self.entries.pop()

    def add(self, message: ModelMessage, seq: int, thinking: str | None = None) -> None:
        """Adds a message at the end."""
        self.entries.append(Entry(message, seq, thinking))

    def close_calls(self, seq: int) -> None:
        """Gives every call that has no result one: no model takes a call without."""
        for call_id in self.open_calls:
            self.add(ModelMessage("tool", CUT_OFF, tool_call_id=call_id), seq)

    def place_before_last(self, count: int) -> int:
        """Where to cut so that the last messages stay: further back if a call would lose its result.

        Args:
            count: Number of messages to keep at least, more than 0.
        """
        place = max(0, len(self.entries) - count)
        while place and self.entries[place].message.role == "tool":
            place -= 1
        return place

    def copy(self, end: int | None, next_seq: Callable[[], int]) -> "Conversation":
        """A copy for another session.

        Args:
            end: Place of the first message to leave out; None for a copy of all.
            next_seq: Gives a number of the other session for each message.
        """
        entries = [replace(one, seq=next_seq()) for one in self.entries[:end]]
        return Conversation(entries, None if self.cut is None else replace(self.cut, at_seq=None))
