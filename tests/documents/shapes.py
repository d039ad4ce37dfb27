"""JSON values, and places in them."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias, cast
from urllib.parse import unquote

Json: TypeAlias = "None | bool | int | float | str | list[Json] | dict[str, Json]"
JsonObject: TypeAlias = dict[str, Json]


def read(path: Path) -> JsonObject:
    """A JSON file that holds an object."""
    return cast("JsonObject", json.loads(path.read_text(encoding="utf-8")))


def as_object(value: object) -> JsonObject:
    """A value if it is an object, else an empty one."""
    return cast("JsonObject", value) if isinstance(value, dict) else {}


def as_list(value: object) -> list[Json]:
    """A value if it is an array, else an empty one."""
    return cast("list[Json]", value) if isinstance(value, list) else []


def as_text(value: object) -> str:
    """A value if it is a text, else an empty one."""
    return value if isinstance(value, str) else ""


def escape(step: str) -> str:
    """A key as JSON pointers have it."""
    return step.replace("~", "~0").replace("/", "~1")


def at(root: Json, pointer: str) -> Json:
    """The value at a JSON pointer.

    Raises:
        LookupError: There is none.
    """
    value = root
    for step in pointer.split("/")[1:]:
        name = step.replace("~1", "/").replace("~0", "~")
        if isinstance(value, dict):
            # References are percent-encoded, as addresses are.
            value = value[name if name in value else unquote(name)]
        elif isinstance(value, list) and name.isdecimal():
            value = value[int(name)]
        else:
            raise LookupError(pointer)
    return value


def places(value: Json, pointer: str = "") -> Iterator[tuple[str, JsonObject]]:
    """Every object in a value, with its JSON pointer."""
    waiting = [(pointer, value)]
    while waiting:
        here, found = waiting.pop()
        if isinstance(found, dict):
            yield here, found
            waiting += [(f"{here}/{escape(key)}", member) for key, member in found.items()]
        elif isinstance(found, list):
            waiting += [(f"{here}/{index}", item) for index, item in enumerate(found)]


def same(one: object, other: object) -> bool:
    """Whether two values are the same JSON: 3.0 is 3, and true is not 1."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, dict) and isinstance(other, dict):
        left, right = cast("JsonObject", one), cast("JsonObject", other)
        return left.keys() == right.keys() and all(same(value, right[key]) for key, value in left.items())
    if isinstance(one, list) and isinstance(other, list):
        items, others = cast("list[Json]", one), cast("list[Json]", other)
        return len(items) == len(others) and all(map(same, items, others))
    return one == other


def short(value: object, longest: int = 200) -> str:
    """A value on one line, cut where it is long."""
    text = " ".join((value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)).split())
    return text if len(text) <= longest else text[: longest - 1] + "…"
