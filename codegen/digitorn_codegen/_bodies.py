"""Reads request bodies: which media they have, and whether their members become arguments."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from . import _ir as ir
from ._definitions import Definitions
from ._documents import Document, JsonObject, Target, escape, text_of
from ._errors import ContractError
from ._media import base, is_json, is_pattern, media, offered, on_the_wire, preferred, types_of
from ._names import free_argument, pascal
from ._parameters import description, field_style
from ._types import is_binary, union

_CONDITIONAL = ("then", "else", "dependentSchemas")
_FORMS: tuple[ir.Media, ...] = ("form", "multipart")


@dataclass
class _Members:
    """The members of an object schema.

    Attributes:
        found: Where each stands; several places if several parts of an `allOf` describe it.
        required: Those that it requires.
        extra: Schemas of the members that it does not name.
        is_nullable: Whether null may stand for the object.
    """

    found: dict[str, list[Target]] = field(default_factory=dict[str, list[Target]])
    required: set[str] = field(default_factory=set[str])
    extra: list[Target] = field(default_factory=list[Target])
    is_nullable: bool = False

    def take(self, other: "_Members") -> None:
        """Adds what another part brings."""
        for name, places in other.found.items():
            self.found.setdefault(name, []).extend(places)
        self.required |= other.required
        self.extra += other.extra


@dataclass(frozen=True)
class _Chosen:
    """The media that a body is offered in.

    Attributes:
        place: The body.
        media_type: The one that is used by default.
        media: How that is written.
        entry: What the document says of it.
        others: Those that the caller can choose instead.
        schemas: Every schema of those, with the place of each.
    """

    place: Target
    media_type: str
    media: ir.Media
    entry: JsonObject
    others: dict[str, ir.Media]
    schemas: tuple[Target, ...]

    @property
    def writings(self) -> set[ir.Media]:
        """How the body may have to be written."""
        return {self.media, *self.others.values()}


@dataclass(frozen=True)
class BodyReader:
    """Reads request bodies.

    Attributes:
        definitions: Where their schemas go.
        api_is_3_0: Whether the OpenAPI document has the schema dialect of 3.0.
    """

    definitions: Definitions
    api_is_3_0: bool

    def read(self, place: Target, id_: str, taken: set[str]) -> ir.Body | None:
        """The body of an operation; None if it has none.

        Args:
            place: Where it stands; it may be a reference.
            id_: The operation.
            taken: Arguments of the operation; gets those of the body.

        Raises:
            ContractError: It is made of itself.
        """
        if not isinstance(place.value, dict):
            return None
        place = self.definitions.documents.follow(place.document, place.pointer, place.value)
        chosen = self._chosen(place)
        if chosen is None:
            return None
        required = place.value_object.get("required") is True
        wire = on_the_wire(chosen.media_type, chosen.media)
        whole, extra, fields = None, None, list[ir.BodyField]()
        if chosen.media in ("binary", "text"):
            whole = "bytes" if chosen.media == "binary" else "str"
        elif (members := self._members(chosen)) is None:
            hint = f"{pascal(id_)}Body"
            whole = union(
                [
                    self.definitions.type_of(at.document, at.pointer, at.value, hint, "request")
                    for at in chosen.schemas
                ]
            )
        else:
            extra = self._extra(members, id_)
            # Only a body that is passed whole, or has more members, has these arguments.
            taken -= {"body", "extra_body"} if extra is None else {"body"}
            fields = [self._field(chosen, members, name, id_, taken) for name in members.found]
            fields.sort(key=lambda member: not member.required)
        # A member of that name comes first.
        chooser = free_argument("content_type", "header", taken)
        return ir.Body(chosen.media, wire, tuple(fields), whole, required, extra, chosen.others, chooser)

    # --- media

    def _chosen(self, place: Target) -> _Chosen | None:
        content = offered(place.value_object)
        name = preferred(content)
        if name is None:
            return None
        first, written = content[name], media(name, content[name])
        self._check_use(place, name, first, written)
        others: dict[str, ir.Media] = {}
        schemas = [_schema_of(place, name, first)]
        for other, entry in content.items():
            if other == name:
                continue
            its = media(other, entry)
            alike = entry.get("schema") == first.get("schema")
            if is_pattern(other) and (alike or "schema" not in entry):
                continue
            if not is_pattern(other) and self._can_be_chosen(schemas[0], (written, first), (its, entry)):
                others[other] = its
                if not alike and its == "json":
                    schemas.append(_schema_of(place, other, entry))
            else:
                at = f"{place.pointer}/content/{escape(other)}"
                self._warn("media-ignored", place.document, at, f"bodies are sent as {name}, not as {other}")
        return _Chosen(place, name, written, first, others, tuple(schemas))

    def _can_be_chosen(
        self, schema: Target, first: tuple[ir.Media, JsonObject], other: tuple[ir.Media, JsonObject]
    ) -> bool:
        """Whether the arguments for one medium do for another."""
        kinds = {first[0], other[0]}
        if len(kinds) == 1 and kinds <= {"json", "binary", "text"}:
            return True
        if first[1].get("schema") != other[1].get("schema") or not kinds <= {"json", *_FORMS}:
            return False
        members = self._flatten(schema, (), merges=False)
        if members is None or not members.found:
            return False
        encodings = [entry.get("encoding") for kind, entry in (first, other) if kind in _FORMS]
        has_files = any(self._file(at) for places in members.found.values() for at in places)
        return all(one == encodings[0] for one in encodings) and (not has_files or kinds == {"multipart"})

    def _check_use(self, place: Target, name: str, entry: JsonObject, written: ir.Media) -> None:
        key = "itemSchema" if "itemSchema" in entry else "schema"
        schema = entry.get(key)
        if written not in ("binary", "text") or not isinstance(schema, dict) or not schema:
            return
        at = f"{place.pointer}/content/{escape(name)}"
        followed = self.definitions.documents.follow(place.document, f"{at}/{key}", schema).value_object
        if not is_binary(followed) and "string" not in types_of(followed):
            kind = "bytes" if written == "binary" else "text"
            self._warn("schema-unused", place.document, at, f"{name} is passed as {kind}, without its schema")

    # --- members

    def _members(self, chosen: _Chosen) -> _Members | None:
        """The members that become arguments; None if the body is passed whole."""
        schema, *others = chosen.schemas
        if others:
            return None
        merges = chosen.media in _FORMS
        found = self._flatten(schema, (), merges=merges)
        if found is None or not found.found:
            if merges:
                text = f"{chosen.media_type} has no object; it is passed whole"
                self._warn("form-without-members", schema.document, schema.pointer, text)
            return None
        if found.is_nullable and not merges:
            return None
        for name in sorted(found.required - found.found.keys()):
            found.found[name] = [Target(schema.document, schema.pointer, {})]
        for name in [name for name, places in found.found.items() if any(map(self._is_read_only, places))]:
            del found.found[name]
        return found

    def _flatten(self, at: Target, above: tuple[str, ...], *, merges: bool) -> _Members | None:
        """The members of an object schema, with those of its parts; None if it is no plain object.

        Args:
            at: The schema.
            above: The places that lead to it.
            merges: Whether the members of all branches of a union count.
        """
        if at.value is True:
            return _Members()
        if not isinstance(at.value, dict):
            return None
        schema, members = at.value, _Members()
        if isinstance(ref := schema.get("$ref"), str):
            target = self.definitions.documents.resolve(at.document, at.pointer, ref)
            here = f"{target.document.path}#{target.pointer}"
            if here in above:
                raise ContractError(at.document.path, at.pointer, "refers to itself")
            found = self._flatten(target, (*above, here), merges=merges)
            if found is None:
                return None
            members.take(found)
            members.is_nullable = found.is_nullable
            if self._is_3_0(at.document):
                return members
        if "object" not in (kinds := types_of(schema)) and kinds != [None]:
            return None
        branches = self._branches(at, above, merges=merges)
        if branches is None:
            return None
        parts: list[_Members] = []
        for part in _below(at, "allOf"):
            found = self._flatten(part, above, merges=merges)
            if found is None:
                return None
            parts.append(found)
        for other in (*parts, branches):
            members.take(other)
        says_null = "null" in kinds or (schema.get("nullable") is True and self._is_3_0(at.document))
        inherits_null = members.is_nullable or branches.is_nullable
        inherits_null = inherits_null or (bool(parts) and all(one.is_nullable for one in parts))
        members.is_nullable = says_null or (kinds == [None] and inherits_null)
        members.take(_own_members(at))
        return members

    def _branches(self, at: Target, above: tuple[str, ...], *, merges: bool) -> _Members | None:
        """The members that the branches of a union bring; None if they are no arguments."""
        merged, schema = _Members(), at.value_object
        for key in ("oneOf", "anyOf", *_CONDITIONAL):
            if key not in schema:
                continue
            listed = list(_below(at, key))
            real = [one for one in listed if one.value != {"type": "null"}]
            is_union = len(real) > 1 or key in _CONDITIONAL
            if not real or (is_union and not merges):
                return None
            found = [self._flatten(one, above, merges=merges) for one in real]
            flat = [one for one in found if one is not None]
            if len(flat) < len(found):
                return None
            for one in flat:
                merged.take(_Members(one.found, set(), one.extra))
            if is_union:
                text = "the members of all branches are arguments; whether they fit one is not checked"
                self._warn("merged-branches", at.document, f"{at.pointer}/{key}", text)
            if key not in _CONDITIONAL:
                merged.required |= set[str].intersection(*(one.required for one in flat))
                has_null = len(real) < len(listed) or any(one.is_nullable for one in flat)
                merged.is_nullable = merged.is_nullable or has_null
        return merged

    def _is_read_only(self, at: Target) -> bool:
        schema = at.value
        if not isinstance(schema, dict):
            return False
        if isinstance(ref := schema.get("$ref"), str):
            target = self.definitions.documents.resolve(at.document, at.pointer, ref)
            # A member can be of the class that it stands in; what is read-only says so at once.
            followed = self.definitions.documents.follow(at.document, at.pointer, schema)
            if target.value_object.get("readOnly") is True or followed.value_object.get("readOnly") is True:
                return True
            if self._is_3_0(at.document):
                return False
        return schema.get("readOnly") is True or any(self._is_read_only(one) for one in _below(at, "allOf"))

    def _is_3_0(self, document: Document) -> bool:
        own = text_of(document.root, "openapi")
        return own.startswith("3.0") if own else self.api_is_3_0

    def _extra(self, members: _Members, id_: str) -> str | None:
        """The type of the members that a body does not name; None if it has no place for any."""
        if not members.extra:
            return None
        types = [
            self.definitions.type_of(at.document, at.pointer, at.value, f"{pascal(id_)}BodyValue", "request")
            for at in members.extra
        ]
        return "object" if "Any" in types else union(types)

    # --- arguments

    def _field(
        self, chosen: _Chosen, members: _Members, name: str, id_: str, taken: set[str]
    ) -> ir.BodyField:
        argument = free_argument(name, "body", taken)
        taken.add(argument)
        places = members.found[name]
        file = next(filter(None, map(self._file, places)), None) if chosen.writings == {"multipart"} else None
        encoding = self._encoding(chosen, name)
        return ir.BodyField(
            name=name,
            argument=argument,
            type=file or self._type(places, f"{pascal(id_)}{pascal(name)}"),
            required=name in members.required,
            description=next((text for at in reversed(places) if (text := description(at.value))), ""),
            is_file=file is not None,
            style=field_style(encoding),
            reserved=encoding.get("allowReserved") is True,
            content_type=self._part_type(chosen, places, name, encoding)
            if "multipart" in chosen.writings
            else None,
        )

    def _type(self, places: list[Target], hint: str) -> str:
        """The type of a member, from the last part of the object that tells one."""
        for at in reversed(places):
            found = self.definitions.type_of(at.document, at.pointer, at.value, hint, "request")
            if found != "Any":
                return found
        return "Any"

    def _encoding(self, chosen: _Chosen, name: str) -> JsonObject:
        """What the document says of the writing of one member of a form."""
        for media_type, entry in offered(chosen.place.value_object).items():
            encoding = entry.get("encoding")
            is_form = (
                chosen.media if media_type == chosen.media_type else chosen.others.get(media_type)
            ) in _FORMS
            found = encoding.get(name) if isinstance(encoding, dict) else None
            if is_form and isinstance(found, dict):
                if "headers" in found:
                    at = (
                        f"{chosen.place.pointer}/content/{escape(media_type)}/encoding/{escape(name)}/headers"
                    )
                    self._warn("part-headers-ignored", chosen.place.document, at, "they are not sent")
                return found
        return {}

    def _part_type(
        self, chosen: _Chosen, places: list[Target], name: str, encoding: JsonObject
    ) -> str | None:
        """The content type of a part; None if it follows from its value."""
        followed = [
            self.definitions.documents.follow(at.document, at.pointer, at.value).value_object
            for at in places
            if isinstance(at.value, dict)
        ]
        named = text_of(encoding, "contentType")
        if named and not is_json(named) and any("object" in types_of(one) for one in followed):
            at = f"{chosen.place.pointer}/content/{escape(chosen.media_type)}/encoding/{escape(name)}"
            text = f"objects are written as JSON, not as {base(named)}"
            self._warn("part-type-ignored", chosen.place.document, f"{at}/contentType", text)
            return None
        # Bytes of no particular type: the name of the file tells more.
        stated = (text_of(one, "contentMediaType") for one in followed)
        return named or next((t for t in stated if t not in ("", "application/octet-stream")), None)

    def _file(self, at: Target) -> str | None:
        """The type of a member that is a file or several; None if it is no file."""
        if not isinstance(at.value, dict):
            return None
        target = self.definitions.documents.follow(at.document, at.pointer, at.value)
        schema = target.value_object
        nullable = schema.get("nullable") is True or "null" in types_of(schema)
        if is_binary(schema):
            return "FileContent | None" if nullable else "FileContent"
        if "array" in types_of(schema):
            one = self._file(Target(target.document, f"{target.pointer}/items", schema.get("items")))
            return (f"list[{one}] | None" if nullable else f"list[{one}]") if one else None
        for key in ("anyOf", "oneOf", "allOf"):
            types = ["None" if b.value == {"type": "null"} else self._file(b) for b in _below(target, key)]
            files = [type_ for type_ in types if type_ is not None]
            if files and len(files) == len(types) and files != ["None"]:
                return union(files)
            if any("FileContent" in type_ for type_ in files):
                text = "may be a file or something else; it is no upload here"
                self._warn("file-or-value", target.document, target.pointer, text)
        return None

    def _warn(self, name: str, document: Document, pointer: str, text: str) -> None:
        self.definitions.warn(name, document.path, pointer, text)


def _schema_of(place: Target, media_type: str, entry: JsonObject) -> Target:
    at = f"{place.pointer}/content/{escape(media_type)}/schema"
    return Target(place.document, at, entry.get("schema", {}))


def _below(at: Target, key: str) -> Iterator[Target]:
    """The schemas in a keyword: those of a list or a table, or the one."""
    found = at.value_object.get(key)
    if isinstance(found, list):
        for index, one in enumerate(found):
            yield Target(at.document, f"{at.pointer}/{key}/{index}", one)
    elif isinstance(found, Mapping) and key == "dependentSchemas":
        for name, one in found.items():
            yield Target(at.document, f"{at.pointer}/{key}/{escape(name)}", one)
    elif found is not None:
        yield Target(at.document, f"{at.pointer}/{key}", found)


def _own_members(at: Target) -> _Members:
    """The members that a schema itself describes."""
    schema, members = at.value_object, _Members()
    properties = schema.get("properties")
    for name, one in properties.items() if isinstance(properties, dict) else ():
        if one is not False:
            pointer = f"{at.pointer}/properties/{escape(name)}"
            members.found[name] = [Target(at.document, pointer, one)]
    required = schema.get("required")
    members.required |= {str(name) for name in required} if isinstance(required, list) else set()
    for key in ("additionalProperties", "unevaluatedProperties"):
        if key in schema and schema[key] is not False:
            members.extra.append(Target(at.document, f"{at.pointer}/{key}", schema[key]))
    patterns = schema.get("patternProperties")
    for pattern, one in patterns.items() if isinstance(patterns, dict) else ():
        if one is not False:
            pointer = f"{at.pointer}/patternProperties/{escape(pattern)}"
            members.extra.append(Target(at.document, pointer, one))
    return members
