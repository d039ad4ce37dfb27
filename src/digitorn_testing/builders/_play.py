"""Plays scripts: writes the events that the daemon sends (contract: events, section 6)."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from digitorn_testing._apps.language import action_name, risk_of, tool_name
from digitorn_testing._events import choreography
from digitorn_testing._events.choreography import CallEvents, Speech, TurnEvents
from digitorn_testing._events.conventions import estimate, token_triple, turn_of
from digitorn_testing._events.envelope import event
from digitorn_testing._events.event import AnyEvent
from digitorn_testing._events.failures import INTERNAL_ERROR, failed_turn
from digitorn_testing._generated.events import QUESTION_TOOLS, Abort, EventPayload, Result, StreamDone
from digitorn_testing._generated.models import ContextSnapshot, PendingApproval
from digitorn_testing._generated.payloads import OpState, OpType

from ._script import Other, Text, Thinking, Tool, ToolApproval, TurnFailure, TurnScript

_AGENT: Final = "main"
_PROVIDER: Final = "provider"
_MODEL: Final = "model"
_MAX_TOKENS: Final = 128_000
_OUTPUT_RESERVED: Final = 8_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a turn runs.

    Attributes:
        app_id: The app.
        session_id: The session.
        user_id: Owner of the session.
        correlation_id: The turn.
    """

    app_id: str
    session_id: str
    user_id: str
    correlation_id: str


@dataclass(slots=True, eq=False)
class Writer:
    """Numbers and dates the events of a session.

    Attributes:
        seq: Number of the next event.
        moment: When the next event is emitted.
        step: Time from each event to the next.
        events: What was written.
        tokens_in: Tokens that the model read so far.
        tokens_out: Tokens that it wrote so far.
    """

    seq: int
    moment: datetime
    step: timedelta
    events: list[AnyEvent] = field(default_factory=list[AnyEvent])
    tokens_in: int = 0
    tokens_out: int = 0

    def write(
        self,
        payload: EventPayload,
        place: Place,
        *,
        op_id: str | None = None,
        op_type: OpType | None = None,
        op_state: OpState | None = None,
        op_parent_id: str | None = None,
    ) -> None:
        """Writes the next event."""
        self.events.append(
            event(
                payload,
                seq=self.seq,
                ts=self.moment,
                app_id=place.app_id,
                session_id=place.session_id,
                user_id=place.user_id,
                correlation_id=turn_of(payload, place.session_id, place.correlation_id),
                op_id=op_id,
                op_type=op_type,
                op_state=op_state,
                op_parent_id=op_parent_id,
            )
        )
        self.seq += 1
        self.moment += self.step


