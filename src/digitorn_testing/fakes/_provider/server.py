"""The scripted model as an OpenAI-compatible server, for daemons that ask their provider over HTTP."""

import asyncio
import json
import logging
import secrets
import uuid
from collections.abc import Awaitable, Callable, Iterable, Mapping
from types import TracebackType
from typing import Final, Self, TypeAlias

from digitorn_testing._errors import DigitornError
from digitorn_testing.fakes._model.failures import TurnFailed
from digitorn_testing.fakes._model.model import FakeModel
from digitorn_testing.fakes._model.requests import ModelRequest
from digitorn_testing.fakes._model.script import Failure, Reply, Scripted, Silence
from digitorn_testing.fakes._wire.server import DaemonNotStarted, ServerThread
from digitorn_testing.fakes._wire.socketio import Scope

from .chat_completions import (
    Completion,
    Refused,
    asks_for_title,
    invalid,
    model_request,
    read_request,
    refused_by,
    status_of,
)
from .openai_wire import ChatCompletionRequest, ModelCard, ModelList, WireAnswer, error_body
from .repeats import Repeats

DEFAULT_MODEL: Final = "fake-model"
"""Name of the model that is listed by default."""

DEFAULT_TITLE: Final = "A test"
"""What a request for a session's title is answered."""

_CHAT: Final = "/v1/chat/completions"
_MODELS: Final = "/v1/models"
_ANSWER_SECONDS: Final = 10.0
"""How long the server's thread may take to do something at once."""

_STATUSES: Final = ("401", "402", "403", "429", "500", "502", "503", "504", "529")
"""Statuses that the released daemon looks for in the text of any failure. The server's address stands in that
text: with one of them in its port, every failure would be taken for that one, or retried for minutes."""

_ANY_KEY: Final = "fake-key"
_CREATED: Final = 1_700_000_000

_Receive: TypeAlias = Callable[[], Awaitable[Scope]]
_Send: TypeAlias = Callable[[Scope], Awaitable[None]]

logger = logging.getLogger(__name__)


class ModelServerNotStarted(DigitornError, RuntimeError):
    """The model server did not come up, or is not running."""


class _ConnectionLost(Exception):
    """The connection is to break."""


class _Exchange:
    """One request and its answer."""

    def __init__(self, scope: Scope, receive: _Receive, send: _Send, *, keep_alive: bool) -> None:
        self.method = str(scope["method"])
        self.path = str(scope["path"])
        self.client: tuple[str, int] = tuple(scope["client"])
        headers: dict[bytes, bytes] = dict(scope["headers"])
        self.authorization = headers.get(b"authorization", b"").decode("latin-1")
        retry_count = headers.get(b"x-stainless-retry-count", b"")
        self.retry_count = int(retry_count) if retry_count.isdigit() else 0
        self.body = b""
        self.has_started = False
        self._keep_alive = keep_alive
        self._receive = receive
        self._send = send

    async def read(self) -> bool:
        """Reads the body; False if the client has gone meanwhile."""
        while True:
            message = await self._receive()
            if message["type"] != "http.request":
                return False
            self.body += message.get("body", b"")
            if not message.get("more_body", False):
                return True

    async def closed(self) -> None:
        """Waits until the client has gone or has its answer."""
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def answer(self, status: int, body: WireAnswer, headers: Mapping[str, str] | None = None) -> None:
        """Answers in one piece."""
        content = json.dumps(body).encode()
        length = {"content-length": str(len(content))}
        await self._start(status, {"content-type": "application/json", **length, **(headers or {})})
        await self._write(content, more=False)

    async def push(self, data: WireAnswer) -> None:
        """Sends an event of a stream."""
        if not self.has_started:
            await self._start(200, {"content-type": "text/event-stream", "cache-control": "no-cache"})
        await self._write(f"data: {json.dumps(data)}\n\n".encode(), more=True)

    async def end(self, *, done: bool) -> None:
        """Ends a stream.

        Args:
            done: Whether it is complete, and says so.
        """
        await self._write(b"data: [DONE]\n\n" if done else b"", more=False)

    async def _start(self, status: int, headers: Mapping[str, str]) -> None:
        self.has_started = True
        named = {**headers, "x-request-id": f"req_{uuid.uuid4().hex}"}
        if not self._keep_alive:
            named["connection"] = "close"
        raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in named.items()]
        await self._send({"type": "http.response.start", "status": status, "headers": raw})

    async def _write(self, content: bytes, *, more: bool) -> None:
        await self._send({"type": "http.response.body", "body": content, "more_body": more})


