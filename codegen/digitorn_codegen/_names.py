"""Names of the contract as Python names."""

import builtins
import itertools
import keyword
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache


@lru_cache(maxsize=10_000)
def words(name: str) -> Sequence[str]:
    """The words of a wire name: `preview:state_changed`, `getHTTPStatus` and `X-Request-Id` alike.

    Letters of all alphabets are kept, as far as Python has them in identifiers. What has no letters and no
    digits is called by the Unicode names of its characters.
    """
    # Python reads identifiers in this form.
    name = unicodedata.normalize("NFKC", name)
    if signed := re.fullmatch(r"([-+])([0-9]+)", name):
        return ["minus" if signed[1] == "-" else "plus", signed[2]]
    return _split(name) or _split(" ".join(map(_called, name[:8]))) or ["empty"]


def _split(name: str) -> list[str]:
    if name.isascii():
        spaced = re.sub(r"([a-z0-9])([A-Z])", r"\1 \2", re.sub(r"([A-Z]+)([A-Z][a-z])", r"\1 \2", name))
        return [word for word in re.split(r"[^A-Za-z0-9]+", spaced) if word]
    found = [""]
    for place, char in enumerate(name):
        is_mark = unicodedata.category(char).startswith("M")
        if char == "_" or not _continues(char) or (is_mark and not found[-1]):
            found.append("")
            continue
        before, after = name[place - 1 : place], name[place + 1 : place + 2]
        is_start = before.islower() or before.isdigit() or (before.isupper() and after.islower())
        if char.isupper() and is_start:
            found.append("")
        found[-1] += char
    return [word for word in found if any(map(str.isalnum, word))]


def _continues(char: str) -> bool:
    """Whether a character may stand in an identifier."""
    return f"a{char}".isidentifier()


def _called(char: str) -> str:
    """A character in words; empty if it only changes how another one looks."""
    if unicodedata.category(char) in ("Mn", "Cf", "Zs"):
        return ""
    return unicodedata.name(char, f"u{ord(char):04x}").lower()


def pascal(name: str) -> str:
    """`tool_call` as `ToolCall`."""
    joined = _normal("".join(word[:1].upper() + word[1:] for word in words(name)))
    if not joined.isidentifier():
        return f"Model{joined}"
    return f"{joined}Model" if keyword.iskeyword(joined) else joined


def snake(name: str) -> str:
    """`getStatus` as `get_status`, safe as an identifier."""
    return identifier("_".join(word.lower() for word in words(name)))


def identifier(name: str) -> str:
    """A wire name that keeps its case as an argument or attribute name."""
    name = "".join(char if _continues(char) else "_" for char in _normal(name)) or "_"
    if not name.isidentifier():
        name = f"_{name}"
    return f"{name}_" if keyword.iskeyword(name) else name


def _normal(name: str) -> str:
    return unicodedata.normalize("NFKC", name)


def free_argument(name: str, location: str, taken: set[str]) -> str:
    """A wire name as an argument that shadows no keyword, not `self`, and none of those taken.

    Args:
        name: The wire name.
        location: Where it travels; tells arguments of one name apart.
        taken: Arguments of the same operation.
    """
    found = snake(name)
    if found in {"self", "cls"}:
        found += "_"
    if found in taken:
        found = f"{found.rstrip('_')}_{location}"
    number = 2
    while found in taken:
        found, number = f"{snake(name).rstrip('_')}_{location}{number}", number + 1
    return found


def constant(name: str) -> str:
    """`get_session` as `GET_SESSION`."""
    return identifier("_".join("".join(map(_upper, word)) for word in words(name)))


def _upper(char: str) -> str:
    """A capital, if it is that of this letter alone: `ß` has none, so that `ß` and `ss` are told apart."""
    capital = char.upper()
    return capital if capital.lower() == char else char


def keys_of(table: str) -> str:
    """The type of the keys of a table: `FailureCategoriesKey` for `FAILURE_CATEGORIES`."""
    return f"{pascal(table.lower())}Key"


def attribute(name: str) -> str:
    """A tag as the attribute that holds its operations."""
    found = snake(name)
    return f"{found}_" if found in dir(builtins) and found in {"print", "type", "id"} else found


def method(name: str) -> str:
    """An operation as a method; not a name that annotations of the methods after it need."""
    found = snake(name)
    return f"{found}_" if found in _ANNOTATIONS else found


_ANNOTATIONS = frozenset({"bool", "bytes", "dict", "float", "int", "list", "object", "str"})


@dataclass
class Scope:
    """The names of one namespace of the output, each given once.

    Attributes:
        holders: Who has each name; None for those that the generated code needs itself.
    """

    holders: dict[str, str | None] = field(default_factory=dict[str, str | None])

    @classmethod
    def reserving(cls, names: Iterable[str]) -> "Scope":
        """A scope in which some names are not to be had."""
        return cls(dict.fromkeys(names))

    def allot(self, wanted: str, holder: str) -> str:
        """The wanted name, with the first free number appended if it is taken."""
        found = self.free(wanted)
        self.holders[found] = holder
        return found

    def free(self, wanted: str) -> str:
        """What `allot` would give."""
        numbered = (f"{wanted}{number}" for number in itertools.count(2))
        return next(name for name in itertools.chain((wanted,), numbered) if name not in self.holders)

    def holder(self, name: str) -> str:
        """Who has a name, in words."""
        return self.holders[name] or "the generated code itself"
