"""Halves of surrogate pairs: JSON can hold them as escapes (`"\\ud83d"`), UTF-8 and pydantic cannot."""

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal, TypeVar, cast

from pydantic import BaseModel, ValidationError
from pydantic_core import from_json

T = TypeVar("T")

_HALF: Final = re.compile("[\ud800-\udfff]")
_STAND_IN: Final = re.compile("[\U0010f000-\U0010f7ff]")
"""Characters for private use, which stand in for the halves while pydantic looks at a value."""
_SHIFT: Final = 0x10F000 - 0xD800
_PAIR: Final = r"u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
_ESCAPE: Final = re.compile(rf"\\(?:{_PAIR}|(u[dD][89a-fA-F][0-9a-fA-F]{{2}})|.)", re.DOTALL)
_MOST_ERRORS: Final = 1000


def parsed(content: str | bytes) -> Any:
    """A JSON text as Python values, with halves of surrogate pairs as they are.

    Args:
        content: The text.

    Raises:
        ValueError: It is not JSON, or nested too deeply.
    """
    try:
        return from_json(content)
    except ValueError:
        text = content if isinstance(content, str) else content.decode()
        whole = _ESCAPE.sub(lambda found: r"\ufffd" if found[1] else found[0], text)
        if whole == text:
            raise
    # With its halves replaced it has to be JSON for the same parser, within the same limits.
    from_json(whole)
    return json.loads(text)


def validated(validate: Callable[[object], T], value: object) -> T:
    """Validates a value in which pydantic may meet halves of surrogate pairs.

    It takes them in the texts of a value, but neither in the names of further members nor in texts that it
    compares with something.

    Args:
        validate: Validates decoded JSON.
        value: The value.

    Raises:
        pydantic.ValidationError: The value is not valid.
    """
    try:
        return validate(value)
    except ValidationError as error:
        if error.error_count() > _MOST_ERRORS or not any(
            one["type"] == "string_unicode" for one in error.errors(include_url=False, include_input=False)
        ):
            raise
        try:
            stood_in = _changed(value, _with_stand_ins)
        except _Ambiguous:
            raise error from None
        try:
            return cast("T", _changed(validate(stood_in), _without_stand_ins))
        except ValidationError:
            # The first one has the value as it came.
            raise error from None


def dumped(model: BaseModel, mode: Literal["json", "python"] = "json") -> dict[str, Any]:
    """The members of a class that were set, under their wire names; also those whose names hold a half.

    Args:
        model: An instance of the class.
        mode: As for `model_dump`.
    """
    try:
        return model.model_dump(mode=mode, by_alias=True, exclude_unset=True)
    except UnicodeEncodeError as error:
        try:
            stood_in: BaseModel = _changed(model.model_copy(deep=True), _with_stand_ins)
        except _Ambiguous:
            raise error from None
    members = stood_in.model_dump(mode=mode, by_alias=True, exclude_unset=True)
    return cast("dict[str, Any]", _changed(members, _without_stand_ins))


def half_in(value: object, place: str) -> str | None:
    """Says where a value holds half of a surrogate pair, so that it cannot be sent; None if it does not.

    Args:
        value: A JSON value, a class of the contract, or anything else, which holds none.
        place: What the value is called.
    """
    if isinstance(value, str):
        # Nearly every text is plain, and says so at once.
        if value.isascii() or (found := _HALF.search(value)) is None:
            return None
        return f"{place} holds half of a surrogate pair (U+{ord(found[0]):04X}) at position {found.start()}"
    if isinstance(value, BaseModel):
        value = dumped(value, "python")
    if isinstance(value, Mapping):
        for name, one in cast("Mapping[object, object]", value).items():
            found_at = half_in(name, f"a name in {place}") or half_in(one, f"{place}.{name}")
            if found_at is not None:
                return found_at
    elif isinstance(value, list | tuple):
        for number, one in enumerate(cast("list[object]", value)):
            if (found_at := half_in(one, f"{place}.{number}")) is not None:
                return found_at
    return None


class _Ambiguous(Exception):
    """The value holds characters that stand in for others."""


def _with_stand_ins(text: str) -> str:
    if text.isascii():
        return text
    if _STAND_IN.search(text):
        raise _Ambiguous
    return _HALF.sub(lambda found: chr(ord(found[0]) + _SHIFT), text)


def _without_stand_ins(text: str) -> str:
    return text if text.isascii() else _STAND_IN.sub(lambda found: chr(ord(found[0]) - _SHIFT), text)


def _changed(value: Any, change: Callable[[str], str]) -> Any:
    """A value with all its texts changed; classes of the contract in place."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, list):
        return [_changed(one, change) for one in cast("list[object]", value)]
    if isinstance(value, dict):
        members = cast("dict[Any, object]", value)
        return {_changed(name, change): _changed(one, change) for name, one in members.items()}
    if isinstance(value, BaseModel):
        # They are frozen, for users.
        for name in ("__dict__", "__pydantic_extra__"):
            object.__setattr__(value, name, _changed(getattr(value, name), change))
        object.__setattr__(value, "__pydantic_fields_set__", set(map(change, value.model_fields_set)))
    return value
