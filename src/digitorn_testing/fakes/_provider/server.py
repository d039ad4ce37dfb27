"""The model as a server: scripted, in front of a real provider, or from a recording."""

import asyncio
import logging
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, Self

from pydantic import JsonValue

from digitorn_testing._errors import DigitornError
from digitorn_testing.fakes._model.failures import TurnFailed
from digitorn_testing.fakes._model.model import FakeModel
from digitorn_testing.fakes._model.requests import ModelRequest
from digitorn_testing.fakes._model.script import Failure, Reply, Scripted, Silence
from digitorn_testing.fakes._wire.server import DaemonNotStarted, ServerThread
from digitorn_testing.fakes._wire.socketio import Scope

from .chat_completions import ChatCompletions
from .core import Answer, Asked, JsonObject, Refused, Wire, invalid, json_of, refused_by, status_of
from .http import ConnectionLost, Exchange, Receive, Send
from .messages import Messages
from .recording import FilePath, Normalize, Recorder, Replay
from .redaction import hidden_headers
from .repeats import Repeats
from .responses import Responses

DEFAULT_MODEL: Final = "fake-model"
"""Name of the model that is listed by default."""

DEFAULT_TITLE: Final = "A test"
"""What a request for a session's title is answered."""

_TITLE_TOKENS: Final = 32
_TITLE_PROMPT: Final = "You are a title generator"

_MESSAGES: Final = "/v1/messages"
_COUNT: Final = f"{_MESSAGES}/count_tokens"
_MODELS: Final = "/v1/models"
_ANSWER_SECONDS: Final = 10.0
"""How long the server's thread may take to do something at once."""

_STATUSES: Final = ("401", "402", "403", "429", "500", "502", "503", "504", "529")
"""Statuses that the released daemon looks for in the text of any failure. The server's address stands in that
text: with one of them in its port, every failure would be taken for that one, or retried for minutes."""

_ANY_KEY: Final = "fake-key"
_CREATED: Final = 1_700_000_000

logger = logging.getLogger(__name__)


class ModelServerNotStarted(DigitornError, RuntimeError):
    """The model server did not come up, or is not running."""


@dataclass(frozen=True, slots=True)
class ProviderRequest:
    """A request to a model server as it came.

    Attributes:
        path: Its path, such as `/v1/messages`.
        body: Its body: the JSON value, or the text of what is not JSON.
        headers: Its headers by their names in lower case, without secrets.
    """

    path: str
    body: JsonValue
    headers: Mapping[str, str] = field(repr=False)


