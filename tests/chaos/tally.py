"""What a chaos run counts."""

import itertools
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from digitorn_testing import EventLog, LiveEvent
from digitorn_testing._events.daemon import MEANING
from digitorn_testing._events.event import AnyEvent


@dataclass
class Talk:
    """What happened in one session.

    Attributes:
        sent: Messages that the daemon took.
        unconfirmed: Messages of which the client says that nobody knows whether the daemon took them.
        hung: Waits that did not end in time, in words.
        wrong: Turns whose text is not what the model said, in words.
        missed: Events of turns that their reader was not given.
    """

    sent: int = 0
    unconfirmed: int = 0
    hung: list[str] = field(default_factory=list[str])
    wrong: list[str] = field(default_factory=list[str])
    missed: int = 0

    def read(self, given: Iterable[AnyEvent], of: Iterable[AnyEvent]) -> None:
        """Compares the events of a turn that a reader was given with those of the turn."""
        self.missed += len({event.seq for event in of} - {event.seq for event in given})


@dataclass
class Figures:
    """What a chaos run came to.

    Attributes:
        rounds: How often every session had its turns.
        turns: Turns in all.
        events: Events in the durable logs of the sessions, each of which a stream should have.
        drops: Connections of streams that the daemon dropped one by one, at the next event of their session.
        reconnects: How often a stream's connection was made again, after these and others.
        restarts: How often the daemon's process was replaced by another one.
        faults: What was done to calls, events and connections, and how often.
        copies: Copies that streams were given and dropped.
        lost: Events of the durable logs that a stream lacks, and of turns that their reader was not given.
        duplicated: Events that a stream has more than once.
        unordered: Events that a stream has behind a later one.
        hung: Waits that did not end in time, in words.
        wrong: Turns that did not end as they may, in words.
        twice: Sessions and messages with too many or too few turns: each message that was taken has one.
        unconfirmed: Messages of which nobody knows whether they were taken.
    """

    seed: int
    sessions: int
    events: int = 0
    drops: int = 0
    reconnects: int = 0
    restarts: int = 0
    faults: Counter[str] = field(default_factory=Counter[str])
    copies: int = 0
    rounds: int = 0
    turns: int = 0
    lost: int = 0
    duplicated: int = 0
    unordered: int = 0
    hung: list[str] = field(default_factory=list[str])
    wrong: list[str] = field(default_factory=list[str])
    twice: int = 0
    unconfirmed: int = 0
    seconds: float = 0.0

    @property
    def holds(self) -> bool:
        """Whether nothing was lost, duplicated, out of order, hung, wrong or executed twice."""
        return not any((self.lost, self.duplicated, self.unordered, self.hung, self.wrong, self.twice))

    def add(self, told: Talk) -> None:
        """Adds what happened in a session."""
        self.turns += told.sent
        self.hung += told.hung
        self.wrong += told.wrong
        self.lost += told.missed
        self.unconfirmed += told.unconfirmed

    def compare(self, log: EventLog, kept: EventLog) -> None:
        """Compares what a stream has with what the daemon keeps."""
        durable = Counter(map(_named, kept))
        seen = Counter(_named(event) for event in log if MEANING.is_logged(event))
        numbers = [event.seq for event in log if event.is_numbered]
        self.events += durable.total()
        self.copies += log.duplicates
        self.lost += (durable - seen).total()
        self.duplicated += sum(count - 1 for count in seen.values())
        self.unordered += sum(after < before for before, after in itertools.pairwise(numbers))

    def __str__(self) -> str:
        faults = ", ".join(f"{count:,} {what}" for what, count in sorted(self.faults.items()))
        return (
            f"seed {self.seed}: {self.sessions} sessions, {self.turns:,} turns,"
            f" {self.events:,} events, {self.drops:,} connections dropped, {self.reconnects:,} made again,"
            f" {self.restarts} restarts of the daemon in {self.seconds:.0f} s\n"
            f"  {faults}; {self.copies:,} copies recognised\n"
            f"  {self.lost} lost, {self.duplicated} duplicated, {self.unordered} out of order,"
            f" {len(self.hung)} hung waits, {len(self.wrong)} wrong turns,"
            f" {self.twice} messages not executed once, {self.unconfirmed} messages unconfirmed"
            + "".join(f"\n  {one}" for one in self.hung + self.wrong)
        )


def _named(event: LiveEvent) -> tuple[int, str]:
    return event.seq, event.type
