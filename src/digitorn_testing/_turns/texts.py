"""The text that a turn streams, piece by piece, and the final answer that it adds up to.

The pieces alone do not add up to it: the daemon streams nothing of a short answer, and keeps back the last
characters of a long one (contract: events, section 5.2). The answer comes whole at the end.
"""

from collections.abc import Iterable, Sequence

from digitorn_testing._events.daemon import MEANING
from digitorn_testing._events.event import AnyEvent
from digitorn_testing._events.meaning import Meaning
from digitorn_testing._texts import joined as joined_text


class StreamedTexts:
    """Follows the text of a turn.

    Args:
        meaning: What the events mean.

    Attributes:
        texts: The texts so far, one for each request to the model, each as a list of pieces. The newlines
            that the daemon inserts between two texts belong to neither (contract: events, section 5.2).
        answer: The final answer, once it is here.
    """

    def __init__(self, meaning: Meaning = MEANING) -> None:
        self.texts: list[list[str]] = []
        self.answer: str | None = None
        self._meaning = meaning
        self._is_open = False
        self._has_said = False

    def take(self, event: AnyEvent) -> str:
        """Takes the next event of the turn.

        Args:
            event: The event.

        Returns:
            The text that it adds; empty if it adds none. The answer adds what is missing at its end.
        """
        if self._meaning.ends_text(event):
            if not self._is_open:
                self.texts.append([])
            self._is_open = False
            return ""
        if (delta := self._meaning.text_delta(event)) is not None:
            return self._stream(delta)
        if (answer := self._meaning.answer(event)) is None or answer.error:
            return ""
        self.answer = answer.content
        first = first_of_answer(self.texts, answer.content)
        if first is None:
            return ""
        missing = answer.content.removeprefix(joined(self.texts[first:]))
        self._has_said = True
        return missing

    def _stream(self, delta: str) -> str:
        if self.answer is not None:
            # It came late, and is part of the answer that is here.
            return ""
        if not self._is_open:
            if self._has_said and not delta.strip("\n"):
                return delta
            self.texts.append([])
            self._is_open = True
        self.texts[-1].append(delta)
        self._has_said = True
        return delta


def streamed_texts(turn: Iterable[AnyEvent], meaning: Meaning = MEANING) -> list[list[str]]:
    """The texts that a turn streamed, one for each request to the model, each as a list of pieces.

    Args:
        turn: The turn's events, in order.
        meaning: What the events mean.
    """
    # Tokens may come behind the answer (contract: events, section 6.0).
    streamed = StreamedTexts(meaning)
    for event in turn:
        if meaning.answer(event) is None:
            streamed.take(event)
    return streamed.texts


def first_of_answer(texts: Sequence[Sequence[str]], content: str) -> int | None:
    """With which of the texts the final answer begins; those before it are commentary.

    Args:
        texts: The texts that were streamed, in order.
        content: The final answer.

    Returns:
        The position. None if the texts from none of them on are the beginning of the answer, so that pieces
        are missing.
    """
    places = range(len(texts) - 1, -1, -1)
    whole = next((place for place in places if joined(texts[place:]) == content), None)
    if whole is not None or not texts:
        return 0 if whole is None else whole
    return next((place for place in places if content.startswith(joined(texts[place:]))), None)


def joined(texts: Iterable[Iterable[str]]) -> str:
    """The pieces of texts as one string."""
    return joined_text(piece for text in texts for piece in text)
