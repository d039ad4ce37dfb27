"""A live scenario from end to end: deploy, send, approve, watch, assert.

It runs against the daemon at $DIGITORN_DAEMON_URL with the token in $DIGITORN_TOKEN; without the first,
against the embedded daemon with a scripted model.
"""

import os
import sys
from contextlib import ExitStack
from pathlib import Path

from digitorn.testing import DevClient, DigitornError, TurnResult, assertions
from digitorn.testing.events import (
    ApprovalRequest,
    ApprovalResolved,
    LiveEventStream,
    MessageDone,
    MessageStarted,
    ToolCall,
    ToolStart,
    UserMessage,
)
from digitorn.testing.fakes import FakeDaemon, FakeModel

APP = Path(__file__).with_name("demo_app.yaml")
APP_ID = "testing-demo"
QUESTION = "Which files are here?"


def scripted_model() -> FakeModel:
    """Streams a sentence, calls a tool that needs approval, streams the answer."""
    return (
        FakeModel()
        .will_call_tool(
            "Bash",
            {"command": "ls"},
            result={"stdout": "README.md\nschema\nsrc\n", "exit_code": 0},
            requires_approval=True,
            text="Let me look.",
        )
        .will_stream_text(["There ", "are ", "three: ", "README.md, ", "schema ", "and src."], delay=0.02)
    )


def deploy(client: DevClient) -> None:
    """Deploys the demo app and waits until it can be talked to."""
    client.deploy(APP, force=True)
    client.wait_for_app(APP_ID)


def run(client: DevClient) -> bool:
    """The scenario; True when every assertion holds."""
    deploy(client)
    session = client.new_session(APP_ID)
    with client.send_live(session, QUESTION, total_timeout=60) as stream:
        print(assertions.report(stream.events()))
        print(f"({stream.log.duplicates} copies of events dropped; gaps in the numbers are normal)")
        print()
        show(stream.turn_result())
        print()
        return check(stream)


def show(result: TurnResult) -> None:
    """The turn in a few lines."""
    print(f"{result.status} in {result.duration:.2f} s on session {result.session.session_id}")
    print(f"answer: {result.content}")
    for call in result.tool_calls:
        print(f"tool:   {call.name} {call.params} -> {'ok' if call.success else call.error}")
    if result.usage is not None:
        print(f"usage:  {result.usage.input_tokens} tokens in, {result.usage.output_tokens} out")


def check(stream: LiveEventStream) -> bool:
    """What a test of this app would assert."""
    events = stream.events()
    checks = {
        "order": assertions.event_order(
            events,
            [
                UserMessage,
                MessageStarted,
                ToolStart,
                ApprovalRequest,
                ApprovalResolved,
                ToolCall,
                MessageDone,
            ],
        ),
        "tool": assertions.tool_called(events, "Bash", success=True),
        "no errors": assertions.no_errors(events),
        "every seq once": assertions.seq_unique(events),
    }
    for name, outcome in checks.items():
        print(f"{'PASS' if outcome else 'FAIL'}  {name}: {outcome.detail}")
    return all(checks.values())


def main() -> int:
    """0 when the scenario holds, 1 when it does not."""
    with ExitStack() as stack:
        if os.environ.get("DIGITORN_DAEMON_URL"):
            client = stack.enter_context(DevClient(token=os.environ.get("DIGITORN_TOKEN")))
        else:
            daemon = stack.enter_context(FakeDaemon(model=scripted_model()))
            client = stack.enter_context(daemon.client())
        print(f"daemon: {client.daemon_url}\n")
        try:
            return 0 if run(client) else 1
        except DigitornError as error:
            print(f"FAIL  {error}", file=sys.stderr)
            return 1


if __name__ == "__main__":
    raise SystemExit(main())
