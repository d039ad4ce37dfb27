"""Refuses schemas that are made of themselves."""

from collections.abc import Iterator

from ._definitions import REF, Definitions
from ._documents import JsonValue, text_of
from ._errors import ContractError


def check(definitions: Definitions) -> None:
    """Refuses definitions that contain only themselves: `A` is all, any or one of `A`."""
    settled: set[str] = set()
    for start in definitions.found:
        # Depth first, without recursion: chains may be long.
        path: dict[str, Iterator[str]] = {}
        waiting = [] if start in settled else [start]
        while waiting or path:
            if waiting:
                key = waiting.pop()
                if key in path:
                    file, pointer = definitions.origins[key]
                    raise ContractError(file, pointer, "is made of itself: it refers to itself in a circle")
                if key in settled:
                    continue
                path[key] = iter(_parts(definitions.found[key].schema))
            last = next(reversed(path))
            following = next(path[last], None)
            if following is None:
                settled.add(last)
                del path[last]
            elif following in definitions.found:
                waiting.append(following)


def _parts(schema: JsonValue) -> Iterator[str]:
    """The keys of what a schema is made of, as opposed to what its members are."""
    if not isinstance(schema, dict):
        return
    ref = text_of(schema, "$ref")
    if ref:
        yield ref.removeprefix(REF)
    for name in ("allOf", "anyOf", "oneOf"):
        parts = schema.get(name)
        for part in parts if isinstance(parts, list) else []:
            yield from _parts(part)
