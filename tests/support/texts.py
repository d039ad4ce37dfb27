"""Texts that the daemon streams just as they are: long enough, and without an end that could begin a marker
(contract: events, section 5.2).
"""

from typing import Final

ANSWER: Final = "This is the whole answer."

PIECES: Final = ("This is one piece. ", "This is another.")


def pieces(count: int) -> list[str]:
    """Different pieces of one answer, in the order in which they sort."""
    return [f"This is piece {number:03}." for number in range(count)]
