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
from .._errors import DaemonUnreachable, DigitornError
from .._generated._runtime import Call
from .._generated.models import RefreshTokenRequest
from .._generated.operations import REFRESH_TOKEN

T = TypeVar("T")

_CONNECT_SECONDS = 10.0


class AsyncTransport:
    """Sends calls to one daemon, with the tokens of one user.

    An expired access token is renewed once when a refresh token is there.

    Args:
        daemon_url: Base URL of the daemon.
        credentials: The user's tokens; shared, so that a renewal serves all.
        timeout: Seconds for one call; a nearer deadline of the caller's shortens it.
    """

    def __init__(self, daemon_url: str, credentials: Credentials, *, timeout: float) -> None:
        self.daemon_url = daemon_url
        self.credentials = credentials
        self.timeout = timeout
        self._http: httpx.AsyncClient | None = None
        # Several threads may use one client, and must not each open their own connections.
        self._opening = threading.Lock()

    async def send(self, call: Call[T], /) -> T:
        """The typed result of a call.

        Raises:
            ApiError: The daemon refused it.
            ContractViolation: The answer is not what the contract says.
            DaemonUnreachable: There was no answer.
        """
        token = self.credentials.access_token if call.operation.authenticated else None
        response = await self._exchange(call, token)
        if response.status_code == 401 and call.operation.authenticated and await self._renew(token):
            response = await self._exchange(call, self.credentials.access_token)
        return self._read(call, response)

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
            self.credentials.store(self._read(call, await self._exchange(call, None)))
        except DigitornError:
            # The refusal of the first call tells the caller more than that of the renewal.
            return False
        return True

    def _read(self, call: Call[T], response: httpx.Response) -> T:
        return read_answer(
            call,
            daemon_url=self.daemon_url,
            status=response.status_code,
            headers=response.headers,
            content=response.content,
            credentials=self.credentials,
        )

    async def _exchange(self, call: Call[T], token: str | None) -> httpx.Response:
        headers = dict(call.headers)
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        content, files = None, None
        if (encoded := call.encoded()) is not None:
            content, headers["Content-Type"] = encoded
        elif parts := call.parts():
            # A part without a file name is a text field.
            files = [(part.name, (part.filename, part.content)) for part in parts]
        limit = remaining(self.timeout)
        try:
            return await self._client().request(
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
            raise DaemonUnreachable(self.daemon_url, f"{call.operation.method} {call.path}: {said}") from None

    def _client(self) -> httpx.AsyncClient:
        with self._opening:
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
        """Closes the connections. A later call opens new ones."""
        with self._opening:
            http, self._http = self._http, None
        if http is not None:
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
