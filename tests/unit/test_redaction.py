"""What counts as a secret, and that it is hidden wherever it turns up."""

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import JsonValue

from digitorn_testing._generated._runtime import names_secret
from digitorn_testing._secrets.redaction import HIDDEN, Redactor


@pytest.mark.parametrize(
    "name",
    [
        "password",
        "token",
        "access_token",
        "accessToken",
        "refresh-token",
        "client_secret",
        "secrets",
        "apiKey",
        "api_key",
        "OPENAI_API_KEY",
        "Authorization",
        "Cookie",
        "private_key",
    ],
)
def test_names_of_secrets(name: str) -> None:
    assert names_secret(name)


@pytest.mark.parametrize("name", ["token_type", "tokens_limit", "key", "keys", "tokenizer", "secretary", ""])
def test_names_of_other_things(name: str) -> None:
    assert not names_secret(name)


def test_numbers_are_no_secrets() -> None:
    value: JsonValue = {"tokens": {"prompt": 1, "total": 2}, "max_tokens": 5, "token": None, "password": ""}
    assert Redactor().json(value) == value


def test_what_was_called_a_secret_is_hidden_under_other_names_too() -> None:
    redactor = Redactor()
    sent: JsonValue = {"user": "me", "password": "open sesame", "nested": [{"secrets": {"A": "aaaaaaaaa"}}]}
    redactor.learn_from(sent)
    assert redactor.json(sent) == {
        "user": "me",
        "password": HIDDEN,
        "nested": [{"secrets": {"A": HIDDEN}}],
    }
    assert redactor.json({"detail": "no open sesame here", "aaaaaaaaa": 1}) == {
        "detail": f"no {HIDDEN} here",
        HIDDEN: 1,
    }
    assert redactor.text("/a/open%20sesame") == f"/a/{HIDDEN}"
    assert redactor.pairs([("q", "open sesame!"), ("token", "x")]) == (("q", f"{HIDDEN}!"), ("token", HIDDEN))


def test_secrets_that_are_passed_as_one_text() -> None:
    redactor = Redactor()
    redactor.learn_from({"secrets": '{"KEY": "sk-12345678"}'})
    assert redactor.text("use sk-12345678") == f"use {HIDDEN}"


def test_what_is_short_is_not_looked_for_elsewhere() -> None:
    redactor = Redactor()
    redactor.learn("short", None, "")
    assert redactor.text("a short text") == "a short text"


def test_the_longer_secret_is_hidden_whole() -> None:
    redactor = Redactor()
    redactor.learn("12345678", "12345678-and-more")
    assert redactor.text("12345678-and-more") == HIDDEN


def test_secrets_are_not_remembered_without_end() -> None:
    redactor = Redactor()
    redactor.learn(*(f"secret-{number:04}" for number in range(1000)))
    assert len(redactor.known) == 256
    assert redactor.text("secret-0999") == HIDDEN


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.just("password"), inner),
)


def texts(value: JsonValue) -> Iterator[str]:
    """Every text in a JSON value, and every name."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for one in value:
            yield from texts(one)
    elif isinstance(value, dict):
        for name, one in value.items():
            yield name
            yield from texts(one)


@given(JSON, st.text(min_size=8).filter(lambda text: "*" not in text))
def test_a_secret_is_in_no_value_that_comes_out(value: JsonValue, secret: str) -> None:
    redactor = Redactor()
    redactor.learn(secret)
    holding: JsonValue = {"a": [f"x{secret}y", value], "token": secret, secret: value}
    assert not [text for text in texts(redactor.json(holding)) if secret in text]