class FakeModelServer:
    """Serves a scripted model over HTTP, as OpenAI's chat completions do, on a loopback port.

    A daemon whose provider is this server is deterministic. It serves `POST /v1/chat/completions`, streamed
    or not, `GET /v1/models` and `GET /v1/models/{id}`. What a scripted tool does counts for nothing here: the
    daemon that asks runs its own tools.

    The script answers what a test expects, and nothing else. A request that a client repeats because it got
    no answer gets the first answer again. The daemon's own request for a session's title is answered with
    `title`. Neither takes an answer off the script or appears in `requests` and `model.requests`.

        with FakeModel() as model, FakeModelServer(model) as server:
            model.will_respond_with_text("Hello.")
            client = openai.OpenAI(base_url=server.base_url, api_key=server.api_key)
            ...

    Args:
        model: Who answers; a new model if left out.
        api_key: Key that clients have to show; if left out, any key or no key is accepted.
        models: Names of the models that it has; left out, it answers to every name.
        host: Address to listen on.
        port: Port to listen on; a free one if left out.
        title: The title of every session; None passes requests for a title to the script.
        keep_alive: Whether connections stay open after an answer. Digitorn 1.0.3 loses the first answer that
            it gets over a connection of an earlier turn, and then repeats its request.
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
    ) -> None:
        if isinstance(models, str):
            raise ValueError("models is one text; pass the names, for example a list")
        self.model = model if model is not None else FakeModel()
        self._api_key = api_key
        self._models = None if models is None else tuple(models)
        self._host = host
        self._port = port
        self._title = title
        self._keep_alive = keep_alive
        self._thread: ServerThread | None = None
        self._requests: list[ChatCompletionRequest] = []
        self._title_requests: list[ChatCompletionRequest] = []
        self._repeated_requests: list[ChatCompletionRequest] = []
        self._repeats = Repeats()
        self._open: set[asyncio.Task[None]] = set()

    # --- life

    def start(self) -> Self:
        """Starts serving.

        Raises:
            ModelServerNotStarted: It did not come up.
            RuntimeError: It runs already.
        """
        if self._thread is not None:
            raise RuntimeError("the model server runs already")

        # A function: uvicorn would take a method for an application of the older form.
        async def serve(scope: Scope, receive: _Receive, send: _Send) -> None:
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
        self.stop()

    # --- what it is

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return self._running().port

    @property
    def base_url(self) -> str:
        """What clients call the base URL; it ends in `/v1`."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self.port}/v1"

    @property
    def api_key(self) -> str:
        """A key that it takes."""
        return self._api_key if self._api_key is not None else _ANY_KEY

    @property
    def requests(self) -> list[ChatCompletionRequest]:
        """The well-formed requests that went to the script, as they came, oldest first.

        `model.requests` has what they mean.
        """
        return list(self._requests)

    @property
    def title_requests(self) -> list[ChatCompletionRequest]:
        """The daemon's requests for a title that were answered with `title`, oldest first."""
        return list(self._title_requests)

    @property
    def repeated_requests(self) -> list[ChatCompletionRequest]:
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

    async def _serve(self, scope: Scope, receive: _Receive, send: _Send) -> None:
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1000})
            return
        exchange = _Exchange(scope, receive, send, keep_alive=self._keep_alive)
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

    async def _respond(self, exchange: _Exchange) -> None:
        try:
            await self._route(exchange)
        except Refused as refusal:
            await exchange.answer(refusal.status, refusal.body, refusal.headers)
        except _ConnectionLost:
            raise
        except Exception as error:
            logger.exception("%s %s crashed", exchange.method, exchange.path)
            if exchange.has_started:
                raise _ConnectionLost from error
            said = f"{type(error).__name__}: {error}"
            await exchange.answer(500, error_body(said, "server_error"))

    async def _route(self, exchange: _Exchange) -> None:
        self._authorize(exchange.authorization)
        path, model = exchange.path, exchange.path.removeprefix(f"{_MODELS}/")
        if path not in (_CHAT, _MODELS) and (model == path or not model):
            raise invalid(f"Invalid URL ({exchange.method} {path})", status=404)
        if exchange.method != ("POST" if path == _CHAT else "GET"):
            raise invalid(f"Not allowed to {exchange.method} on {path}.", status=405)
        if path == _CHAT:
            await self._chat(exchange)
        elif path == _MODELS:
            cards = [_card(one) for one in self._models or (DEFAULT_MODEL,)]
            await exchange.answer(200, ModelList(object="list", data=cards))
        else:
            self._check_model(model)
            await exchange.answer(200, _card(model))

    def _authorize(self, authorization: str) -> None:
        if self._api_key is None:
            return
        scheme, _, key = authorization.partition(" ")
        if scheme.lower() != "bearer" or not key:
            raise invalid("You didn't provide an API key, as 'Authorization: Bearer KEY'.", status=401)
        if not secrets.compare_digest(key.encode(), self._api_key.encode()):
            raise invalid("Incorrect API key provided.", code="invalid_api_key", status=401)

    def _check_model(self, name: str) -> None:
        if self._models is not None and name not in self._models:
            raise invalid(f"The model '{name}' does not exist.", code="model_not_found", status=404)

    async def _chat(self, exchange: _Exchange) -> None:
        request = read_request(exchange.body)
        self._check_model(request.model)
        asked = model_request(request)
        scripted = await self._answer(exchange, request, asked)
        await asyncio.sleep(scripted.wait)
        match scripted.answer:
            case Reply() as reply:
                await _reply(exchange, Completion(request, asked, reply))
            case Failure() as failure:
                beginning = Completion(request, asked, Reply(failure.after))
                await _fail(exchange, beginning, failure)
            case Silence():
                await _forever()

    async def _answer(
        self, exchange: _Exchange, request: ChatCompletionRequest, asked: ModelRequest
    ) -> Scripted:
        if self._title is not None and asks_for_title(request, asked):
            self._title_requests.append(request)
            return Scripted(Reply((self._title,)), 0.0)
        repeated = self._repeats.answer_to(exchange.body, exchange.retry_count)
        if repeated is not None:
            self._repeated_requests.append(request)
            return repeated
        self._requests.append(request)
        try:
            scripted = await self.model.take(asked)
        except TurnFailed as error:
            # Not as a server error: clients would ask again.
            raise invalid(error.message, code="unscripted_request") from error
        self._repeats.remember(exchange.body, scripted)
        return scripted


async def _reply(exchange: _Exchange, completion: Completion) -> None:
    if completion.request.stream:
        async for chunk in completion.chunks():
            await exchange.push(chunk)
        await exchange.end(done=True)
    elif completion.reply.is_endless:
        await _forever()
    else:
        await asyncio.sleep(completion.streaming_time)
        await exchange.answer(200, completion.whole())


async def _fail(exchange: _Exchange, beginning: Completion, failure: Failure) -> None:
    if beginning.request.stream and failure.after:
        async for chunk in beginning.text_chunks():
            await exchange.push(chunk)
    if status_of(failure) is None:
        raise _ConnectionLost
    refusal = refused_by(failure)
    if not exchange.has_started:
        raise refusal
    # The status is out already: then the error is an event of the stream.
    await exchange.push(refusal.body)
    await exchange.end(done=False)


async def _forever() -> None:
    await asyncio.get_running_loop().create_future()


def _has_answered(work: "asyncio.Task[None]") -> bool:
    return not work.cancelled() and work.exception() is None


def _card(name: str) -> ModelCard:
    return {"id": name, "object": "model", "created": _CREATED, "owned_by": "digitorn-testing"}
