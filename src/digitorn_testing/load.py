"""Load tests with Locust: users whose tasks are turns. Needs the extra `digitorn-testing[load]`."""

import os
import queue
import signal
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import cached_property
from typing import Final

from ._extras import needing

with needing("load", "digitorn.testing.load"):
    # Locust before anything else of this library, because it patches the standard library.
    import gevent
    from locust import User
    from locust.env import Environment
    from locust.exception import RescheduleTask

from ._approvals.policies import ApprovalPolicy
from ._client._sync.client import DevClient
from ._concurrency import background_loop
from ._concurrency.deadlines import until
from ._errors import DigitornError
from ._generated import models
from ._handles import SessionHandle
from ._stream._sync.turn import Turn
from ._turns.results import TurnResult

if vars(background_loop)["SimpleQueue"] is not queue.SimpleQueue:
    # It was imported before Locust, so that its waits would stop all users instead of one.
    raise ImportError("digitorn.testing was used before Locust was imported: import locust first")

__all__ = ["DigitornUser", "TurnFailure"]

FIRST_TOKEN: Final = "turn: first token"
_TURN: Final = "turn"
_APPROVAL: Final = "approval"

_ABORT_SECONDS: Final = 5.0


class TurnFailure(Exception):
    """A failure as Locust counts it: one line without ids, so that equal failures are counted together.

    The error that the turn raised, if it raised one, is its `__cause__`.
    """

    def __repr__(self) -> str:
        # Locust shows the representation.
        return str(self)


