"""Sends the stubs' calls over HTTP."""

import re
import threading
import time
from collections.abc import AsyncIterator, Generator
from types import TracebackType
from typing import Any, Final, TypeVar, cast

import httpx

from digitorn_testing._concurrency.deadlines import asleep, remaining, until
from digitorn_testing._concurrency.forks import in_forks, leave_behind
from digitorn_testing._errors import (
    ClientClosed,
    ContractViolation,
    DaemonUnreachable,
    DigitornError,
    TooLarge,
    Unauthorized,
    UnconfirmedMessage,
    UntrustedCertificate,
)
from digitorn_testing._exchanges import EXAMPLE_HEADER, KEPT, LARGEST_BODY, Exchanges, Sending, sending
from digitorn_testing._generated._runtime import Call, Undecodable
from digitorn_testing._generated._streams import AnyStream, Items
from digitorn_testing._generated.operations import LOGIN, REFRESH_TOKEN
from digitorn_testing._secrets.credentials import Credentials, Token
from digitorn_testing._secrets.logs import hide_in_logs
from digitorn_testing._secrets.raising import raise_detached
from digitorn_testing._transport.affinity import LoopAffinity
from digitorn_testing._transport.answers import read_answer, violation
from digitorn_testing._transport.bounds import BoundedBody, NotUnpacked, OutOfBounds, check_text
from digitorn_testing._transport.daemon_url import resolve_daemon_url
from digitorn_testing._transport.endpoints import endpoint_of
from digitorn_testing._transport.http import AsyncHttp
from digitorn_testing._transport.options import ConnectionOptions, is_distrust
from digitorn_testing._transport.paths import check_path
from digitorn_testing._transport.retry import (
    Attempts,
    RetryPolicy,
    identified,
    is_identified,
    may_be_taken,
)

from .lost_answers import find_message, session_of

T = TypeVar("T")

_CONNECT_SECONDS = 10.0

_AUTH_PATHS: Final = LOGIN.path.rpartition("/")[0] + "/"
"""How the paths of the auth service begin."""

_MOVED: Final = (307, 308)
"""Statuses of a redirect that keeps the method and the body."""

_NEVER_SENT: Final = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.InvalidURL)
"""Failures before a connection existed."""

_HUNG: Final = "It took the request and is busy or hangs: see its log, or allow more time"

_MANY_VALUES: Final = re.compile(rb"\s*[\[{]")


