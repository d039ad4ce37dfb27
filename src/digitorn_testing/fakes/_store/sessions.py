"""Sessions of the embedded daemon: their messages, queue, turns and counts."""

import asyncio
import threading
import time
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias

from digitorn_testing._events.choreography import MessageSource
from digitorn_testing._events.conventions import preview
from digitorn_testing._generated.models import (
    CompactionState,
    PendingApproval,
    QueueEntry,
    QueueState,
    StateEnvelope,
    TurnFailure,
    TurnState,
)
from digitorn_testing.fakes._model.requests import (
    ModelAttachment,
    ModelMessage,
    ModelToolCall,
    framed_addendum,
)
from digitorn_testing.fakes._model.script import ScriptedToolCall
from digitorn_testing.fakes._wire.envelopes import Owner, iso

from .apps import App
from .context import TokenCounts
from .conversation import Conversation
from .log import SessionLog
from .memory import Memory
from .users import User
from .workspace import Workspace

DAEMON_RESTART: Final = "daemon_restart"
"""Error code of messages that a restart of the daemon cut off."""

OutcomeKind: TypeAlias = Literal["completed", "failed", "cancelled"]

_LONGEST_TITLE: Final = 60


@dataclass(frozen=True, slots=True)
class MessageOutcome:
    """How a message ended.

    Attributes:
        kind: Whether its turn completed, failed or was cut off.
        error: Why it did not complete.
        error_code: Code of that reason.
        stops_queue: Whether what waits in the queue stays there.
    """

    kind: OutcomeKind
    error: str = ""
    error_code: str = ""
    stops_queue: bool = False

    @classmethod
    def cancelled(cls, reason: str) -> "MessageOutcome":
        """That of a message whose turn was cut off, or never began."""
        return cls("cancelled", reason, "turn_cancelled")


@dataclass(slots=True, eq=False)
class Message:
    """A message that a user sent.

    Attributes:
        text: The text.
        client_message_id: The client's own id of it.
        images: Its images.
        addendum: What the client tells the model beside it.
        mode: The app's mode that it asks for; None for the first.
        correlation_id: Id of its turn.
        announced: Set to the number of the event that tells of it; None if its turn ended without.
        ended: Set when its turn has ended.
    """

    text: str
    client_message_id: str | None = None
    images: tuple[ModelAttachment, ...] = ()
    addendum: str = ""
    mode: str | None = None
    correlation_id: str = field(default_factory=lambda: f"fp-{uuid.uuid4().hex[:12]}")
    announced: "asyncio.Future[int | None]" = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )
    ended: "asyncio.Future[MessageOutcome]" = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )

    @property
    def preview(self) -> str:
        """Its beginning."""
        return preview(self.text)

    def announce(self, seq: int | None) -> None:
        """Tells those who wait for the number of its event."""
        if not self.announced.done():
            self.announced.set_result(seq)

    def end(self, outcome: MessageOutcome) -> None:
        """Tells those who wait for the end."""
        self.announce(None)
        if not self.ended.done():
            self.ended.set_result(outcome)


