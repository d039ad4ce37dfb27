"""Sessions that exist from their first message on, and the streams that wait for that."""

from collections.abc import Callable
from typing import Any
from weakref import WeakMethod

from digitorn_testing._generated._runtime import Call
from digitorn_testing._generated.operations import SEND_MESSAGE
from digitorn_testing._handles import SessionHandle


class Beginnings:
    """The open streams of one client that wait for the first message of their session."""

    def __init__(self) -> None:
        self._waiting: dict[str, list[WeakMethod[Callable[[], object]]]] = {}

    def wait(self, session: SessionHandle, begin: Callable[[], object]) -> None:
        """Calls a method when a message to a session was sent.

        Args:
            session: The session.
            begin: A bound method; its object is not kept alive. It is called on the thread that sends.
        """
        path = SEND_MESSAGE.call(path={"app_id": session.app_id, "session_id": session.session_id}).path
        # Those whose object is gone wait no more.
        alive = {one: [each for each in some if each() is not None] for one, some in self._waiting.items()}
        self._waiting = {one: some for one, some in alive.items() if some}
        self._waiting.setdefault(path, []).append(WeakMethod(begin))

    def sent(self, call: Call[Any]) -> None:
        """Takes note of a call that the daemon has answered.

        Args:
            call: The call.
        """
        if self._waiting and call.operation.id == SEND_MESSAGE.id:
            for one in self._waiting.pop(call.path, ()):
                if (begin := one()) is not None:
                    begin()
