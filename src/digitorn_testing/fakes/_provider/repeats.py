"""Which answer a request gets that a client sends again."""

import hashlib
from typing import Final

from digitorn_testing.fakes._model.script import Failure, ModelAnswer, Reply, Scripted

from .core import status_of

_RETRIED: Final = frozenset({408, 409, 429})


class Repeats:
    """Remembers the answers that a client cannot have read if it sends the same request again.

    The clients of OpenAI and Anthropic, and the daemon through them, repeat a request after a broken
    connection, a time-out and some error statuses. A repeat has the same path and body, and a positive
    `x-stainless-retry-count`. Nobody repeats a request whose answer arrived, so its repeat is the same
    request and gets the same answer. After a failure that clients retry, and after silence, a repeat is a
    request of its own: the script says how often those occur.
    """

    def __init__(self) -> None:
        self._answers: dict[bytes, Scripted] = {}

    def remember(self, body: bytes, scripted: Scripted) -> None:
        """Notes the answer to a request.

        Args:
            body: Body of the request.
            scripted: Its answer.
        """
        digest = _digest(body)
        if _is_retried(scripted.answer):
            self._answers.pop(digest, None)
        else:
            self._answers[digest] = scripted

    def answer_to(self, body: bytes, retry_count: int) -> Scripted | None:
        """The answer to the newest request with the same body; None if this is a request of its own.

        Args:
            body: Body of the request.
            retry_count: How often the client says that it has sent the request before.
        """
        return self._answers.get(_digest(body)) if retry_count else None


def _digest(body: bytes) -> bytes:
    return hashlib.sha256(body).digest()


def _is_retried(answer: ModelAnswer) -> bool:
    """Whether a client that has got this answer sends its request again."""
    match answer:
        case Reply():
            return False
        case Failure(after=beginning) if beginning:
            # A stream that has begun is not asked for again.
            return False
        case Failure() as failure:
            status = status_of(failure)
            return status is None or status in _RETRIED or status >= 500
        case _:
            return True
