"""The contract's OpenAPI document, read once."""

from functools import cache
from pathlib import Path
from typing import Any, Final, cast

import yaml

SCHEMA: Final = Path(__file__).parents[2] / "schema"
OPENAPI: Final = SCHEMA / "openapi.yaml"

# The parser in C, where PyYAML has it, is ten times as fast.
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@cache
def openapi() -> dict[str, Any]:
    """The document; not to be changed."""
    return cast("dict[str, Any]", yaml.load(OPENAPI.read_text(encoding="utf-8"), Loader=_LOADER))
