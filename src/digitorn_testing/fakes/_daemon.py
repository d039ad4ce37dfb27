"""The embedded daemon."""

import asyncio
import concurrent.futures
import os
import secrets
import uuid
import warnings
import weakref
from collections.abc import Awaitable, Callable, Generator, Iterable
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self, TypeVar, Unpack, cast

from digitorn_testing._apps.builder import AppBuilder
from digitorn_testing._apps.tools import ToolDefinition
from digitorn_testing._client.options import ClientOptions
from digitorn_testing._errors import EventTimeout
from digitorn_testing._events.event import AnyEvent, LiveEvent, decode
from digitorn_testing._exchanges import Exchanges
from digitorn_testing._generated._runtime import NOT_GIVEN, EventPayload, NotGiven
from digitorn_testing._generated.events import EventEnvelope
from digitorn_testing._generated.payloads import OpState, OpType
from digitorn_testing._handles import AppHandle, SessionHandle
from digitorn_testing._log.recorded import FilePath, OnDamage
from digitorn_testing._recordings.recording import Recording
from digitorn_testing._stream.asynchronous import AsyncLiveEventStream
from digitorn_testing._tracking import track, tracking
from digitorn_testing._transport.endpoints import SCHEME, register
from digitorn_testing.builders import SessionBuilder, TurnBuilder

from ._agent.connections import ENGINE
from ._assembly import DaemonState, Examples, Settings
from ._faults.faults import Faults
from ._faults.http import faulty
from ._faults.rules import Rules
from ._faults.sockets import FaultySockets
from ._model.model import FakeModel
from ._publishing import Labels, events_of, take
from ._replay import replaying
from ._rest.http import http_of
from ._seeding import seed
from ._sockets.commands import EventSockets
from ._sockets.in_process import BothSockets, LocalEndpoint, LocalSockets
from ._store.apps import App, compile_source
from ._store.sessions import Session, SessionRepository
from ._store.users import ADMIN, User
from ._wire.server import DaemonNotStarted, DaemonThread, LoopThread, ServerThread
from ._wire.socketio import Sockets, SocketServer
from ._wire.traffic import recorded

T = TypeVar("T")
P = TypeVar("P", bound=EventPayload)

if TYPE_CHECKING:
    from digitorn_testing import AsyncDevClient, DevClient

DEFAULT_USER: Final = "dev"
"""User name of the administrator that every embedded daemon has."""

_ANSWER_SECONDS: Final = 10.0
"""How long the daemon's thread may take to do something at once."""


