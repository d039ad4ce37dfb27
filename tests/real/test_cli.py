"""The command line on the released daemon: doctor, chat, tail, record, show, replay, report, diff."""

import json
from pathlib import Path

import pytest

from digitorn_testing import AppHandle, DevClient
from digitorn_testing.fakes import FakeDaemon, FakeModel
from real.turns import WRONG_LOOP
from support.commands import Run, run, settings

__all__ = ["run", "settings"]


@pytest.fixture
def app(
    dev_client: DevClient, digitorn_app: AppHandle, settings: Path, monkeypatch: pytest.MonkeyPatch
) -> str:
    """The id of the test's app, on the daemon that commands use by themselves."""
    token = dev_client._get_auth_token()
    assert token is not None
    monkeypatch.setenv("DIGITORN_DAEMON_URL", dev_client.daemon_url)
    monkeypatch.setenv("DIGITORN_TOKEN", token)
    return digitorn_app.app_id


def _scripted(model: FakeModel) -> None:
    model.when(contains="Say it").will_call_tool("Bash", {"command": "echo from-the-shell"})
    model.when(tool_result_of="Bash", contains="from-the-shell").will_respond_with_text(
        "It was said, and everybody in the room has heard it."
    )


def test_the_doctor_finds_nothing_wrong(run: Run, app: str) -> None:
    ran = run("doctor", "--app", app)
    assert ran.status == 0, ran.out
    assert [line for line in ran.out.splitlines() if line.startswith(("warn", "fail"))] == []
    assert "ok    clock     agrees with that of this machine" in ran.out
    assert app in ran.out


def test_a_conversation_is_held_followed_recorded_and_replayed(
    run: Run, app: str, fake_model: FakeModel, tmp_path: Path
) -> None:
    _scripted(fake_model)
    file, later = tmp_path / "chat.jsonl", tmp_path / "tail.jsonl"
    said = run("record", "chat", app, "--to", str(file), "-m", "Say it.")
    if WRONG_LOOP in said.err:
        file.unlink()
        said = run("record", "chat", app, "--to", str(file), "-m", "Say it.")
    assert (said.status, said.out) == (0, "It was said, and everybody in the room has heard it.\n")
    assert '- Bash {"command": "echo from-the-shell"}' in said.err
    session = said.err.split()[1]

    followed = run("tail", session, "--app", app, "--until-idle")
    assert followed.status == 0
    types = [line.split()[2] for line in followed.out.splitlines()]
    assert types[0] == "user_message"
    assert types[-1] == "turn_terminal"
    assert {"tool_start", "tool_call", "result"} <= set(types)

    assert run("record", "tail", session, "--app", app, "--to", str(later), "--until-idle").status == 0
    assert "'It was said, and everybody" in run("show", str(later)).out

    with FakeDaemon.replay(file) as replayed:
        again = run(
            *("chat", app, "--session", session, "-m", "Say it."),
            env={"DIGITORN_DAEMON_URL": replayed.url, "DIGITORN_TOKEN": replayed.token()},
        )
    assert (again.status, again.out) == (0, said.out), again.err

    # Commands of other modules: each is tried once it is there.
    for words in (("report", str(file)), ("diff", str(file), str(file))):
        if run(words[0], "--help").status == 0:
            ran = run(*words)
            assert ran.status == 0, f"{words[0]}: {ran.err}"


def test_approvals_are_listed_and_a_login_is_refused(run: Run, app: str) -> None:
    assert json.loads(run("pending", "--app", app, "--json").out) == []
    assert app in [one["app_id"] for one in run("apps", "--json").document]
    refused = run("apps", env={"DIGITORN_TOKEN": "not.a.token"})
    assert refused.status == 1
    assert "Unset $DIGITORN_TOKEN" in refused.err
