"""No token and no password in anything that a whole run leaves behind."""

import logging
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, nullcontext
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from digitorn_testing import (
    ApiError,
    AsyncDevClient,
    AsyncLiveEventStream,
    DaemonUnreachable,
    DigitornError,
    Exchanges,
    JoinRefused,
    NotFound,
    RetryPolicy,
    SessionHandle,
    Unauthorized,
)
from digitorn_testing._plugin.artifacts import ArtifactsFolder
from digitorn_testing._plugin.evidence import Evidence
from digitorn_testing._plugin.watch import Watch
from digitorn_testing.events import MessageDone
from digitorn_testing.fakes import FakeDaemon, FakeModel
from support.hostile import OPEN, HostileSocket, hostile_socket
from support.secrets_scan import Leaked, Logged, Sink, everything_logged, scan, shown_error
from support.servers import hearing, refusing, serving

PASSWORD = "correct horse battery"
NONE = RetryPolicy(attempts=2, first_pause=0.001)


class Run:
    """What one run did and knows.

    Args:
        log: Everything that was logged.
        evidence: What the pytest plugin gathers of it.
        folder: Where artifacts go.
    """

    def __init__(self, log: Logged, evidence: Evidence, folder: Path) -> None:
        self.log = log
        self.evidence = evidence
        self.folder = folder
        self.secrets: list[str] = [PASSWORD]
        self.errors: list[BaseException] = []
        # To these a test has passed a secret where it does not belong.
        self.errors_of_misuse: list[BaseException] = []
        self.made: list[object] = []

    def sinks(self) -> dict[str, Sink]:
        """Every place where a secret must not be. What a run leaves behind in a new place is added here."""
        return {
            "logs": self.log.text,
            "exceptions": self._exceptions,
            "reprs": lambda: "\n".join(f"{one!r} {one}" for one in self.made),
            "exchanges": self._exchanges,
            "artifacts": self._artifacts,
        }

    def _exceptions(self) -> str:
        misuse = [shown_error(one, variables=False) for one in self.errors_of_misuse]
        return "\n".join([*map(shown_error, self.errors), *misuse])

    def _exchanges(self) -> str:
        found: list[Any] = [getattr(one, "exchanges", None) for one in self.made]
        found = [one for one in found if isinstance(one, Exchanges)]
        return "\n".join(f"{one!r} {one} {one.to_json()}" for exchanges in found for one in exchanges)

    def _artifacts(self) -> str:
        artifacts = ArtifactsFolder(self.folder, "test.py::test", None, _attempt)
        shown = self._exceptions()
        artifacts.write_report("it failed", shown, self.evidence.sections(), self.evidence)
        artifacts.write_given({"streams": self.made, "text": shown}, self.evidence.redactor())
        files = [one for one in self.folder.rglob("*") if one.is_file()]
        return "\n".join(f"{one}\n{one.read_text(encoding='utf-8')}" for one in files)


def _attempt(what: str) -> AbstractContextManager[None]:
    """Lets what fails in the plugin fail here."""
    return nullcontext()


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    watch = Watch()
    with ExitStack() as stack:
        log = stack.enter_context(everything_logged())
        stack.enter_context(watch.running())
        evidence = stack.enter_context(watch.of_test(_attempt)).evidence
        yield Run(log, evidence, tmp_path / "artifacts")


async def test_no_secret_leaves_a_whole_run(
    run: Run, daemon: FakeDaemon, model: FakeModel, session: SessionHandle
) -> None:
    model.will_call_tool("Bash", {"command": "ls"}, requires_approval=True)
    model.will_respond_with_text("done", times=None)
    run.made.append(daemon)
    async with AsyncDevClient(daemon.url, retries=NONE) as client:
        run.made.append(client)
        await everyday(run, daemon, client, session)
        await refused(run, daemon, client, session)
    with hearing() as heard:
        await nobody_there(run, daemon)
        async with AsyncDevClient(heard.url, token=run.secrets[1]) as elsewhere:
            run.made.append(elsewhere)
            try:
                await elsewhere.list_sessions("my-app")
            except DigitornError as error:
                run.errors.append(error)
    ((_, path, headers, body),) = heard.requests
    assert headers["authorization"] == f"Bearer {run.secrets[1]}"
    del headers["authorization"]
    assert run.secrets[1] not in f"{path} {headers} {body!r}"
    sizes = scan(run.secrets, run.sinks())
    print(sizes)
    # It was looked where there is something.
    assert min(sizes.values()) > 2_000
    assert len(run.errors) + len(run.errors_of_misuse) > 8
    assert sum(len(one) > 30 for one in run.secrets) >= 4