class FakeDaemon:
    """A small working daemon on a free loopback port: real HTTP, real Socket.IO, a scripted model.

    To a client it behaves as the released daemon does. Operations without behaviour answer with examples that
    keep to the contract, the same each time, behind the usual checks of token, ids and request, and say that
    they do. Use it as a
    context manager, or call `start` and `stop`.

        model = FakeModel().will_respond_with_text("Hello.")
        with FakeDaemon() as daemon:
            app = daemon.add_app("my-app", model=model)
            with daemon.client() as client:
                ...

    Args:
        model: Who answers for apps that are deployed over REST, or added without a model of their own.
        host: Address to listen on.
        port: Port to listen on; a free one if left out.
        password: Password of the default user `dev@example.com`; a random one if left out.
        approval_timeout: Seconds until an approval counts as denied.
        turn_heartbeat: Seconds between two `turn:heartbeat` events of a turn.
        approval_heartbeat: Seconds between two `approval_progress` events of an open approval.
        warm_up: Seconds after a restart during which calls under an app are answered with 503. The released
            daemon needs up to a minute.
        log_delay: Seconds until an event can be read back by a join or over REST; a real daemon takes
            about 0.05 (contract: events, section 3.3).
        queue_depth: Most messages that wait in one session.
        access_token_lifetime: Seconds that an access token is valid.
        listen: Whether it listens on a port. If not, only clients of this process reach it, and `url` is a
            name that they understand.
        keep_exchanges: How many of the last REST calls `exchanges` holds; 0 keeps none.
        heartbeat: Seconds between two `heartbeat` frames of a joined session.
        ping_interval: Seconds between two pings of the connections for events; the contract's if left out.
        ping_timeout: Seconds until a ping that is not answered ends one; the contract's if left out.
        examples: What the operations do that the daemon has no behaviour for. `warn` answers with an example
            and issues the warning `ExampleAnswer` once for each operation (a refusal if that is an error),
            `answer` does so without a warning, `refuse` answers 501. `exchange.is_example` tells.

    Attributes:
        exchanges: The last REST calls that reached it, from any client, with its answers; still there when it
            has stopped. Secrets in them are hidden.
        faults: What goes wrong on purpose; nothing so far.
    """

    def __init__(
        self,
        *,
        model: FakeModel | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        password: str | None = None,
        approval_timeout: float = 300.0,
        turn_heartbeat: float = 3.0,
        approval_heartbeat: float = 15.0,
        warm_up: float = 0.0,
        log_delay: float = 0.0,
        queue_depth: int = 20,
        access_token_lifetime: float = 3600.0,
        listen: bool = True,
        keep_exchanges: int = 200,
        heartbeat: float = 5.0,
        ping_interval: float | None = None,
        ping_timeout: float | None = None,
        examples: Examples = "warn",
    ) -> None:
        self.model = model if model is not None else FakeModel()
        self._host = host
        self._port = port
        self._password = password or secrets.token_urlsafe(16)
        self._listen = listen
        self._settings = Settings(
            heartbeat=heartbeat,
            approval_timeout=approval_timeout,
            approval_heartbeat=approval_heartbeat,
            turn_heartbeat=turn_heartbeat,
            warm_up=warm_up,
            log_delay=log_delay,
            queue_depth=queue_depth,
            access_token_lifetime=access_token_lifetime,
            examples=examples,
        )
        self._engine = replace(
            ENGINE,
            ping_interval=ENGINE.ping_interval if ping_interval is None else ping_interval,
            ping_timeout=ENGINE.ping_timeout if ping_timeout is None else ping_timeout,
        )
        self.exchanges = Exchanges(keep_exchanges)
        self._rules = Rules()
        self.faults = Faults(self._rules)
        self._state: DaemonState | None = None
        self._thread: DaemonThread | None = None
        self._endpoint: LocalEndpoint | None = None
        self._recording: Recording | None = None
        self._streams: weakref.WeakSet[AsyncLiveEventStream] = weakref.WeakSet()
        self._seeing = ExitStack()
        track(self)

    @classmethod
    def replay(
        cls,
        path: FilePath,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        password: str | None = None,
        listen: bool = True,
        keep_exchanges: int = 200,
        damaged: OnDamage = "warn",
    ) -> Self:
        """A daemon that serves a recording: its sessions, their events, and the answers to the same calls.

        A join brings the frames that were recorded, in their order. A call that was recorded is answered as
        it was then; a message that was recorded brings the events of its turn. Other calls are answered from
        the events, or refused with 409: the daemon makes nothing up. Its default user owns the sessions, and
        signs in with tokens of its own.

        Args:
            path: The recording.
            host: As for the constructor.
            port: As for the constructor.
            password: As for the constructor.
            listen: As for the constructor.
            keep_exchanges: As for the constructor.
            damaged: As for `RecordedLog.load`.

        Returns:
            The daemon, which is to be started.

        Raises:
            RecordingError: The file is no recording.
            RecordingDamaged: It is damaged, and `damaged` says so or warnings are errors.
            OSError: It cannot be read.
        """
        recording = Recording.load(path, damaged=damaged)
        daemon = cls(host=host, port=port, password=password, listen=listen, keep_exchanges=keep_exchanges)
        daemon._recording = recording
        return daemon

    # --- life

    def start(self) -> Self:
        """Starts the daemon, with nothing but its default user.

        Raises:
            DaemonNotStarted: It did not come up.
            RuntimeError: It runs already.
            OSError: It cannot listen on `port`, for example because another program does.
        """
        if self._thread is not None:
            raise RuntimeError("the embedded daemon runs already")
        self.exchanges.clear()
        self._run(None, None, self._port)
        self._seeing.enter_context(tracking(partial(_keep_stream, self._streams)))
        return self

    def _run(self, before: DaemonState | None, endpoint: LocalEndpoint | None, port: int) -> None:
        """Starts a process of the daemon, which may take the place of another one."""
        # What runs on the thread must not keep the daemon alive: one that nobody has any more is ended.
        weak = weakref.ref(self)

        def reset(client: tuple[str, int]) -> None:
            if (daemon := weak()) is not None:
                daemon._reset_connection(client)

        rules = self._rules
        server, local = SocketServer(self._engine, reset), LocalSockets()
        sockets: Sockets = BothSockets(local, server) if self._listen else local
        sockets = FaultySockets(sockets, self._rules)
        state = DaemonState(self._settings, self.model, sockets, rules)
        if before is not None:
            state.take_over(before)
        else:
            state.users.add(
                DEFAULT_USER,
                self._password,
                email="dev@example.com",
                roles=("admin",),
                permissions=(ADMIN,),
            )
        EventSockets(state, sockets)

        async def before_stop() -> None:
            rules.let_go()
            await state.stop()
            await sockets.stop()

        http = http_of(state)
        if self._recording is not None and (owner := state.users.find(DEFAULT_USER)) is not None:
            http = replaying(self._recording, state, sockets, owner, http)
        calls = faulty(http, rules, reset)
        http, name = recorded(calls, self.exchanges), f"fake-daemon-{uuid.uuid4().hex[:8]}"
        thread: DaemonThread
        if self._listen:
            thread = ServerThread(server.asgi(http), self._host, before_stop, port=port)
        else:
            thread = LoopThread(name, before_stop)
        thread.start()
        state.loop = thread.submit(_running_loop()).result(_ANSWER_SECONDS)
        if endpoint is not None:
            endpoint.open(http, local, thread.submit)
        else:
            endpoint = LocalEndpoint(SCHEME + name, http, local, thread.submit)
            register(endpoint.url, endpoint)
        self._state, self._thread, self._endpoint = state, thread, endpoint
        self._forgotten = weakref.finalize(self, _end_forgotten, thread, endpoint, os.getpid())

    def stop(self) -> None:
        """Stops the daemon: cuts off every turn, closes every connection. May be called again.

        Raises:
            RuntimeError: The function of a tool does not end.
        """
        thread, self._thread = self._thread, None
        state, self._state = self._state, None
        endpoint, self._endpoint = self._endpoint, None
        self._seeing.close()
        if thread is None or state is None or endpoint is None:
            return
        self._forgotten.detach()
        endpoint.shut()
        thread.stop()
        if state.tool_runs.unfinished:
            names = ", ".join(state.tool_runs.unfinished)
            raise RuntimeError(f"the daemon has stopped, but functions of tools still run: {names}")

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.stop()
        except RuntimeError as failed:
            # What ended the block takes precedence, such as Ctrl-C.
            if error is None:
                raise
            error.add_note(str(failed))

    def __repr__(self) -> str:
        state, endpoint = self._state, self._endpoint
        if state is None or endpoint is None:
            return f"<{type(self).__name__}, not running>"
        apps = ", ".join(app.app_id for app in state.apps.all()) or "none"
        sessions = len(state.sessions.all())
        url = self.url if self._listen else endpoint.url
        return f"<{type(self).__name__} at {url}, apps: {apps}, sessions: {sessions}>"

    # --- where it is

    @property
    def port(self) -> int:
        """The port that it listens on.

        Raises:
            ValueError: It listens on none.
        """
        thread = self._running_thread()
        if not isinstance(thread, ServerThread):
            raise ValueError("the embedded daemon listens on no port (listen=False)")
        return thread.port

    @property
    def url(self) -> str:
        """Its base URL."""
        if not self._listen:
            return self._running_endpoint().url
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self.port}"

    # --- what it holds

    def token(self, user: User | str | None = None, *, expires_in: float | None = None) -> str:
        """A new access token. It is hidden in what is recorded, like those of clients.

        Args:
            user: The user, or a user name, email address or id; the default user, an administrator, if left
                out.
            expires_in: Seconds that it is valid, the daemon's default if left out. With 0 or less the
                token has expired already.

        Raises:
            ValueError: There is no such user.
        """
        made = self._running().users.access_token(self._user(user), expires_in=expires_in)
        self.exchanges.redactor.learn(made)
        return made

    def client(self, **options: Unpack[ClientOptions]) -> "DevClient":
        """A client of this daemon, signed in as the default user.

        Args:
            options: Further arguments of `DevClient`.
        """
        from digitorn_testing import DevClient

        return DevClient(**self._signed_in(options))

    def async_client(self, **options: Unpack[ClientOptions]) -> "AsyncDevClient":
        """An asynchronous client of this daemon, signed in as the default user.

        Args:
            options: Further arguments of `AsyncDevClient`.
        """
        from digitorn_testing import AsyncDevClient

        return AsyncDevClient(**self._signed_in(options))

    def in_process_client(self, **options: Unpack[ClientOptions]) -> "DevClient":
        """A client that reaches this daemon without a socket: REST over ASGI, events handed over.

        Args:
            options: Further arguments of `DevClient`.
        """
        here: ClientOptions = {"daemon_url": self._running_endpoint().url, **options}
        return self.client(**here)

    def async_in_process_client(self, **options: Unpack[ClientOptions]) -> "AsyncDevClient":
        """The asynchronous equal of `in_process_client`.

        Args:
            options: Further arguments of `AsyncDevClient`.
        """
        here: ClientOptions = {"daemon_url": self._running_endpoint().url, **options}
        return self.async_client(**here)

    def _signed_in(self, options: ClientOptions) -> ClientOptions:
        return {"daemon_url": self.url, "token": self.token(), **options}

    def drain(self, timeout: float = 5.0) -> Awaitable[None]:
        """Waits until nothing runs here, and everything that was sent has arrived.

        That is: no turn or trigger runs, no message waits, no function of a tool is left, and the
        connected streams of this process have what was sent to them in their logs. Use it after `abort`,
        `publish` or `fire_trigger`, and before you assert that something did not happen.

        Blocking code calls it, and it waits. In code that an event loop runs, await it.

            daemon.drain(timeout=10)
            await daemon.drain(timeout=10)

        Args:
            timeout: Seconds to wait; 0 only looks whether something runs or waits.

        Raises:
            EventTimeout: Something is left; the error says what.
            ValueError: `timeout` is negative.
        """
        if timeout < 0:
            raise ValueError(f"timeout={timeout:g}: the seconds to wait cannot be negative")
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            draining = self._draining(timeout)
            if draining is not None:
                with self._saying_what_is_left(timeout, draining):
                    draining.result(timeout)
            return _Drained()
        return self._drain(timeout)

    async def _drain(self, timeout: float) -> None:
        draining = self._draining(timeout)
        if draining is not None:
            with self._saying_what_is_left(timeout, draining):
                await asyncio.wait_for(asyncio.wrap_future(draining), timeout)

    def _draining(self, timeout: float) -> "concurrent.futures.Future[None] | None":
        state, thread = self._running(), self._running_thread()
        if timeout == 0 and not state.unfinished():
            return None
        here = {self._running_endpoint().url, self.url}
        streams = [one for one in list(self._streams) if one.daemon_url in here]
        return thread.submit(state.drain(streams, timeout))

    @contextmanager
    def _saying_what_is_left(
        self, timeout: float, draining: "concurrent.futures.Future[None]"
    ) -> Generator[None]:
        try:
            yield
        except (TimeoutError, concurrent.futures.TimeoutError):
            draining.cancel()
            left = ", ".join(self._running().unfinished()) or "nothing any more"
            raise EventTimeout(
                f"the embedded daemon is not idle within {timeout:g} s; left: {left}"
            ) from None

    def deploy(self, app: AppBuilder, *, model: FakeModel | None = None) -> AppHandle:
        """Deploys an app at once, with the Python functions of its tools.

        Args:
            app: The app; one of the same id is replaced.
            model: Who answers for its agent; the daemon's model if left out.

        Raises:
            ValueError: It does not compile.
        """
        deployed = App(compile_source(app.source), model if model is not None else self.model)
        deployed.deploy()
        self._running().apps.put(deployed)
        return AppHandle(app_id=app.app_id, daemon_url=self.url)

    def add_app(
        self,
        app_id: str,
        *,
        model: FakeModel | None = None,
        name: str | None = None,
        system_prompt: str = "",
        tools: Iterable[str | ToolDefinition] = (),
        greeting: str = "",
    ) -> AppHandle:
        """Deploys an app at once: the short form of `deploy`.

        Args:
            app_id: Its id; an app of the same id is replaced.
            model: Who answers for its agent; the daemon's model if left out.
            name: Its name; the id if left out.
            system_prompt: System prompt of its agent.
            tools: What its agent may call, as names or definitions.
            greeting: Text that opens a session.

        Raises:
            ValueError: The id or the name of a tool is malformed, or a tool is there twice.
        """
        app = AppBuilder(app_id, name=name or app_id).with_tools(*tools)
        return self.deploy(app.with_system_prompt(system_prompt).with_greeting(greeting), model=model)

    def add_session(
        self, session: SessionBuilder, *, app_id: str | None = None, user: User | str | None = None
    ) -> SessionHandle:
        """Puts a session into the daemon as if it had taken place there: its history, log and title.

        The next message continues it, and the model is given what was said. A turn that is `unfinished`
        goes on: one with a `pending_approval` or an open `question` when that is decided, another one at
        once, so script what the model says first. An approved call has the `result` of the builder; without
        one the app's Python function runs.

            asked = TurnBuilder().user("Tidy up.").tool("Bash", {"command": "rm x"}).pending_approval()
            session = daemon.add_session(SessionBuilder(app_id="my-app").turn(asked))

        Args:
            session: The session.
            app_id: Its app, which must be deployed; that of the builder if left out.
            user: Its owner, or a user name, email address or id; the default user if left out.

        Returns:
            The session, under the id that the builder has.

        Raises:
            ValueError: There is no such app or user, or there is a session of that id.
        """
        state = self._running()
        app = state.apps.deployed(app_id or session.app_id)
        if app is None:
            known = ", ".join(one.app_id for one in state.apps.all()) or "none"
            raise ValueError(
                f"the embedded daemon has no app {app_id or session.app_id!r}; its apps: {known}. Add it "
                "first, or say which one with `app_id`"
            )
        made = self._on_loop(partial(seed, state, session, app, self._user(user)))
        return SessionHandle(session_id=made.id, app_id=app.app_id, daemon_url=self.url)

    def add_user(
        self, email: str, password: str, *, roles: Iterable[str] = (), permissions: Iterable[str] = ()
    ) -> User:
        """Creates a user, who logs in with the email address.

        Args:
            email: Email address, and user name.
            password: Password in clear text.
            roles: Roles of the user.
            permissions: Permissions of the user; `*` stands for all of them.

        Raises:
            NameTaken: Somebody else has that address.
        """
        return self._running().users.add(email, password, email=email, roles=roles, permissions=permissions)

    @property
    def sessions(self) -> SessionRepository:
        """Every user's sessions, as the daemon keeps them."""
        return self._running().sessions.repository

    @property
    def instance_id(self) -> str:
        """Id of this run of the daemon, as its clients are told."""
        return self._running().connections.instance_id

    def publish(
        self,
        session: SessionHandle | str,
        event: P | LiveEvent[P],
        *,
        correlation_id: str | NotGiven | None = NOT_GIVEN,
        op_id: str | None = None,
        op_type: OpType | None = None,
        op_state: OpState | None = None,
        op_parent_id: str | None = None,
    ) -> LiveEvent[P]:
        """Publishes an event in a session: what its agent does not do here, such as previews and hooks.

        It has the envelope that `builders.event` gives it, and the daemon's number and time. What modules
        report, with a `topic` in the payload, goes the way of module events (contract: events, section 5.12).
        A session that does not exist yet is created, for the default user.

        It may be called anywhere: in the function of a tool, async or not, as well.

            daemon.publish(session, payloads.preview_state_changed(key="page", value=2))
            daemon.drain()  # now it has arrived in the streams of the session

        Args:
            session: The session, or the id of one that exists.
            event: What happened, or an event; that keeps its ids, apart from those of app, session and user.
            correlation_id: The turn that it belongs to; the one that it names or else the one that runs if
                left out, None for none.
            op_id: The operation that it reports on; one of its own if left out.
            op_type: What kind of operation that is; as the contract has it if left out.
            op_state: State of that operation after the event; likewise.
            op_parent_id: The enclosing operation; likewise.

        Returns:
            The event as it is sent.

        Raises:
            ValueError: There is no such session and no such app, the contract has no such event, or the
                session has the event already.
        """
        labels = Labels(
            correlation_id=correlation_id,
            op_id=op_id,
            op_type=op_type,
            op_state=op_state,
            op_parent_id=op_parent_id,
        )
        return cast("LiveEvent[P]", self._publish(session, [event], labels)[0])

    def publish_all(
        self,
        session: SessionHandle | str,
        events: Iterable[EventPayload | AnyEvent] | TurnBuilder,
        *,
        correlation_id: str | NotGiven | None = NOT_GIVEN,
    ) -> list[AnyEvent]:
        """Publishes events in a session, one behind the other; see `publish`.

            daemon.publish_all(session, TurnBuilder().user("hi").text("Hello."))

        Args:
            session: The session, or the id of one that exists.
            events: Payloads, events, or the builder of a turn.
            correlation_id: The turn that they belong to; as for `publish` if left out.

        Returns:
            The events as they are sent.

        Raises:
            ValueError: As for `publish`; the events before the one that it is about are published.
        """
        return self._publish(session, events, Labels(correlation_id=correlation_id))

    def _publish(
        self,
        session: SessionHandle | str,
        events: Iterable[EventPayload | AnyEvent] | TurnBuilder,
        labels: Labels,
    ) -> list[AnyEvent]:
        state, sent = self._running(), list[EventEnvelope]()
        given = events if isinstance(events, TurnBuilder) else list(events)

        def take_all(found: Session) -> None:
            for one in events_of(found, given):
                sent.append(take(state.bus, found, one, labels))

        async def flush(found: Session) -> None:
            if sent:
                await state.bus.flush(found, sent[-1])

        async def publish() -> None:
            found = state.session_for(session, DEFAULT_USER)
            try:
                take_all(found)
            finally:
                await flush(found)

        if state.is_on_loop():
            # Waiting would block the loop that sends them.
            found = state.session_for(session, DEFAULT_USER)
            try:
                take_all(found)
            finally:
                state.spawn(flush(found), f"events on their way to session {found.id}")
        else:
            self._running_thread().submit(publish()).result(_ANSWER_SECONDS)
        return [decode(one.to_wire()) for one in sent]

    def drop_connections(self) -> None:
        """Cuts every connection as if the network had failed; the daemon itself goes on."""
        thread, endpoint = self._running_thread(), self._running_endpoint()

        async def drop() -> None:
            endpoint.sockets.drop()
            await thread.abort_connections()

        thread.submit(drop()).result(_ANSWER_SECONDS)

    @contextmanager
    def outage(self) -> Generator[None]:
        """Ends the daemon's process as a crash does; at the end of the block another one takes its place.

        Users, apps and what the sessions' logs hold are there again, at the same address. Turns that ran or
        waited are cut off and nobody is told; what the logs had not written yet is lost, and the numbers of
        events go on behind what they have (contract: events, section 4.2).
        """
        state, endpoint = self._running(), self._running_endpoint()
        port = self.port if self._listen else 0
        self.stop()
        yield
        self._run(state, endpoint, port)

    def restart(self) -> None:
        """Ends the daemon's process as a crash does, and starts another one at once; see `outage`."""
        with self.outage():
            pass

    def _reset_connection(self, client: tuple[str, int]) -> None:
        """Breaks one connection. On the daemon's event loop."""
        if self._thread is not None:
            self._thread.reset_connection(client)

    def _user(self, user: User | str | None) -> User:
        name = user.user_id if isinstance(user, User) else user
        found = self._running().users.find(name if name is not None else DEFAULT_USER)
        if found is None:
            raise ValueError(f"the embedded daemon has no user {name!r}; add_user() makes one")
        return found

    def _on_loop(self, call: Callable[[], T]) -> T:
        """Calls something on the daemon's event loop, and waits for it."""
        if self._running().is_on_loop():
            return call()

        async def called() -> T:
            return call()

        return self._running_thread().submit(called()).result(_ANSWER_SECONDS)

    def _running(self) -> DaemonState:
        if self._state is None:
            raise DaemonNotStarted("the embedded daemon is not running; use it in a with statement")
        return self._state

    def _running_endpoint(self) -> LocalEndpoint:
        if self._endpoint is None:
            raise DaemonNotStarted("the embedded daemon is not running; use it in a with statement")
        return self._endpoint

    def _running_thread(self) -> DaemonThread:
        if self._thread is None:
            raise DaemonNotStarted("the embedded daemon is not running; use it in a with statement")
        return self._thread


class _Drained:
    """Awaits nothing: what was to be waited for has been."""

    def __await__(self) -> Generator[None, None, None]:
        yield from ()


def _keep_stream(streams: "weakref.WeakSet[AsyncLiveEventStream]", made: object) -> None:
    if isinstance(made, AsyncLiveEventStream):
        streams.add(made)


async def _running_loop() -> asyncio.AbstractEventLoop:
    return asyncio.get_running_loop()


def _end_forgotten(thread: DaemonThread, endpoint: LocalEndpoint, pid: int) -> None:
    """Ends a daemon that was never stopped; at the latest when Python ends, on whatever thread."""
    if pid != os.getpid():
        # A forked child has none of the parent's threads.
        return
    endpoint.shut()
    thread.let_go()
    warnings.warn(
        "an embedded daemon was never stopped; use it in a with statement, or call stop()",
        ResourceWarning,
        stacklevel=1,
    )
