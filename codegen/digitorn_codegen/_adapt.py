"""Changes of definitions that Python classes need and the wire does not; losses are reported as warnings."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from jsonschema_rs import Draft202012Validator, ReferencingError, Registry
from pydantic_core import SchemaError, SchemaValidator, core_schema

from . import _ir as ir
from ._definitions import REF, Definitions
from ._documents import JsonObject, JsonValue, encodable, escape, text_of, walk
from ._errors import ContractError


def adapt(definitions: Definitions) -> None:
    """Adapts every definition in place.

    Raises:
        ContractError: A definition is made of itself.
    """
    _check_circles(definitions)
    _drop_patterns(definitions)
    _Defaults(definitions).drop()
    _Tags(definitions).settle()
    _Overrides(definitions).flatten()


def _warn(definitions: Definitions, name: str, key: str, pointer: str, text: str) -> None:
    file, at = definitions.origins[key]
    definitions.warn(name, file, at + pointer, text)


def _schemas(definitions: Definitions) -> Iterator[tuple[str, str, JsonObject]]:
    """Every schema of every definition: the definition's key, the pointer into it, and the schema."""
    for key, definition in definitions.found.items():
        for pointer, schema in walk(definition.schema):
            yield key, pointer, schema


# --- circles


def _check_circles(definitions: Definitions) -> None:
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


# --- patterns


def _drop_patterns(definitions: Definitions) -> None:
    for key, pointer, schema in _schemas(definitions):
        pattern = schema.get("pattern")
        if isinstance(pattern, str) and not _compiles(pattern):
            del schema["pattern"]
            text = f"{pattern!r} is no regular expression here; the text is not checked"
            _warn(definitions, "pattern-dropped", key, f"{pointer}/pattern", text)


def _compiles(pattern: str) -> bool:
    try:
        if re.search(r"\(\?<?[=!]", pattern):
            # Classes with such a pattern get Python's engine, which can look around.
            re.compile(pattern)
        else:
            SchemaValidator(core_schema.str_schema(pattern=pattern))
    except (re.error, SchemaError, OverflowError):
        return False
    return True


# --- defaults


@dataclass
class _Defaults:
    """Leaves out defaults that do not fit their schema, and those that only a class could hold."""

    definitions: Definitions

    def drop(self) -> None:
        found: list[tuple[str, str, JsonObject]] = [
            (key, pointer, schema)
            for key, pointer, schema in _schemas(self.definitions)
            if "default" in schema
        ]
        if not found:
            return
        schemas: JsonObject = {key: definition.schema for key, definition in self.definitions.found.items()}
        contract: JsonObject = {"components": {"schemas": schemas}}
        registry = Registry([("urn:contract", encodable(contract))])
        for key, pointer, schema in found:
            here = f"urn:contract{REF}{escape(key)}{pointer}"
            if text := self._fault(schema, here, registry):
                del schema["default"]
                _warn(self.definitions, "default-dropped", key, f"{pointer}/default", text)

    def _fault(self, schema: JsonObject, here: str, registry: Registry) -> str:
        default = schema["default"]
        if isinstance(default, float) and schema.get("type") == "integer":
            return f"{default!r} is no integer in Python"
        if _has_object(default) and not _is_plain_object(schema):
            return "an object is no default of a class"
        # A percent sign or a blank would not survive in a reference.
        fragment = re.sub(
            r"[^A-Za-z0-9/~._$-]", lambda c: "".join(f"%{b:02X}" for b in c[0].encode()), here[13:]
        )
        try:
            validator = Draft202012Validator({"$ref": f"urn:contract#{fragment}"}, registry=registry)
            error = next(validator.iter_errors(encodable(default)), None)
        except (ReferencingError, ValueError):
            return "it cannot be checked"
        return f"it does not fit: {error.message[:120]}" if error is not None else ""


def _has_object(value: JsonValue) -> bool:
    return isinstance(value, dict) or (isinstance(value, list) and any(_has_object(one) for one in value))


def _is_plain_object(schema: JsonObject) -> bool:
    """Whether a schema becomes a dict of anything."""
    known = {"type", "default", "description", "title", "additionalProperties", "example", "examples"}
    return (
        schema.get("type") == "object"
        and set(schema) <= known
        and schema.get("additionalProperties", True) in (True, {})
    )


