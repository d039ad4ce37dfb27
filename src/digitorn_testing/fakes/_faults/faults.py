"""Deliberate faults, as a bad network or an overloaded daemon causes them."""

from collections.abc import Callable
from fnmatch import fnmatchcase
from types import TracebackType
from typing import Any, Final, Self, get_args

from digitorn_testing._events.selector import Selector
from digitorn_testing._generated.events import EventPayload, EventType
from digitorn_testing._handles import SessionHandle
from digitorn_testing.fakes._wire.envelopes import Frame
from digitorn_testing.fakes._wire.socketio import Cut, Scope

from .rules import (
    CallEffect,
    Count,
    CutAt,
    CutOff,
    Delay,
    DropConnection,
    Duplicate,
    EventEffect,
    Hang,
    Known,
    KnownFault,
    Lose,
    Refuse,
    RespondWith,
    Rule,
    Rules,
    SlowBody,
)

_SESSIONS: Final = "sessions"
"""The path segment in front of a session's id."""


class Fault:
    """One fault of an embedded daemon, until it has hit as often as it should or is removed.

    As a context manager it is removed at the end of the block.
    """

    def __init__(self, rule: Rule[Any], where: str, remove: Callable[[Rule[Any]], None]) -> None:
        self._rule = rule
        self._where = where
        self._remove = remove

    @property
    def hits(self) -> int:
        """How often it has hit."""
        return self._rule.hits

    @property
    def is_active(self) -> bool:
        """Whether it may still hit."""
        return self._rule.is_active

    def remove(self) -> None:
        """Ends it; what it held back goes on. May be called again."""
        self._remove(self._rule)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.remove()

    def __repr__(self) -> str:
        state = "active" if self.is_active else "ended"
        return f"<Fault: {self._rule.effect} on {self._where}; {state}, {self.hits} hits>"


class CallFaults:
    """Faults of some calls over REST; made by `Faults.calls`."""

    def __init__(
        self,
        rules: Rules,
        keep: Callable[[Fault], Fault],
        count: Count,
        path: str,
        method: str | None,
        session_id: str | None,
    ) -> None:
        self._rules = rules
        self._keep = keep
        self._count = count
        self._path = path
        self._method = None if method is None else method.upper()
        self._session_id = session_id

    def respond_with(
        self, status: int, *, retry_after: float | None = None, reason: str = "a fault on purpose"
    ) -> Fault:
        """Answers them instead of executing them.

        Args:
            status: HTTP status, such as 429 or 503.
            retry_after: Seconds for the header `Retry-After`; none when left out.
            reason: What the answer says.
        """
        if not 400 <= status <= 599:
            raise ValueError(f"status {status}: a failure is from 400 to 599")
        return self._set(RespondWith(status, reason, retry_after))

    def slow_body(self, seconds: float) -> Fault:
        """Sends the bodies of their answers piece by piece.

        Args:
            seconds: How long a body takes.
        """
        return self._set(SlowBody(seconds))

    def hang(self) -> Fault:
        """Leaves them waiting. Those that still wait when the fault is removed are executed and answered."""
        return self._set(Hang())

    def cut_off(self, at: CutAt = "request") -> Fault:
        """Cuts their connections, as a network does.

        Args:
            at: `request`, before it is executed; `answer`, when it has been, so that its answer is lost;
                `body`, in the middle of the answer.
        """
        return self._set(CutOff(at))

    def _set(self, effect: CallEffect) -> Fault:
        where = f"{self._method or 'calls of'} {self._path}"
        if self._session_id is not None:
            where += f" of session {self._session_id}"
        rule = Rule(effect, self._count, self._fits)
        self._rules.add_call_rule(rule)
        return self._keep(Fault(rule, where, self._rules.remove))

    def _fits(self, scope: Scope) -> bool:
        return (
            (self._method is None or scope["method"] == self._method)
            and fnmatchcase(scope["path"], self._path)
            and (self._session_id is None or _session_of(scope["path"]) == self._session_id)
        )


class EventFaults:
    """Faults of some events on their way; made by `Faults.events`."""

    def __init__(
        self,
        rules: Rules,
        keep: Callable[[Fault], Fault],
        count: Count,
        session_id: str | None,
        selector: Selector,
    ) -> None:
        self._rules = rules
        self._keep = keep
        self._count = count
        self._session_id = session_id
        self._selector = selector

    def lose(self) -> Fault:
        """Does not send them; their rows in the log stay (contract: events, section 1)."""
        return self._set(Lose())

    def duplicate(self, *, copies: int = 1) -> Fault:
        """Sends them more than once.

        Args:
            copies: How many more times.
        """
        return self._set(Duplicate(copies))

    def delay(self, seconds: float) -> Fault:
        """Sends them later, so that others overtake them.

        Args:
            seconds: How much later.
        """
        return self._set(Delay(seconds))

    def drop_connection(self, how: Cut = "reset") -> Fault:
        """Cuts the connections that they go to, each behind the event; the last ones may be lost with it.

        Args:
            how: `reset` breaks it as a network does, `close` ends it, `disconnect` disconnects in Socket.IO.
        """
        return self._set(DropConnection(how))

    def _set(self, effect: EventEffect) -> Fault:
        where = self._selector.label if self._selector.wires is not None else "events"
        if self._session_id is not None:
            where += f" of session {self._session_id}"
        rule = Rule(effect, self._count, self._fits)
        self._rules.add_event_rule(rule)
        return self._keep(Fault(rule, where, self._rules.remove))

    def _fits(self, frame: Frame) -> bool:
        if self._session_id is not None and frame.get("session_id") != self._session_id:
            return False
        if self._selector.wires is None:
            # Control frames come as time passes: counted too, a fault would hit another event each time.
            return frame.get("session_id") is not None and not frame.get("control")
        return frame["type"] in self._selector.wires


