"""How long a test takes that sends a message and asserts on typed events, over sockets and in process.

    python benchmarks/turns.py [--rounds 20] [--tokens 2000]

Prints minimum, median and maximum of each figure over the rounds, in milliseconds; nothing is asserted about
time. The first daemon of a process builds its routes, which the others find built; it is shown apart.
"""

import argparse
import statistics
import time
from collections.abc import Callable

from digitorn_testing import DevClient, assertions
from digitorn_testing.events import MessageDone, MessageStarted, Token, ToolCall, UserMessage
from digitorn_testing.fakes import FakeDaemon, FakeModel

APP = "bench"


def a_test(client: DevClient, model: FakeModel) -> None:
    """What a unit test of an app does."""
    model.will_call_tool("Bash", {"command": "ls"}, result={"stdout": "a"}).will_stream_text(
        ["There is ", "one file."]
    )
    turn = client.start_turn(client.new_session(APP), "list the files")
    events = list(turn)
    assert assertions.event_order(events, [UserMessage, MessageStarted, ToolCall, Token, MessageDone])
    assert turn.result().content == "There is one file."


def a_long_answer(client: DevClient, model: FakeModel, tokens: int) -> None:
    """Reads a long streamed answer event by event."""
    model.will_stream_text(["more words "] * tokens)
    turn = client.start_turn(client.new_session(APP), "go on")
    assert sum(isinstance(event.payload, Token) for event in turn) == tokens


def milliseconds(work: Callable[[], object]) -> float:
    """How long something takes."""
    begun = time.perf_counter()
    work()
    return (time.perf_counter() - begun) * 1000


def rounds_of(listen: bool, rounds: int, tokens: int) -> dict[str, list[float]]:
    """The figures of one way to reach the daemon."""
    figures: dict[str, list[float]] = {}

    def note(name: str, figure: float) -> None:
        figures.setdefault(name, []).append(figure)

    for _ in range(rounds):
        model = FakeModel()
        daemon = FakeDaemon(model=model, listen=listen)
        note("daemon starts", milliseconds(lambda: daemon.start()))  # noqa: B023 - called at once
        daemon.add_app(APP)
        with daemon.client() as client:
            note("first test on it", milliseconds(lambda: a_test(client, model)))  # noqa: B023 - as above
            note("second test on it", milliseconds(lambda: a_test(client, model)))  # noqa: B023 - as above
            long = milliseconds(lambda: a_long_answer(client, model, tokens))  # noqa: B023 - as above
            note(f"a turn of {tokens} tokens", long)
        note("daemon stops", milliseconds(daemon.stop))
    return figures


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--tokens", type=int, default=2000)
    given = parser.parse_args()
    first = FakeDaemon(listen=False)
    print(f"the first daemon of the process starts in {milliseconds(lambda: first.start()):.0f} ms")
    first.stop()
    print(f"{'milliseconds':26} {'':12} {'min':>8} {'median':>8} {'max':>8}")
    for way, listen in (("sockets", True), ("in process", False)):
        for name, found in rounds_of(listen, given.rounds, given.tokens).items():
            low, middle, high = min(found), statistics.median(found), max(found)
            print(f"{name:26} {way:12} {low:8.1f} {middle:8.1f} {high:8.1f}")


if __name__ == "__main__":
    main()
