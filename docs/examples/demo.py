"""A live scenario from end to end: deploy, send, approve, watch, assert.

It runs against the daemon at $DIGITORN_DAEMON_URL with the token in $DIGITORN_TOKEN, whose user must be
allowed to deploy apps; without the first, against the embedded daemon. The model is scripted in either case.
A daemon of yours reaches it at 127.0.0.1, or at the address of this machine in $DEMO_MODEL_HOST.
"""

import os
import sys
from contextlib import ExitStack
from pathlib import Path

from digitorn.testing import AppBuilder, DevClient, DigitornError, TurnResult, assertions
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
from digitorn.testing.fakes import FakeDaemon, FakeModel, FakeModelServer

APP = Path(__file__).with_name("demo_app.yaml")
APP_ID = "testing-demo"
QUESTION = "Which files are here?"


def scripted_model() -> FakeModel:
    """Streams a sentence, calls a tool that needs approval, streams the answer."""
    model = FakeModel()
    model.when(contains=QUESTION).will_call_tool(
        "Bash",
        {"command": "ls"},
        # The embedded daemon runs no shell: these are the output, and that the call asks.
        result={"stdout": "README.md\nschema\nsrc\n", "exit_code": 0},
        requires_approval=True,
        text="Let me look.",
    )
    model.when(tool_result_of="Bash").will_stream_text(
        ["There ", "are ", "three: ", "README.md, ", "schema ", "and src."], delay=0.02
    )
    return model


def deploy(client: DevClient, server: FakeModelServer | None) -> None:
    """Deploys the demo app and waits until it can be talked to."""
    app = AppBuilder.from_yaml(APP)
    if server is None:
        client.deploy_app(app, force=True)
    else:
        client.deploy_app(
            app.with_model(base_url=server.base_url), force=True, secrets={"DEMO_API_KEY": server.api_key}
        )


def run(client: DevClient, server: FakeModelServer | None = None) -> bool:
    """The scenario; True when every assertion holds."""
    deploy(client, server)
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
        server: FakeModelServer | None = None
        if os.environ.get("DIGITORN_DAEMON_URL"):
            host = os.environ.get("DEMO_MODEL_HOST", "127.0.0.1")
            server = stack.enter_context(FakeModelServer(scripted_model(), host=host))
            client = stack.enter_context(DevClient(token=os.environ.get("DIGITORN_TOKEN")))
        else:
            daemon = stack.enter_context(FakeDaemon(model=scripted_model()))
            client = stack.enter_context(daemon.client())
        print(f"daemon: {client.daemon_url}\n")
        try:
            return 0 if run(client, server) else 1
        except DigitornError as error:
            print(f"FAIL  {error}", file=sys.stderr)
            return 1


if __name__ == "__main__":
    raise SystemExit(main())