class FakeModelServer:
    """Serves a scripted model over HTTP, as OpenAI and Anthropic do, on a loopback port.

    A daemon whose provider is this server is deterministic. It serves `POST /v1/chat/completions`,
    `POST /v1/responses` and `POST /v1/messages`, streamed or not, `POST /v1/messages/count_tokens`,
    `GET /v1/models` and `GET /v1/models/{id}`. What a scripted tool does counts for nothing here: the daemon
    that asks runs its own tools.

    The script answers what a test expects, and nothing else. A request that a client repeats because it got
    no answer gets the first answer again. The daemon's own request for a session's title is answered with
    `title`. Neither takes an answer off the script or appears in `requests` and `model.requests`.

        with FakeModel() as model, FakeModelServer(model) as server:
            model.will_respond_with_text("Hello.")
            client = openai.OpenAI(base_url=server.base_url, api_key=server.api_key)
            ...

    With `record_to` and `upstream` it asks a real provider instead of a script and writes a recording, which
    `FakeModelServer.replay` answers from.

    Args:
        model: Who answers; a new model if left out.
        api_key: Key that clients have to show; if left out, any key or no key is accepted.
        models: Names of the models that it has; left out, it answers to every name.
        host: Address to listen on.
        port: Port to listen on; a free one if left out.
        title: The title of every session; None passes requests for a title to the script.
        keep_alive: Whether connections stay open after an answer. Digitorn 1.0.3 loses the first answer that
            it gets over a connection of an earlier turn, and then repeats its request.
        record_to: File that requests and answers are written to, without secrets. One that exists is replaced
            when the first answer has come.
        upstream: Base URL of the provider that requests are passed on to, such as
            `https://api.openai.com/v1` or `https://api.anthropic.com`.

    Raises:
        ValueError: `models` is one text, the upstream is no such URL, only one of `record_to` and `upstream`
            is given, or a provider is asked and there is a model, a key or names of models as well.
    """

    def __init__(
        self,
        model: FakeModel | None = None,
        *,
        api_key: str | None = None,
        models: Iterable[str] | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        title: str | None = DEFAULT_TITLE,
        keep_alive: bool = False,
        record_to: FilePath | None = None,
        upstream: str | None = None,
    ) -> None:
        if isinstance(models, str):
            raise ValueError("models is one text; pass the names, for example a list")
        if (record_to is None) != (upstream is None):
            raise ValueError("record_to and upstream belong together: a file and the provider to record")
        self._source: Recorder | Replay | None = None
        if record_to is not None and upstream is not None:
            if model is not None or api_key is not None or models is not None:
                raise ValueError("the provider answers: model, api_key and models mean nothing here")
            self._source = Recorder(record_to, upstream)
        self.model = model if model is not None else FakeModel()
        self._api_key = api_key
        self._models = None if models is None else tuple(models)
        self._host = host
        self._port = port
        self._title = title
        self._keep_alive = keep_alive
        self._thread: ServerThread | None = None
        self._wires: dict[str, Wire] = {
            "/v1/chat/completions": ChatCompletions(),
            "/v1/responses": Responses(),
            _MESSAGES: Messages(),
        }
        self._requests: list[ProviderRequest] = []
        self._title_requests: list[ProviderRequest] = []
        self._repeated_requests: list[ProviderRequest] = []
        self._repeats = Repeats()
        self._open: set[asyncio.Task[None]] = set()

    @classmethod
    def replay(
        cls,
        path: FilePath,
        *,
        normalize: Normalize | None = None,
        timing: bool = False,
        host: str = "127.0.0.1",
        port: int = 0,
        keep_alive: bool = False,
    ) -> Self:
        """A server that answers from a recording, with the chunks in which the provider answered.

        A request gets the answer to the recorded one that has the same method, path, query and body; headers
        do not count. Each recorded answer is given once. Any other request is refused, in words that say what
        differs, and leaving the server as a context manager raises `ScriptMismatch` then.

        Args:
            path: A recording.
            normalize: Takes the JSON body of a request and returns what is compared, for requests that are
                never the same, with a date in them for example. It gets recorded bodies too.
            timing: Whether each chunk comes as late as it came from the provider.
            host: Address to listen on.
            port: Port to listen on; a free one if left out.
            keep_alive: Whether connections stay open after an answer.

        Raises:
            RecordingError: The file cannot be read, or is no recording of a provider.
        """
        server = cls(host=host, port=port, keep_alive=keep_alive)
        server._source = Replay(path, normalize=normalize, timing=timing)
        return server

    # --- life

    def start(self) -> Self:
        """Starts serving.

        Raises:
            ModelServerNotStarted: It did not come up.
            RecordingError: The recording cannot be written.
            RuntimeError: It runs already.
        """
        if self._thread is not None:
            raise RuntimeError("the model server runs already")
        if self._source is not None:
            self._source.open()

        # A function: uvicorn would take a method for an application of the older form.
        async def serve(scope: Scope, receive: Receive, send: Send) -> None:
            await self._serve(scope, receive, send)

        try:
            thread = ServerThread(serve, self._host, self._cut_off, port=self._port)
            while self._port == 0 and any(status in str(thread.port) for status in _STATUSES):
                thread.stop()
                thread = ServerThread(serve, self._host, self._cut_off)
        except OSError as error:
            raise ModelServerNotStarted(f"port {self._port} of {self._host} is not free: {error}") from error
        self._thread = thread
        try:
            thread.start()
        except DaemonNotStarted as error:
            self._thread = None
            raise ModelServerNotStarted(f"the model server did not come up on port {thread.port}") from error
        return self

    def stop(self) -> None:
        """Stops serving: cuts off every answer, closes every connection. May be called again."""
        if self._thread is None:
            return
        try:
            self._thread.stop()
        finally:
            self._thread = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stops serving, and checks a recording or a replay. An error on its way out gets a note instead.

        Raises:
            ScriptMismatch: A request was not recorded.
            RecordingError: The recording could not be written.
        """
        self.stop()
        try:
            if self._source is not None:
                self._source.check()
        except DigitornError as found:
            if error is None:
                raise
            error.add_note(str(found))

    def assert_exhausted(self) -> None:
        """Checks that every request had an answer, and that every answer was asked for: each one of the
        recording, or of the script as `model.assert_exhausted` does.

        Raises:
            ScriptMismatch: That is not so.
            RecordingError: The recording could not be written.
        """
        if self._source is not None:
            self._source.check(with_leftover=True)
        else:
            self.model.assert_exhausted()

    # --- what it is

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return self._running().port

    @property
    def url(self) -> str:
        """What Anthropic's clients call the base URL; it ends in the port."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self.port}"

    @property
    def base_url(self) -> str:
        """What OpenAI's clients call the base URL; it ends in `/v1`."""
        return f"{self.url}/v1"

    @property
    def api_key(self) -> str:
        """A key that it takes."""
        return self._api_key if self._api_key is not None else _ANY_KEY

    @property
    def requests(self) -> list[ProviderRequest]:
        """The well-formed requests that went to the script, as they came, oldest first; of a provider or a
        recording, all requests.

        `model.requests` has what they mean to the model.
        """
        return list(self._requests)

    @property
    def title_requests(self) -> list[ProviderRequest]:
        """The daemon's requests for a title that were answered with `title`, oldest first."""
        return list(self._title_requests)

    @property
    def repeated_requests(self) -> list[ProviderRequest]:
        """The requests that were repeats and got an earlier answer again, oldest first."""
        return list(self._repeated_requests)

    def wait_for_requests(self, count: int, *, timeout: float) -> list[ModelRequest]:
        """Waits until the script was asked so many times, as `model.wait_for_requests` does.

        Args:
            count: Number of requests since the model was made or reset.
            timeout: Deadline in seconds.

        Returns:
            The first `count` requests, oldest first.

        Raises:
            ModelRequestTimeout: Fewer arrived in time; it lists them.
        """
        return self.model.wait_for_requests(count, timeout=timeout)

    def drop_connections(self) -> None:
        """Cuts every connection as if the network had failed; the server itself goes on."""
        thread = self._running()
        thread.submit(thread.abort_connections()).result(_ANSWER_SECONDS)

    def _running(self) -> ServerThread:
        if self._thread is None:
            raise ModelServerNotStarted("the model server is not running; use it in a with statement")
        return self._thread

    # --- serving

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1000})
            return
        exchange = Exchange(scope, receive, send, keep_alive=self._keep_alive)
        if not await exchange.read():
            return
        work = asyncio.create_task(self._respond(exchange), name=f"{exchange.method} {exchange.path}")
        closed = asyncio.create_task(exchange.closed(), name=f"end of {exchange.method} {exchange.path}")
        self._open.add(work)
        try:
            await asyncio.wait({work, closed}, return_when=asyncio.FIRST_COMPLETED)
            if not closed.done() and not _has_answered(work):
                self._running().abort_connection(exchange.client)
                await closed
        finally:
            self._open.discard(work)
            for task in (work, closed):
                task.cancel()
            await asyncio.gather(work, closed, return_exceptions=True)

    async def _cut_off(self) -> None:
        """Ends what is being answered, so that the server need not wait for it."""
        for work in list(self._open):
            work.cancel()
        if self._open:
            await asyncio.wait(set(self._open))
        if self._source is not None:
            await self._source.close()

    async def _respond(self, exchange: Exchange) -> None:
        try:
            exchange.check_size()
            if self._source is not None:
                self._requests.append(_as_it_came(exchange))
                await self._source.respond(exchange)
            else:
                await self._route(exchange)
        except Refused as refusal:
            await self._refuse(exchange, refusal)
        except ConnectionLost:
            raise
        except Exception as error:
            logger.exception("%s %s crashed", exchange.method, exchange.path)
            if exchange.has_started:
                raise ConnectionLost from error
            crash = Refused(500, f"{type(error).__name__}: {error}", type="server_error")
            await self._refuse(exchange, crash)

    async def _refuse(self, exchange: Exchange, refusal: Refused) -> None:
        """Answers with an error in the form of the wire, or what the client's headers say of that."""
        named = _MESSAGES if _is_anthropic(exchange) else "/v1/chat/completions"
        body = self._wires.get(exchange.path, self._wires[named]).error(refusal)
        await exchange.answer(refusal.status, body, refusal.headers)

    async def _route(self, exchange: Exchange) -> None:
        self._authorize(exchange)
        path, wire = exchange.path, self._wires.get(exchange.path)
        model = path.removeprefix(f"{_MODELS}/")
        is_post = wire is not None or path == _COUNT
        if not is_post and path != _MODELS and (model == path or not model):
            raise Refused(404, f"Invalid URL ({exchange.method} {path})")
        if exchange.method != ("POST" if is_post else "GET"):
            raise Refused(405, f"Not allowed to {exchange.method} on {path}.")
        if wire is not None:
            await self._ask(exchange, wire)
        elif path == _COUNT:
            await exchange.answer(200, Messages().count(json_of(exchange.body)))
        elif path == _MODELS:
            cards: list[JsonValue] = [_card(one, exchange) for one in self._models or (DEFAULT_MODEL,)]
            await exchange.answer(200, {"object": "list", "has_more": False, "data": cards})
        else:
            self._check_model(model)
            await exchange.answer(200, _card(model, exchange))

    def _authorize(self, exchange: Exchange) -> None:
        if self._api_key is None:
            return
        scheme, _, bearer = exchange.headers.get("authorization", "").partition(" ")
        key = exchange.headers.get("x-api-key") or (bearer if scheme.lower() == "bearer" else "")
        if not key:
            raise Refused(
                401, "You didn't provide an API key, as 'Authorization: Bearer KEY' or 'x-api-key: KEY'."
            )
        if not secrets.compare_digest(key.encode(), self._api_key.encode()):
            raise Refused(401, "Incorrect API key provided.", code="invalid_api_key")

    def _check_model(self, name: str) -> None:
        if self._models is not None and name not in self._models:
            raise Refused(404, f"The model '{name}' does not exist.", code="model_not_found")

    async def _ask(self, exchange: Exchange, wire: Wire) -> None:
        asked = wire.read(json_of(exchange.body))
        self._check_model(asked.request.model_settings.model or "")
        scripted = await self._answer(exchange, asked)
        await asyncio.sleep(scripted.wait)
        match scripted.answer:
            case Reply() as reply:
                await _reply(exchange, asked, asked.answer(reply))
            case Failure() as failure:
                await _fail(exchange, asked, failure)
            case Silence():
                await _forever()

    async def _answer(self, exchange: Exchange, asked: Asked) -> Scripted:
        request = _as_it_came(exchange)
        if self._title is not None and _asks_for_title(asked):
            self._title_requests.append(request)
            return Scripted(Reply((self._title,)), 0.0)
        sent = exchange.path.encode() + exchange.body
        repeated = self._repeats.answer_to(sent, exchange.retry_count)
        if repeated is not None:
            self._repeated_requests.append(request)
            return repeated
        self._requests.append(request)
        try:
            scripted = await self.model.take(asked.request)
        except TurnFailed as error:
            # Not as a server error: clients would ask again.
            raise invalid(error.message, code="unscripted_request") from error
        self._repeats.remember(sent, scripted)
        return scripted


