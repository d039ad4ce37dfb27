"""Plays scripts: writes the events that build A of the daemon sends (contract: events, section 6)."""

import json
import math
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from pydantic import JsonValue

from digitorn_testing._events.envelope import event, turn_of
from digitorn_testing._events.event import AnyEvent
from digitorn_testing._generated import builders as payloads
from digitorn_testing._generated._runtime import NOT_GIVEN
from digitorn_testing._generated.events import QUESTION_TOOLS, EventPayload
from digitorn_testing._generated.models import PendingApproval
from digitorn_testing._generated.payloads import (
    CredentialFieldSpec,
    OpState,
    OpType,
    ResultUsage,
    ToolDisplay,
)

from ._errors import CREDENTIAL_CODES, ERROR_CLASSES
from ._script import Approval, Failure, Other, Script, Text, Thinking, Tool

# The daemon keeps short reasoning to itself: then no event closes the deltas.
_SHORT_THINKING_LINES: Final = 2
_SHORT_THINKING_CHARS: Final = 80
_LONGEST_PREVIEW: Final = 200
_AGENT: Final = "main"


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
        moment: When that is emitted.
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

    def __init__(self, script: Script, place: Place, writer: Writer, number: int) -> None:
        self.script = script
        self.place = place
        self.pending: PendingApproval | None = None
        self.call_ids: dict[int, str] = {}
        self._writer = writer
        self._number = number
        self._requests = 1
        self._has_spoken = False
        self._is_after_break = False
        self._said = ""
        self._tokens = (0, 0)

    @property
    def is_queued(self) -> bool:
        """Whether its message had to wait."""
        return self.script.position is not None

    def announce(self, depth: int) -> None:
        """The message waits in the queue (contract: events, section 6.4).

        Args:
            depth: Number of messages in it.
        """
        queued = payloads.message_queued(
            correlation_id=self.place.correlation_id,
            position=self.script.position or 1,
            queue_depth=depth,
            message_preview=self.script.message[:_LONGEST_PREVIEW],
        )
        self._write(queued)
        self._write(self._user_message(pending=True))

    def play(self) -> None:
        """The turn runs up to its end (contract: events, sections 6.1 to 6.3)."""
        if not self.is_queued:
            self._write(self._user_message(pending=False))
        started = payloads.message_started(
            correlation_id=self.place.correlation_id,
            session_id=self.place.session_id,
            position=self.script.position or 0,
            fast_path=NOT_GIVEN if self.is_queued else True,
        )
        self._write(started)
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
                self._write(payloads.stream_done())
                self._write(self._result(self.script.answer))
                self._done()
            case "failed":
                self._fail(self.script.failure or Failure("internal_error", "internal_error"))
            case "aborted":
                self._abort()
            case "unfinished":
                pass

    # --- what the model says

    def _think(self, text: str) -> None:
        self._write(payloads.thinking_started())
        counted = 0
        for line in text.splitlines(keepends=True):
            counted += _estimate(line)
            self._write(payloads.thinking_delta(delta=line, count=counted))
        self._said += text
        if len(text.splitlines()) > _SHORT_THINKING_LINES or len(text) >= _SHORT_THINKING_CHARS:
            self._write(payloads.thinking(text=text, count=counted))

    def _say(self, said: Text, *, is_followed_by_call: bool) -> None:
        if self._is_after_break and self._has_spoken and said.text:
            # Two texts of one turn would run into each other.
            self._write(payloads.token(delta="\n\n"))
        self._is_after_break = False
        written = 0
        for chunk in said.chunks:
            written += _estimate(chunk)
            self._write(
                payloads.token(delta=chunk, count=written) if written else payloads.token(delta=chunk)
            )
        self._has_spoken = self._has_spoken or bool(said.text)
        self._said += said.text
        if said.is_commentary and not is_followed_by_call:
            self._count()
            self._write(payloads.stream_done())
            self._next_request()

    def _count(self, *, is_last: bool = False) -> None:
        """Tells what the request to the model used; a usage that was given is told with the last one."""
        if self.script.usage is None:
            used = (max(1, _estimate(self.script.message)), max(1, _estimate(self._said)))
        elif is_last:
            used = self.script.usage
        else:
            return
        self._said = ""
        self._tokens = (self._tokens[0] + used[0], self._tokens[1] + used[1])
        self._writer.tokens_in += used[0]
        self._writer.tokens_out += used[1]
        self._write(payloads.in_token(count=used[0]))
        self._write(payloads.out_token(count=used[1]))

    def _next_request(self) -> None:
        self._requests += 1
        self._is_after_break = True

    # --- tools

    def is_call(self, place: int) -> bool:
        """Whether the step at a place is a tool call."""
        return place < len(self.script.steps) and isinstance(self.script.steps[place], Tool)

    def _call(self, place: int, tool: Tool) -> None:
        call_id = self.call_ids[place] = tool.call_id or f"call_{self._writer.seq:012x}"
        arguments = json.dumps(dict(tool.params))
        self._said += tool.name + arguments
        self._write(payloads.stream_done())
        self._write(payloads.tool_call_streaming(call_id=call_id, name=tool.name))
        streamed = payloads.tool_call_streaming(call_id=call_id, name=tool.name, count=_estimate(arguments))
        self._write(streamed)
        self._count()
        display = _display(tool)
        self._write(
            payloads.tool_start(
                id=call_id,
                call_id=call_id,
                name=tool.name,
                params=dict(tool.params),
                label=tool.name,
                detail=display.detail,
                display=display,
                correlation_id=self.place.correlation_id,
            )
        )
        if tool.approval is not None:
            self._ask(tool, tool.approval)
        if tool is self.script.open_call:
            return
        failure = tool.failure
        self._write(
            payloads.tool_call(
                id=call_id,
                name=tool.name,
                params=dict(tool.params),
                success=not failure,
                error=failure,
                label=tool.name,
                detail=display.detail,
                display=display,
                result=None if failure or tool.result is None else dict(tool.result),
                op_id=call_id,
                correlation_id=self.place.correlation_id,
            )
        )
        self._next_request()

    def _ask(self, tool: Tool, approval: Approval) -> None:
        request_id = str(UUID(int=self._writer.seq))
        self.pending = PendingApproval(
            request_id=request_id,
            agent_id=_AGENT,
            user_id=self.place.user_id,
            app_id=self.place.app_id,
            session_id=self.place.session_id,
            tool_name=tool.name,
            tool_params=dict(tool.params),
            risk_level=approval.risk_level,
            description=approval.description or f"Run {tool.name}",
            created_at=self._writer.moment.timestamp(),
        )
        self._write(payloads.approval_request(op_id=request_id, extra_members=self.pending.to_wire()))
        if approval.decision != "open":
            self._resolve(approved=approval.decision == "approved", reason=approval.message)

    def _resolve(self, *, approved: bool, reason: str) -> None:
        if self.pending is not None:
            self._write(
                payloads.approval_resolved(
                    op_id=self.pending.request_id,
                    approved=approved,
                    reason=reason,
                    extra_members=self.pending.to_wire(),
                )
            )
            self.pending = None

    # --- ends

    def _fail(self, failure: Failure) -> None:
        # A provider that fails has still been asked.
        if failure.code in CREDENTIAL_CODES:
            self._lack_credential(failure)
        else:
            self._write(self._result("", failure.message))
            kind = ERROR_CLASSES[failure.code]
            self._write(
                payloads.error(
                    error=failure.message,
                    code=failure.code,
                    category=kind.category,
                    retry=kind.retry,
                    detail=failure.message,
                    session_id=self.place.session_id,
                )
            )
        self._done()

    def _lack_credential(self, failure: Failure) -> None:
        """What a turn lacks (contract: events, section 5.6): an event of its own, an error from the queue."""
        members: dict[str, JsonValue] = {
            "error": failure.message,
            "code": failure.code,
            "category": ERROR_CLASSES[failure.code].category,
            "retry": False,
            "detail": failure.message,
            "provider": "provider",
            "provider_type": "api_key",
            "candidates": [],
            "field_spec": CredentialFieldSpec(name="provider", type="api_key", fields=[]).to_wire(),
            "app_id": self.place.app_id,
            "user_id": self.place.user_id,
        }
        made = payloads.credential_required if not self.is_queued else payloads.error
        self._write(made(extra_members=members))

    def _abort(self) -> None:
        cancelled = 0 if self.pending is None else 1
        self._resolve(approved=False, reason="")
        self._write(payloads.abort(session_id=self.place.session_id, approvals_cancelled=cancelled))
        if self.is_queued:
            # One from the queue ends as if it were done.
            self._done()
            return
        self._write(
            payloads.message_cancelled(
                session_id=self.place.session_id,
                correlation_id=self.place.correlation_id,
                fast_path=True,
            )
        )

    def _result(self, content: str, error: str | None = None) -> EventPayload:
        read, written = self._tokens
        total_in, total_out = self._writer.tokens_in, self._writer.tokens_out
        return payloads.result(
            content=content,
            session_id=self.place.session_id,
            tool_calls_count=len(self.call_ids),
            turns_used=self._requests,
            error=error,
            usage=ResultUsage(
                input_tokens=read,
                output_tokens=written,
                total_input_tokens=total_in,
                total_output_tokens=total_out,
                total_tokens=total_in + total_out,
                cost_usd=0.0,
            ),
            turn_number=self._number,
        )

    def _done(self) -> None:
        done = payloads.message_done(
            correlation_id=self.place.correlation_id,
            session_id=self.place.session_id,
            fast_path=NOT_GIVEN if self.is_queued else True,
        )
        self._write(done)

    # --- all of it

    def _user_message(self, *, pending: bool) -> EventPayload:
        return payloads.user_message(
            session_id=self.place.session_id,
            content=self.script.message,
            images=[],
            correlation_id=self.place.correlation_id,
            client_message_id="",
            pending=pending,
        )

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


def _display(tool: Tool) -> ToolDisplay:
    return ToolDisplay(
        verb=tool.name,
        detail=next((str(value) for value in tool.params.values()), "")[:_LONGEST_DETAIL],
        icon="tool",
        channel="chat",
        hidden=False,
        category="control_flow" if tool.name in QUESTION_TOOLS else "action",
        group="",
    )


_LONGEST_DETAIL: Final = 120


def _estimate(text: str) -> int:
    """Number of tokens of a text, at four characters each."""
    return math.ceil(len(text) / 4)
