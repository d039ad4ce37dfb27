"""`chat`: what is said, what is shown where, who decides approvals, and how it ends."""

from collections.abc import Callable

import pytest

from digitorn_testing import DevClient
from digitorn_testing._cli._terminal import Terminal
from digitorn_testing.events import UserMessage
from digitorn_testing.fakes import FakeDaemon, FakeModel
from support.commands import OnTerminal, Run
from support.faces import eventually

pytestmark = pytest.mark.usefixtures("access")


def test_the_answer_goes_to_stdout_and_everything_else_to_stderr(run: Run, model: FakeModel) -> None:
    model.will_call_tool("Bash", {"command": "ls"}, result={"stdout": "a.txt"}, text="Let me look.")
    model.will_stream_text(["There is ", "one file."])
    ran = run("chat", "my-app", "-m", "list the files")
    assert (ran.status, ran.out) == (0, "Let me look.\nThere is one file.\n")
    assert '- Bash {"command": "ls"}\n  Bash -> {"stdout": "a.txt"}\ncompleted, ' in ran.err


def test_every_line_of_stdin_is_a_message_of_one_session(
    run: Run, model: FakeModel, daemon: FakeDaemon
) -> None:
    model.will_answer(lambda request: request.last_text.upper(), times=2)
    ran = run("chat", "my-app", stdin="one\n\ntwo\n")
    assert (ran.status, ran.out) == (0, "ONE\nTWO\n")
    with daemon.client() as client:
        (session,) = client.list_sessions("my-app").sessions
    assert session.session_id in ran.err


def test_no_message_is_wrong_usage(run: Run) -> None:
    ran = run("chat", "my-app")
    assert (ran.status, ran.out) == (2, "")
    assert ran.err.endswith("error: no message on stdin\n")


def test_a_session_is_continued(run: Run, model: FakeModel, daemon: FakeDaemon) -> None:
    model.will_respond_with_text("Hello.").will_respond_with_text("Again.")
    with daemon.client() as client:
        session = client.new_session("my-app")
        client.send(session, "hi")
    assert run("chat", "my-app", "--session", session.session_id, "-m", "hi again").out == "Again.\n"
    assert [one.content for one in model.requests[-1].messages if one.role == "user"] == ["hi", "hi again"]


def test_events_are_lines_of_json(run: Run, model: FakeModel) -> None:
    model.will_respond_with_text("Hello.")
    ran = run("chat", "my-app", "-m", "hi", "--json")
    types = [one["type"] for one in ran.documents]
    assert types[0] == "user_message"
    assert {"result", "turn_terminal"} <= set(types)


def test_a_failed_turn_is_an_error(run: Run, model: FakeModel) -> None:
    model.will_fail("rate_limited", "slow down").will_respond_with_text("Here I am.")
    ran = run("chat", "my-app", "-m", "hi", "-m", "hi again")
    assert (ran.status, ran.out) == (1, "Here I am.\n")
    assert "error: " in ran.err
    assert "failed, " in ran.err


def test_an_unknown_app_is_one_clear_line(run: Run) -> None:
    ran = run("chat", "nobody", "-m", "hi")
    assert ran.status == 1
    assert ran.err.startswith(
        "error: App 'nobody' is not installed: GET /api/apps/nobody (get_app) answered 404"
    )
    assert ran.err.count("\n") == 1


@pytest.mark.parametrize(
    ("line", "result"),
    [("y", "removed"), ("n", "User denied"), ("", "User denied"), ("leave it alone", "leave it alone")],
)
def test_an_approval_is_asked_for(run: Run, model: FakeModel, line: str, result: str) -> None:
    model.will_call_tool("Bash", {"command": "rm a"}, result="removed", requires_approval=True)
    model.will_respond_with_text("Well.")
    ran = run("chat", "my-app", "-m", "tidy up", "--approvals", "ask", stdin=f"{line}\n")
    assert (ran.status, ran.out) == (0, "Well.\n")
    # The daemon asks for a denied call once more; people are not.
    asked = [one for one in ran.err.splitlines() if one.startswith("? ")]
    assert asked == ['? shell.bash {"command": "rm a"}']
    assert result in str(model.requests[-1].messages)


def test_nobody_is_asked_without_a_terminal(run: Run, model: FakeModel) -> None:
    model.will_call_tool("Bash", {"command": "rm a"}, result="removed", requires_approval=True)
    model.will_ask_user("Sure?").will_respond_with_text("Well.")
    ran = run("chat", "my-app", "-m", "tidy up")
    assert ran.status == 0
    assert 'denied: shell.bash {"command": "rm a"}' in ran.err
    assert "declined, since nobody is asked: Sure?" in ran.err
    assert "nobody is there to approve it" in str(model.requests[1].messages)


