"""`login` and `logout`: where tokens are kept, who can read them, and that they are never shown."""

import json
import os
import stat
from pathlib import Path

import pytest

from digitorn_testing import DevClient, Unauthorized
from digitorn_testing.fakes import FakeDaemon
from support.commands import Run
from support.secrets_scan import scan

EMAIL, PASSWORD = "ada@example.com", "correct horse battery"


@pytest.fixture
def kept(daemon: FakeDaemon, settings: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of the tokens, of a user who can log in."""
    daemon.add_user(EMAIL, PASSWORD)
    monkeypatch.setenv("DIGITORN_DAEMON_URL", daemon.url)
    return settings / "digitorn-testing" / "logins.json"


def test_who_logged_in_uses_the_daemon(run: Run, kept: Path, daemon: FakeDaemon) -> None:
    assert "not logged in" in run("apps").err
    ran = run("login", stdin=f"{EMAIL}\n{PASSWORD}\n")
    assert ran.status == 0
    assert f"Logged in to {daemon.url} as {EMAIL}" in ran.err
    assert ran.out == ""
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert stat.S_IMODE(kept.parent.stat().st_mode) == 0o700
    assert [path.name for path in kept.parent.iterdir()] == ["logins.json"]
    listed = run("apps")
    assert (listed.status, "my-app" in listed.out) == (0, True)
    tokens = json.loads(kept.read_text("utf-8"))[daemon.url].values()
    written = ran.out + ran.err + listed.out + listed.err
    scan([PASSWORD, *tokens], {"what was written": lambda: written})


def test_a_refused_login_keeps_nothing(run: Run, kept: Path) -> None:
    ran = run("login", "--email", EMAIL, stdin="wrong password\n")
    assert ran.status == 1
    assert "Invalid credentials" in ran.err
    assert "digitorn-testing login" not in ran.err
    assert "wrong password" not in ran.out + ran.err
    assert not kept.exists()
    assert run("login", "--email", EMAIL).status == 2


def test_a_token_is_taken_from_stdin(run: Run, kept: Path, daemon: FakeDaemon) -> None:
    token = daemon.token(EMAIL)
    assert run("login", "--with-token", stdin=f"{token}\n").status == 0
    assert json.loads(kept.read_text("utf-8")) == {daemon.url: {"access_token": token}}
    assert run("login", "--with-token", stdin=f"{daemon.token(expires_in=0)}\n").status == 1
    assert run("login", "--with-token", stdin="two words\n").status == 2
    assert run("apps").status == 0


def test_a_renewed_token_is_kept(run: Run, kept: Path, daemon: FakeDaemon) -> None:
    run("login", "--email", EMAIL, stdin=f"{PASSWORD}\n")
    tokens = json.loads(kept.read_text("utf-8"))
    expired = daemon.token(EMAIL, expires_in=0)
    tokens[daemon.url]["access_token"] = expired
    kept.write_text(json.dumps(tokens), "utf-8")
    assert run("apps").status == 0
    renewed = json.loads(kept.read_text("utf-8"))[daemon.url]
    assert renewed["access_token"] != expired
    assert renewed["refresh_token"] == tokens[daemon.url]["refresh_token"]


def test_the_variable_goes_before_what_is_kept(run: Run, kept: Path, daemon: FakeDaemon) -> None:
    run("login", "--email", EMAIL, stdin=f"{PASSWORD}\n")
    expired = daemon.token(expires_in=0)
    for words in (("apps",), ("doctor",)):
        ran = run(*words, env={"DIGITORN_TOKEN": expired})
        assert ran.status == 1
        said = " ".join((ran.out + ran.err).split())
        assert "Unset $DIGITORN_TOKEN to use the login, or set it to a fresh token" in said


def test_who_is_refused_is_told_how_to_log_in(run: Run, kept: Path, daemon: FakeDaemon) -> None:
    token = daemon.token(EMAIL)
    assert run("login", "--with-token", stdin=f"{token}\n").status == 0
    kept.write_text(json.dumps({daemon.url: {"access_token": daemon.token(expires_in=0)}}), "utf-8")
    assert "Run: digitorn-testing login; or set $DIGITORN_TOKEN\n" in run("apps").err
    ran = run("apps", "--url", daemon.url)
    assert f"Run: digitorn-testing login --url {daemon.url}; or set $DIGITORN_TOKEN\n" in ran.err


def test_a_login_ends(run: Run, kept: Path, daemon: FakeDaemon) -> None:
    run("login", "--email", EMAIL, stdin=f"{PASSWORD}\n")
    refresh_token = json.loads(kept.read_text("utf-8"))[daemon.url]["refresh_token"]
    assert run("logout").status == 0
    assert json.loads(kept.read_text("utf-8")) == {}
    assert "You were not logged in" in run("logout").err
    with DevClient(daemon.url) as client, pytest.raises(Unauthorized):
        client.api.auth.refresh_token(refresh_token=refresh_token)


@pytest.mark.skipif(os.name != "posix", reason="files have no such modes")
def test_a_file_that_others_can_read_is_refused(run: Run, kept: Path) -> None:
    run("login", "--email", EMAIL, stdin=f"{PASSWORD}\n")
    kept.chmod(0o640)
    ran = run("apps")
    assert ran.status == 1
    assert f"chmod 600 {kept}" in ran.err


def test_a_damaged_file_is_not_shown(run: Run, kept: Path) -> None:
    kept.parent.mkdir(parents=True)
    kept.touch(0o600)
    for content in ('{"a-secret-token', '["a-secret-token"]', '{"url": "a-secret-token"}'):
        kept.write_text(content, "utf-8")
        ran = run("apps")
        assert ran.status == 1
        assert "is damaged" in ran.err
        assert "a-secret-token" not in run("apps", "--debug").err
