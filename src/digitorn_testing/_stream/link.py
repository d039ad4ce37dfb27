"""The connection of a stream: what is known of it, and when a lost one is made again; without any IO."""

import math
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from digitorn_testing._concurrency.backoff import Backoff, Pauses, check_ranges

ConnectionState: TypeAlias = Literal["new", "connecting", "joined", "reconnecting", "closed"]
"""`new` before the start, `connecting` up to the first join, `joined` while events come, `reconnecting` from
a loss to the next join, `closed` for good."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReconnectPolicy(Backoff):
    """How a stream reconnects after a loss.

    Attributes:
        first_pause: Seconds before the second attempt; the first is made immediately.
        growth: Factor by which each further pause is longer.
        longest_pause: Seconds of the longest pause.
        jitter: Random part of each pause, 0 to 1, so that many streams do not reconnect at once.
        give_up_after: Seconds after a loss until the stream closes; None for never.
        silence: Seconds without any frame after which a connection counts as lost, on a daemon that sends
            heartbeats; it does so every 5 seconds (contract: events, section 5.12).

    Raises:
        ValueError: A number is out of range.
    """

    first_pause: float = 0.05
    growth: float = 2.0
    longest_pause: float = 2.0
    jitter: float = 0.5
    give_up_after: float | None = 300.0
    silence: float = 16.0

    def __post_init__(self) -> None:
        Backoff.__post_init__(self)
        check_ranges(
            ("growth", self.growth, 1, 100),
            ("give_up_after", self.give_up_after, 0, math.inf),
            ("silence", self.silence, 0.001, math.inf),
        )


RECONNECT: ReconnectPolicy = ReconnectPolicy()
"""The policy of a stream that is given none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamConnection:
    """What is known of a stream's connection at one moment.

    Attributes:
        state: What the connection is doing.
        reconnects: How often the stream reconnected after a loss.
        attempts: How many attempts to reconnect failed since the last loss; 0 while it is joined.
        lost_at: When it was last lost, on the monotonic clock in seconds.
        last_loss: Why it was last lost.
        last_error: Why the last attempt to reconnect failed.
        instance_id: The daemon process that it leads to; None on a build that does not say.
        restarts: How often that process was another one than before.
    """

    state: ConnectionState = "new"
    reconnects: int = 0
    attempts: int = 0
    lost_at: float | None = None
    last_loss: str | None = None
    last_error: str | None = None
    instance_id: str | None = None
    restarts: int = 0

    def __str__(self) -> str:
        words: list[str] = [self.state]
        if self.state == "reconnecting":
            words = [f"reconnecting for {self.lost_for:.1f} s", _counted(self.attempts, "attempt")]
        if self.reconnects:
            words.append(_counted(self.reconnects, "reconnect"))
        if self.restarts:
            words.append(f"{_counted(self.restarts, 'restart')} of the daemon")
        if self.last_loss is not None:
            words.append(f"lost last: {self.last_loss}")
        if self.last_error is not None and self.state != "joined":
            words.append(f"last error: {self.last_error}")
        return ", ".join(words)

    @property
    def was_lost(self) -> bool:
        """Whether it was ever lost."""
        return self.lost_at is not None

    @property
    def lost_for(self) -> float:
        """Seconds since it was last lost; 0 if it never was."""
        return 0.0 if self.lost_at is None else time.monotonic() - self.lost_at


class Link:
    """Keeps what is known of the connection of a stream; both faces share it.

    Args:
        policy: How to reconnect.
        clock: Monotonic seconds.
        chance: Gives random numbers, 0 to 1, for the jitter.
    """

    def __init__(
        self,
        policy: ReconnectPolicy,
        *,
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.policy = policy
        self.now = StreamConnection()
        """What is known now; replaced as a whole, so that other threads may read it."""
        self.heard_at = clock()
        """When the last frame came, on the clock."""
        self.has_heartbeats = False
        """Whether the connection that stands brought a heartbeat, so that others must follow."""
        self.has_joined = False
        """Whether it was in the session's room, so that it is to be there again after a loss."""
        self.is_joined = False
        """Whether it is in the session's room now."""
        self.was_stopped = False
        """Whether somebody asked for the end."""
        self._lock = threading.Lock()
        self._sinks: tuple[Callable[[StreamConnection], object], ...] = ()
        self._clock = clock
        self._pauses = Pauses(policy, chance)

    def subscribe(self, sink: Callable[[StreamConnection], object]) -> Callable[[], None]:
        """Tells a sink every change from now on.

        Args:
            sink: Takes what is known then, on the stream's event loop. It must be quick.

        Returns:
            A function that ends this.
        """

        def cancel() -> None:
            with self._lock:
                self._sinks = tuple(one for one in self._sinks if one is not sink)

        with self._lock:
            self._sinks = (*self._sinks, sink)

        return cancel

    def _know(self, now: StreamConnection) -> None:
        self.now = now
        for sink in self._sinks:
            sink(now)

    def connecting(self) -> None:
        """The first connection is being made, or stands and has not joined."""
        self._pauses.restart()
        self._know(replace(self.now, state="connecting", attempts=0))

    def seen(self, *, is_closed: bool) -> StreamConnection:
        """What is known of the connection now.

        Args:
            is_closed: Whether the stream is closed.
        """
        return replace(self.now, state="closed") if is_closed else self.now

    def joined(self) -> None:
        """It is in the session's room."""
        again = self.now.state == "reconnecting"
        self.is_joined = True
        self._pauses.restart()
        self.heard()
        self._know(
            replace(
                self.now, state="joined", attempts=0, reconnects=self.now.reconnects + again, last_error=None
            )
        )

    def lost(self, reason: str) -> None:
        """It was lost. If that happens again before it has joined, it counts as lost since the first time.

        Args:
            reason: Why.
        """
        self.is_joined = self.has_heartbeats = False
        if self.now.state == "reconnecting":
            self._know(replace(self.now, last_error=reason))
        else:
            self._pauses.restart()
            self._know(
                replace(self.now, state="reconnecting", attempts=0, lost_at=self._clock(), last_loss=reason)
            )

    def failed(self, error: BaseException | str, *, at_least: float = 0.0) -> float | None:
        """An attempt to make it again has failed.

        Args:
            error: Why.
            at_least: Seconds that the next attempt was asked to wait.

        Returns:
            Seconds until the next attempt; None when the connection is given up.
        """
        pause = max(self._pauses.next(), at_least)
        self._know(replace(self.now, attempts=self._pauses.made, last_error=str(error)))
        left = self.left()
        if left is None:
            return pause
        return None if left <= 0 else min(pause, left)

    def ended(self) -> None:
        """The stream has ended, and the connection with it."""
        self.is_joined = False

    def left(self) -> float | None:
        """Seconds until a lost connection is given up; None for never."""
        if self.policy.give_up_after is None or self.now.lost_at is None:
            return None
        return self.now.lost_at + self.policy.give_up_after - self._clock()

    def heard(self) -> None:
        """A frame came."""
        self.heard_at = self._clock()

    def quiet_left(self) -> float:
        """Seconds until a connection without a frame counts as lost."""
        return self.heard_at + self.policy.silence - self._clock()

    def runs_in(self, instance_id: str) -> bool:
        """Notes which process of the daemon the connection leads to.

        Args:
            instance_id: The process.

        Returns:
            Whether it is another one than before.
        """
        before = self.now.instance_id
        restarted = before is not None and before != instance_id
        if before != instance_id:
            self._know(replace(self.now, instance_id=instance_id, restarts=self.now.restarts + restarted))
        return restarted


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" + ("" if number == 1 else "s")
