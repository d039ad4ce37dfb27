"""JSON Schemas as Python type expressions, for the arguments and results of stubs."""

from collections.abc import Callable

from ._documents import JsonObject, JsonValue

_SCALARS = {"string": "str", "integer": "int", "number": "float", "boolean": "bool", "null": "None"}
OPEN_OBJECT = "dict[str, Any]"

Name = Callable[[JsonObject, str], str]
"""Gives a schema that only a class can express a name, and answers that name; takes a hint."""


def is_binary(schema: JsonObject) -> bool:
    """Whether a schema stands for bytes: the 3.0 way (`format`) and the 3.1 way (`contentMediaType`)."""
    if schema.get("format") == "binary":
        return True
    return "contentMediaType" in schema and schema.get("contentEncoding") is None


def modern(schema: JsonObject) -> JsonObject:
    """A schema of OpenAPI 3.0, its parts already modern, as JSON Schema 2020-12 has it."""
    found = {key: value for key, value in schema.items() if key not in ("nullable", "example", "xml")}
    for bound in ("Minimum", "Maximum"):
        exclusive = found.get(f"exclusive{bound}")
        if isinstance(exclusive, bool):
            del found[f"exclusive{bound}"]
            limit = found.get(bound.lower())
            if exclusive and limit is not None:
                found[f"exclusive{bound}"] = found.pop(bound.lower())
    if schema.get("nullable") is not True:
        return found
    kind = found.get("type")
    if isinstance(kind, str):
        values = found.get("enum")
        if isinstance(values, list) and None not in values:
            found["enum"] = [*values, None]
        return {**found, "type": [kind, "null"]}
    return {"anyOf": [found, {"type": "null"}]} if found else found


def expression(schema: JsonValue, name: Name, hint: str) -> str:
    """The type of a schema whose references are already rewritten.

    Args:
        schema: A JSON Schema.
        name: Hoists what needs a class of its own.
        hint: What to call such a class.
    """
    if not isinstance(schema, dict) or not schema:
        return "Any"
    return _base(schema, name, hint)


def union(parts: list[str]) -> str:
    """The union of type expressions, each once, None last."""
    flat = list(dict.fromkeys(one for part in parts for one in _split(part)))
    if "Any" in flat:
        return "Any"
    return " | ".join([part for part in flat if part != "None"] + (["None"] if "None" in flat else []))


def _split(part: str) -> list[str]:
    depth, start, found = 0, 0, list[str]()
    for index, char in enumerate(part):
        depth += (char == "[") - (char == "]")
        if depth == 0 and part.startswith(" | ", index):
            found.append(part[start:index])
            start = index + 3
    return [*found, part[start:]]


def _base(schema: JsonObject, name: Name, hint: str) -> str:
    ref = schema.get("$ref")
    if isinstance(ref, str):
        # Generated modules are imported under private names: a parameter may be called `models`.
        return f"_{ref.rsplit('/', 1)[1]}"
    for key in ("oneOf", "anyOf"):
        branches = schema.get(key)
        if isinstance(branches, list) and branches and "properties" not in schema:
            return union([expression(b, name, f"{hint}{i or ''}") for i, b in enumerate(branches)])
    values = [schema["const"]] if "const" in schema else schema.get("enum")
    if isinstance(values, list) and values and all(isinstance(v, str | int | None) for v in values):
        literals = [repr(v) for v in values if v is not None]
        parts = [f"Literal[{', '.join(literals)}]"] if literals else []
        return union(parts + (["None"] if None in values else []))
    all_of = schema.get("allOf")
    if isinstance(all_of, list) and len(all_of) == 1 and "properties" not in schema:
        return expression(all_of[0], name, hint)
    kind = schema.get("type")
    if isinstance(kind, list):
        return union(
            ["None" if one == "null" else _base({**schema, "type": one}, name, hint) for one in kind]
        )
    if kind == "array":
        return f"list[{expression(schema.get('items'), name, f'{hint}Item')}]"
    if ("properties" in schema and kind in (None, "object")) or all_of:
        return name(schema, hint)
    if kind == "object":
        values_schema = schema.get("additionalProperties")
        if isinstance(values_schema, dict) and values_schema:
            return f"dict[str, {expression(values_schema, name, f'{hint}Value')}]"
        return OPEN_OBJECT
    return _SCALARS.get(str(kind), "Any")
