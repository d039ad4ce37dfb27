"""Who may do what on the embedded daemon (contract: rest, section 1.5; events, section 1)."""

import re
from typing import Any

import httpx
import pytest
import socketio  # pyright: ignore[reportMissingTypeStubs] - the package has none

from digitorn_testing._generated import models
from digitorn_testing._generated.operations import GET_TRANSCRIBE_HEALTH, OPERATIONS
from digitorn_testing.fakes import DEFAULT_USER, ExampleAnswer, FakeDaemon, FakeModel, NameTaken
from support.recorder import APP, SECONDS, SocketRefused, another, http, recording, talking

PASSWORD = "a-long-password"


@pytest.fixture
def daemon() -> Any:
    with FakeDaemon() as running:
        running.add_app(APP)
        yield running


async def anonymous(daemon: FakeDaemon, method: str, path: str, **more: Any) -> httpx.Response:
    async with httpx.AsyncClient(base_url=daemon.url, timeout=SECONDS, verify=False) as client:
        return await client.request(method, path, **more)


# --- REST


@pytest.mark.parametrize("name", ["username", "email"])
async def test_register_login_refresh_logout(daemon: FakeDaemon, name: str) -> None:
    account = {"username": "ann", "email": "ann@example.com", "password": PASSWORD, "name": "Ann"}
    made = await anonymous(daemon, "POST", "/auth/register", json=account)
    assert made.status_code == 200
    identity = models.TokenResponse.from_wire(made.json())
    assert (identity.display_name, identity.email, identity.is_admin) == ("Ann", "ann@example.com", False)

    login = await anonymous(
        daemon, "POST", "/auth/login", json={name: account[name].upper(), "password": PASSWORD}
    )
    tokens = models.TokenResponse.from_wire(login.json())
    assert tokens.user_id == identity.user_id
    assert tokens.expires_in == 3600

    refreshed = await anonymous(daemon, "POST", "/auth/refresh", json={"refresh_token": tokens.refresh_token})
    assert refreshed.json()["access_token"] != tokens.access_token
    assert not {"refresh_token", "email", "display_name"} & refreshed.json().keys()

    bearer = {"Authorization": f"Bearer {refreshed.json()['access_token']}"}
    me = await anonymous(daemon, "GET", "/auth/me", headers=bearer)
    assert models.UserResponse.from_wire(me.json()).user_id == identity.user_id
    assert (await anonymous(daemon, "POST", "/auth/logout", headers=bearer)).json() == {"success": True}
    body = {"refresh_token": tokens.refresh_token}
    out = await anonymous(daemon, "POST", "/auth/logout", headers=bearer, json=body)
    assert out.json() == {"success": True}
    again = await anonymous(daemon, "POST", "/auth/refresh", json=body)
    assert again.status_code == 401
    models.ErrorResponse.from_wire(again.json())


@pytest.mark.parametrize(
    "body",
    [
        {"username": "nobody", "password": PASSWORD},
        {"username": DEFAULT_USER, "password": PASSWORD},
        {"password": PASSWORD},
        {"username": DEFAULT_USER, "password": PASSWORD, "provider": "ldap"},
    ],
)
async def test_a_login_that_fails(daemon: FakeDaemon, body: dict[str, str]) -> None:
    refused = await anonymous(daemon, "POST", "/auth/login", json=body)
    assert refused.status_code == 401
    assert refused.json().keys() == {"error"}


async def test_registering_twice_or_with_a_short_password(daemon: FakeDaemon) -> None:
    account = {"username": DEFAULT_USER, "password": PASSWORD}
    taken = await anonymous(daemon, "POST", "/auth/register", json=account)
    assert taken.status_code == 400
    assert taken.json().keys() == {"error"}
    short = await anonymous(daemon, "POST", "/auth/register", json={"username": "bob", "password": "short"})
    assert short.status_code == 422
    faults = models.HTTPValidationError.from_wire(short.json())
    assert faults.details[0].loc == ["body", "password"]


@pytest.mark.parametrize("token", [None, "nonsense", "expired"])
async def test_every_operation_needs_a_token(daemon: FakeDaemon, token: str | None) -> None:
    sent = daemon.token(expires_in=-1) if token == "expired" else token
    headers = {"Authorization": f"Bearer {sent}"} if sent else {}
    faults: list[str] = []
    async with httpx.AsyncClient(base_url=daemon.url, headers=headers, timeout=SECONDS) as client:
        for operation in OPERATIONS:
            # This one answers with and without.
            if not operation.authenticated or operation is GET_TRANSCRIBE_HEALTH:
                continue
            path = re.sub(r"\{\w+\}", "x", operation.path)
            refused = await client.request(operation.method, path)
            key = "error" if path.startswith("/auth/") else "detail"
            said = {key} if operation.method == "HEAD" else refused.json().keys()
            if refused.status_code != 401 or said != {key} or (sent is not None and sent in refused.text):
                faults.append(f"{operation.id}: {refused.status_code} {refused.text}")
    assert faults == []


async def test_liveness_needs_no_token(daemon: FakeDaemon) -> None:
    assert (await anonymous(daemon, "GET", "/healthz")).json() == {"status": "alive"}