@dataclass(slots=True, eq=False)
class QueuedMessage:
    """A message in the queue.

    Attributes:
        message: The message.
        position: Ticket number, counted up from 1 for the life of the session.
        id: Id of the queue's row; not the correlation id.
        status: Where it stands.
        announced: Whether its own events are out, so that its turn may begin.
        source: What starts its turn.
        enqueued_at: When it was queued, seconds since the Unix epoch.
        started_at: When its turn began.
        finished_at: When its turn ended.
        error_code: Why it failed.
    """

    message: Message
    position: int
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    status: Literal["queued", "running", "completed", "failed", "cancelled"] = "queued"
    announced: bool = False
    source: MessageSource = "drain"
    enqueued_at: float = field(default_factory=time.time)
    started_at: float | None = None
    finished_at: float | None = None
    error_code: str = ""

    def start(self) -> None:
        """Notes that its turn begins."""
        self.status = "running"
        self.started_at = time.time()

    def finish(self, outcome: MessageOutcome) -> None:
        """Notes how it ended."""
        self.status = outcome.kind
        self.error_code = outcome.error_code
        self.finished_at = time.time()
        self.message.end(outcome)

    def entry(self, owner: Owner) -> QueueEntry:
        """It as the contract shows it."""
        return QueueEntry(
            id=self.id,
            app_id=owner.app_id,
            session_id=owner.session_id,
            position=self.position,
            message=self.message.text,
            status=self.status,
            correlation_id=self.message.correlation_id,
            enqueued_at=self.enqueued_at,
            started_at=self.started_at,
            finished_at=self.finished_at,
            template_system_prompt=framed_addendum(self.message.addendum) if self.message.addendum else "",
            error_code=self.error_code,
        )


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of a message that was sent.

    Attributes:
        message: The message.
        queued: Its place in the queue; None when its turn started at once.
        replaced: Whether it took the place of one that waited.
    """

    message: Message
    queued: QueuedMessage | None = None
    replaced: bool = False


@dataclass(frozen=True, slots=True)
class Parked:
    """A call that has begun and not ended when its turn is taken up.

    Attributes:
        call: The call.
        scripted: What the tool does.
        request: The approval that it waits for; None if it waits for none.
    """

    call: ModelToolCall
    scripted: ScriptedToolCall
    request: PendingApproval | None


@dataclass(slots=True, eq=False)
class Turn:
    """One run of the agent for one message.

    Attributes:
        session: The session.
        app: The session's app.
        message: The message that it answers.
        queued: The message's place in the queue; None when it started at once.
        source: What started it.
        is_resumed: Whether it goes on where an interrupted turn was cut off.
        begins_at: Place of its message in the conversation; None while the message is not there yet.
        announces: Whether it begins with a `user_message` event.
        is_announced: Whether the events of its beginning are out.
        parked: The call that it is at when it is taken up.
        body: The task that does the work; None before it starts.
        aborted: Whether somebody asked to cut it off.
        started_at: When it began, seconds since the Unix epoch.
        last_activity_at: When it last did anything.
        phase: What it does.
        tool_calls: Number of tool calls so far.
        model_calls: How often the model has answered.
        tokens_in: Tokens that the model read so far.
        tokens_out: Tokens that the model wrote so far.
        has_spoken: Whether any text was streamed.
        partials_logged: Number of rows of the log that hold such a text.
        partial_logged_at: When the last of them was written, monotonic seconds.
        has_asked: Whether the model was asked.
        allowed_tools: The tools that its mode allows; None for all.
    """

    session: "Session"
    app: App
    message: Message
    queued: QueuedMessage | None = None
    source: MessageSource = "fast"
    is_resumed: bool = False
    begins_at: int | None = None
    announces: bool = False
    is_announced: bool = False
    parked: Parked | None = None
    body: "asyncio.Task[Any] | None" = None
    aborted: bool = False
    started_at: float = field(default_factory=time.time)
    last_activity_at: float = field(default_factory=time.time)
    phase: str = "requesting"
    tool_calls: int = 0
    model_calls: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    has_spoken: bool = False
    partials_logged: int = 0
    partial_logged_at: float = field(default_factory=time.monotonic)
    has_asked: bool = False
    allowed_tools: tuple[str, ...] | None = None

    @property
    def correlation_id(self) -> str:
        """Id of the turn."""
        return self.message.correlation_id

    @property
    def told_id(self) -> str | None:
        """Its id in its events; those of a resumed turn have none (contract: events, section 6.9)."""
        return None if self.is_resumed else self.correlation_id

    @property
    def position(self) -> int:
        """The message's ticket number; 0 when it never was in the queue."""
        return self.queued.position if self.queued is not None else 0

    def touch(self, phase: str) -> None:
        """Notes that it does something."""
        self.phase = phase
        self.last_activity_at = time.time()

    def abort(self) -> None:
        """Cuts it off."""
        self.aborted = True
        if self.body is not None:
            self.body.cancel()

    def state(self) -> TurnState:
        """It as the contract shows it."""
        now = time.time()
        return TurnState(
            active=True,
            correlation_id=self.correlation_id,
            started_at=self.started_at,
            last_activity_at=self.last_activity_at,
            phase=self.phase,
            tool_calls_count=self.tool_calls,
            tokens_out=self.tokens_out,
            tokens_in=self.tokens_in,
            interrupted=self.aborted,
            duration_ms=int((now - self.started_at) * 1000),
            idle_ms=int((now - self.last_activity_at) * 1000),
        )