async def everyday(run: Run, daemon: FakeDaemon, client: AsyncDevClient, session: SessionHandle) -> None:
    tokens = await client.register("somebody", PASSWORD, email="somebody@example.com")
    run.made.append(tokens)
    run.secrets += [tokens.access_token, tokens.refresh_token or ""]
    again = await client.login("somebody", PASSWORD)
    run.made.append(again)
    run.secrets += [again.access_token, again.refresh_token or ""]
    async with await client.send_live(session, "go", 10) as stream:
        run.made += [stream, stream.log, stream.operations(), *stream.events()]
        daemon.drop_connections()
        await client.send(session, "and again", timeout=10)
        await stream.wait_for(MessageDone, where=lambda e: e.seq > 20, timeout=10)
    # A token that expires on the way, and one that is renewed.
    client._credentials.access_token = expired = daemon.token("somebody", expires_in=-10)
    run.secrets.append(expired)
    async with await client.open_event_stream(session) as renewed:
        run.made += [renewed, client._credentials, client._transport, client.api]
    run.secrets.append(str(client._credentials.access_token))
    daemon.faults.calls(times=1).respond_with(503)
    await client.list_sessions("my-app")


async def refused(run: Run, daemon: FakeDaemon, client: AsyncDevClient, session: SessionHandle) -> None:
    with pytest.raises(Unauthorized) as wrong_password:
        await client.login("somebody", "another long password")
    with pytest.raises(NotFound) as unknown:
        await client.get_session(SessionHandle(session_id="no", app_id="my-app", daemon_url=daemon.url))
    run.errors += [wrong_password.value, unknown.value]
    with pytest.raises(ApiError) as in_the_path:
        await client.api.apps.get_app(run.secrets[1])
    with pytest.raises(ApiError) as in_the_query:
        await client.search("no-app", run.secrets[1])
    run.errors_of_misuse += [in_the_path.value, in_the_query.value]
    run.secrets.append("another long password")
    # Tokens that are none, and those of somebody else.
    wrong = daemon.token()[:-8] + "AAAAAAAA"
    run.secrets.append(wrong)
    stream = AsyncLiveEventStream(
        daemon_url=daemon.url, token=wrong, app_id="my-app", session_id=session.session_id
    )
    run.made.append(stream)
    with pytest.raises((Unauthorized, JoinRefused)) as caught:
        await stream.start()
    run.errors.append(caught.value)


async def nobody_there(run: Run, daemon: FakeDaemon) -> None:
    token = daemon.token()
    run.secrets.append(token)
    with refusing() as url:
        async with AsyncDevClient(url, token=token, retries=NONE) as client:
            run.made.append(client)
            with pytest.raises(DaemonUnreachable) as caught:
                await client.list_sessions("my-app")
            run.errors.append(caught.value)
        stream = AsyncLiveEventStream(daemon_url=url, token=token, app_id="a", session_id="s")
        with pytest.raises(DaemonUnreachable) as lost:
            await stream.start()
        run.errors.append(lost.value)
    async with daemon.async_client(token=token, retries=NONE) as client:
        for at in ("request", "body"):
            with daemon.faults.calls().cut_off(at):
                with pytest.raises(DaemonUnreachable) as cut:
                    await client.list_sessions("my-app")
                run.errors.append(cut.value)


# --- a daemon that gives back what it was sent


