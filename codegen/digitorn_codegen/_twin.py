"""Turns async source into its sync twin, token by token."""

import io
import keyword
import re
import tokenize
from collections.abc import Iterable, Iterator, Mapping, Sequence

_SPECIAL = {
    "__aenter__": "__enter__",
    "__aexit__": "__exit__",
    "__aiter__": "__iter__",
    "__anext__": "__next__",
    "StopAsyncIteration": "StopIteration",
    "aclosing": "closing",
    "aiter": "iter",
    "anext": "next",
    "AsyncIterator": "Iterator",
    "AsyncGenerator": "Generator",
    "AsyncIterable": "Iterable",
    "AbstractAsyncContextManager": "AbstractContextManager",
    "asynccontextmanager": "contextmanager",
}


# From Python 3.12 on an f-string is many tokens, from 3.14 on a t-string is.
_OPENING = {getattr(tokenize, name) for name in ("FSTRING_START", "TSTRING_START") if hasattr(tokenize, name)}
_CLOSING = {getattr(tokenize, name) for name in ("FSTRING_END", "TSTRING_END") if hasattr(tokenize, name)}


def translate(source: str, names: Mapping[str, str]) -> str:
    """The sync twin of a module.

    `async` and `await` go, and so do the parentheses of `(await f()).x`; identifiers change by `names`; in
    strings and comments the same words change. The result still needs formatting.
    """
    table = {**_SPECIAL, **names}
    offsets = [0]
    for line in source.splitlines(keepends=True):
        offsets.append(offsets[-1] + len(line))
    pieces: list[str] = []
    done = 0
    tokens = [*whole_strings(tokenize.generate_tokens(io.StringIO(source).readline), _OPENING, _CLOSING)]
    needless = _around_awaits(tokens)
    for token in tokens:
        start = offsets[token.start[0] - 1] + token.start[1]
        end = offsets[token.end[0] - 1] + token.end[1]
        if end <= done:
            continue
        pieces.append(source[done:start])
        text = source[start:end]
        if token.type == tokenize.NAME and text in {"async", "await"}:
            # The blank after a dropped word goes with it.
            text, end = "", end + 1
        elif token.start in needless:
            text = ""
        elif token.type == tokenize.NAME:
            text = table.get(text, text)
        elif token.type in (tokenize.STRING, tokenize.COMMENT):
            text = _words(text, table)
        pieces.append(text)
        done = end
    return "".join(pieces)


def whole_strings(
    tokens: Iterable[tokenize.TokenInfo], opening: set[int], closing: set[int]
) -> Iterator[tokenize.TokenInfo]:
    """The tokens with every string as one, as it was before Python 3.12, so that each version does the same.

    Args:
        tokens: The tokens of a module.
        opening: Types of the tokens that begin a string of many.
        closing: Types of those that end one.
    """
    opened: list[tokenize.TokenInfo] = []
    for token in tokens:
        if token.type in opening:
            opened.append(token)
        elif token.type in closing and opened:
            first = opened.pop()
            if not opened:
                yield tokenize.TokenInfo(tokenize.STRING, "", first.start, token.end, first.line)
        elif not opened:
            yield token


def _around_awaits(tokens: Sequence[tokenize.TokenInfo]) -> set[tuple[int, int]]:
    """Where the parentheses stand that do nothing but keep an `await` and its operand together."""
    found: set[tuple[int, int]] = set()
    for index, token in enumerate(tokens[:-2]):
        if token.string == "(" and tokens[index + 1].string == "await" and _opens_group(tokens, index):
            end = _end_of_primary(tokens, index + 2)
            if tokens[end].string == ")":
                found |= {token.start, tokens[end].start}
    return found


def _opens_group(tokens: Sequence[tokenize.TokenInfo], index: int) -> bool:
    """Whether a parenthesis groups, and calls nothing."""
    before = tokens[index - 1] if index else None
    if before is not None and before.type == tokenize.NAME:
        return keyword.iskeyword(before.string) and before.end != tokens[index].start
    return before is None or (before.type != tokenize.STRING and before.string not in {")", "]", "}"})


def _end_of_primary(tokens: Sequence[tokenize.TokenInfo], index: int) -> int:
    """The first token after a name with its attributes, calls and subscripts."""
    if tokens[index].type != tokenize.NAME or keyword.iskeyword(tokens[index].string):
        return index
    index += 1
    while tokens[index].string in {".", "(", "["}:
        depth = 0
        while True:
            depth += (tokens[index].string in {"(", "[", "{"}) - (tokens[index].string in {")", "]", "}"})
            index += 1
            if depth == 0:
                break
        if tokens[index - 1].string == ".":
            index += 1
    return index


def _words(text: str, table: Mapping[str, str]) -> str:
    text = re.sub(r"\basync (?=with |for |def )|\bawait ", "", text)
    return re.sub(r"\b[A-Za-z_]\w*\b", lambda found: table.get(found[0], found[0]), text)
