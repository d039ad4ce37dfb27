"""Small facts of schemas as they stand in Python source: limits, patterns, names, values."""

import keyword
import math
import re
import sys
import unicodedata
from ast import literal_eval
from collections.abc import Iterable
from fractions import Fraction
from typing import Literal

from pydantic_core import SchemaError, SchemaValidator, core_schema

from ._documents import JsonObject, JsonValue, text_of
from ._names import pascal, snake

ORDER = ("object", "array", "string", "integer", "number", "boolean", "null")
"""The types of JSON, in the order in which a union has them."""

_LONGEST_TITLE = 40


# --- limits


def bounds(schema: JsonObject, *, whole: bool) -> tuple[tuple[str, str], ...]:
    """The limits of a number as arguments of `Field`.

    Args:
        schema: The schema.
        whole: Whether the number is an integer.
    """
    found: list[tuple[str, str]] = []
    for key, name in (
        ("minimum", "ge"),
        ("exclusiveMinimum", "gt"),
        ("maximum", "le"),
        ("exclusiveMaximum", "lt"),
        ("multipleOf", "multiple_of"),
    ):
        limit = schema.get(key)
        if isinstance(limit, bool) or not isinstance(limit, int | float):
            continue
        if abs(limit) > sys.float_info.max and not (whole and isinstance(limit, int)):
            # No number here reaches it.
            continue
        if whole and isinstance(limit, float):
            if limit.is_integer():
                limit = int(limit)
            elif key == "multipleOf":
                # An integer is a multiple of 1.5, three halves, when it is one of 3; of 0.5 each is.
                limit = Fraction(repr(limit)).numerator
                if limit == 1:
                    continue
            elif key in ("minimum", "exclusiveMaximum"):
                limit = math.ceil(limit)
            else:
                limit = math.floor(limit)
        found.append((name, repr(limit)))
    return tuple(found)


def counts(schema: JsonObject, of: Literal["Length", "Items", "Properties"]) -> list[tuple[str, str]]:
    """The limits of a length as arguments of `Field`."""
    found: list[tuple[str, str]] = []
    for key, name in ((f"min{of}", "min_length"), (f"max{of}", "max_length")):
        limit = schema.get(key)
        if (
            isinstance(limit, int | float)
            and not isinstance(limit, bool)
            and (name != "min_length" or limit > 0)
        ):
            found.append((name, str(int(limit))))
    return found


def within(value: JsonValue, limits: Iterable[tuple[str, str]]) -> bool:
    """Whether a value keeps the limits of its type, which are arguments of `Field`."""
    for name, text in limits:
        limit = literal_eval(text)
        if isinstance(value, str | list | dict):
            if (name == "min_length" and len(value) < limit) or (name == "max_length" and len(value) > limit):
                return False
            if name == "pattern" and isinstance(value, str) and not _is_found(limit, value):
                return False
        elif isinstance(value, int | float):
            kept = {"ge": value >= limit, "gt": value > limit, "le": value <= limit, "lt": value < limit}
            if name == "multiple_of" and (Fraction(repr(value)) / Fraction(repr(limit))).denominator != 1:
                return False
            if not kept.get(name, True):
                return False
    return True


def _is_found(pattern: str, value: str) -> bool:
    own = python_pattern(pattern)
    return own is None or re.search(own, value) is not None


# --- patterns


def rust_takes(pattern: str) -> bool:
    """Whether the engine that pydantic has by itself understands a pattern."""
    try:
        SchemaValidator(core_schema.str_schema(pattern=pattern))
    except (SchemaError, OverflowError):
        return False
    return True


def python_pattern(pattern: str) -> str | None:
    """A pattern as Python's engine has it; None if it understands it in no way."""
    # In Python `$` also stands before a line break at the end; in the standard it does not.
    own = re.sub(r"(\\.|\[(?:\\.|[^\]\\])*\])|\$", lambda found: found[1] or r"\Z", pattern, flags=re.DOTALL)
    try:
        re.compile(own)
    except (re.error, OverflowError, RecursionError):
        return None
    return own


# --- names


_RESERVED = frozenset(
    {
        *(
            "construct",
            "copy",
            "dict",
            "from_orm",
            "from_wire",
            "json",
            "parse_file",
            "parse_obj",
            "parse_raw",
        ),
        *("reader", "schema", "schema_json", "to_wire", "update_forward_refs", "validate"),
        *("model_computed_fields", "model_config", "model_construct", "model_copy", "model_dump"),
        *("model_dump_json", "model_extra", "model_fields", "model_fields_set", "model_json_schema"),
        *("model_parametrized_name", "model_post_init", "model_rebuild", "model_validate"),
        *("model_validate_json", "model_validate_strings"),
        # Annotations that follow need these.
        *("bool", "dict", "float", "int", "list", "models", "str", "tuple"),
    }
)


def attribute_of(name: str) -> str:
    """A member's name in Python."""
    found = unicodedata.normalize("NFKC", snake(name))
    if found.startswith("_"):
        found = f"field{found}" if found.strip("_") else "field_"
    elif name.startswith("_"):
        found = f"field_{found}"
    if keyword.iskeyword(found) or found in _RESERVED:
        found += "_"
    return found


def label_of(schema: JsonObject) -> str:
    """What a branch calls itself: by its title, if that is short."""
    title = text_of(schema, "title")
    return pascal(title) if title and len(title) <= _LONGEST_TITLE and len(title.split()) <= 4 else ""


def literal_label(schema: JsonObject) -> str:
    """What a branch is called by the one member that it fixes."""
    properties = schema.get("properties")
    fixed: list[str] = []
    for member in properties.values() if isinstance(properties, dict) else ():
        if not isinstance(member, dict):
            continue
        listed = [member["const"]] if "const" in member else member.get("enum")
        if isinstance(listed, list) and len(listed) == 1 and isinstance(listed[0], str):
            fixed.append(listed[0])
    if not fixed or len(fixed[0]) > _LONGEST_TITLE or not re.search(r"\w", fixed[0]):
        return ""
    return pascal(f"x{fixed[0]}")[1:] if fixed[0][0].isdigit() else pascal(fixed[0])


def numbered(labels: Iterable[str]) -> list[str]:
    """Labels of which no two are alike: those that are missing or stand twice are numbers."""
    listed = list(labels)
    return [
        label if label and listed.count(label) == 1 else str(index)
        for index, label in enumerate(listed, start=1)
    ]


# --- values


def source_of(value: JsonValue) -> str:
    """A JSON value as Python source."""
    match value:
        case float() if math.isinf(value) or math.isnan(value):
            return f'float("{value}")'
        case list():
            return f"[{', '.join(map(source_of, value))}]"
        case dict():
            return f"{{{', '.join(f'{name!r}: {source_of(one)}' for name, one in value.items())}}}"
        case _:
            return repr(value)
