"""What is kept of an exchange with a provider has its secrets hidden.

Each exchange is looked at on its own, so that the same request comes out the same whatever was before it.
"""

import base64
import codecs
import json
import re
from collections.abc import Iterator, Mapping
from typing import Final
from urllib.parse import parse_qsl

from pydantic import JsonValue

from digitorn_testing._generated._runtime import names_secret
from digitorn_testing._secrets.redaction import HIDDEN, Redactor, as_json

from .core import Refused, json_of
from .http import Exchange

# What keys of well-known services look like, wherever they stand.
_KEYS: Final = re.compile(
    r"\b(?:sk|rk|pk|gsk|xai|r8|hf|ghp|gho|ghs|github_pat|glpat|xox[abprs])[-_][A-Za-z0-9_-]{16,}"
    r"|\bAIza[A-Za-z0-9_-]{30,}|\bAKIA[A-Z0-9]{16}\b"
    r"|\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]+"
    r"|(?<=\bBearer )[A-Za-z0-9._~+/=-]{8,}"
)
_EVENT: Final = re.compile(r"^data: *(\{.*\})\r?$", re.MULTILINE)


def hidden_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Headers without the values of those that hold secrets."""
    return {name: HIDDEN if names_secret(name) else value for name, value in headers.items()}


class Hiding:
    """Hides the secrets of one exchange.

    Args:
        exchange: The exchange, whose request has arrived.
    """

    def __init__(self, exchange: Exchange) -> None:
        self._redactor = Redactor()
        for name, value in exchange.headers.items():
            if names_secret(name):
                self._redactor.learn(value, value.partition(" ")[2], *re.findall(r"=([^;]+)", value))
        query = parse_qsl(exchange.query, keep_blank_values=True)
        hidden = {name for name, _ in query if name == "key" or names_secret(name)}
        self._redactor.learn(*(value for name, value in query if name in hidden))
        self.query = [[name, HIDDEN if name in hidden else self.text(value)] for name, value in query]
        self.path = self.text(exchange.path)
        self.body = self._body(exchange.body)

    def text(self, text: str) -> str:
        """A text with its secrets hidden."""
        return _KEYS.sub(HIDDEN, self._redactor.text(text))

    def chunks(self, chunks: list[bytes]) -> list[str] | None:
        """The chunks of an answer as texts with their secrets hidden; None if they are no text.

        There are as many as before. If a secret began in one and ended in another, all is in the first.
        """
        decoder = codecs.getincrementaldecoder("utf-8")()
        try:
            texts = [decoder.decode(one) for one in chunks]
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            return None
        whole = "".join(texts)
        for value in (as_json(whole), *(as_json(found) for found in _EVENT.findall(whole))):
            self._learn(value)
        hidden = [self.text(one) for one in texts]
        if "".join(hidden) == (together := self.text(whole)):
            return hidden
        return [together, *("" for _ in texts[1:])]

    def _body(self, content: bytes) -> JsonValue:
        """A request's body: JSON, else text, else Base64; None if it is empty."""
        try:
            sent = json_of(content)
        except Refused:
            try:
                return self.text(content.decode()) or None
            except UnicodeDecodeError:
                return base64.b64encode(content).decode()
        # What a tool's schema says of a password is none.
        self._learn({**sent, "tools": None} if isinstance(sent, dict) else sent)
        return self._hidden(self._redactor.json(sent))

    def _hidden(self, value: JsonValue) -> JsonValue:
        if isinstance(value, str):
            inner = as_json(value) if value.startswith(("{", "[")) else None
            hidden = self._redactor.json(inner)
            return self.text(value if hidden == inner else json.dumps(hidden))
        if isinstance(value, list):
            return [self._hidden(one) for one in value]
        if isinstance(value, dict):
            return {self.text(name): self._hidden(one) for name, one in value.items()}
        return value

    def _learn(self, value: JsonValue) -> None:
        """Learns the secrets in a value, also in the JSON texts in it, such as the arguments of calls."""
        self._redactor.learn_from(_without_logprobs(value))
        for text in _texts(value):
            if text.startswith(("{", "[")):
                self._redactor.learn_from(as_json(text))


def _texts(value: JsonValue) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | dict):
        for one in value.values() if isinstance(value, dict) else value:
            yield from _texts(one)


def _without_logprobs(value: JsonValue) -> JsonValue:
    """A value without the tokens of a text, which are called like secrets."""
    if isinstance(value, list):
        return [_without_logprobs(one) for one in value]
    if isinstance(value, dict):
        return {name: _without_logprobs(one) for name, one in value.items() if name != "logprobs"}
    return value