class Echo(BaseHTTPRequestHandler):
    """Answers with the token that it was sent, wherever it can."""

    def do_GET(self) -> None:
        token = str(self.headers.get("authorization")).removeprefix("Bearer ")
        status, body = {
            "detail": (404, f'{{"detail":"no session for {token}"}}'),
            "member": (400, f'{{"detail":{{"error":"e","{token}":["{token}"]}}}}'),
            "soft": (200, f'{{"success":false,"error":"{token}","data":{{"t":"{token}"}}}}'),
            "type": (200, f'{{"success":"{token}"}}'),
            "data": (200, f'{{"success":true,"data":{{"{token}":"{token}"}}}}'),
            "html": (502, f"<html>{token}</html>"),
            "redirect": (302, ""),
        }[self.path.rpartition("/")[2]]
        self.send_response(status, f"reason {token}")
        self.send_header("x-echo", token)
        self.send_header("set-cookie", f"t={token}")
        self.send_header("location", f"http://u:{token}@127.0.0.1:1/?token={token}")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, format: str, *args: Any) -> None:
        """Keeps the test's output clean."""


def echo(way: str, token: str) -> Any:
    def speak(socket: HostileSocket) -> None:
        match way:
            case "opening":
                socket.send(f"0{{}}{token}")
            case "refusal":
                socket.send(OPEN)
                socket.send(f'44/events,{{"message":"{token}"}}')
            case _:
                answer = {
                    "acknowledgement": f'{{"ok":false,"error":"{token}"}}',
                    "another": f'{{"{token}":"{token}"}}',
                }[way]
                socket.let_in(answer)
        socket.hold()

    return speak


async def test_what_a_daemon_gives_back_is_not_passed_on(run: Run) -> None:
    token = "h" * 40 + "." + "p" * 40 + "." + "s" * 40
    run.secrets = [token]
    with serving(Echo) as url:
        async with AsyncDevClient(url, token=token, retries=NONE) as client:
            run.made.append(client)
            for way in ("detail", "member", "soft", "type", "data", "html", "redirect"):
                with pytest.raises(DigitornError) as caught:
                    await client.api.apps.get_app(way)
                assert isinstance(caught.value, ApiError) == (way not in ("type", "data"))
                run.errors.append(caught.value)
    for way in ("opening", "refusal", "acknowledgement", "another"):
        with hostile_socket(echo(way, token)) as url:
            stream = AsyncLiveEventStream(daemon_url=url, token=token, app_id="a", session_id="s")
            run.made.append(stream)
            with pytest.raises(DigitornError) as caught:
                await stream.start()
            run.errors.append(caught.value)
    sizes = scan(run.secrets, run.sinks())
    assert min(sizes.values()) > 200


# --- the scan itself


@pytest.mark.parametrize(
    "where", ["logs", "exceptions", "locals", "chain", "reprs", "exchanges", "artifacts"]
)
async def test_the_scan_finds_what_leaks(run: Run, daemon: FakeDaemon, where: str) -> None:
    token = daemon.token()
    run.secrets = [token]
    async with daemon.async_client(token=token) as client:
        await client.list_sessions("my-app")
        run.made.append(client)
        scan(run.secrets, run.sinks())
        place = leak(run, client, where, token)
        with pytest.raises(Leaked, match=f"^{place}: "):
            scan(run.secrets, {place: run.sinks()[place]})


def leak(run: Run, client: AsyncDevClient, where: str, token: str) -> str:
    """Puts a secret where it must not be; the name of the sink that should find it."""
    match where:
        case "logs":
            logging.getLogger("engineio.client").debug("Sending packet %s", {"token": token})
        case "exceptions":
            run.errors.append(RuntimeError(f"no session for {token.rpartition('.')[2]}"))
        case "locals":
            run.errors.append(failed_with(token))
            return "exceptions"
        case "chain":
            error = RuntimeError("it failed")
            error.__context__ = ValueError(token)
            error.__suppress_context__ = True
            run.errors.append(error)
            return "exceptions"
        case "reprs":
            run.made.append({"token": str(token)})
        case "exchanges":
            client.exchanges.redactor.text = lambda text: text  # type: ignore[method-assign] # it is what breaks
            client.exchanges.add(client.exchanges[0].__class__(operation=token, method="", path="", status=1))
        case _:
            run.folder.mkdir(exist_ok=True)
            (run.folder / "other.txt").write_text(token)
    return where


def failed_with(token: str) -> BaseException:
    """An exception with the token in a variable of a frame that is not a test's."""
    code = compile("def fail(token):\n    raise RuntimeError('it failed')\n", "<elsewhere>", "exec")
    names: dict[str, Any] = {}
    exec(code, names)
    try:
        names["fail"](token)
    except RuntimeError as error:
        return error
    raise AssertionError("it did not fail")