# --- discriminators


@dataclass
class _Union:
    key: str
    pointer: str
    schema: JsonObject
    property: str
    branches: list[str]
    tags: dict[str, set[str]]


class _Tags:
    """Gives the members of a union the tags that tell them apart, as literal types.

    The tag comes from the member itself, otherwise from the mapping, otherwise from the component's name.
    """

    def __init__(self, definitions: Definitions) -> None:
        self.definitions = definitions
        self._names = {
            key: pointer.rpartition("/")[2].replace("~1", "/").replace("~0", "~")
            for key, (_, pointer) in definitions.origins.items()
        }

    def settle(self) -> None:
        """Settles every discriminator, or leaves it out."""
        unions: list[_Union] = []
        for key, pointer, schema in list(_schemas(self.definitions)):
            if "discriminator" not in schema:
                continue
            found = self._union(key, pointer, schema)
            if isinstance(found, _Union):
                unions.append(found)
            else:
                del schema["discriminator"]
                if found:
                    _warn(self.definitions, "discriminator-dropped", key, f"{pointer}/discriminator", found)
        wanted: dict[tuple[str, str], set[str]] = {}
        for union in unions:
            for branch, tags in union.tags.items():
                wanted.setdefault((branch, union.property), set()).update(tags)
        for union in unions:
            self._apply(union, wanted)

    def _union(self, key: str, pointer: str, schema: JsonObject) -> _Union | str:
        """The union, or why it can have no tags; empty when there is no union to tag."""
        value = schema["discriminator"]
        branches = schema.get("oneOf") or schema.get("anyOf")
        if not isinstance(branches, list):
            # On a base class it says how to find subclasses, which no type here depends on.
            return ""
        name = text_of(value, "propertyName") if isinstance(value, dict) else ""
        real = [branch for branch in branches if branch != {"type": "null"}]
        keys = [text_of(b, "$ref").removeprefix(REF) if isinstance(b, dict) else "" for b in real]
        if not name or len(keys) < 2 or len(set(keys)) < len(keys):
            return "the members are not told apart by it"
        mapping = value.get("mapping") if isinstance(value, dict) else None
        tags: dict[str, set[str]] = {}
        for branch in keys:
            if branch not in self.definitions.found:
                return "a member has no name"
            own = self._own(branch, name)
            if own is None:
                return f"{self.definitions.found[branch].name} has no text {name!r}"
            listed = mapping if isinstance(mapping, dict) else {}
            tags[branch] = (
                own or {t for t, to in listed.items() if to == REF + branch} or {self._names[branch]}
            )
        return _Union(key, pointer, schema, name, keys, tags)

    def _own(self, key: str, name: str) -> set[str] | None:
        """The literals that a definition gives its tag, empty when it may be any text; None without a tag."""
        if not _is_object(self.definitions.found[key].schema):
            return None
        for owner in (key, *self.definitions.inherited(key)):
            member = _property(self.definitions.found[owner].schema, name)
            while (
                isinstance(member, dict)
                and text_of(member, "$ref").removeprefix(REF) in self.definitions.found
            ):
                member = self.definitions.found[text_of(member, "$ref").removeprefix(REF)].schema
            if not isinstance(member, dict):
                continue
            values = [member["const"]] if "const" in member else member.get("enum")
            if isinstance(values, list):
                texts = {value for value in values if isinstance(value, str)}
                return texts if len(texts) == len(values) else None
            return set() if member.get("type") == "string" else None
        return None

    def _apply(self, union: _Union, wanted: Mapping[tuple[str, str], set[str]]) -> None:
        tags = [tag for branch in union.branches for tag in wanted[branch, union.property]]
        if len(tags) != len(set(tags)):
            del union.schema["discriminator"]
            text = "two members have one tag; they are told apart by their other members"
            pointer = f"{union.pointer}/discriminator"
            _warn(self.definitions, "discriminator-dropped", union.key, pointer, text)
            return
        mapping: JsonObject = {}
        for branch in union.branches:
            names = sorted(wanted[branch, union.property])
            mapping.update(dict.fromkeys(names, REF + branch))
            self._tag(branch, union.property, names)
        union.schema["discriminator"] = {"propertyName": union.property, "mapping": mapping}

    def _tag(self, key: str, name: str, tags: list[str]) -> None:
        schema = self.definitions.found[key].schema
        properties = schema.setdefault("properties", {})
        required = schema.setdefault("required", [])
        if isinstance(properties, dict) and isinstance(required, list):
            old = properties.get(name)
            text = {"description": text_of(old, "description")} if isinstance(old, dict) else {}
            properties[name] = {
                "type": "string",
                "enum": list[JsonValue](tags),
                **{k: v for k, v in text.items() if v},
            }
            if name not in required:
                required.append(name)


