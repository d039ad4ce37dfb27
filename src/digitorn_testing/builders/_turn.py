"""Turns from what happens in them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final, Self

from digitorn_testing._apps.tools import json_object, result_object
from digitorn_testing._events import choreography
from digitorn_testing._events.envelope import APP, BEGINNING, SESSION, TURN, USER, Frame, check_start, frame
from digitorn_testing._events.event import AnyEvent
from digitorn_testing._events.failures import FAILURES, FailureCode
from digitorn_testing._generated.events import QUESTION_TOOLS, EventPayload
from digitorn_testing._generated.payloads import OpState, OpType

from ._play import Place, TurnRun, Writer
from ._script import Other, Step, Text, Thinking, Tool, ToolApproval, TurnFailure, TurnScript

STEP: Final = timedelta(milliseconds=10)
"""Time from each built event to the next, unless told otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnBuilder:
    """Builds a turn from what happens in it: `TurnBuilder().user("hi").tool("Bash").text("done").build()`.

    Every method returns a new builder and leaves this one unchanged. The events are those of the daemon, in
    order, with the numbers, operations and states that it gives them (contract: events, section 6), as a
    socket in the session's room gets them. They are the same each time, ids and times included. A turn ends
    with its answer unless `error`, `aborted` or `unfinished` says otherwise.

    Attributes:
        app_id: App that the session belongs to.
        session_id: The session.
        user_id: Owner of the session.
        correlation_id: The turn.
        start_seq: Number of its first event, 1 or more.
        starts_at: When that was emitted.
        step: Time from each event to the next.
        script: What happens; the methods write it.
    """

    app_id: str = APP
    session_id: str = SESSION
    user_id: str = USER
    correlation_id: str = TURN
    start_seq: int = 1
    starts_at: datetime = BEGINNING
    step: timedelta = STEP
    script: TurnScript = field(default=TurnScript(), repr=False)

    # --- what happens

    def __post_init__(self) -> None:
        check_start(self.start_seq)

    def user(self, content: str) -> Self:
        """The message that the turn begins with.

        Args:
            content: What the user says.

        Raises:
            ValueError: The turn already has a message; another message needs another turn.
        """
        if self.script.given is not None:
            raise ValueError(
                f"the turn begins with {self.script.given!r}; another message begins another turn, "
                "see `SessionBuilder`"
            )
        return replace(self, script=replace(self.script, given=content))

    def queued(self, position: int = 1) -> Self:
        """The message had to wait for another turn (contract: events, section 6.4).

        Args:
            position: Its ticket number in the session's queue, counted up from 1.
        """
        return replace(self, script=replace(self.script, position=position))

    def thinking(self, text: str) -> Self:
        """The model reasons. Short reasoning has no closing event, as on the daemon.

        Args:
            text: The reasoning; streamed line by line.
        """
        return self._then(Thinking(text))

    def commentary(self, *chunks: str) -> Self:
        """The model says something before it goes on.

        Args:
            chunks: The text, as the pieces that it is streamed in.
        """
        return self._then(Text(chunks, is_commentary=True))

    def text(self, *chunks: str) -> Self:
        """The model answers. A text before a tool call counts as commentary.

        Args:
            chunks: The answer, as the pieces that it is streamed in.
        """
        return self._then(Text(chunks, is_commentary=False))

    def tool(
        self,
        name: str,
        params: Mapping[str, object] | None = None,
        *,
        result: Mapping[str, object] | str | None = None,
        error: str = "",
        call_id: str | None = None,
    ) -> Self:
        """The model calls a tool.

        Args:
            name: The tool.
            params: Arguments of the call.
            result: What it gives back; a text counts as `{"output": text}`, as in `FakeModel`.
            error: Why it fails; empty when it does not.
            call_id: Id of the call and of its operation; one of its own when left out.

        Raises:
            TypeError: `params` or `result` holds what JSON cannot.
        """
        return self._then(Tool(name, json_object(params or {}), result_object(result), error, call_id))

    def approval(self, message: str = "", *, risk_level: str | None = None, description: str = "") -> Self:
        """The last tool call had to be approved, and was.

        Args:
            message: What the user said to it.
            risk_level: Risk of the call; that of the tool if left out.
            description: What the call would do, for people.

        Raises:
            ValueError: The last step is not a tool call.
        """
        return self._decided(ToolApproval("approved", message, risk_level, description))

    def denied(self, reason: str = "", *, risk_level: str | None = None, description: str = "") -> Self:
        """The last tool call had to be approved, and was refused: it fails.

        Args:
            reason: Why. A reason worded as a timeout counts as a timeout, as on the daemon.
            risk_level: Risk of the call; that of the tool if left out.
            description: What the call would do, for people.

        Raises:
            ValueError: The last step is not a tool call.
        """
        return self._decided(ToolApproval("denied", reason, risk_level, description))

    def pending_approval(self, *, risk_level: str | None = None, description: str = "") -> Self:
        """The last tool call waits to be approved, and the turn with it: it does not end.

        Args:
            risk_level: Risk of the call; that of the tool if left out.
            description: What the call would do, for people.

        Raises:
            ValueError: The last step is not a tool call.
        """
        return self._decided(ToolApproval("open", "", risk_level, description)).unfinished()

    def question(self, question: str, *, choices: Sequence[str] = (), answer: str | None = None) -> Self:
        """The model asks the user.

        Args:
            question: What it asks.
            choices: Answers to choose from.
            answer: What the user answers; without one the turn waits for it.
        """
        params: dict[str, object] = {"question": question, "choices": list(choices)}
        if answer is None:
            return self.tool(QUESTION_TOOLS[0], params).pending_approval(risk_level="low")
        result = choreography.answer(params, approved=True, said=answer)
        asked = self.tool(QUESTION_TOOLS[0], params, result=result)
        return asked.approval(answer, risk_level="low")

    def event(
        self,
        payload: EventPayload,
        *,
        op_id: str | None = None,
        op_type: OpType | None = None,
        op_state: OpState | None = None,
        op_parent_id: str | None = None,
    ) -> Self:
        """Something else happens, such as a hook or a sub-agent's report.

        Args:
            payload: What happens.
            op_id: The operation that it reports on.
            op_type: What kind of operation that is.
            op_state: State of that operation.
            op_parent_id: The enclosing operation.
        """
        return self._then(Other(payload, op_id, op_type, op_state, op_parent_id))

    def usage(self, input_tokens: int, output_tokens: int) -> Self:
        """What the turn uses, instead of an estimate.

        Args:
            input_tokens: Tokens sent to the model.
            output_tokens: Tokens that the model wrote.
        """
        return replace(self, script=replace(self.script, usage=(input_tokens, output_tokens)))

    # --- how it ends

    def error(self, code: FailureCode = "provider_error", message: str = "") -> Self:
        """The turn fails (contract: events, section 6.7).

        Args:
            code: How the failure is classified; decides the category and whether to retry.
            message: Text for people; the code when left out.

        Raises:
            ValueError: An approval is open, or there is no such code.
        """
        if code not in FAILURES:
            raise ValueError(f"{code!r} is no code of a failed turn; they are {', '.join(FAILURES)}")
        self._check_nothing_is_open()
        failure = TurnFailure(code, message or code)
        return replace(self, script=replace(self.script, ending="failed", failure=failure))

    def aborted(self) -> Self:
        """The turn is cut off: a tool call that is its last step never ends, and an approval that is open is
        refused (contract: events, sections 5.5 and 6.6)."""
        return replace(self, script=replace(self.script, ending="aborted"))

    def unfinished(self) -> Self:
        """The turn still runs: nothing follows, and a tool call that is its last step has not ended."""
        return replace(self, script=replace(self.script, ending="unfinished"))

    # --- what comes of it

    def build(self) -> list[AnyEvent]:
        """The events of the turn."""
        writer = Writer(self.start_seq, self.starts_at, self.step)
        run = TurnRun(self.script, self.place, writer, number=1)
        if run.is_queued:
            run.announce(1, starts=True)
        run.play()
        run.end()
        return writer.events

    def frames(self) -> list[Frame]:
        """The events of the turn as they go over the wire."""
        return [frame(one) for one in self.build()]

    @property
    def place(self) -> Place:
        """Where the turn runs."""
        return Place(
            app_id=self.app_id,
            session_id=self.session_id,
            user_id=self.user_id,
            correlation_id=self.correlation_id,
        )

    def _then(self, step: Step) -> Self:
        self._check_nothing_is_open()
        return replace(self, script=replace(self.script, steps=(*self.script.steps, step)))

    def _check_nothing_is_open(self) -> None:
        last = self.script.steps[-1] if self.script.steps else None
        if isinstance(last, Tool) and last.approval is not None and last.approval.decision == "open":
            raise ValueError(f"{last.name} waits for an approval: nothing but `aborted` can follow")

    def _decided(self, approval: ToolApproval) -> Self:
        steps = self.script.steps
        if not steps or not isinstance(steps[-1], Tool):
            raise ValueError("an approval is that of a tool call: put it right behind `tool`")
        decided = replace(steps[-1], approval=approval)
        return replace(self, script=replace(self.script, steps=(*steps[:-1], decided)))
