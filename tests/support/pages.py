"""Reads pages of failures as a browser does, without one."""

import base64
import html
import json
import re
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

_BLOCK: Final = re.compile(r'<script type="application/octet-stream" id="(index|block-\d+)">([^<]*)</script>')


@dataclass(frozen=True)
class ShownPage:
    """What a page holds.

    Attributes:
        source: The file.
        index: Its columns.
        payloads: The JSON text of each row.
    """

    source: str
    index: dict[str, Any]
    payloads: list[str]

    @property
    def everything(self) -> str:
        """All of its text: what is compressed, and what is not."""
        return "\n".join(
            [html.unescape(self.source), json.dumps(self.index, ensure_ascii=False), *self.payloads]
        )

    @property
    def notes(self) -> list[tuple[str, str, int]]:
        """What stands out: kind, text, row."""
        return [(one["kind"], one["text"], one["row"]) for one in self.index["notes"]]

    def column(self, name: str) -> list[Any]:
        """A column of the rows, with names in place of their numbers.

        Args:
            name: `type`, `lane`, `turn` or any other.
        """
        values: list[Any] = self.index[name]
        names: list[str] | None = self.index.get(f"{name}s")
        return values if names is None else [names[one] if one >= 0 else None for one in values]


def read_page(file: Path) -> ShownPage:
    """Reads a page.

    Args:
        file: The page.
    """
    source = file.read_text(encoding="utf-8")
    blocks = {
        name: zlib.decompress(base64.b64decode(packed)).decode() for name, packed in _BLOCK.findall(source)
    }
    index = json.loads(blocks.pop("index"))
    payloads = [line for number in range(len(blocks)) for line in blocks[f"block-{number}"].split("\n")]
    return ShownPage(source, index, payloads)