async def test_whether_it_transcribes_is_told_to_anybody(daemon: FakeDaemon) -> None:
    with pytest.warns(ExampleAnswer):
        answer = await anonymous(daemon, "GET", "/api/transcribe/health")
    assert answer.status_code == 200
    models.TranscribeHealth.from_wire(answer.json())


async def test_tokens_of_another_daemon_are_worth_nothing(daemon: FakeDaemon) -> None:
    with FakeDaemon() as other:
        headers = {"Authorization": f"Bearer {other.token()}"}
    assert (await anonymous(daemon, "GET", "/auth/me", headers=headers)).status_code == 401


async def test_the_default_user_is_an_administrator(daemon: FakeDaemon) -> None:
    async with http(daemon) as client:
        me = (await client.get("/auth/me")).json()
    assert (me["is_admin"], me["permissions"]) == (True, ["*"])


def test_users_of_the_daemon(daemon: FakeDaemon) -> None:
    ann = daemon.add_user("ann@example.com", PASSWORD, roles=["user"])
    assert (ann.email, ann.roles, ann.is_admin) == ("ann@example.com", ("user",), False)
    assert daemon.token(ann) != daemon.token("ann@example.com")
    with pytest.raises(NameTaken):
        daemon.add_user("ANN@example.com", PASSWORD)
    with pytest.raises(ValueError, match="no user 'bob'"):
        daemon.token("bob")


async def test_sessions_of_others_look_absent() -> None:
    async with talking(FakeModel().will_respond_with_text("a")) as talk:
        await talk.run("hi")
        eve = talk.daemon.add_user("eve@example.com", PASSWORD, permissions=["*"])
        async with http(talk.daemon, eve) as client:
            for path in ("", "/history", "/events", "/queue", "/active-ops"):
                foreign = await client.get(talk.path + path)
                absent = await client.get(f"/api/apps/{APP}/sessions/unknown{path}")
                assert foreign.status_code == absent.status_code == 404
                assert foreign.text.replace(talk.session_id, "unknown") == absent.text
            for method, path in (("POST", "/abort"), ("POST", "/resume"), ("DELETE", "")):
                assert (await client.request(method, talk.path + path)).status_code == 404
            sent = await client.post(f"{talk.path}/messages", json={"message": "x"})
            assert sent.status_code == 404
            listed = await client.get(f"/api/apps/{APP}/sessions")
            assert listed.json()["data"]["sessions"] == []


# --- sockets


async def connect(daemon: FakeDaemon, *, query: str = "", **options: Any) -> None:
    """Connects and disconnects; raises when refused."""
    client: Any = socketio.AsyncClient(reconnection=False)
    try:
        await client.connect(
            daemon.url + query,
            namespaces=["/events"],
            transports=["websocket"],
            wait_timeout=SECONDS,
            **options,
        )
    finally:
        await client.disconnect()
        await client.shutdown()


@pytest.mark.parametrize("place", ["auth", "header", "query", "cookie"])
async def test_a_socket_may_show_its_token_in_four_places(daemon: FakeDaemon, place: str) -> None:
    token = daemon.token()
    places: dict[str, dict[str, Any]] = {
        "auth": {"auth": {"token": token}},
        "header": {"headers": {"Authorization": f"Bearer {token}"}},
        "query": {"query": f"?token={token}"},
        "cookie": {"headers": {"Cookie": f"other=1; digitorn_preview_token={token}"}},
    }
    options = places[place]
    await connect(daemon, **options)


async def test_the_first_place_that_is_not_empty_counts(daemon: FakeDaemon) -> None:
    good = daemon.token()
    await connect(daemon, auth={"token": ""}, headers={"Authorization": f"Bearer {good}"})
    with pytest.raises(SocketRefused):
        await connect(daemon, auth={"token": "wrong"}, headers={"Authorization": f"Bearer {good}"})


@pytest.mark.parametrize("token", [None, "nonsense", "expired"])
async def test_a_socket_without_a_good_token_is_refused(daemon: FakeDaemon, token: str | None) -> None:
    sent = daemon.token(expires_in=0) if token == "expired" else token
    with pytest.raises(SocketRefused):
        await connect(daemon, auth={"token": sent} if sent else None)


async def test_tokens_live_as_long_as_they_are_told(daemon: FakeDaemon) -> None:
    async with httpx.AsyncClient(base_url=daemon.url) as client:
        headers = {"Authorization": f"Bearer {daemon.token(expires_in=60)}"}
        assert (await client.get("/auth/me", headers=headers)).status_code == 200
        assert daemon.token(expires_in=0.5).count(".") == 2


async def test_tokens_stay_out_of_the_log(daemon: FakeDaemon, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG", "digitorn")
    caplog.set_level("DEBUG", "uvicorn")
    token, expired = daemon.token(), daemon.token(expires_in=0)
    async with recording(daemon) as recorder:
        await recorder.wait_for("connected")
    async with another(daemon):
        pass
    await connect(daemon, query=f"?token={token}")
    with pytest.raises(SocketRefused):
        await connect(daemon, query=f"?token={expired}")
    assert token not in caplog.text
    assert expired not in caplog.text