@dataclass(slots=True, eq=False)
class Session:
    """One conversation of one user with one app.

    Attributes:
        app: Its app.
        owner: Whom its events belong to.
        log: Its events.
        workspace: Directory that it works in; empty for none.
        created_at: When it was created, seconds since the Unix epoch.
        last_active: When it was last used.
        conversation: What was said in it.
        files: The files of its workspace.
        queue: Every message that ever was in the queue, oldest first.
        begun: The turns that have started and not ended. The first one runs, the others wait for it.
        partial: The text that is being streamed, as far as it is; that of a turn that a crash cut off, too.
        interrupted: Whether its last turn was cut off.
        turns: Number of turns that have begun.
        tokens: Tokens used so far.
        tools_succeeded: Number of tool calls that succeeded.
        tools_failed: Number of tool calls that failed.
        errors: Errors of its turns.
        last_error: Why its last turn failed; None when that went well.
        memory: What its agent keeps in mind.
        given_title: Its title, if it does not follow from its first message.
        attachments: What users attached to its messages, by id.
        new_files: The files among them of which the model was not told yet.
        mode: Id of the app's mode that is active.
    """

    app: App
    owner: Owner
    log: SessionLog
    workspace: str = ""
    created_at: float = field(default_factory=time.time)
    last_active: float = field(default_factory=time.time)
    conversation: Conversation = field(default_factory=Conversation)
    files: Workspace = field(default_factory=Workspace)
    queue: list[QueuedMessage] = field(default_factory=list[QueuedMessage])
    begun: list[Turn] = field(default_factory=list[Turn])
    partial: str | None = None
    interrupted: bool = False
    turns: int = 0
    tokens: TokenCounts = field(default_factory=TokenCounts)
    tools_succeeded: int = 0
    tools_failed: int = 0
    errors: list[str] = field(default_factory=list[str])
    last_error: TurnFailure | None = None
    memory: Memory = field(default_factory=Memory)
    given_title: str = ""
    attachments: dict[str, ModelAttachment] = field(default_factory=dict[str, ModelAttachment])
    new_files: list[ModelAttachment] = field(default_factory=list[ModelAttachment])
    mode: str | None = None

    @property
    def id(self) -> str:
        """Id of the session."""
        return self.owner.session_id

    @property
    def turn(self) -> Turn | None:
        """The turn that runs."""
        return self.begun[0] if self.begun else None

    @property
    def partials(self) -> dict[str, str]:
        """The text that is being streamed, by the place that its message will have, after the system's."""
        return {} if self.partial is None else {str(1 + len(self.conversation.entries)): self.partial}

    @property
    def title(self) -> str:
        """What it was given, else the beginning of its first message."""
        if self.given_title:
            return self.given_title
        first = next((one.content for one in self.conversation.messages if one.role == "user"), "")
        return " ".join(first.split())[:_LONGEST_TITLE]

    @property
    def message_count(self) -> int:
        """Number of messages as the daemon counts them.

        The system's message and the result of each call count, even of one that still runs. A message that
        the model has not answered does not count.
        """
        said = len(self.conversation.entries) - self.conversation.is_unanswered
        said += sum(len(one.directives) for one in self.conversation.messages)
        return 1 + said + len(self.conversation.open_calls) if said else 0

    def touch(self) -> None:
        """Notes that it is used."""
        self.last_active = time.time()

    def remember(self, message: ModelMessage, thinking: str | None = None) -> None:
        """Adds a message to the conversation.

        Args:
            message: The message.
            thinking: Reasoning that led to it.
        """
        self.conversation.add(message, self.log.last_seq, thinking)

    def attach(self, images: Iterable[ModelAttachment], files: Iterable[ModelAttachment]) -> None:
        """Keeps what came with a message. A file that is here already counts no more.

        Args:
            images: The images.
            files: The files, which become part of the workspace, too.
        """
        known = {one.data for one in self.attachments.values()}
        added = [one for one in files if one.data not in known]
        self.attachments |= {one.id: one for one in (*images, *added)}
        self.new_files += added
        for file in added:
            self.files.attach(file)

    # --- queue

    def enqueue(self, message: Message) -> QueuedMessage:
        """Puts a message at the end of the queue."""
        queued = QueuedMessage(message, position=len(self.queue) + 1)
        self.queue.append(queued)
        return queued

    @property
    def waiting(self) -> list[QueuedMessage]:
        """The messages whose turn has not started, first come first."""
        return [one for one in self.queue if one.status == "queued"]

    @property
    def started(self) -> QueuedMessage | None:
        """The message from the queue whose turn has started; it may still wait for another turn to end."""
        return next((one for one in self.queue if one.status == "running"), None)

    @property
    def queue_depth(self) -> int:
        """Number of messages in the queue, with the one that has started."""
        return len(self.waiting) + (self.started is not None)

    def remove_waiting(self) -> list[QueuedMessage]:
        """Takes every waiting message out of the queue."""
        removed = self.waiting
        for one in removed:
            one.finish(MessageOutcome.cancelled("the message was removed from the queue"))
        return removed

    def queue_state(self) -> QueueState:
        """The queue as the contract shows it: what waits and what runs."""
        entries = [one.entry(self.owner) for one in self.queue if one.status in ("queued", "running")]
        started = self.started
        # A turn that did not come from the queue is not in it (contract: events, section 5.11).
        return QueueState(
            entries=entries,
            depth=len(entries),
            is_active=started is not None,
            running_correlation_id=started.message.correlation_id if started is not None else None,
        )

    def state(self, seq: int) -> StateEnvelope:
        """Everything that a client needs to draw the session.

        Args:
            seq: Number of the last event that the state covers.
        """
        return StateEnvelope(
            schema_version=1,
            app_id=self.owner.app_id,
            session_id=self.id,
            user_id=self.owner.user_id,
            seq=seq,
            turn=self.turn.state() if self.turn is not None else None,
            queue=self.queue_state(),
            compaction=self._compaction(),
            server_time=iso(time.time()),
        )

    def _compaction(self) -> CompactionState:
        cut = self.conversation.cut
        if cut is None:
            return CompactionState(had_compaction=False, last_at_seq=None)
        kept_from = self.conversation.entries[cut.place].seq
        return CompactionState(had_compaction=True, last_at_seq=cut.at_seq, kept_from_seq=kept_from)


