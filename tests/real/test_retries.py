"""Calls whose answers are lost, and a daemon that starts, stops and crashes."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator

import httpx
import pytest

from digitorn_testing import (
    AppHandle,
    AsyncDevClient,
    DevClient,
    NotFound,
    RateLimited,
    RetryPolicy,
    SessionHandle,
    UnconfirmedMessage,
)
from digitorn_testing._plugin import real
from digitorn_testing._real.daemon import RealDaemon
from digitorn_testing.fakes import FakeModel, FakeModelServer
from digitorn_testing.models import SessionEvent
from real.turns import said_by_user, saved
from support.call_proxy import FAULTS, CallFault, CallProxy

MESSAGES = 54
SESSIONS = 18
# A daemon under load may take seconds to write a message down.
POLICY = RetryPolicy(attempt_timeout=3.0, longest_search=4.0)
NEVER_TAKEN: tuple[CallFault, ...] = ("never sent", "half sent", "refused")
ALWAYS_FOUND: tuple[CallFault, ...] = ("late", "lost", "half answer", "stalled", "bad gateway")


def text_of(number: int) -> str:
    return f"Message number {number}."


async def posted(client: AsyncDevClient, session: SessionHandle, numbers: list[int]) -> list[int]:
    """Posts messages one after another; the numbers of those that were reported as unconfirmed."""
    reported: list[int] = []
    sessions_named: set[str | None] = set()
    for number in numbers:
        try:
            accepted = await client.post_message_raw(session, text_of(number))
        except UnconfirmedMessage as error:
            reported.append(number)
            sessions_named.add(error.session_id)
        else:
            # Where the answer was lost, the turn is known all the same.
            turn = await client.turn(session, accepted, timeout=90)
            await turn.result()
    assert sessions_named <= {session.session_id}
    return reported


def messages(client: DevClient, session: SessionHandle) -> list[str]:
    """The messages that the daemon took, as often as it took them."""
    try:
        page = client.api.sessions.list_session_events(session.app_id, session.session_id, limit=5000)
    except NotFound:
        return []
    return [
        str(row.payload["content"])
        for row in page.events
        if isinstance(row, SessionEvent) and row.type == "user_message" and row.kind != "message"
    ]


@pytest.mark.timeout(240)
async def test_fifty_faults_and_every_message_runs_once_or_is_reported(
    dev_client: DevClient, fake_model: FakeModel, digitorn_app: AppHandle, proxy: CallProxy
) -> None:
    fake_model.when(contains="Message number").will_respond_with_text("It was read to the end.")
    kinds: dict[int, CallFault] = {
        number: FAULTS[(number + number // SESSIONS) % len(FAULTS)] for number in range(MESSAGES)
    }
    for number, kind in kinds.items():
        proxy.faults[text_of(number)] = kind
    token = dev_client._get_auth_token()
    async with AsyncDevClient(proxy.url, token=token, retries=POLICY) as client:
        sessions = [await client.new_session(digitorn_app.app_id) for _ in range(SESSIONS)]
        rounds = [
            posted(client, session, list(range(first, MESSAGES, SESSIONS)))
            for first, session in enumerate(sessions)
        ]
        reported = {number for numbers in await asyncio.gather(*rounds) for number in numbers}
    assert proxy.faults == {}
    assert len(proxy.hit) == MESSAGES
    runs = dict.fromkeys(range(MESSAGES), 0)
    for session in sessions:
        for content in messages(dev_client, session):
            runs[int(content.split()[-1].rstrip("."))] += 1
    print(f"{MESSAGES} faults: {sum(runs.values())} messages ran, {len(reported)} were reported")
    assert {number for number, count in runs.items() if count > 1} == set()
    assert {number for number, count in runs.items() if count == 0} <= reported
    assert {number for number in reported if kinds[number] in ALWAYS_FOUND} == set()
    assert {number for number, kind in kinds.items() if kind in NEVER_TAKEN} <= reported


@pytest.mark.parametrize("fault", ["lost", "bad gateway", "stalled", "never sent"])
def test_a_session_whose_creation_was_not_answered(
    dev_client: DevClient, fake_model: FakeModel, digitorn_app: AppHandle, proxy: CallProxy, fault: CallFault
) -> None:
    fake_model.when(contains="Begin").will_respond_with_text("It has begun, as you wished.")
    proxy.faults["Begin"] = fault
    token = dev_client._get_auth_token()
    with DevClient(proxy.url, token=token, retries=POLICY) as client:
        if fault == "never sent":
            with pytest.raises(UnconfirmedMessage, match="It is unknown whether"):
                client.new_session(digitorn_app.app_id, message="Begin.")
            assert dev_client.list_sessions(digitorn_app.app_id).total == 0
            return
        session = client.new_session(digitorn_app.app_id, message="Begin.")
        result = client.turn(session, session.first_turn, timeout=60).result()
    assert result.content == "It has begun, as you wished." or result.status == "failed"
    listed = dev_client.list_sessions(digitorn_app.app_id).sessions
    assert [one.session_id for one in listed] == [session.session_id]


def test_without_retries_nothing_is_looked_for(
    dev_client: DevClient, digitorn_app: AppHandle, proxy: CallProxy
) -> None:
    proxy.faults["Only once"] = "never sent"
    token = dev_client._get_auth_token()
    with DevClient(proxy.url, token=token, retries=None) as client:
        session = client.new_session(digitorn_app.app_id)
        began = time.monotonic()
        with pytest.raises(Exception, match="no daemon answered") as failed:
            client.post_message_raw(session, "Only once.")
        assert not isinstance(failed.value, UnconfirmedMessage)
        assert time.monotonic() - began < 3
        assert len(client.exchanges) == 1


# --- a daemon that starts


@pytest.fixture
def admin(own_daemon: RealDaemon) -> Iterator[DevClient]:
    """A client of a daemon of one's own, with an app."""
    model = FakeModel()
    model.will_respond_with_text("That was received, all of it.", times=None)
    patient = RetryPolicy(attempts=1000, first_pause=0.05, longest_pause=0.1)
    token = own_daemon.token("root", is_admin=True)
    with (
        FakeModelServer(model) as server,
        DevClient(own_daemon.url, token=token, retries=patient, timeout=120) as client,
    ):
        client.deploy_app(
            real.app_of("kept", server), force=True, secrets={real.KEY_SECRET: server.api_key}, timeout=60
        )
        yield client