class DigitornUser(User):
    """A Locust user with a client of its own, whose tasks are turns.

    For a turn that the task names "chat", Locust gets the statistics `turn chat: first token` (from sending
    the message to the first text), `turn chat` (to the end of the turn) and `approval chat` (from a request
    to its resolution, by the daemon's clock). A failed turn and an unresolved approval count as failures.

    The user logs in when it starts. When it stops, it aborts its running turn and closes its client.

    Example:
        ```python
        class Reader(DigitornUser):
            app_id = "my-app"

            @task
            def read(self):
                self.turn("Read a.txt", name="read a file")
        ```

    Attributes:
        host: Base URL of the daemon, set by `--host`; without it, the one that `DevClient` finds.
        app_id: App that the user talks to; `$DIGITORN_APP` if empty.
        approvals: Decides the approvals of its turns; None approves every tool call.
        turn_timeout: Seconds that a turn may take. A turn that takes longer fails and is aborted.
    """

    abstract = True

    app_id: str = os.environ.get("DIGITORN_APP", "")
    approvals: ApprovalPolicy | None = None
    turn_timeout: float = 120.0

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        self._session: SessionHandle | None = None

    def connect(self) -> DevClient:
        """Makes the client; override it for users who log in.

        By default the client has the token in `$DIGITORN_TOKEN`.
        """
        return DevClient(
            self.host,
            token=os.environ.get("DIGITORN_TOKEN"),
            approvals=self.approvals,
            timeout=self.turn_timeout,
            keep_exchanges=0,
        )

    @cached_property
    def client(self) -> DevClient:
        """The user's client, with every typed call of the library. Its waits let the other users run."""
        _prepare(self.environment)
        return self.connect()

    @property
    def session(self) -> SessionHandle:
        """The session in which the user's turns run; it is created by the first of them.

        Assign another one to continue in that: `self.session = self.client.new_session(self.app_id)`.
        """
        if self._session is None:
            self._session = self.client.new_session(self.app_id)
        return self._session

    @session.setter
    def session(self, session: SessionHandle) -> None:
        self._session = session

    def on_start(self) -> None:
        """Logs the user in."""
        _ = self.client

    def on_stop(self) -> None:
        """Closes the client. If you override it, call `super().on_stop()`."""
        if "client" in self.__dict__:
            self.client.close()

    def turn(
        self,
        message: str,
        *,
        name: str | None = None,
        session: SessionHandle | None = None,
        images: Sequence[models.ImageInput] = (),
        approvals: ApprovalPolicy | None = None,
    ) -> TurnResult:
        """Sends a message, waits for the end of its turn, and reports both to Locust.

        Args:
            message: The message.
            name: Name of the statistics; the app if left out.
            session: The session; the user's own if left out.
            images: Images sent with the message.
            approvals: Decides the approvals in this turn, instead of the user's policy.

        Returns:
            The result. The turn may have failed, which Locust was told; see `result.ok`.

        Raises:
            RescheduleTask: The turn raised an error, which Locust was told. It ends the task, and the user
                goes on with the next one.
        """
        name = name or self.app_id
        session = session or self.session
        begun, wall = time.perf_counter(), time.time()

        def report(
            kind: str,
            name: str,
            seconds: float,
            failure: TurnFailure | None = None,
            result: TurnResult | None = None,
        ) -> None:
            self.environment.events.request.fire(
                request_type=kind,
                name=name,
                response_time=seconds * 1000,
                response_length=0 if result is None else len(result.content.encode()),
                exception=failure,
                context=self.context(),
                start_time=wall,
                response=result,
            )

        turn: Turn | None = None
        try:
            turn = self.client.start_turn(
                session, message, images=images, approvals=approvals, timeout=self.turn_timeout
            )
            if next(turn.text_deltas(), None) is not None:
                report(_TURN, f"{name}: first token", time.perf_counter() - begun)
            result = turn.result()
        except DigitornError as error:
            if turn is not None:
                self._abort(session, turn)
            raised = TurnFailure(_line(type(error).__name__, str(error), session, turn))
            raised.__cause__ = error
            report(_TURN, name, time.perf_counter() - begun, raised)
            raise RescheduleTask from error
        except BaseException:
            # Locust stops the user, which is no failure of the turn.
            self._abort(session, turn)
            raise
        failure = None if result.ok else TurnFailure(_line(result.status, result.error or "", session, turn))
        report(_TURN, name, time.perf_counter() - begun, failure, result)
        for approval in result.approvals:
            unresolved = approval.resolution in ("open", "timed_out")
            report(
                _APPROVAL,
                name,
                result.duration if approval.duration is None else approval.duration,
                TurnFailure(f"{approval.request.tool_name}: {approval.resolution}") if unresolved else None,
            )
        return result

    def _abort(self, session: SessionHandle, turn: Turn | None) -> None:
        """Ends a turn that nobody waits for, without an error if that fails: it may have ended already."""
        if turn is not None and turn.done:
            return
        with suppress(DigitornError), until(time.monotonic() + _ABORT_SECONDS):
            if turn is None:
                # The message may have been accepted.
                self.client.abort(session)
            else:
                turn.abort()


_PREPARED: Final = set[int]()
"""The processes that are prepared: Locust may fork its workers."""


def _prepare(environment: Environment) -> None:
    """Lets connections and Ctrl-C work under gevent, where all users and the event loop share one thread.

    asyncio does not run a second loop there while the first one is still ending, so the loop stays until the
    process ends. Ctrl-C interrupts whatever runs at that moment; were it the loop, nobody would notice.
    """
    if os.getpid() in _PREPARED:
        return
    # At once: while one user waits for the loop, others come here.
    _PREPARED.add(os.getpid())
    background_loop.BACKGROUND.acquire()
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        gevent.signal_handler(signal.SIGINT, _quit, environment)


def _quit(environment: Environment) -> None:
    if environment.web_ui is None:
        environment.runner.quit()
    else:
        # Locust's own way to stop its web server too.
        os.kill(os.getpid(), signal.SIGTERM)


def _line(what: str, text: str, session: SessionHandle, turn: Turn | None) -> str:
    """The first line of an error without the ids that differ from one turn to the next."""
    first = next(iter(text.splitlines()), "").replace(session.session_id, "{session}")
    if turn is not None:
        first = first.replace(turn.correlation_id, "{turn}")
    return f"{what}: {first}" if first else what