async def _reply(exchange: Exchange, asked: Asked, answer: Answer) -> None:
    if asked.is_streamed:
        async for event in answer.events():
            await exchange.push(event)
        await exchange.end(b"data: [DONE]\n\n" if answer.ends_with_done else b"")
    elif answer.reply.is_endless:
        await _forever()
    else:
        await asyncio.sleep(answer.streaming_time)
        await exchange.answer(200, answer.whole())


async def _fail(exchange: Exchange, asked: Asked, failure: Failure) -> None:
    beginning = asked.answer(Reply(failure.after))
    if asked.is_streamed and failure.after:
        async for event in beginning.events(is_cut=True):
            await exchange.push(event)
    if status_of(failure) is None:
        raise ConnectionLost
    refusal = refused_by(failure)
    if not exchange.has_started:
        raise refusal
    # The status is out already: then the error is an event of the stream.
    await exchange.push(beginning.failed(refusal))
    await exchange.end()


async def _forever() -> None:
    await asyncio.get_running_loop().create_future()


def _has_answered(work: "asyncio.Task[None]") -> bool:
    return not work.cancelled() and work.exception() is None


def _asks_for_title(asked: Asked) -> bool:
    """Whether a request is the daemon's own: after a session's first answer it asks for a title."""
    request = asked.request
    return (
        not asked.is_streamed
        and not request.tools
        and request.model_settings.max_tokens == _TITLE_TOKENS
        and request.system_prompt.startswith(_TITLE_PROMPT)
    )


def _as_it_came(exchange: Exchange) -> ProviderRequest:
    try:
        body = json_of(exchange.body)
    except Refused:
        body = exchange.body.decode(errors="replace")
    return ProviderRequest(exchange.path, body, hidden_headers(exchange.headers))


def _is_anthropic(exchange: Exchange) -> bool:
    return "anthropic-version" in exchange.headers


def _card(name: str, exchange: Exchange) -> JsonObject:
    """A model as a list of the client's provider has it."""
    if _is_anthropic(exchange):
        known: JsonObject = {"id": name, "type": "model", "display_name": name}
        return {**known, "created_at": "2023-11-14T22:13:20Z", "lifecycle": "active"}
    return {"id": name, "object": "model", "created": _CREATED, "owned_by": "digitorn-testing"}
