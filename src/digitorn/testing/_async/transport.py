"""Sends the stubs' calls over HTTP."""

import threading
from types import TracebackType
from typing import TypeVar

import httpx

from .._answers import read_answer
from .._clock import remaining
from .._connect import tls_context
from .._credentials import Credentials
from .._endpoints import endpoint_of
from .._errors import ClientClosed, DaemonUnreachable, DigitornError
from .._exchanges import KEPT, Exchange, Exchanges, sending
from .._forks import in_forks, leave_behind
from .._generated._runtime import Call
from .._generated.models import RefreshTokenRequest
from .._generated.operations import REFRESH_TOKEN
from .._home import AsyncHome

T = TypeVar("T")

_CONNECT_SECONDS = 10.0


class AsyncTransport:
    """Sends calls to one daemon, with the tokens of one user.

    An expired access token is renewed once when a refresh token is there.

    Args:
        daemon_url: Base URL of the daemon.
        credentials: The user's tokens; shared, so that a renewal serves all.
        timeout: Seconds for one call; a nearer deadline of the caller's shortens it.
        exchanges: Where calls and answers are kept; a list of its own when left out.
    """

    def __init__(
        self,
        daemon_url: str,
        credentials: Credentials,
        *,
        timeout: float,
        exchanges: Exchanges | None = None,
    ) -> None:
        self.daemon_url = daemon_url
        self.credentials = credentials
        self.timeout = timeout
        self.exchanges = exchanges if exchanges is not None else Exchanges(KEPT)
        self.exchanges.redactor.learn(credentials.access_token, credentials.refresh_token)
        self._http: httpx.AsyncClient | None = None
        self.home = AsyncHome()
        self._is_closed = False
        # Several threads may use one client, and must not each open their own connections.
        self._opening = threading.Lock()
        in_forks(self)

    def after_fork(self) -> None:
        """Makes it usable in a forked child, over connections of its own."""
        self._opening = threading.Lock()
        leave_behind(self._http)
        self._http = None

    async def send(self, call: Call[T], /) -> T:
        """The typed result of a call.

        Raises:
            ApiError: The daemon refused it.
            ContractViolation: The answer is not what the contract says.
            DaemonUnreachable: There was no answer.
            ClientClosed: It was closed.
            WrongEventLoop: Its connections live on another event loop, which is not closed.
        """
        token = self.credentials.access_token if call.operation.authenticated else None
        response, exchange = await self._exchange(call, token)
        if response.status_code == 401 and call.operation.authenticated and await self._renew(token):
            response, exchange = await self._exchange(call, self.credentials.access_token, retry=1)
        return self._read(call, response, exchange)

    async def _renew(self, used: str | None) -> bool:
        """Whether there is a newer access token than the one that was refused."""
        if used is None:
            return False
        if self.credentials.access_token not in (None, used):
            return True
        refresh_token = self.credentials.refresh_token
        if refresh_token is None:
            return False
        call = REFRESH_TOKEN.call(body=RefreshTokenRequest(refresh_token=refresh_token).to_wire())
        try:
            response, exchange = await self._exchange(call, None)
            self.credentials.store(self._read(call, response, exchange))
        except DigitornError:
            # The refusal of the first call tells the caller more than that of the renewal.
            return False
        return True

    def _read(self, call: Call[T], response: httpx.Response, exchange: Exchange) -> T:
        return read_answer(
            call,
            exchange,
            daemon_url=self.daemon_url,
            headers=response.headers,
            content=response.content,
            credentials=self.credentials,
        )

    async def _exchange(
        self, call: Call[T], token: str | None, *, retry: int = 0
    ) -> tuple[httpx.Response, Exchange]:
        self.exchanges.redactor.learn(self.credentials.access_token, self.credentials.refresh_token)
        under_way = sending(self.exchanges, call, retry=retry)
        headers = dict(call.headers)
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        content, files = None, None
        if (encoded := call.encoded()) is not None:
            content, headers["Content-Type"] = encoded
            under_way.sends(content)
        elif parts := call.parts():
            # A part without a file name is a text field.
            files = [(part.name, (part.filename, part.content)) for part in parts]
            under_way.sends_parts(parts)
        limit = remaining(self.timeout)
        try:
            response = await self._client().request(
                call.operation.method,
                self.daemon_url + call.path,
                params=call.query or None,
                headers=headers,
                cookies=dict(call.cookies) or None,
                content=content,
                files=files,
                timeout=httpx.Timeout(limit, connect=min(limit, _CONNECT_SECONDS)),
            )
        except (httpx.RequestError, httpx.InvalidURL) as error:
            # Timeouts of the asynchronous httpx say nothing, those of the other do.
            name = "timed out" if isinstance(error, httpx.TimeoutException) else type(error).__name__
            said = self.credentials.redact(str(error) or name)
            under_way.failed(said)
            raise DaemonUnreachable(self.daemon_url, f"{call.operation.method} {call.path}: {said}") from None
        except BaseException as error:
            # Who looks why a test hangs wants to see the call that was cut off.
            under_way.failed(type(error).__name__)
            raise
        return response, under_way.answered(response.status_code, response.content)

    def _client(self) -> httpx.AsyncClient:
        with self._opening:
            if self._is_closed:
                raise ClientClosed(f"the client of {self.daemon_url} was closed; make a new one")
            if self.home.moved():
                # What is left there ended with its event loop.
                self._http = None
            if self._http is None:
                endpoint = endpoint_of(self.daemon_url)
                self._http = httpx.AsyncClient(
                    verify=tls_context(),
                    # Neither a proxy nor a .netrc of this machine comes between a test and its daemon.
                    trust_env=False,
                    transport=None if endpoint is None else endpoint.async_http(),
                )
            return self._http

    async def aclose(self) -> None:
        """Closes the connections, for good. May be called again.

        Raises:
            WrongEventLoop: They live on another event loop, which is not closed.
        """
        with self._opening:
            moved = self._http is not None and self.home.moved()
            self._is_closed = True
            http, self._http = self._http, None
        if http is not None and not moved:
            await http.aclose()

    async def __aenter__(self) -> "AsyncTransport":
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()
