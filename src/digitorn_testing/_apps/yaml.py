"""Writes YAML, so that the core does not need a YAML library."""

import json
import math
import re
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Final, cast

_PLAIN_KEY: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
_NOT_TEXT: Final = {"y", "n", "yes", "no", "on", "off", "true", "false", "null"}
"""Words that YAML does not read as strings."""

# Valid unescaped in JSON; YAML treats them as line breaks or refuses them.
_TO_ESCAPE: Final = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")


def write_yaml(document: Mapping[str, object]) -> str:
    """A document as YAML: block style, with scalars written as in JSON.

    Raises:
        TypeError: It contains a value without a plain form in YAML.
    """
    return "\n".join(_lines(document)) + "\n"


def _lines(value: object) -> list[str]:
    if isinstance(value, Mapping):
        entries = cast("Mapping[object, object]", value).items()
        return [line for key, one in entries for line in _entry(f"{_key(key)}:", one)] or ["{}"]
    if isinstance(value, list):
        return [line for one in cast("list[object]", value) for line in _item(one)] or ["[]"]
    return [_scalar(value)]


def _entry(key: str, value: object) -> list[str]:
    lines = _lines(value)
    return [key, *_indented(lines)] if _is_block(value) else [f"{key} {lines[0]}"]


def _item(value: object) -> list[str]:
    first, *others = _lines(value)
    return [f"- {first}", *_indented(others)]


def _indented(lines: Sequence[str]) -> list[str]:
    return [f"  {line}" for line in lines]


def _is_block(value: object) -> bool:
    return isinstance(value, Mapping | list) and bool(cast("Mapping[object, object] | list[object]", value))


def _key(key: object) -> str:
    if isinstance(key, str) and _PLAIN_KEY.fullmatch(key) and key.lower() not in _NOT_TEXT:
        return key
    return _scalar(key)


def _scalar(value: object) -> str:
    if isinstance(value, str):
        quoted = json.dumps(value, ensure_ascii=False)
        return _TO_ESCAPE.sub(lambda found: f"\\u{ord(found[0]):04x}", quoted)
    if isinstance(value, float):
        return _float(value)
    if isinstance(value, date):
        return value.isoformat()
    if value is None or isinstance(value, int):
        return json.dumps(value)
    raise TypeError(f"YAML has no plain form for {type(value).__name__}")


def _float(value: float) -> str:
    if not math.isfinite(value):
        return ".nan" if math.isnan(value) else ".inf" if value > 0 else "-.inf"
    mantissa, exponent, power = repr(value).partition("e")
    # Without a decimal point YAML 1.1 reads it as a string.
    return (mantissa if "." in mantissa else f"{mantissa}.0") + exponent + power
