"""What schemas of several dialects have in common, and unions of type expressions."""

from ._documents import JsonObject


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
