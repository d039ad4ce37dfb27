"""Bounds of what a daemon sends."""

import gzip
import json
import tracemalloc
import zlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from digitorn_testing._transport.bounds import (
    _WINDOW,
    BoundedBody,
    NotUnpacked,
    OutOfBounds,
    check_text,
)


def read(limit: int, encoding: str | None, *chunks: bytes) -> bytes:
    body = BoundedBody(limit, encoding)
    for chunk in chunks:
        body.feed(chunk)
    return body.whole()


@given(st.binary(max_size=200), st.integers(1, 50))
def test_a_body_comes_out_as_it_went_in(content: bytes, size: int) -> None:
    for encoding, packed in (
        (None, content),
        ("identity", content),
        ("gzip", gzip.compress(content)),
        (" GZIP ", gzip.compress(content)),
        ("deflate", zlib.compress(content)),
    ):
        chunks = [packed[start : start + size] for start in range(0, len(packed), size)]
        assert read(200, encoding, *chunks) == content


def test_a_body_may_be_as_large_as_the_limit() -> None:
    assert read(4, None, b"ab", b"cd") == b"abcd"
    assert read(4, "gzip", gzip.compress(b"abcd")) == b"abcd"
    for encoding, packed in ((None, b"abcde"), ("gzip", gzip.compress(b"abcde"))):
        with pytest.raises(OutOfBounds, match=r"more than 4 bytes \(max_response_bytes\)"):
            read(4, encoding, packed)


def test_a_bomb_is_not_unpacked() -> None:
    bomb = gzip.compress(b"\0" * 50_000_000, compresslevel=9)
    assert len(bomb) < 60_000
    tracemalloc.start()
    try:
        with pytest.raises(OutOfBounds):
            read(100_000, "gzip", bomb)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 1_000_000


def test_what_cannot_be_unpacked() -> None:
    with pytest.raises(NotUnpacked, match="its gzip cannot be unpacked"):
        read(100, "gzip", b"nope")
    for encoding in ("br", "zstd", "gzip, gzip", "x" * 1000):
        with pytest.raises(NotUnpacked, match="was not asked for") as caught:
            BoundedBody(100, encoding)
        assert len(str(caught.value)) < 100


def test_values_are_counted_before_they_are_made() -> None:
    check_text(b"[" + b"1," * 99 + b"1]", 100, deepest=None)
    for document in (b"[" + b"1," * 100 + b"1]", b"[" * 101, b'{"a":' * 101):
        for form in (document, document.decode()):
            with pytest.raises(OutOfBounds, match=r"more than 100 JSON values \(max_json_values\)"):
                check_text(form, 100, deepest=None)


def test_what_is_inside_of_a_text_is_no_value() -> None:
    text = json.dumps({"text": '[{,\\"' * 1000, 'a "quoted" name, and': "\n,"})
    check_text(text, 10, deepest=None)
    check_text(text.encode(), 10, deepest=None)


@settings(max_examples=30)
@given(st.recursive(st.none() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_every_value_is_counted(value: object) -> None:
    def size(one: Any) -> int:
        members: list[Any] = list(one.values()) if isinstance(one, dict) else one  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType] - JSON
        return 1 + sum(size(member) for member in members) if isinstance(one, dict | list) else 1

    text = json.dumps(value)
    # An empty list has no comma, and the value of a member no sign of its own.
    check_text(text, 2 * size(value), deepest=None)
    with pytest.raises(OutOfBounds):
        check_text("[" + ",".join([text] * 200) + "]", 100, deepest=None)


def test_a_text_of_as_many_levels_as_allowed_is_read() -> None:
    for opening, closing in (("[", "]"), ('{"a":', "}")):
        fits = opening * 100 + "1" + closing * 100
        for form in (fits, fits.encode()):
            check_text(form, 1000)
        for form in (opening + fits + closing, (opening + fits + closing).encode()):
            with pytest.raises(OutOfBounds, match="nested more than 100 levels deep"):
                check_text(form, 1000)
            check_text(form, 1000, deepest=None)
    check_text(json.dumps([[{"a": []}]] * 500), 10_000)


# Pieces that make strings with quotes, backslashes and brackets in them likely.
TEXTS = st.lists(st.sampled_from(['"', "\\", "[", "]", "{", "}", ",", "a", "é", "\n"]), max_size=12).map(
    "".join
)
VALUES = st.recursive(
    st.none() | TEXTS,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(TEXTS, inner, max_size=5),
    max_leaves=30,
)


def levels(value: Any) -> int:
    if not isinstance(value, list | dict):
        return 0
    members: list[Any] = list(value.values()) if isinstance(value, dict) else value  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType] - JSON
    return 1 + max(map(levels, members), default=0)


def signs(value: Any) -> int:
    """Opening brackets and commas of a JSON value."""
    if not isinstance(value, list | dict):
        return 0
    members: list[Any] = list(value.values()) if isinstance(value, dict) else value  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType] - JSON
    return 1 + max(0, len(members) - 1) + sum(map(signs, members))


@settings(max_examples=300)
@given(VALUES, st.booleans())
def test_a_text_is_measured_as_its_value_is(value: object, ascii_only: bool) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only)
    deep, many = levels(value), signs(value)
    for form in (text, text.encode()):
        check_text(form, many, deep)
        if many:
            with pytest.raises(OutOfBounds, match="JSON values"):
                check_text(form, many - 1, deep)
        if deep:
            with pytest.raises(OutOfBounds, match="levels"):
                check_text(form, many, deep - 1)


@given(st.text(alphabet='"\\[]{},:a\ud800', max_size=60))
def test_any_text_can_be_measured(text: str) -> None:
    for form in (text, text.encode("utf-8", "surrogatepass")):
        try:
            check_text(form, 3, 2)
        except OutOfBounds:
            continue
        try:
            value: object = json.loads(form)
        except ValueError:
            continue
        assert levels(value) <= 2
        assert signs(value) <= 3


def test_a_string_that_is_not_closed_takes_no_longer() -> None:
    check_text('"' + '\\"' * 1_000_000 + "," * 100, 10)
    check_text('"\\' * 1_000_000 + "," * 100, 10)


@pytest.mark.parametrize("size", range(_WINDOW - 6, _WINDOW + 2))
@pytest.mark.parametrize("inside", ['\\\\","', '\\"[,', '\\\\\\",', '", "', "é,é"])
def test_strings_are_seen_across_the_borders_of_windows(size: int, inside: str) -> None:
    try:
        value: object = json.loads(text := f'["{"x" * size}{inside}", [1, 2]]')
    except ValueError:
        pytest.fail(f"{inside!r} makes no JSON")
    for form in (text, text.encode()):
        check_text(form, signs(value), levels(value))
        with pytest.raises(OutOfBounds, match="JSON values"):
            check_text(form, signs(value) - 1, levels(value))
        with pytest.raises(OutOfBounds, match="levels"):
            check_text(form, signs(value), levels(value) - 1)