class TurnRun:
    """One turn while its events are written.

    Args:
        writer: Where its events go.
        number: Its number in the session, counted up from 1.

    Attributes:
        script: What happens in it.
        place: Where it runs.
        pending: The approval that is still open.
        call_ids: Ids of the tool calls, by the place of their step.
    """

    def __init__(self, script: TurnScript, place: Place, writer: Writer, number: int) -> None:
        self.script = script
        self.place = place
        self.pending: PendingApproval | None = None
        self.call_ids: dict[int, str] = {}
        self._writer = writer
        self._number = number
        self._requests = 1
        self._speech = Speech(follows_text=False)
        self._said = ""
        self._tokens = (0, 0)
        self._has_started = False

    @property
    def is_queued(self) -> bool:
        """Whether its message had to wait."""
        return self.script.position is not None

    def announce(self, depth: int, *, starts: bool) -> None:
        """The message waits in the queue (contract: events, section 6.4).

        Args:
            depth: Number of messages in it.
            starts: Whether its turn starts at once, and waits until the turn that runs has ended.
        """
        turn, text = self.place.correlation_id, self.script.message
        position = self.script.position or 1
        self._write(choreography.message_queued(turn, text, position=position, depth=depth))
        self._write(self._user_message(pending=True))
        if starts:
            self._start()

    def play(self) -> None:
        """The turn runs up to its end (contract: events, sections 6.1 to 6.3)."""
        if not self.is_queued:
            self._write(self._user_message(pending=False))
        if not self._has_started:
            self._start()
        for place, step in enumerate(self.script.steps):
            match step:
                case Thinking(text=text):
                    self._think(text)
                case Text() as said:
                    self._say(said, is_followed_by_call=self.is_call(place + 1))
                case Tool() as tool:
                    self._call(place, tool)
                case Other() as other:
                    self._write(
                        other.payload,
                        op_id=other.op_id,
                        op_type=other.op_type,
                        op_state=other.op_state,
                        op_parent_id=other.op_parent_id,
                    )

    def end(self) -> None:
        """The turn ends, if it does (contract: events, sections 6.1, 6.6 and 6.7)."""
        match self.script.ending:
            case "completed":
                self._count(is_last=True)
                self._write(StreamDone())
                self._write_all(self._turn.completed(self._result(self.script.answer)))
            case "failed":
                self._fail(self.script.failure or TurnFailure(INTERNAL_ERROR, INTERNAL_ERROR))
            case "aborted":
                self._abort()
            case "unfinished":
                pass

    def _start(self) -> None:
        self._has_started = True
        self._write(self._turn.started())

    # --- what the model says

    def _think(self, text: str) -> None:
        self._write_all(choreography.thinking(text))
        self._said += text

    def _say(self, said: Text, *, is_followed_by_call: bool) -> None:
        for chunk in said.chunks:
            self._write_all(self._speech.piece(chunk))
        self._said += said.text
        if said.is_commentary and not is_followed_by_call:
            self._count()
            self._write(StreamDone())
            self._next_request()

    def _count(self, *, is_last: bool = False) -> None:
        """Reports the tokens of a model request; a scripted usage is reported with the last one."""
        if self.script.usage is None:
            used = (max(1, estimate(self.script.message)), max(1, estimate(self._said)))
        elif is_last:
            used = self.script.usage
        else:
            return
        self._said = ""
        self._tokens = (self._tokens[0] + used[0], self._tokens[1] + used[1])
        self._writer.tokens_in += used[0]
        self._writer.tokens_out += used[1]
        self._write_all(choreography.counted(*used))

    def _next_request(self) -> None:
        self._requests += 1
        self._speech = Speech(follows_text=self._speech.has_spoken)

    # --- tools

    def is_call(self, place: int) -> bool:
        """Whether the step at a place is a tool call."""
        return place < len(self.script.steps) and isinstance(self.script.steps[place], Tool)

    def _call(self, place: int, tool: Tool) -> None:
        call_id = self.call_ids[place] = tool.call_id or f"call_{self._writer.seq:012x}"
        call = CallEvents(call_id, tool.name, tool.params, self.place.correlation_id)
        self._said += choreography.written_by_call(tool.name, tool.params)
        self._write(StreamDone())
        self._write_all(call.streamed())
        self._count()
        self._write(call.started())
        if tool.approval is not None:
            self._ask(tool, tool.approval)
        if tool is self.script.open_call:
            return
        if tool.failure:
            self._write(
                call.ended(choreography.refused(tool.failure) if tool.is_denied else None, tool.failure)
            )
        else:
            self._write(call.ended(tool.result, ""))
            self._write_all(call.derived(tool.result))
        self._next_request()

    def _ask(self, tool: Tool, approval: ToolApproval) -> None:
        self.pending = choreography.pending_approval(
            request_id=str(UUID(int=self._writer.seq)),
            agent_id=_AGENT,
            user_id=self.place.user_id,
            app_id=self.place.app_id,
            session_id=self.place.session_id,
            tool=tool.name if tool.name in QUESTION_TOOLS else action_name(tool.name),
            params=tool.params,
            risk_level=approval.risk_level or risk_of(tool.name),
            description=approval.description,
            created_at=self._writer.moment.timestamp(),
        )
        self._write(choreography.approval_request(self.pending))
        if approval.decision != "open":
            self._decide(tool, approval)

    def _decide(self, tool: Tool, approval: ToolApproval) -> None:
        request = self.pending
        self._resolve(approved=approval.decision == "approved", reason=approval.message)
        if request is None or approval.decision == "approved" or tool.name in QUESTION_TOOLS:
            return
        # A denied call is asked for once more.
        self.pending = choreography.asked_again(
            request, tool_name(tool.name), approval.message, request_id=str(UUID(int=self._writer.seq))
        )
        self._write(choreography.approval_request(self.pending))
        self._resolve(approved=False, reason=approval.message)

    def _resolve(self, *, approved: bool, reason: str) -> None:
        if self.pending is not None:
            self._write(choreography.approval_resolved(self.pending, approved=approved, reason=reason))
            self.pending = None

    # --- ends

    def _fail(self, failure: TurnFailure) -> None:
        # A request that failed does not count.
        self._requests -= 1
        failed = failed_turn(failure.code, failure.message)
        lacking = choreography.credential_members(
            failed, provider=_PROVIDER, app_id=self.place.app_id, user_id=self.place.user_id
        )
        self._write_all(self._turn.failed(failed, self._result("", failure.message), lacking))

    def _abort(self) -> None:
        refused = 0 if self.pending is None else 1
        self._resolve(approved=False, reason="")
        abort = Abort(
            session_id=self.place.session_id,
            queue_purged=0,
            queue_preserved=True,
            task_cancelled=True,
            approvals_cancelled=refused,
        )
        self._write(abort)
        self._write_all(self._turn.cancelled())

    def _result(self, content: str, error: str | None = None) -> Result:
        session = token_triple(self._writer.tokens_in, self._writer.tokens_out)
        return choreography.result(
            self.place.session_id,
            content,
            error,
            tool_calls=len(self.call_ids),
            model_calls=self._requests,
            turn_number=self._number,
            usage=choreography.usage(*self._tokens, session),
            model=_MODEL,
            context=_context(self._writer.tokens_in),
        )

    # --- all of it

    @property
    def _turn(self) -> TurnEvents:
        return TurnEvents(
            session_id=self.place.session_id,
            correlation_id=self.place.correlation_id,
            position=self.script.position or 0,
            source="drain" if self.is_queued else "fast",
        )

    def _user_message(self, *, pending: bool) -> EventPayload:
        place = self.place
        return choreography.user_message(
            place.session_id, place.correlation_id, self.script.message, pending=pending
        )

    def _write_all(self, payloads: Iterable[EventPayload]) -> None:
        for payload in payloads:
            self._write(payload)

    def _write(
        self,
        payload: EventPayload,
        *,
        op_id: str | None = None,
        op_type: OpType | None = None,
        op_state: OpState | None = None,
        op_parent_id: str | None = None,
    ) -> None:
        self._writer.write(
            payload,
            self.place,
            op_id=op_id,
            op_type=op_type,
            op_state=op_state,
            op_parent_id=op_parent_id,
        )


def _context(used: int) -> ContextSnapshot:
    """A context that holds messages alone."""
    most = _MAX_TOKENS - _OUTPUT_RESERVED
    return ContextSnapshot(
        max_tokens=_MAX_TOKENS,
        output_reserved=_OUTPUT_RESERVED,
        effective_max=most,
        system_prompt_tokens=0,
        tools_schema_tokens=0,
        message_history_tokens=used,
        total_estimated_tokens=used,
        available_tokens=max(0, most - used),
        compactions=0,
        system_prompt_pct=0.0,
        tools_schema_pct=0.0,
        message_history_pct=min(100.0, 100.0 * used / most),
        pressure=used / most,
    )
