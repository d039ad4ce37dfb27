"""What counts as a secret, and that it is hidden wherever it turns up."""

import json
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import JsonValue

from digitorn_testing._generated._runtime import names_secret
from digitorn_testing._secrets.redaction import HIDDEN, Redactor, may_hold_secret


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


NAMES = st.lists(
    st.sampled_from(
        ["api", "Key", "_", "-", "token", "Token", "TOKEN", "s", "to\u212aen", "\n", '"', "é", "coo", "kie"]
    ),
    max_size=4,
).map("".join)
NAMED = st.recursive(
    st.none()
    | st.integers()
    | st.booleans()
    | st.floats(allow_nan=False)
    | st.sampled_from(["", "a secret text"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=10,
)


@settings(max_examples=1000)
@given(NAMED, st.booleans(), st.sampled_from([None, 1, "\n\t "]))
def test_no_secret_is_overlooked_in_a_text(
    value: JsonValue, ascii_only: bool, indent: int | str | None
) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only, indent=indent)
    redactor = Redactor()
    redactor.learn_from(value)
    if redactor.known:
        assert may_hold_secret(text.encode())


@pytest.mark.parametrize(
    ("text", "may"),
    [
        ('{"tokens": {"prompt": 1, "total": 2.5e3}, "max_tokens" : null, "token": true}', False),
        ('{"key": "a text", "token_type": "bearer", "note": "a token, a secret"}', False),
        ("", False),
        ('{"a": {"apiKey" : "a text"}}', True),
        ('{"PASSWORDS": ["a text"]}', True),
        ('{"tokens": {"a": 1, "b": "a text"}}', True),
        ('{"to\\u006ben": "a text"}', True),
        ('{"to\u212aen": "a text"}', True),
    ],
)
def test_which_texts_have_to_be_parsed(text: str, may: bool) -> None:
    assert may_hold_secret(text.encode()) is may


@pytest.mark.parametrize("part", ['"token": ', '"token": {', '"token": {"a" ', '"token": {"a": 1 ', "token"])
def test_searching_a_text_takes_time_in_proportion_to_it(part: str) -> None:
    may_hold_secret(part.encode() * 100_000)
