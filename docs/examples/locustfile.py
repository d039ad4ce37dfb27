"""Load on a daemon: users who chat, read a file after an approval, and sometimes meet a failing provider.

    locust -f docs/examples/locustfile.py --host http://127.0.0.1:8000 --users 50

`$DIGITORN_APP` names the app and `$DIGITORN_TOKEN` holds the access token. `load_distributed.py` beside this
file runs it on a master and several workers, against the embedded daemon.
"""

from locust import between, task

from digitorn.testing.load import DigitornUser


class Reader(DigitornUser):
    """Talks to the app in one session, pausing about a second between two messages."""

    wait_time = between(0.5, 1.5)
    turn_timeout = 30.0

    @task(6)
    def chat(self) -> None:
        """A short streamed answer."""
        self.turn("How are you?", name="chat")

    @task(3)
    def read(self) -> None:
        """A turn with a tool call that needs approval."""
        result = self.turn("Read a.txt", name="read a file")
        assert not result.ok or result.tool_calls, "the agent answered without reading"

    @task(1)
    def overload(self) -> None:
        """A turn whose provider fails."""
        self.turn("Think hard", name="think hard")
