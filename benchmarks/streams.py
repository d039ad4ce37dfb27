"""What many live streams in one process take of it, and that they give it back.

    python -m benchmarks.streams [--streams 200] [--tokens 20]

The embedded daemon runs in a process of its own, so that the figures are those of the client alone. A turn
runs in every session while the streams are open. Prints threads, file descriptors and memory at the start,
with the streams open, and after they were stopped, for each face; ends with an error if threads and
descriptors do not return to the start, or memory not to within a twentieth of it. The last column is what
each stream takes beyond the process at the start, which keeps what the allocator took the first time; the
row of the first time shows what they take in a process that had only a few.
"""

import argparse
import asyncio
import contextlib
import ctypes
import gc
import os
import subprocess
import sys
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from digitorn_testing import AsyncDevClient, AsyncLiveEventStream, DevClient, LiveEventStream, SessionHandle
from digitorn_testing.events import MessageDone

APP = "bench"
_SETTLE_SECONDS = 10.0
_MEMORY_MARGIN = 1.05
# As many handshakes at once as are over within their deadline.
_OPENED_AT_ONCE = 50
_FEW = 10

_DAEMON = """
import sys
from digitorn.testing.fakes import FakeDaemon, FakeModel

# Nothing but the turns: a thousand heartbeats keep a daemon in Python from everything else.
with FakeDaemon(keep_exchanges=0, heartbeat=3600, ping_interval=3600, ping_timeout=3600) as daemon:
    daemon.add_app({app!r}, model=FakeModel().will_stream_text(["x "] * {tokens}, times=None))
    print(daemon.url, daemon.token(), flush=True)
    sys.stdin.read()
"""


@dataclass(frozen=True)
class Figures:
    """What a process takes of its system.

    Attributes:
        threads: Threads.
        descriptors: File descriptors.
        memory: Resident memory, in KiB.
    """

    threads: int
    descriptors: int
    memory: int


def figures() -> Figures:
    """The figures of this process."""
    gc.collect()
    _trim()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return Figures(
        threading.active_count(),
        len(os.listdir("/proc/self/fd")),
        pages * os.sysconf("SC_PAGE_SIZE") // 1024,
    )


def _trim() -> None:
    """Has the C library give back what is free, where it can: else memory that was freed counts as taken."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def settled(expected: Figures) -> Figures:
    """The figures once threads and descriptors are as expected, or after some seconds."""
    deadline = time.monotonic() + _SETTLE_SECONDS
    while time.monotonic() < deadline:
        now = figures()
        if (now.threads, now.descriptors) == (expected.threads, expected.descriptors):
            break
        time.sleep(0.05)
    return figures()


@contextmanager
def daemon(tokens: int) -> Generator[tuple[str, str]]:
    """A daemon in a process of its own: its URL, and a token for it."""
    source = _DAEMON.format(app=APP, tokens=tokens)
    with subprocess.Popen(
        [sys.executable, "-c", source], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        url, _, token = process.stdout.readline().strip().partition(" ")
        # Leaving closes its input, which ends it.
        yield url, token


def show(face: str, when: str, now: Figures, each: str = "") -> None:
    """Prints a row."""
    print(f"{face:14} {when:14} {now.threads:8} {now.descriptors:12} {now.memory / 1024:12.1f} {each:>16}")


def blocking(url: str, token: str, count: int) -> tuple[Figures, Figures]:
    """The figures with blocking streams open, and after they were stopped."""
    with DevClient.with_token(token, daemon_url=url) as client:
        sessions = [client.new_session(APP) for _ in range(count)]
        streams: list[LiveEventStream] = []
        for session in sessions:
            stream = client.open_event_stream(session)
            streams.append(stream)
            stream.wait_for_turn(client.post_message_raw(session, "go"), timeout=120)
            assert stream.events_of(MessageDone)
        during = figures()
        for stream in streams:
            stream.stop()
    return during, figures()


async def asynchronous(url: str, token: str, count: int) -> tuple[Figures, Figures]:
    """The figures with asynchronous streams open, and after they were stopped."""

    free = asyncio.Semaphore(_OPENED_AT_ONCE)

    async def open_one(client: AsyncDevClient, session: SessionHandle) -> AsyncLiveEventStream:
        async with free:
            stream = await client.open_event_stream(session)
            accepted = await client.post_message_raw(session, "go")
            await stream.wait_for_turn(accepted, timeout=120)
            return stream

    async with AsyncDevClient.with_token(token, daemon_url=url) as client:
        sessions = [await client.new_session(APP) for _ in range(count)]
        streams = await asyncio.gather(*(open_one(client, one) for one in sessions))
        during = figures()
        await asyncio.gather(*(stream.stop() for stream in streams))
    return during, figures()


def main() -> int:
    """Prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--streams", type=int, default=200)
    parser.add_argument("--tokens", type=int, default=20)
    given = parser.parse_args()
    returned = True
    with daemon(given.tokens) as (url, token):
        # Builds models and loads certificates.
        blocking(url, token, min(given.streams, _FEW))
        cold = figures()
        # The first time with as many, the allocator takes what it then keeps.
        first, _ = blocking(url, token, given.streams)
        asyncio.run(asynchronous(url, token, given.streams))
        print(f"{given.streams} live streams, a turn of {given.tokens} tokens in each")
        print(f"{'':29} {'threads':>8} {'descriptors':>12} {'memory MiB':>12} {'KiB a stream':>16}")
        show("blocking", "the first time", first, f"{(first.memory - cold.memory) / given.streams:.1f}")
        for face in ("blocking", "asynchronous"):
            start = figures()
            show(face, "at the start", start)
            if face == "blocking":
                during, _ = blocking(url, token, given.streams)
            else:
                during, _ = asyncio.run(asynchronous(url, token, given.streams))
            each = (during.memory - start.memory) / given.streams
            show(face, "streams open", during, f"{each:.1f}")
            end = settled(start)
            show(face, "after stop", end)
            returned &= (end.threads, end.descriptors) == (start.threads, start.descriptors)
            returned &= end.memory <= start.memory * _MEMORY_MARGIN
    print("all returned" if returned else "NOT all returned")
    return 0 if returned else 1


if __name__ == "__main__":
    raise SystemExit(main())
