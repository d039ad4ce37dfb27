"""Makes inputs that nearly keep to the contract, and some that do not at all, from a seed."""

import json
import random
from collections.abc import Iterator
from typing import Any, Final, cast

_NASTY: Final[tuple[Any, ...]] = (
    None,
    True,
    False,
    0,
    -1,
    1,
    2**31,
    2**63,
    2**200,
    -(2**64),
    0.5,
    1e308,
    float("nan"),
    float("inf"),
    "",
    "0",
    "null",
    "completed",
    "turn",
    "\x00",
    "\ud800",
    "\u202e\U0001f600",
    "x" * 5000,
    "2026-01-02T03:04:05Z",
    "9999-99-99T99:99:99+99:99",
    [],
    [[]],
    {},
    {"": {}},
    [None] * 300,
)
# Deeper ones do not get past what reads JSON.
_DEPTHS: Final = (30, 60, 180)
_FEW_IDS: Final = (None, "ev-1", "ev-2", "ev-3")


class Mutator:
    """Changes JSON values at random places.

    Args:
        chance: Where its choices come from.
    """

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance

    def mutated(self, value: Any, most: int = 4) -> Any:
        """A copy with some changes; now and then with none, or something else altogether.

        Args:
            value: A JSON value.
            most: The most changes.
        """
        changed = _copy(value)
        for _ in range(self._chance.randint(0, most)):
            changed = self._changed(changed)
        return changed

    def enveloped(self, value: Any, session_id: str) -> Any:
        """A frame with an identity out of few, so that copies, gaps and late ones come about."""
        if not isinstance(value, dict):
            return value
        chance = self._chance
        frame = dict(cast("dict[str, Any]", value))
        if chance.random() < 0.9:
            frame["seq"] = chance.choice((chance.randint(1, 40), chance.randint(1, 40), 0, -1))
        if chance.random() < 0.5:
            frame["event_id"] = chance.choice(_FEW_IDS)
        if chance.random() < 0.8:
            frame["session_id"] = chance.choice((session_id, session_id, session_id, None, "other"))
        if chance.random() < 0.5:
            frame["correlation_id"] = chance.choice((None, "fp-1", "fp-2"))
        if chance.random() < 0.2:
            frame["op_id"] = chance.choice((None, "op-1", "op-2"))
            frame["op_parent_id"] = chance.choice((None, "op-1", "op-2"))
        return frame

    def text(self, value: Any) -> bytes:
        """A value as JSON text, which may be cut off or have bytes changed."""
        content = json.dumps(value, ensure_ascii=self._chance.random() < 0.5).encode(errors="surrogatepass")
        match self._chance.randint(0, 5):
            case 0:
                return content[: self._chance.randint(0, len(content))]
            case 1 if content:
                broken = bytearray(content)
                for _ in range(self._chance.randint(1, 3)):
                    broken[self._chance.randrange(len(broken))] = self._chance.randrange(256)
                return bytes(broken)
            case _:
                return content

    def _changed(self, value: Any) -> Any:
        places = list(_places(value))
        if not places or self._chance.random() < 0.02:
            return self._nasty()
        holder, key = self._chance.choice(places)
        match self._chance.randint(0, 6):
            case 0:
                del holder[key]
            case 1:
                other, at = self._chance.choice(places)
                holder[key] = _copy(other[at])
            case 2 if isinstance(holder, dict):
                cast("dict[str, Any]", holder)[str(key) + self._chance.choice(("", "_", "\x00"))] = _copy(
                    holder[key]
                )
            case 3:
                holder[key] = self._chance.choice(([holder[key]], {"data": holder[key]}, str(holder[key])))
            case _:
                holder[key] = self._nasty()
        return value

    def _nasty(self) -> Any:
        if self._chance.random() < 0.03:
            return _deep(self._chance.choice(_DEPTHS), self._chance.random() < 0.5)
        return _copy(self._chance.choice(_NASTY))


def _deep(depth: int, as_list: bool) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value] if as_list else {"a": value}
    return value


def _copy(value: Any) -> Any:
    """A copy of a JSON value, however deep it is."""
    top = [value]
    left: list[Any] = [top]
    while left:
        holder = left.pop()
        for key in _keys(holder):
            if isinstance(holder[key], dict | list):
                holder[key] = holder[key].copy()
                left.append(holder[key])
    return top[0]


def _keys(holder: Any) -> list[Any]:
    """The keys of an object, the places of a list."""
    if isinstance(holder, dict):
        return list(cast("dict[str, Any]", holder))
    return list(range(len(holder)))


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every holder in a value, with each of its keys; not of what is too deep to be of use."""
    left: list[tuple[Any, int]] = [(value, 0)]
    while left:
        holder, depth = left.pop()
        if not isinstance(holder, dict | list) or depth > 8:
            continue
        for key in _keys(holder)[:20]:
            yield holder, key
            left.append((cast("Any", holder)[key], depth + 1))
