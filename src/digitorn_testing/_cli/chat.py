"""`digitorn-testing chat`: a conversation with an app."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, TypeAlias, cast

import typer

from digitorn_testing._texts import in_seconds, json_text

from ._connection import Json, Url, complete_app, connected
from ._failing import FAILED, INTERRUPTED, USAGE, CommandFailed
from ._terminal import NotNeeded, Terminal
from .approvals import said

if TYPE_CHECKING:
    from digitorn_testing import Decision, DevClient, SessionHandle, Turn, TurnResult
    from digitorn_testing._events.event import AnyEvent
    from digitorn_testing._events.meaning import Resolved
    from digitorn_testing._generated.models import PendingApproval
    from digitorn_testing._log.log import EventLog

_CALL_SECONDS: Final = 60.0
_LONGEST: Final = 100


class Approvals(StrEnum):
    """What happens when a tool call needs approval."""

    ASK = "ask"
    APPROVE = "approve"
    DENY = "deny"


App: TypeAlias = Annotated[
    str, typer.Argument(help="Id of the app.", autocompletion=complete_app, show_default=False)
]
Message: TypeAlias = Annotated[
    list[str] | None,
    typer.Option("--message", "-m", metavar="TEXT", help="Say this instead of asking; repeat it for more."),
]
SessionId: TypeAlias = Annotated[
    str | None,
    typer.Option("--session", metavar="ID", help="Continue this session instead of beginning one."),
]
Workspace: TypeAlias = Annotated[
    str,
    typer.Option(metavar="DIR", help="Working folder of a new session, on the daemon's machine."),
]
ApprovalsOption: TypeAlias = Annotated[
    Approvals | None,
    typer.Option(help="Who decides approvals. Default: ask, or deny if stdin is not a terminal."),
]
Seconds: TypeAlias = Annotated[float, typer.Option("--timeout", min=1, help="Seconds that a turn may take.")]


def chat(
    app: App,
    url: Url = None,
    message: Message = None,
    session: SessionId = None,
    workspace: Workspace = "",
    approvals: ApprovalsOption = None,
    timeout: Seconds = 3600.0,
    as_json: Json = False,
) -> None:
    """Talk to an app.

    The answer is shown as it comes, with the tools that are called. Tool calls that need approval, and
    questions of the agent, are put to you. Ctrl-C aborts the running turn; a second one, or one while you
    are asked for a message, ends the command. Ctrl-D ends the conversation.

    Messages are read from stdin, a line each, or given with --message. The text of the answers goes to
    stdout, everything else to stderr. With --json, every event is a line of JSON on stdout. Exits with 1 if a
    turn failed, unless you were typing the messages.
    """
    converse(
        app,
        url=url,
        messages=message,
        session_id=session,
        workspace=workspace,
        approvals=approvals,
        timeout=timeout,
        as_json=as_json,
    )


def converse(
    app: str,
    *,
    url: str | None,
    messages: list[str] | None,
    session_id: str | None,
    workspace: str,
    approvals: Approvals | None,
    timeout: float,
    as_json: bool,
    recording: Path | None = None,
) -> None:
    """Runs a conversation.

    Args:
        app: The app.
        url: The URL from the command line.
        messages: The messages; read from stdin if left out.
        session_id: The session; a new one if left out.
        workspace: Working folder of a new session.
        approvals: Who decides.
        timeout: Seconds that a turn may take.
        as_json: Whether to write events instead of text.
        recording: File to record to.

    Raises:
        typer.Exit: A turn failed, or was interrupted.
        CommandFailed: There is no message.
    """
    terminal = Terminal()
    decides = approvals or (Approvals.ASK if sys.stdin.isatty() else Approvals.DENY)
    with ExitStack() as stack:
        client = stack.enter_context(connected(url, timeout=_CALL_SECONDS))
        if recording is not None:
            stack.enter_context(client.record(recording))
        with terminal.busy("asking for the app"):
            detail = client.get_app(app)
            if session_id is not None:
                session = client.open_session(app, session_id)
            else:
                session = client.new_session(app, workspace=workspace)
        conversation = Conversation(client, session, terminal, decides, timeout=timeout, as_json=as_json)
        terminal.note(f"session {session.session_id} of {app} on {client.daemon_url}")
        typed = messages is None and terminal.is_interactive
        if typed:
            terminal.note("Ctrl-C aborts a turn, Ctrl-D ends the conversation.")
            if detail.greeting and session_id is None:
                terminal.data(detail.greeting)
        completed = [conversation.say(one) for one in _messages(terminal, messages)]
        if not completed and not typed:
            raise CommandFailed("no message on stdin", USAGE)
    if not all(completed) and not typed:
        raise typer.Exit(FAILED)


def _messages(terminal: Terminal, given: list[str] | None) -> Iterator[str]:
    if given is not None:
        yield from given
        return
    while True:
        try:
            line = terminal.ask("> ") if terminal.is_interactive else sys.stdin.readline()
        except EOFError:
            terminal.note("")
            return
        if not line:
            if not terminal.is_interactive:
                return
            continue
        if line.strip():
            yield line.rstrip("\n")


class Conversation:
    """The turns of a session, shown as they run.

    Args:
        client: The client, which leaves approvals open.
        session: The session.
        terminal: Where to show them.
        approvals: Who decides.
        timeout: Seconds that a turn may take.
        as_json: Whether to write events instead of text.
    """

    def __init__(
        self,
        client: DevClient,
        session: SessionHandle,
        terminal: Terminal,
        approvals: Approvals,
        *,
        timeout: float,
        as_json: bool = False,
    ) -> None:
        self._client = client
        self._session = session
        self._terminal = terminal
        self._approvals = approvals
        self._timeout = timeout
        self._as_json = as_json

    def say(self, message: str) -> bool:
        """Sends a message and shows its turn.

        Args:
            message: The message.

        Returns:
            Whether the turn completed.

        Raises:
            typer.Exit: It was interrupted twice.
        """
        turn = self._client.start_turn(self._session, message, timeout=self._timeout)
        shown = _Shown(turn, self._terminal, as_json=self._as_json)
        reading, is_aborted = iter(turn), False
        while True:
            try:
                with ExitStack() as stack:
                    if shown.waits:
                        stack.enter_context(self._terminal.busy("working"))
                    event = next(reading, None)
                if event is None:
                    break
                shown.take(event)
                self._decide(turn, event)
            except KeyboardInterrupt:
                if is_aborted:
                    raise typer.Exit(INTERRUPTED) from None
                is_aborted = True
                self._abort(turn)
        result = turn.result()
        shown.end(result)
        return result.ok

    def _abort(self, turn: Turn) -> None:
        from digitorn_testing import DigitornError

        self._terminal.note("aborting the turn; Ctrl-C again to leave", "yellow")
        try:
            turn.abort()
        except DigitornError as error:
            self._terminal.note(str(error), "yellow")

    def _decide(self, turn: Turn, event: AnyEvent) -> None:
        """Puts a request to whoever decides, unless it is resolved by now."""
        from digitorn_testing import ApiError

        log = turn.stream.log
        request = log.meaning.asked(event)
        if request is None or log.meaning.denied_before(request) is not None:
            # The client itself denies a call again that was denied before.
            return
        if not any(one.request_id == request.request_id for one in log.pending_approvals()):
            return

        def is_decided() -> bool:
            return _resolution(log, request) is not None

        decision = None
        try:
            decision = self._decision(request, is_decided)
        except NotNeeded:
            # The line of the question was not ended.
            self._terminal.note("")
        if (resolved := _resolution(log, request)) is not None:
            # That nobody decided in time is said with its event.
            if not resolved.timed_out:
                already = "already " if decision is not None else ""
                verdict = "approved" if resolved.approved else "denied"
                self._terminal.note(f"  {already}decided elsewhere: {verdict}", "yellow")
        elif decision is not None:
            try:
                self._client.resolve_approval(
                    request.app_id, request.request_id, decision.approved, decision.message
                )
            except ApiError as error:
                # Somebody else may have been faster, or nobody decided in time.
                self._terminal.note(str(error), "yellow")

    def _decision(self, request: PendingApproval, is_decided: Callable[[], bool]) -> Decision:
        from digitorn_testing import Decision
        from digitorn_testing._approvals.policies import is_question

        if is_question(request):
            if self._approvals is not Approvals.ASK:
                self._terminal.note(f"declined, since nobody is asked: {said(request)}", "yellow")
                return Decision(False, "nobody is there to answer")
            return self._answer(request, is_decided)
        if self._approvals is not Approvals.ASK:
            approved = self._approvals is Approvals.APPROVE
            self._terminal.note(f"{'approved' if approved else 'denied'}: {said(request)}", "yellow")
            return Decision(approved, "" if approved else "nobody is there to approve it")
        return self._verdict(request, is_decided)

    def _verdict(self, request: PendingApproval, is_decided: Callable[[], bool]) -> Decision:
        from digitorn_testing import Decision

        terminal = self._terminal
        terminal.note(f"? {said(request)}", "bold yellow")
        try:
            line = terminal.ask(
                f"  Allow this ({request.risk_level} risk)? [y]es, [n]o, or why not: ", unless=is_decided
            ).strip()
        except EOFError:
            line = ""
        if line.lower() in ("y", "yes"):
            return Decision(True)
        return Decision(False, "" if line.lower() in ("", "n", "no") else line)

    def _answer(self, request: PendingApproval, is_decided: Callable[[], bool]) -> Decision:
        from digitorn_testing import Decision

        terminal = self._terminal
        terminal.note(f"? {said(request)}", "bold yellow")
        choices = _choices(request)
        for number, one in enumerate(choices, 1):
            terminal.note(f"  {number}. {one}", "yellow")
        try:
            line = terminal.ask("  Your answer (empty to decline): ", unless=is_decided).strip()
        except EOFError:
            line = ""
        if line.isdecimal() and 1 <= int(line) <= len(choices):
            line = choices[int(line) - 1]
        return Decision(bool(line), line)


def _resolution(log: EventLog, request: PendingApproval) -> Resolved | None:
    """How a request was resolved; None if it still waits."""
    found = (log.meaning.resolved(event) for event in reversed(log.events()))
    return next((one for one in found if one is not None and one.request_id == request.request_id), None)


def _choices(request: PendingApproval) -> list[str]:
    found: object = request.tool_params.get("choices")
    choices = cast("list[object]", found) if isinstance(found, list) else []
    return [one if isinstance(one, str) else json_text(one) for one in choices]


class _Shown:
    """One turn on the terminal.

    Args:
        turn: The turn.
        terminal: Where to show it.
        as_json: Whether to write events instead of text.
    """

    def __init__(self, turn: Turn, terminal: Terminal, *, as_json: bool) -> None:
        from digitorn_testing._turns.texts import StreamedTexts

        self._meaning = turn.stream.log.meaning
        self._hide = turn.stream.exchanges.redactor.json
        self._streamed = StreamedTexts(self._meaning)
        self._terminal = terminal
        self._as_json = as_json
        self._follows_note = True

    @property
    def waits(self) -> bool:
        """Whether nothing of the answer is on the line at the moment."""
        return not self._as_json and not self._terminal.is_in_line

    def take(self, event: AnyEvent) -> None:
        """Shows the next event.

        Args:
            event: The event.
        """
        if self._as_json:
            self._terminal.json(self._hide(dict(event.raw)))
            return
        self._say(self._streamed.take(event))
        if (note := self._note(event)) is not None:
            self._terminal.note(*note)
            self._follows_note = True

    def _say(self, text: str) -> None:
        if self._follows_note:
            # The line is a new one already.
            text = text.lstrip("\n")
        if text:
            self._terminal.pieces(text)
            self._follows_note = False

    def _note(self, event: AnyEvent) -> tuple[str, str] | None:
        """What is said about an event, and its colour; nothing about questions, which are put to the user."""
        from digitorn_testing._generated.events import QUESTION_TOOLS

        meaning = self._meaning
        if (began := meaning.tool_began(event)) is not None and began.name not in QUESTION_TOOLS:
            return f"- {began.name} {_short(self._hide(dict(began.params)))}", "cyan"
        if (ended := meaning.tool_ended(event)) is not None and ended.name not in QUESTION_TOOLS:
            if ended.success:
                result = None if ended.result is None else self._hide(dict(ended.result))
                return f"  {ended.name} -> {_short(result)}", "green"
            return f"  {ended.name} failed: {_one_line(ended.error)}", "red"
        if (resolved := meaning.resolved(event)) is not None and resolved.timed_out:
            return "  nobody decided in time; it counts as denied", "yellow"
        return None

    def end(self, result: TurnResult) -> None:
        """Shows how the turn ended.

        Args:
            result: Its result.
        """
        terminal = self._terminal
        terminal.end_line()
        for error in dict.fromkeys(map(str, result.errors)):
            terminal.error(error)
        if self._as_json:
            return
        words = [result.status, in_seconds(result.duration)]
        if result.usage is not None:
            words.append(f"{result.usage.input_tokens} tokens in, {result.usage.output_tokens} out")
        terminal.note(", ".join(words))


def _short(value: object) -> str:
    return _one_line(json_text(value, default=str))


def _one_line(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."