def test_every_approval_can_be_granted(run: Run, model: FakeModel) -> None:
    model.will_call_tool("Bash", {"command": "rm a"}, result="removed", requires_approval=True)
    model.will_respond_with_text("Well.")
    assert run("chat", "my-app", "-m", "tidy up", "--approvals", "approve").status == 0
    assert "removed" in str(model.requests[-1].messages)


@pytest.mark.parametrize(("line", "answer"), [("2", "blue"), ("green", "green")])
def test_a_question_is_answered(run: Run, model: FakeModel, line: str, answer: str) -> None:
    model.will_ask_user("Which colour?", choices=["red", "blue"]).will_respond_with_text("Fine.")
    ran = run("chat", "my-app", "-m", "paint", "--approvals", "ask", stdin=f"{line}\n")
    assert "? Which colour?\n  1. red\n  2. blue\n" in ran.err
    assert f'"user_response": "{answer}"' in model.requests[-1].tool_results_of("ask_user")[0]


def test_a_terminal_does_not_act_on_what_a_model_says(run: Run, model: FakeModel) -> None:
    model.will_call_tool("Bash", {"command": "\x1b]0;title\x07"}, result="", text="\x1b[31mred\r" * 9)
    model.will_respond_with_text("\x9b2J")
    ran = run("chat", "my-app", "-m", "hi")
    assert "\\x1b[31mred\\x0d" in ran.out
    assert "\\x9b2J" in ran.out
    assert not {"\x1b", "\x07", "\x9b"} & set(ran.out + ran.err)


def test_a_terminal_is_asked_and_ctrl_c_aborts_the_turn_first(
    access: dict[str, str], model: FakeModel, daemon: FakeDaemon
) -> None:
    model.will_call_tool("Bash", {"command": "rm a"}, result="removed", requires_approval=True)
    model.will_respond_with_text("Tidy.")
    model.will_call_tool("Bash", {"command": "mv a b"}, result="moved", requires_approval=True)
    model.will_respond_with_text("Moved.").will_stream_forever(["and so on "])
    with OnTerminal("chat", "my-app", env={**access, "NO_COLOR": ""}) as terminal:
        terminal.expect("> ")
        terminal.type("tidy up\n")
        terminal.expect("Allow this (high risk)? [y]es, [n]o, or why not: ")
        assert b"\x1b[36m- Bash" in terminal.seen
        terminal.type("y\n")
        terminal.expect("Tidy.\ncompleted")
        terminal.expect("> ")
        terminal.type("once more\n")
        terminal.expect("or why not: ")
        with daemon.client() as client:
            (request,) = client.list_pending_approvals("my-app")
            client.resolve_approval("my-app", request.request_id, True)
        terminal.expect("  decided elsewhere: approved")
        terminal.expect("Moved.\ncompleted")
        terminal.expect("> ")
        terminal.type("go on\n")
        terminal.expect("and so on and so on")
        terminal.type("\x03")
        terminal.expect("aborting the turn; Ctrl-C again to leave")
        terminal.expect("cancelled, ")
        terminal.expect("> ")
        terminal.type("\x04")
        assert terminal.status() == 0
    with daemon.client() as client:
        assert _statuses(client) == ["completed", "completed", "cancelled"]


def test_what_is_typed_after_a_decision_elsewhere_is_not_sent(
    run: Run, model: FakeModel, daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    def decide_first(_: Terminal, prompt: str, *, unless: Callable[[], bool]) -> str:
        assert "why not" in prompt
        assert not unless()
        with daemon.client() as client:
            (request,) = client.list_pending_approvals("my-app")
            client.resolve_approval("my-app", request.request_id, True)
        eventually(unless, bool)
        return "the next message"

    monkeypatch.setattr(Terminal, "ask", decide_first)
    model.will_call_tool("Bash", {"command": "rm a"}, result="removed", requires_approval=True)
    model.will_respond_with_text("Well.")
    ran = run("chat", "my-app", "-m", "tidy up", "--approvals", "ask")
    assert (ran.status, ran.out) == (0, "Well.\n")
    assert "  already decided elsewhere: approved\n" in ran.err
    assert "the next message" not in str(model.requests[-1].messages)


def _statuses(client: DevClient) -> list[str]:
    (found,) = client.list_sessions("my-app").sessions
    with client.open_event_stream(client.open_session("my-app", found.session_id)) as stream:
        turns = [one.correlation_id for one in stream.events_of(UserMessage)]
        return [stream.turn_result(one).status for one in turns]
