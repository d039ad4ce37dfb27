"""`digitorn-testing tail`: the events of a session as they happen."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, TypeAlias

import typer

from ._connection import AppOption, Json, Url, connected, find_session, shown
from ._terminal import Terminal

if TYPE_CHECKING:
    from digitorn_testing import DevClient, LiveEventStream
    from digitorn_testing._events.event import AnyEvent

_CALL_SECONDS: Final = 60.0
_LOOK_SECONDS: Final = 0.5
"""How often to look at the connection while no event comes."""
_SHORT_ID: Final = 8

SessionArgument: TypeAlias = Annotated[
    str | None,
    typer.Argument(metavar="[SESSION]", help="Id of the session. Default: the one that was used last."),
]
Since: TypeAlias = Annotated[int, typer.Option(min=0, help="Begin behind the event with this number.")]
UntilIdle: TypeAlias = Annotated[
    bool, typer.Option("--until-idle", help="End as soon as no turn runs, instead of waiting for more.")
]
Everything: TypeAlias = Annotated[
    bool, typer.Option("--all", help="Show every event on a line of its own, heartbeats too.")
]


def tail(
    session: SessionArgument = None,
    url: Url = None,
    app: AppOption = None,
    since: Since = 0,
    until_idle: UntilIdle = False,
    everything: Everything = False,
    as_json: Json = False,
) -> None:
    """Show the events of a session: those so far, then each as it happens.

    If the connection is lost, the command reconnects and shows what it missed. Ctrl-C ends it, with exit
    status 0. With --json, every event is a line of JSON.
    """
    follow(
        session,
        url=url,
        app=app,
        since=since,
        until_idle=until_idle,
        everything=everything,
        as_json=as_json,
    )


def follow(
    session_id: str | None,
    *,
    url: str | None,
    app: str | None,
    since: int,
    until_idle: bool,
    everything: bool,
    as_json: bool,
    recording: Path | None = None,
) -> None:
    """Follows a session.

    Args:
        session_id: The session; the one that was used last if left out.
        url: The URL from the command line.
        app: Its app; looked for in all apps if left out.
        since: Begin behind the event with this number.
        until_idle: Whether to end as soon as no turn runs.
        everything: Whether to show each event on a line of its own.
        as_json: Whether to write JSON.
        recording: File to record to.
    """
    terminal = Terminal()
    with ExitStack() as stack:
        client = stack.enter_context(connected(url, timeout=_CALL_SECONDS))
        if recording is not None:
            stack.enter_context(client.record(recording))
        with terminal.busy("joining the session"):
            session = find_session(client, session_id, app)
            stream = stack.enter_context(client.open_event_stream(session, since=since))
        stream.timeout = _LOOK_SECONDS
        terminal.note(f"session {session.session_id} of {session.app_id} on {client.daemon_url}")
        try:
            _Following(client, stream, terminal, url=url, everything=everything, as_json=as_json).run(
                until_idle=until_idle
            )
        except KeyboardInterrupt:
            # That is how it normally ends.
            terminal.note("")


class _Following:
    def __init__(
        self,
        client: DevClient,
        stream: LiveEventStream,
        terminal: Terminal,
        *,
        url: str | None,
        everything: bool,
        as_json: bool,
    ) -> None:
        from ._timeline import Timeline

        self._client = client
        self._stream = stream
        self._terminal = terminal
        self._url = url
        self._as_json = as_json
        self._lines = Timeline(
            terminal,
            everything=everything,
            meaning=stream.log.meaning,
            hide=stream.exchanges.redactor.text,
        )
        self._connection = stream.connection

    def run(self, *, until_idle: bool) -> None:
        """Shows events until it is interrupted.

        Args:
            until_idle: Whether to end as soon as no turn runs.
        """
        from digitorn_testing import EventTimeout

        reading = iter(self._stream)
        hide = self._stream.exchanges.redactor.json
        while True:
            try:
                event = next(reading)
            except EventTimeout:
                self._lines.flush()
                self._tell_connection()
                if until_idle and self._is_idle():
                    return
                continue
            except StopIteration:
                return
            self._tell_connection()
            if self._as_json:
                self._terminal.json(hide(dict(event.raw)))
            else:
                self._lines.take(event)
                self._tell_pending(event)

    def _tell_pending(self, event: AnyEvent) -> None:
        """Tells how to decide an approval that waits."""
        from digitorn_testing._approvals.policies import is_question

        log = self._stream.log
        asked = log.meaning.asked(event)
        if asked is not None and any(one.request_id == asked.request_id for one in log.pending_approvals()):
            short = asked.request_id[:_SHORT_ID]
            answer = " -m TEXT" if is_question(asked) else ""
            approve, deny = (shown(f"{how} {short}", self._url) for how in ("approve", "deny"))
            self._terminal.note(f"{'':<18}to decide: {approve}{answer}; or {deny}", "yellow")

    def _tell_connection(self) -> None:
        """Tells when the connection was lost and when it is back."""
        before, now = self._connection, self._stream.connection
        self._connection = now
        is_back = now.reconnects > before.reconnects
        # It may be back before anybody looked.
        if before.state != "reconnecting" and (now.state == "reconnecting" or is_back):
            self._terminal.note(f"connection lost: {now.last_loss or 'unknown reason'}", "yellow")
        if is_back:
            again = ", to another process of the daemon" if now.restarts > before.restarts else ""
            self._terminal.note(f"connected again{again}", "yellow")

    def _is_idle(self) -> bool:
        if self._connection.state != "joined" or self._stream.log.running_turn is not None:
            return False
        return not self._client.get_session(self._stream.session).is_active