def _is_object(schema: JsonObject) -> bool:
    return (
        "$ref" not in schema
        and ("properties" in schema or "allOf" in schema)
        and not ({"anyOf", "oneOf", "enum"} & set(schema))
    )


def _property(schema: JsonObject, name: str) -> JsonValue:
    """A member of an object schema or of its unnamed `allOf` parts."""
    properties, parts = schema.get("properties"), schema.get("allOf")
    if isinstance(properties, dict) and name in properties:
        return properties[name]
    for part in parts if isinstance(parts, list) else []:
        if isinstance(part, dict) and (found := _property(part, name)) is not None:
            return found
    return None


# --- overrides


@dataclass
class _Overrides:
    """Makes a class of its own out of one whose members its bases refuse to have changed so."""

    definitions: Definitions

    def flatten(self) -> None:
        for key in list(self.definitions.found):
            name = self._refused(key)
            if name is None:
                self._check_required(key)
                continue
            definition = self.definitions.found[key]
            merged = self._merged(definition.schema)
            self.definitions.found[key] = ir.Definition(definition.module, definition.name, merged)
            text = f"{name!r} is not what the base has; the class extends nothing and repeats its members"
            _warn(self.definitions, "override-flattened", key, "/allOf", text)

    def _refused(self, key: str) -> str | None:
        """A member that two bases, or a base and the class itself, type differently."""
        schema = self.definitions.found[key].schema
        seen: dict[str, JsonValue] = {}
        # As Python looks members up: the class, then its bases in their order.
        for members in (self._unnamed(schema), *self._bases(schema)):
            for name, member in members.items():
                if name not in seen:
                    seen[name] = member
                elif not self._narrows(seen[name], member):
                    return name
        return None

    def _check_required(self, key: str) -> None:
        """Warns of members that the class requires and a base does not: mypy takes that, pyright does not."""
        schema = self.definitions.found[key].schema
        inherited = {name for members in self._bases(schema) for name in members}
        optional = inherited - self._required(schema, inherited=True)
        for name in sorted(optional & self._required(schema)):
            text = f"{name!r} is optional in the base and required here, which pyright does not accept"
            _warn(self.definitions, "override-required", key, "/allOf", text)

    def _required(self, schema: JsonObject, *, inherited: bool = False) -> set[str]:
        """The members that a schema requires itself, or that its bases do."""
        listed = schema.get("required")
        own = listed if isinstance(listed, list) and not inherited else []
        found = {str(name) for name in own}
        parts = schema.get("allOf")
        for part in parts if isinstance(parts, list) else []:
            if not isinstance(part, dict):
                continue
            base = self.definitions.found.get(text_of(part, "$ref").removeprefix(REF))
            if base is None:
                found |= set[str]() if inherited else self._required(part)
            elif inherited:
                found |= self._required(base.schema) | self._required(base.schema, inherited=True)
        return found

    def _bases(self, schema: JsonObject) -> Iterator[JsonObject]:
        parts = schema.get("allOf")
        for part in parts if isinstance(parts, list) else []:
            key = text_of(part, "$ref").removeprefix(REF) if isinstance(part, dict) else ""
            if key in self.definitions.found:
                yield self._all(key)

    def _unnamed(self, schema: JsonObject) -> JsonObject:
        found: JsonObject = {}
        parts = schema.get("allOf")
        for part in parts if isinstance(parts, list) else []:
            if isinstance(part, dict) and "$ref" not in part:
                found.update(self._unnamed(part))
        properties = schema.get("properties")
        found.update(properties if isinstance(properties, dict) else {})
        return found

    def _all(self, key: str) -> JsonObject:
        """The members of a definition with those it inherits."""
        schema = self.definitions.found[key].schema
        found: JsonObject = {}
        for members in (self._unnamed(schema), *self._bases(schema)):
            for name, member in members.items():
                found.setdefault(name, member)
        return found

    def _narrows(self, new: JsonValue, old: JsonValue) -> bool:
        """Whether a member may be typed so where the base has it otherwise."""
        new, old = _bare(new), _bare(old)
        if new == old or not old or old is True:
            return True
        if not isinstance(new, dict) or not isinstance(old, dict):
            return False
        ref = text_of(new, "$ref").removeprefix(REF)
        if ref in self.definitions.found and set(new) == {"$ref"}:
            parent = text_of(old, "$ref").removeprefix(REF)
            return set(old) == {"$ref"} and parent in set(self.definitions.inherited(ref))
        plain = {"type", "enum", "const", "pattern", *_BOUNDS}
        if not (set(new) | set(old)) <= plain:
            return False
        kinds_new, kinds_old = _kinds(new), _kinds(old)
        if not kinds_new <= kinds_old and not (kinds_new == {"integer"} and kinds_old == {"number"}):
            return False
        values_new, values_old = _values(new), _values(old)
        return values_old is None or (values_new is not None and all(v in values_old for v in values_new))

    def _merged(self, schema: JsonObject) -> JsonObject:
        """An object schema with the members of its bases instead of references to them."""
        properties: JsonObject = {}
        required: dict[str, None] = {}
        rest = {k: v for k, v in schema.items() if k not in ("allOf", "properties", "required")}
        parts = schema.get("allOf")
        own = {"properties": schema.get("properties"), "required": schema.get("required")}
        for part in (*(parts if isinstance(parts, list) else []), own):
            if not isinstance(part, dict):
                continue
            key = text_of(part, "$ref").removeprefix(REF)
            source = (
                self._merged(self.definitions.found[key].schema) if key in self.definitions.found else part
            )
            source = self._merged(source) if "allOf" in source else source
            members, needed = source.get("properties"), source.get("required")
            for name, member in members.items() if isinstance(members, dict) else ():
                properties[name] = _joined(properties.get(name), member)
            required.update(dict.fromkeys(str(n) for n in needed) if isinstance(needed, list) else {})
            for word in ("additionalProperties", "description"):
                if word in source:
                    rest.setdefault(word, source[word])
        return {"type": "object", **rest, "properties": properties, "required": list[JsonValue](required)}