class Faults:
    """The faults of an embedded daemon, as `daemon.faults`.

    `calls`, `events` and `connections` say what is hit and how often, and give an object whose methods say
    what happens to it: each sets a fault and returns it.

        with daemon.faults.calls(path="*/messages", times=2).respond_with(429, retry_after=1) as fault:
            client.chat("my-app", "Hi")
        assert fault.hits == 2

    Faults are asked in the order in which they were set; a call over REST is hit by the first that takes it.
    They may be set before the daemon starts, and outlive its stop. Any thread may use this.
    """

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._faults: list[Fault] = []

    def calls(
        self,
        *,
        path: str = "*",
        method: str | None = None,
        session: SessionHandle | str | None = None,
        times: int | None = None,
        after: int = 0,
        every: int = 1,
    ) -> CallFaults:
        """Calls over REST that a fault hits.

        Args:
            path: Which paths; `*` stands for any text.
            method: Which method; any when left out.
            session: Only calls of this session.
            times: How often it hits; None for no limit.
            after: How many fitting calls are let pass first.
            every: After those, which one of how many it hits.
        """
        count = Count(times=times, after=after, every=every)
        return CallFaults(self._rules, self._keep, count, path, method, _id_of(session))

    def events(
        self,
        *types: type[EventPayload] | EventType,
        session: SessionHandle | str | None = None,
        times: int | None = None,
        after: int = 0,
        every: int = 1,
    ) -> EventFaults:
        """Events on their way to somebody that a fault hits.

        Args:
            types: Which types; when left out all of sessions but control frames.
            session: Only events of this session.
            times: How often it hits; None for no limit.
            after: How many fitting events are let pass first.
            every: After those, which one of how many it hits.
        """
        count = Count(times=times, after=after, every=every)
        return EventFaults(self._rules, self._keep, count, _id_of(session), Selector(types))

    def refuse_connections(self, *, times: int | None = None, after: int = 0, every: int = 1) -> Fault:
        """Refuses connections for events, without a reason (contract: events, section 1).

        Args:
            times: How often it hits; None for no limit.
            after: How many connections are let in first.
            every: After those, which one of how many it hits.
        """
        count = Count(times=times, after=after, every=every)
        rule = Rule[None](Refuse(), count, lambda _: True)
        self._rules.add_connection_rule(rule)
        return self._keep(Fault(rule, "connections", self._rules.remove))

    def switch_on(
        self,
        name: KnownFault,
        *,
        times: int | None = None,
        after: int = 0,
        every: int = 1,
    ) -> Fault:
        """Switches on a fault that the released daemon has and this one has not.

            with daemon.faults.switch_on("wrong_event_loop", every=25):
                ...

        Args:
            name: The fault. `wrong_event_loop`: a turn fails with `internal_error`. `empty_forks`: a fork has
                no messages. `deleted_sessions_return`: reading a deleted session creates an empty one of the
                same id. `no_active_ops`: `GET .../active-ops` answers 500.
            times: How often it hits; None for no limit.
            after: How many occasions pass first.
            every: After those, which one of how many it hits.

        Raises:
            ValueError: There is no such fault.
        """
        if name not in get_args(KnownFault):
            raise ValueError(f"no fault is named {name!r}; there are {', '.join(get_args(KnownFault))}")
        count = Count(times=times, after=after, every=every)
        rule = Rule[KnownFault](Known(name), count, lambda occasion: occasion == name)
        self._rules.add_known_rule(rule)
        return self._keep(Fault(rule, "the daemon", self._rules.remove))

    def active(self) -> list[Fault]:
        """The faults that may still hit, oldest first."""
        return [fault for fault in self._faults if fault.is_active]

    def clear(self) -> None:
        """Removes all of them."""
        for fault in self._faults:
            fault.remove()

    def _keep(self, fault: Fault) -> Fault:
        self._faults = [*(one for one in self._faults if one.is_active), fault]
        return fault


def _id_of(session: SessionHandle | str | None) -> str | None:
    return session.session_id if isinstance(session, SessionHandle) else session


def _session_of(path: str) -> str | None:
    """The session that the path of a call names."""
    segments = path.split("/")
    place = segments.index(_SESSIONS) + 1 if _SESSIONS in segments else len(segments)
    return segments[place] if place < len(segments) else None
