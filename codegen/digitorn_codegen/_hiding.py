"""Hides secrets in recorded traffic before anything of it is shown or written."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from urllib.parse import quote

from ._documents import JsonObject, JsonValue
from ._frames import Frame, SeenBody, SeenCommand, SeenEvent, SeenExchange
from .runtime._runtime import names_secret

HIDDEN = "***"
"""What replaces a secret; recordings of a client have it already."""

# Shorter ones are hidden where they stand, but may be part of any word elsewhere.
_SHORTEST = 8
_SCHEME = re.compile(r"\A(?:basic|bearer|token)\s+", re.IGNORECASE)


@dataclass(frozen=True)
class Hiding:
    """Hides the secrets of some traffic: texts whose names say so, wherever these texts are repeated.

    Attributes:
        pattern: Finds the secrets; None if there are none.
    """

    pattern: re.Pattern[str] | None

    @classmethod
    def of(cls, frames: Iterable[Frame]) -> "Hiding":
        """What hides the secrets of frames."""
        found = {_SCHEME.sub("", text) for one in frames for text in _secrets_of(one)}
        # A word such as "password" may be the value of one member and the name of another.
        known = {text for text in found if len(text) >= _SHORTEST and not names_secret(text)}
        forms = sorted({form for text in known for form in (text, quote(text, safe=""))})
        # Longest first, because one secret may begin with another.
        longest = "|".join(map(re.escape, sorted(forms, key=len, reverse=True)))
        return cls(re.compile(longest) if known else None)

    def frame(self, frame: Frame) -> Frame:
        """A frame with its secrets hidden."""
        match frame:
            case SeenEvent():
                payload = self._object(frame.payload)
                envelope = None if frame.envelope is None else self._object(frame.envelope)
                return replace(frame, wire=self._text(frame.wire), payload=payload, envelope=envelope)
            case SeenCommand():
                request, ack = self._value(frame.request), self._value(frame.ack)
                return replace(frame, wire=self._text(frame.wire), request=request, ack=ack)
            case SeenExchange():
                query = (
                    (self._text(n), HIDDEN if names_secret(n) else self._text(v)) for n, v in frame.query
                )
                return replace(
                    frame,
                    path=self._text(frame.path),
                    query=tuple(query),
                    body=self._body(frame.body),
                    answer=self._body(frame.answer),
                )

    def _body(self, body: SeenBody) -> SeenBody:
        return replace(body, value=self._value(body.value))

    def _text(self, text: str) -> str:
        return text if self.pattern is None else self.pattern.sub(HIDDEN, text)

    def _object(self, value: JsonObject, *, secret: bool = False) -> JsonObject:
        return {
            self._text(name): self._value(one, secret=secret or names_secret(name))
            for name, one in value.items()
        }

    def _value(self, value: JsonValue, *, secret: bool = False) -> JsonValue:
        if isinstance(value, str):
            return HIDDEN if secret and value else self._text(value)
        if isinstance(value, list):
            return [self._value(one, secret=secret) for one in value]
        if isinstance(value, dict):
            return self._object(value, secret=secret)
        return value


def _secrets_of(frame: Frame) -> Iterator[str]:
    match frame:
        case SeenEvent():
            yield from _secrets(frame.envelope or frame.payload)
        case SeenCommand():
            yield from _secrets([frame.request, frame.ack])
        case SeenExchange():
            yield from (text for name, text in frame.query if names_secret(name))
            yield from _secrets([frame.body.value, frame.answer.value])


def _secrets(value: JsonValue, *, secret: bool = False) -> Iterator[str]:
    if isinstance(value, str):
        if secret and value != HIDDEN:
            yield value
    elif isinstance(value, list):
        for one in value:
            yield from _secrets(one, secret=secret)
    elif isinstance(value, dict):
        for name, one in value.items():
            yield from _secrets(one, secret=secret or names_secret(name))
