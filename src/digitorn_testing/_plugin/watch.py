"""Notes what each test makes and uses. Independent of pytest, and of the client until a test uses it."""

from __future__ import annotations

import threading
import weakref
from collections import deque
from collections.abc import Collection, Generator, Iterable
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from digitorn_testing._tracking import tracking

if TYPE_CHECKING:
    from .evidence import Evidence
    from .troubles import Attempt

# If a test makes more, the report covers the latest ones.
_MOST_MADE: Final = 100


class Watch:
    """Knows what each test makes and uses.

    Args:
        token: A token that must never be shown.
    """

    def __init__(self, token: str | None = None) -> None:
        self._token = token
        self._lock = threading.Lock()
        # Whatever outlives the test that made it may be used by another test.
        self._living: weakref.WeakSet[object] = weakref.WeakSet()
        self._current: Used | None = None

    @contextmanager
    def running(self) -> Generator[None]:
        """Watches what is made during the block."""
        with tracking(self._made):
            yield

    @contextmanager
    def of_test(self, attempt: Attempt) -> Generator[Used]:
        """Notes what one test uses, in all its phases.

        Args:
            attempt: Turns what fails here into a warning on the test.
        """
        with self._lock:
            used = self._current = Used(list(self._living), self._token, attempt)
        try:
            yield used
        finally:
            self._current = None

    def _made(self, made: object) -> None:
        with self._lock:
            self._living.add(made)
            if self._current is not None:
                self._current.made.append(made)


class Used:
    """What one test may have used.

    Args:
        earlier: Clients, streams and daemons that exist when the test begins.
        token: A token that must never be shown.
        attempt: Turns what fails here into a warning on the test.
    """

    def __init__(self, earlier: Collection[object], token: str | None, attempt: Attempt) -> None:
        self.made: Final[deque[object]] = deque(maxlen=_MOST_MADE)
        self._token = token
        self._attempt = attempt
        self._evidence: Evidence | None = None
        if earlier:
            # How much each has been used is noted now. If there is none, the client need not be loaded.
            with attempt("note what exists before the test"):
                self._evidence = self._collect(earlier)

    def __bool__(self) -> bool:
        return self._evidence is not None or bool(self.made)

    @property
    def evidence(self) -> Evidence:
        """What the test used, for its report."""
        if self._evidence is None:
            self._evidence = self._collect(())
        return self._evidence

    def _collect(self, earlier: Iterable[object]) -> Evidence:
        from .evidence import Evidence

        return Evidence(earlier, self.made, self._token, self._attempt)