def restarting(daemon: RealDaemon, meanwhile: Callable[[], None]) -> None:
    """Restarts the daemon on a thread, and calls something as soon as it answers again but has no apps."""
    thread = threading.Thread(target=daemon.restart)
    daemon.kill()
    thread.start()
    try:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            try:
                if httpx.get(f"{daemon.url}/healthz", trust_env=False, timeout=5).json()["warming_up"]:
                    break
            except httpx.HTTPError:
                time.sleep(0.02)
        meanwhile()
    finally:
        thread.join()


@pytest.mark.timeout(300)
def test_calls_wait_for_a_daemon_that_warms_up(own_daemon: RealDaemon, admin: DevClient) -> None:
    session = admin.new_session("kept")
    admin.send(session, "One.", timeout=60)
    statuses: list[int | None] = []

    def calls() -> None:
        # None of these could be sent twice.
        admin.compact(session)
        admin.send(session, "Two.", timeout=60)
        statuses.extend(one.status for one in admin.exchanges.of("compact_session"))

    restarting(own_daemon, calls)
    assert 503 in statuses
    # A daemon that is killed may lose what it had not written yet: the first message.
    history = saved(admin, session, lambda history: "Two." in said_by_user(history))
    assert said_by_user(history).count("Two.") == 1


@pytest.mark.timeout(300)
def test_a_message_in_flight_when_the_daemon_crashes(own_daemon: RealDaemon, admin: DevClient) -> None:
    session = admin.new_session("kept")
    begun = threading.Event()

    def post() -> None:
        for number in range(200):
            if number == 5:
                begun.set()
            try:
                admin.post_message_raw(session, f"Number {number}.")
            except UnconfirmedMessage:
                return
            except RateLimited:
                continue

    poster = threading.Thread(target=post)
    poster.start()
    assert begun.wait(60)
    own_daemon.kill()
    own_daemon.restart()
    poster.join(60)
    assert not poster.is_alive()
    said = messages(admin, session)
    assert len(said) == len(set(said))
