"""The stand-in for the daemon's auth service, as a process of its own."""

import os
import sys
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import jwt
import pytest

from digitorn_testing._real import auth_service
from digitorn_testing._real.process import GuardedProcess

SECONDS = 20.0
KEY = "mint-key"


@contextmanager
def running(folder: Path) -> Generator[httpx.Client]:
    """A client of the service that has its key in a folder."""
    address = folder / "url"
    address.unlink(missing_ok=True)
    command = [sys.executable, "-I", auth_service.__file__, str(folder)]
    environment = {**os.environ, "MINT_KEY": KEY}
    process = GuardedProcess(command, environment=environment, folder=folder, log=folder / "log")
    try:
        deadline = time.monotonic() + SECONDS
        while not address.exists():
            assert not process.has_ended(within=0.01), process.tail()
            assert time.monotonic() < deadline
        with httpx.Client(base_url=address.read_text(encoding="utf-8"), trust_env=False) as client:
            yield client
    finally:
        process.stop()


@pytest.fixture
def service(tmp_path: Path) -> Iterator[httpx.Client]:
    """A client of a new service."""
    with running(tmp_path) as client:
        yield client


def mint(service: httpx.Client, user: str, *, is_admin: bool = False, seconds: int = 60) -> str:
    """A token for a user."""
    asked = {"user": user, "is_admin": is_admin, "seconds": seconds}
    answer = service.post("/mint", json=asked, headers=bearer(KEY)).raise_for_status()
    return str(answer.json()["access_token"])


def bearer(token: str) -> dict[str, str]:
    """The header that shows a token."""
    return {"Authorization": f"Bearer {token}"}


def test_the_daemon_can_verify_a_token(service: httpx.Client) -> None:
    configuration = service.get("/.well-known/openid-configuration").json()
    (published,) = service.get("/.well-known/jwks.json").json()["keys"]
    token = mint(service, "alice", is_admin=True)
    assert jwt.get_unverified_header(token)["kid"] == published["kid"]
    claims = jwt.decode(token, jwt.PyJWK(published), algorithms=["RS256"], issuer=configuration["issuer"])
    assert configuration["jwks_uri"] == f"{configuration['issuer']}/.well-known/jwks.json"
    assert (claims["sub"], claims["perms"], claims["type"]) == ("alice", ["*"], "access")
    assert 0 < claims["exp"] - time.time() <= 60
    assert service.get("/auth/revocations").json() == []


def test_tokens_outlive_a_restart(tmp_path: Path) -> None:
    with running(tmp_path) as before:
        token = mint(before, "alice", is_admin=True)
    with running(tmp_path) as after:
        profile = after.get("/auth/me", headers=bearer(token)).raise_for_status().json()
    assert (profile["user_id"], profile["is_admin"]) == ("alice", True)


def test_a_token_is_minted_only_with_the_key(service: httpx.Client) -> None:
    asked = {"user": "mallory", "is_admin": True, "seconds": 60}
    for headers in ({}, bearer("guessed")):
        assert service.post("/mint", json=asked, headers=headers).status_code == 401


def test_a_user_registers_logs_in_renews_and_logs_out(service: httpx.Client) -> None:
    account = {"username": "carol", "email": "carol@example.test", "password": "correct horse"}
    assert service.post("/auth/register", json=account).json()["user_id"] == "carol"
    assert service.post("/auth/register", json=account).status_code == 400
    assert service.post("/auth/login", json={**account, "password": "wrong"}).status_code == 401
    by_email = {"email": account["email"], "password": account["password"]}
    tokens = service.post("/auth/login", json=by_email).raise_for_status().json()
    assert not tokens["is_admin"]
    renewed = service.post("/auth/refresh", json=tokens).raise_for_status().json()
    profile = service.get("/auth/me", headers=bearer(renewed["access_token"])).json()
    assert profile["email"] == account["email"]
    assert service.post("/auth/logout", json=tokens).json() == {"success": True}
    assert service.post("/auth/refresh", json=tokens).status_code == 401


def test_a_minted_user_cannot_log_in_without_a_password(service: httpx.Client) -> None:
    mint(service, "dave")
    for password in (None, ""):
        answer = service.post("/auth/login", json={"username": "dave", "password": password})
        assert answer.status_code == 401


def test_a_profile_changes_for_its_owner_only(service: httpx.Client) -> None:
    assert service.get("/auth/me", headers=bearer("forged")).status_code == 401
    shown = bearer(mint(service, "alice"))
    changed = service.patch("/auth/me", json={"display_name": "Alice A.", "email": "x"}, headers=shown).json()
    assert changed["changed"] == ["display_name"]
    profile = service.get("/auth/me", headers=shown).json()
    assert (profile["display_name"], profile["email"]) == ("Alice A.", "alice@example.test")
    assert service.get("/auth/me", headers=bearer(mint(service, "bob"))).json()["display_name"] == "bob"
    assert service.get("/absent").status_code == 404