class AsyncTransport:
    """Sends calls to one daemon, with the tokens of one user.

    Calls of the auth service go there, as the options or a redirect of the daemon say; all others go to the
    daemon, whatever servers the contract names. Other redirects are not followed. An expired access token is
    renewed once if there is a refresh token. The items of a stream are read as they arrive.

    Args:
        daemon_url: Base URL of the daemon.
        credentials: The user's tokens; shared, so that everybody benefits from a renewal.
        timeout: Seconds for one call with all its attempts; a nearer deadline of the caller shortens it.
        exchanges: Where calls and answers are kept; a new list if left out.
        retries: When to send a call again; None for never.
        connection_options: How to connect; the defaults if left out.

    Raises:
        InsecureConnection: A token would go over plain HTTP to another machine.
    """

    def __init__(
        self,
        daemon_url: str,
        credentials: Credentials,
        *,
        timeout: float,
        exchanges: Exchanges | None = None,
        retries: RetryPolicy | None = None,
        connection_options: ConnectionOptions | None = None,
        is_auth_service: bool = False,
    ) -> None:
        self._is_auth_service = is_auth_service
        self.daemon_url = daemon_url
        self.credentials = credentials
        self.timeout = timeout
        self.exchanges = exchanges if exchanges is not None else Exchanges(KEPT)
        self.retries = retries
        self.connection = connection_options or ConnectionOptions()
        if credentials.access_token is not None:
            self.connection.check_secrets_may_go_to(daemon_url)
        self.exchanges.redactor.learn(credentials.access_token, credentials.refresh_token)
        hide_in_logs(self.exchanges.redactor)
        self._http: httpx.AsyncClient | None = None
        self._auth: AsyncTransport | None = None
        self.affinity = LoopAffinity()
        self._is_closed = False
        # Several threads may use one client, but must share its connections.
        self._opening = threading.Lock()
        in_forks(self)

    def after_fork(self) -> None:
        """Makes the transport usable in a forked child, which opens its own connections."""
        self._opening = threading.Lock()
        leave_behind(self._http)
        self._http = None

    async def send(self, call: Call[T], /) -> T:
        """Sends a call and returns its typed result.

        Raises:
            ApiError: The daemon refused the call.
            ContractViolation: The answer breaks the contract; `TooLarge` if it exceeds a limit.
            DaemonUnreachable: There was no answer.
            UnconfirmedMessage: The daemon may have taken the message, or not.
            InsecureConnection: A token or a password would go over plain HTTP to another machine.
            ValueError: An id would change the path that it is put into.
            ClientClosed: The client was closed.
            WrongEventLoop: The connections belong to another event loop, which is not closed.
        """
        check_path(call)
        if self.retries is not None:
            call = identified(call)
        attempts = Attempts(self.retries, call)
        with until(time.monotonic() + remaining(self.timeout)):
            while True:
                try:
                    return await self._attempt(call, attempts)
                except DigitornError as error:
                    failure = error
                if self.retries is not None and is_identified(call) and may_be_taken(call, failure):
                    return await self._confirmed(call, failure, attempts.sent)
                pause = attempts.pause(failure, remaining(self.timeout))
                if pause is None:
                    # The variables of the frames below hold what came: there may be a token in it.
                    raise_detached(failure)
                await asleep(pause)

    async def _confirmed(self, call: Call[T], failure: DigitornError, attempts: int) -> T:
        """The answer of a call whose message the daemon has, although its own answer was lost."""
        assert self.retries is not None and call.body is not None
        found = await find_message(self.send, call, self.retries.longest_search)
        if found.answer is None:
            message = UnconfirmedMessage(
                self.daemon_url,
                failure,
                client_message_id=str(call.body["client_message_id"]),
                session_id=session_of(call),
                attempts=attempts,
                was_read=found.was_read,
            )
            raise_detached(message)
        return call.operation.read(found.answer)

    async def _attempt(self, call: Call[T], attempts: Attempts) -> T:
        with until(time.monotonic() + remaining(attempts.timeout)):
            token = self.credentials.access_token if call.operation.authenticated else None
            try:
                return await self._exchange(call, token, attempts)
            except Unauthorized as error:
                if not call.operation.authenticated:
                    raise
                refused = error
            if not await self._renew(token):
                raise refused
            return await self._exchange(call, self.credentials.access_token, attempts)

    async def _renew(self, used: str | None) -> bool:
        """Renews the refused access token if necessary, and says whether there is a newer one."""
        if used is None:
            return False
        if self.credentials.access_token not in (None, used):
            return True
        refresh_token = self.credentials.refresh_token
        if refresh_token is None:
            return False
        call = REFRESH_TOKEN.call(body={"refresh_token": refresh_token})
        try:
            self.credentials.store(await self._exchange(call, None, Attempts(None, call)))
        except DigitornError:
            # The refusal of the original call tells the caller more than that of the renewal.
            return False
        return True

    async def _exchange(self, call: Call[T], token: Token | None, attempts: Attempts) -> T:
        """Sends a call once and reads the answer, from the auth service if the call is one of its own."""
        if (auth := self._auth_service(call)) is not None:
            return await auth._exchange(call, token, attempts)
        what = f"the answer to {call.operation.method} {call.path}"
        under_way = sending(self.exchanges, call, retry=attempts.sent)
        self.exchanges.redactor.learn(self.credentials.access_token, self.credentials.refresh_token)
        if token is not None or call.has_body:
            self.connection.check_secrets_may_go_to(self.daemon_url)
        try:
            request = self._request(call, under_way)
            attempts.sent += 1
            response = await self._client().send(
                request, auth=None if token is None else _Bearer(token), stream=True
            )
            under_way.is_example = EXAMPLE_HEADER in response.headers
            if (items := _items(call, response)) is not None:
                stream = self._streamed(call, response, items, under_way)
                return cast("T", AnyStream(stream, response.aclose))
            try:
                body = BoundedBody(
                    self.connection.max_response_bytes, response.headers.get("content-encoding")
                )
                async for part in response.aiter_raw():
                    body.feed(part)
            finally:
                await response.aclose()
            content = body.whole()
            if _may_be_json(call, response, content):
                check_text(content, self.connection.max_json_values, deepest=None)
        except OutOfBounds as error:
            under_way.failed(str(error))
            raise_detached(TooLarge(what, [str(error)]))
        except NotUnpacked as error:
            under_way.failed(str(error))
            raise_detached(ContractViolation(what, [str(error)]))
        except (httpx.RequestError, httpx.InvalidURL, httpx.StreamError) as error:
            under_way.failed(_said(error))
            # The exception of httpx knows the request, and with it the token.
            raise_detached(self._unreachable(call, error, attempts.sent))
        except BaseException as error:
            # Somebody who debugs a hanging test wants to see the call that was cut off.
            under_way.failed(type(error).__name__)
            raise
        under_way.answered(response.status_code, content)
        if (auth := self._led_to(call, response)) is not None:
            return await auth._exchange(call, token, attempts)
        return read_answer(
            call,
            response.status_code,
            lambda: under_way.exchange,
            daemon_url=self.daemon_url,
            headers=response.headers,
            content=content,
            credentials=self.credentials,
        )

    async def _streamed(
        self, call: Call[Any], response: httpx.Response, items: Items[T], under_way: Sending
    ) -> AsyncIterator[T]:
        """The items of an answer as they arrive; each wait may take the timeout of a call.

        Raises:
            ContractViolation: An item breaks the contract; `TooLarge` if it exceeds a limit.
            DaemonUnreachable: The connection was lost.
        """
        what = f"the answer to {call.operation.method} {call.path}"
        parts: list[bytes] = []
        size, failure = 0, "closed before its end"
        try:
            async for part in response.aiter_raw():
                size += len(part)
                if size <= LARGEST_BODY:
                    parts.append(part)
                for item in items.feed(part):
                    yield item
                if items.pending > (most := self.connection.max_response_bytes):
                    failure = f"an item of more than {most} bytes (max_response_bytes)"
                    raise_detached(TooLarge(what, [failure]))
            for item in items.end():
                yield item
            failure = ""
        except Undecodable as error:
            failure = "an item breaks the contract"
            raise_detached(violation(what, error, self.credentials))
        except (httpx.RequestError, httpx.StreamError) as error:
            failure = _said(error)
            raise_detached(self._unreachable(call, error, 1))
        finally:
            if failure:
                under_way.failed(failure)
            else:
                content = b"".join(parts) if size <= LARGEST_BODY else b""
                under_way.answered(response.status_code, content, size=size)
            await response.aclose()

    def _auth_service(self, call: Call[T]) -> "AsyncTransport | None":
        """The transport to the auth service; None if the daemon takes the call, or the service is unknown."""
        if self._is_auth_service or not call.operation.path.startswith(_AUTH_PATHS):
            return None
        self._check_open()
        if self._auth is None and (url := self.connection.auth_service) is not None:
            self._auth = self._of_auth_service(resolve_daemon_url(url))
        return self._auth

    def _led_to(self, call: Call[T], response: httpx.Response) -> "AsyncTransport | None":
        """The transport to the auth service that the daemon redirects a call to; None for other answers."""
        if (
            response.status_code not in _MOVED
            or self._is_auth_service
            or not call.operation.path.startswith(_AUTH_PATHS)
        ):
            return None
        location = response.headers.get("location", "")
        if not self.connection.may_lead_to(location):
            return None
        base, found, query = location.partition(call.path)
        try:
            url = resolve_daemon_url(base) if found and query[:1] in ("", "?") else None
        except ValueError:
            url = None
        if url is not None:
            self._auth = self._of_auth_service(url)
        return self._auth

    def _of_auth_service(self, url: str) -> "AsyncTransport":
        return AsyncTransport(
            url,
            self.credentials,
            timeout=self.timeout,
            exchanges=self.exchanges,
            connection_options=self.connection,
            is_auth_service=True,
        )

    def _request(self, call: Call[T], under_way: Sending) -> httpx.Request:
        headers = dict(call.headers)
        if cookies := call.cookie_header:
            headers["Cookie"] = cookies
        content = None
        if (encoded := call.encoded()) is not None:
            content, headers["Content-Type"] = encoded
            if parts := call.parts():
                under_way.sends_parts(parts)
            else:
                under_way.sends(content)
        limit = remaining(self.timeout)
        return self._client().build_request(
            call.operation.method,
            self.daemon_url + call.target,
            headers=headers,
            content=content,
            timeout=httpx.Timeout(limit, connect=min(limit, _CONNECT_SECONDS)),
        )

    def _unreachable(self, call: Call[T], error: Exception, attempts: int) -> DaemonUnreachable:
        what = f"{call.operation.method} {call.path}"
        if isinstance(error, httpx.ReadTimeout):
            unreachable = DaemonUnreachable(self.daemon_url, what, attempts, hint=_HUNG)
        else:
            kind = UntrustedCertificate if is_distrust(error) else DaemonUnreachable
            said = self.credentials.redact(_said(error))
            unreachable = kind(self.daemon_url, f"{what}: {said}", attempts)
        unreachable.may_be_done = not isinstance(error, _NEVER_SENT)
        return unreachable

    def _check_open(self) -> None:
        if self._is_closed:
            raise ClientClosed(f"the client of {self.daemon_url} was closed; make a new one")

    def _client(self) -> httpx.AsyncClient:
        with self._opening:
            self._check_open()
            if self.affinity.moved():
                # The old connections ended with their event loop, or belong to the parent process.
                self._http = None
            if self._http is None:
                endpoint = endpoint_of(self.daemon_url)
                self._http = httpx.AsyncClient(
                    # No proxy and no .netrc of this machine may come between a test and its daemon.
                    trust_env=False,
                    follow_redirects=False,
                    # Compression gains nothing here, and a small body could unpack to a huge one.
                    headers={"Accept-Encoding": "identity"},
                    transport=AsyncHttp(self.connection.tls(self.daemon_url))
                    if endpoint is None
                    else endpoint.async_http(),
                )
            return self._http

    async def aclose(self) -> None:
        """Closes the connections for good. Closing a closed transport does nothing.

        Raises:
            WrongEventLoop: The connections belong to another event loop, which is not closed.
        """
        with self._opening:
            moved = self._http is not None and self.affinity.moved()
            self._is_closed = True
            http, self._http = self._http, None
            auth, self._auth = self._auth, None
        if http is not None and not moved:
            await http.aclose()
        if auth is not None:
            await auth.aclose()

    async def __aenter__(self) -> "AsyncTransport":
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()


class _Bearer(httpx.Auth):
    """Puts the token into the header at the last moment, so that no variable on the way there holds it."""

    def __init__(self, token: Token) -> None:
        self._token = token

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response]:
        request.headers["Authorization"] = f"Bearer {self._token}"
        yield request


def _items(call: Call[Any], response: httpx.Response) -> Items[Any] | None:
    """Finds the items of an answer that is a stream; None for other answers."""
    packed = response.headers.get("content-encoding", "identity").lower() != "identity"
    if not response.is_success or packed:
        return None
    return call.operation.answering(response.headers.get("content-type")).items()


def _may_be_json(call: Call[Any], response: httpx.Response, content: bytes) -> bool:
    """Whether an answer is parsed as JSON, and begins as one that could hold many values."""
    if response.is_success:
        reading = call.operation.answering(response.headers.get("content-type")).reading
        if reading in ("bytes", "text", "none"):
            return False
    return _MANY_VALUES.match(content) is not None


def _said(error: Exception) -> str:
    # The timeouts of the asynchronous httpx have no text, unlike those of the blocking one.
    return str(error) or ("timed out" if isinstance(error, httpx.TimeoutException) else type(error).__name__)
