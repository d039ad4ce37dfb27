"""Tells the types of a union apart."""

from ._definitions import REF
from ._documents import JsonObject, text_of, unescape
from ._parts import Core
from ._shapes import NULL, Alias, Choice, Named, OneOf, Place, Scalar, Shape, union


class Tags:
    """Reads discriminators.

    Args:
        core: The compiler.
    """

    def __init__(self, core: Core) -> None:
        self._core = core

    def told_apart(
        self, shapes: list[Shape], sources: list[frozenset[str]], schema: JsonObject, place: Place
    ) -> Shape:
        """One of several shapes, told apart by the discriminator of their schema, if it has one."""
        found = union(shapes)
        value = schema.get("discriminator")
        if not isinstance(value, dict) or not isinstance(found, OneOf):
            return found
        at = place[0], f"{place[1]}/discriminator"
        name = text_of(value, "propertyName")
        options = [one for one in found.options if one != NULL]
        by_shape: dict[Shape, frozenset[str]] = {}
        for one, source in zip(shapes, sources, strict=True):
            by_shape[one] = by_shape.get(one, frozenset()) | source
        mapping = value.get("mapping")
        tags: dict[str, int] = {}
        for index, option in enumerate(options):
            if not isinstance(option, Named) or not name:
                text = "a member has no name" if name else "the members are not told apart by it"
                self._core.warn("discriminator-dropped", at, text)
                return found
            own = self._own_tags(option.key, name)
            if own is None:
                text = f"{option.key.partition('.')[2]} has no text {name!r}"
                self._core.warn("discriminator-dropped", at, text)
                return found
            listed = mapping if isinstance(mapping, dict) else {}
            keys = by_shape.get(option, frozenset()) | {option.key}
            mapped = {tag for tag, to in listed.items() if str(to).removeprefix(REF) in keys}
            for tag in sorted(own or mapped or {self._component(key) for key in keys}):
                if tags.setdefault(tag, index) != index:
                    text = "two members have one tag; they are told apart by their other members"
                    self._core.warn("discriminator-dropped", at, text)
                    return found
        tagged = OneOf(tuple(options), name, tuple(tags.items()))
        return OneOf((tagged, NULL)) if NULL in found.options else tagged

    def _component(self, key: str) -> str:
        """What the contract calls a definition."""
        pointer = self._core.definitions.origins[key][1] if key in self._core.definitions.origins else ""
        return unescape(pointer.rpartition("/")[2]) or key.partition(".")[2]

    def _own_tags(self, key: str, name: str) -> set[str] | None:
        """The texts that a class gives its tag, empty when it may be any text; None without a tag."""
        made = self._core.shapes.made.get(key) or self._core.make(key)
        if made is None:
            return set()
        if isinstance(made, Alias):
            return self._own_tags(made.shape.key, name) if isinstance(made.shape, Named) else None
        member = next((one for one in self._core.shapes.members_of(key) if one.name == name), None)
        if member is None:
            return set() if made.others is not None else None
        shape = member.shape
        while isinstance(shape, Named):
            alias = self._core.make(shape.key)
            if not isinstance(alias, Alias):
                return set() if alias is None else None
            shape = alias.shape
        if isinstance(shape, Choice):
            texts = {value for value in shape.values if isinstance(value, str)}
            return texts if len(texts) == len(shape.values) else None
        return set() if isinstance(shape, Scalar) and shape.kind == "str" else None
