"""Hides secrets in texts and JSON values."""

import re
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Final
from urllib.parse import quote

from pydantic import JsonValue

from digitorn_testing._concurrency.forks import in_forks
from digitorn_testing._generated._runtime import SECRET_WORDS, names_secret
from digitorn_testing._generated._surrogates import parsed

HIDDEN: Final = "***"
"""What replaces a secret."""

_SHORTEST = 8
_MOST = 256

_WORDS: Final = tuple(word.encode() for word in SECRET_WORDS)
# Searching a text for all kinds of keys at once is faster.
_ENDINGS: Final = frozenset(b"key" if word.endswith(b"key") else word for word in _WORDS)
# The only character outside of ASCII that becomes a letter of these words in lower case.
_KELVIN: Final = "\u212a".encode()
_PLAIN: Final = rb"(?:-?\d[\d.e+-]*+|null|true|false)"
_SECRET_AFTER: Final = re.compile(
    # The rest of a name and what it names, unless that is a number or an object of numbers. A line break at
    # the end of a name does not count, as in the pattern of secret names.
    rb's?(?:\\n)?"\s*+:\s*+(?!' + _PLAIN + rb'|\{(?:\s*+"[^"\\]*+"\s*+:\s*+' + _PLAIN + rb"\s*+,?+)*+\s*+\})"
)


class Redactor:
    """Learns secrets from fields whose names say so, and hides them wherever they appear from then on.

    It may be used from several threads.

    Args:
        before_forgetting: Called before it forgets secrets because there are too many.
    """

    def __init__(self, before_forgetting: Callable[[], object] | None = None) -> None:
        self._before_forgetting = before_forgetting
        self._lock = threading.Lock()
        self._known: dict[str, None] = {}
        self._pattern: re.Pattern[str] | None = None
        in_forks(self)

    def after_fork(self) -> None:
        """Makes the redactor usable in a forked child."""
        self._lock = threading.Lock()

    def learn(self, *secrets: str | None) -> None:
        """Hides these from now on, except short ones: those are not secrets, and may be part of any word."""
        new = [one for one in secrets if one and len(one) >= _SHORTEST and one not in self._known]
        if not new:
            return
        if self._before_forgetting is not None and len(self._known) + len(new) > _MOST:
            self._before_forgetting()
        with self._lock:
            self._known.update(dict.fromkeys(new))
            while len(self._known) > _MOST:
                del self._known[next(iter(self._known))]
            forms = {form for one in self._known for form in (one, quote(one, safe=""))}
            # Longest first, because one secret may begin with another.
            self._pattern = re.compile("|".join(re.escape(one) for one in sorted(forms, key=len)[::-1]))

    @property
    def known(self) -> tuple[str, ...]:
        """The secrets that are hidden wherever they appear."""
        return tuple(self._known)

    def text(self, text: str) -> str:
        """A text with the known secrets hidden."""
        return text if self._pattern is None else self._pattern.sub(HIDDEN, text)

    def learn_from(self, value: JsonValue, *, everything: bool = False) -> None:
        """Learns the secrets in a JSON value.

        Args:
            value: The value.
            everything: Treat every text in it as a secret, whatever its name.
        """
        self.learn(*_secrets(value, secret=everything))

    def json(self, value: JsonValue, *, everything: bool = False) -> JsonValue:
        """A JSON value with secrets hidden: known ones, and texts whose names say that they are secrets.

        Args:
            value: The value.
            everything: Hide every text in it.
        """
        return self._hidden(value, secret=everything)

    def pairs(
        self, pairs: Iterable[tuple[str, str]], *, everything: bool = False
    ) -> tuple[tuple[str, str], ...]:
        """Query parameters with secrets hidden.

        Args:
            pairs: The parameters.
            everything: Hide every value.
        """
        return tuple(
            (name, HIDDEN if everything or names_secret(name) else self.text(text)) for name, text in pairs
        )

    def _hidden(self, value: JsonValue, *, secret: bool) -> JsonValue:
        if isinstance(value, str):
            return (HIDDEN if value else "") if secret else self.text(value)
        if isinstance(value, list):
            return [self._hidden(one, secret=secret) for one in value]
        if isinstance(value, dict):
            return {
                # A name may contain a secret too.
                self.text(name): self._hidden(one, secret=secret or names_secret(name))
                for name, one in value.items()
            }
        return value


def may_hold_secret(content: bytes) -> bool:
    """Whether a JSON text may hold a secret under a name that says so; False is certain.

    Args:
        content: The text; it need not be JSON.
    """
    if not content:
        return False
    text = content.lower()
    if b"\\u" in text or (not text.isascii() and _KELVIN in text):
        return True
    for ending in _ENDINGS:
        start = text.find(ending)
        while start >= 0:
            start += len(ending)
            if text.endswith(_WORDS, 0, start) and _SECRET_AFTER.match(text, start):
                return True
            start = text.find(ending, start)
    return False


def _secrets(value: JsonValue, *, secret: bool) -> Iterator[str]:
    if isinstance(value, str):
        if secret:
            yield value
            # A form may send several secrets as one JSON text.
            if value.startswith(("{", "[")) and (inner := as_json(value)) is not None:
                yield from _secrets(inner, secret=True)
    elif isinstance(value, list):
        for one in value:
            yield from _secrets(one, secret=secret)
    elif isinstance(value, dict):
        for name, one in value.items():
            yield from _secrets(one, secret=secret or names_secret(name))


def as_json(content: str | bytes) -> JsonValue:
    """The JSON value of a text; None if the text is not JSON, or is null."""
    try:
        value: JsonValue = parsed(content)
    except ValueError:
        return None
    return value