class SessionMissing(Exception):
    """There is no such session for this user; it may belong to somebody else."""


class SessionRepository:
    """Sessions in memory, by id, with counts of what was done. May be used from several threads.

    The embedded daemon keeps its sessions in one; a test reads it at `FakeDaemon.sessions`.

    Attributes:
        add_count: How many sessions were added.
        get_count: How many times one was asked for by its id.
        miss_count: How many of these found none.
        remove_count: How many sessions were removed.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._by_id: dict[str, Session] = {}
        self.add_count = self.get_count = self.miss_count = self.remove_count = 0

    def add(self, session: Session) -> None:
        """Keeps a session; one of the same id is replaced."""
        with self._lock:
            self._by_id[session.id] = session
            self.add_count += 1

    def get(self, session_id: str) -> Session | None:
        """A session, or None."""
        with self._lock:
            found = self._by_id.get(session_id)
            self.get_count += 1
            self.miss_count += found is None
            return found

    def remove(self, session_id: str) -> bool:
        """Forgets a session.

        Returns:
            Whether there was one.
        """
        with self._lock:
            found = self._by_id.pop(session_id, None)
            self.remove_count += found is not None
            return found is not None

    def reset_counts(self) -> None:
        """Counts from 0 again."""
        with self._lock:
            self.add_count = self.get_count = self.miss_count = self.remove_count = 0

    def all(self) -> list[Session]:
        """Every session, the oldest first."""
        with self._lock:
            return list(self._by_id.values())

    def __iter__(self) -> Iterator[Session]:
        return iter(self.all())

    def __len__(self) -> int:
        return len(self._by_id)

    def __contains__(self, session_id: object) -> bool:
        return session_id in self._by_id


class Sessions:
    """The sessions of one daemon: who may see which, and how they come to be.

    Args:
        repository: Where they are kept.
        log_delay: Seconds until an event can be read back from a session's log.
    """

    def __init__(self, repository: SessionRepository, *, log_delay: float) -> None:
        self.repository = repository
        self._log_delay = log_delay
        self._deleted: set[Owner] = set()

    def create(self, app: App, user: User, session_id: str | None = None, *, workspace: str = "") -> Session:
        """Creates a session.

        Args:
            app: Its app.
            user: Its owner.
            session_id: Its id; a new one if left out.
            workspace: Directory that it works in.
        """
        found = session_id or str(uuid.uuid4())
        session = Session(
            app,
            Owner(app.app_id, found, user.user_id),
            SessionLog(delay=self._log_delay),
            workspace=workspace,
        )
        self.repository.add(session)
        return session

    def fork(self, source: Session, user: User, *, is_empty: bool = False) -> Session:
        """Copies a session of a user into a new one (contract: rest, section 4.8).

        What a running turn has said so far is left out. The new session has used nothing yet: it has a log
        of its own, no tokens and no errors.

        Args:
            source: The session to copy.
            user: Its owner.
            is_empty: Whether the copy has none of the messages.
        """
        session = self.create(source.app, user, workspace=source.workspace)
        if is_empty:
            return session
        end = source.turn.begins_at if source.turn is not None else None
        session.conversation = source.conversation.copy(end, session.log.next_seq)
        session.files = source.files.copy()
        session.turns = session.conversation.turns
        session.interrupted = source.interrupted
        return session

    def was_deleted(self, app_id: str, session_id: str, user: User) -> bool:
        """Whether a user has deleted a session."""
        return Owner(app_id, session_id, user.user_id) in self._deleted

    def __contains__(self, session_id: str) -> bool:
        return session_id in self.repository

    def get(self, app_id: str, session_id: str, user: User) -> Session:
        """A session of a user.

        Raises:
            SessionMissing: It does not exist, or belongs to another user or app.
        """
        session = self.repository.get(session_id)
        if session is None or session.owner.app_id != app_id or session.owner.user_id != user.user_id:
            raise SessionMissing(session_id)
        return session

    def find(self, session_id: str, user: User) -> Session | None:
        """A session of a user in any app, or None."""
        session = self.repository.get(session_id)
        return session if session is not None and session.owner.user_id == user.user_id else None

    def get_or_create(self, app: App, session_id: str, user: User) -> Session:
        """A session of a user, which its first message brings into being.

        Raises:
            SessionMissing: It belongs to another user or app.
        """
        if session_id not in self:
            return self.create(app, user, session_id)
        session = self.get(app.app_id, session_id, user)
        # The app may have been redeployed since.
        session.app = app
        return session

    def of(self, app_id: str, user: User) -> list[Session]:
        """A user's sessions of an app, the last used first."""
        found = [
            one for one in self.all() if one.owner.app_id == app_id and one.owner.user_id == user.user_id
        ]
        return sorted(found, key=lambda one: one.last_active, reverse=True)

    def all(self) -> list[Session]:
        """Every user's sessions."""
        return self.repository.all()

    def of_app(self, app_id: str) -> list[Session]:
        """Every user's sessions of an app."""
        return [one for one in self.all() if one.owner.app_id == app_id]

    def remove(self, session: Session) -> None:
        """Forgets a session."""
        self._deleted.add(session.owner)
        self.repository.remove(session.id)
