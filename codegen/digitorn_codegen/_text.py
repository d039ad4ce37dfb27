"""Free text of a contract in Python source."""

import re


def prose(text: str) -> str:
    """Free text of a contract as one paragraph that can stand in any docstring or comment."""
    # Controls, line breaks of all kinds included, would end a comment or are refused by Python.
    visible = text if text.isprintable() else "".join(char if char.isprintable() else " " for char in text)
    escaped = re.sub(r"\s+", " ", visible).strip().replace("\\", "\\\\").replace('"""', "'''")
    return f'{escaped[:-1]}\\"' if escaped.endswith('"') else escaped