_BOUNDS = frozenset(
    {
        *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
        *("minLength", "maxLength", "format"),
    }
)
_ANNOTATIONS = frozenset(
    {
        *("description", "title", "default", "example", "examples", "deprecated", "readOnly", "writeOnly"),
        *("$comment", "externalDocs"),
    }
)


def _bare(schema: JsonValue) -> JsonValue:
    """A schema without what says nothing about its type."""
    if not isinstance(schema, dict):
        return schema
    found = {k: v for k, v in schema.items() if k not in _ANNOTATIONS and not k.startswith("x-")}
    parts = found.get("allOf")
    if isinstance(parts, list) and len(parts) == 1 and set(found) == {"allOf"}:
        return _bare(parts[0])
    return found


def _kinds(schema: JsonObject) -> set[str]:
    kind = schema.get("type")
    return {str(one) for one in kind} if isinstance(kind, list) else {str(kind)}


def _values(schema: JsonObject) -> list[JsonValue] | None:
    values = [schema["const"]] if "const" in schema else schema.get("enum")
    return values if isinstance(values, list) else None


def _joined(old: JsonValue, new: JsonValue) -> JsonValue:
    """What a member is when a part and a later part of `allOf` both describe it."""
    if not (isinstance(old, dict) and isinstance(new, dict) and "properties" in old and "properties" in new):
        return new if new not in ({}, True) else old
    found: JsonObject = {**old, **new}
    before, after = old["properties"], new["properties"]
    if isinstance(before, dict) and isinstance(after, dict):
        found["properties"] = {**before, **after}
    needed = [n for part in (old, new) if isinstance(listed := part.get("required"), list) for n in listed]
    found["required"] = list(dict.fromkeys(str(name) for name in needed))
    return found
