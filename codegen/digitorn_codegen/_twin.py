"""Turns async source into its sync twin, token by token."""

import io
import re
import tokenize
from collections.abc import Mapping

_SPECIAL = {
    "__aenter__": "__enter__",
    "__aexit__": "__exit__",
    "__aiter__": "__iter__",
    "__anext__": "__next__",
    "StopAsyncIteration": "StopIteration",
    "AsyncIterator": "Iterator",
    "AsyncGenerator": "Generator",
    "AsyncIterable": "Iterable",
    "AbstractAsyncContextManager": "AbstractContextManager",
    "asynccontextmanager": "contextmanager",
}


def translate(source: str, names: Mapping[str, str]) -> str:
    """The sync twin of a module.

    `async` and `await` go, identifiers change by `names`; in strings and comments the same words
    change. The result still needs formatting.
    """
    table = {**_SPECIAL, **names}
    offsets = [0]
    for line in source.splitlines(keepends=True):
        offsets.append(offsets[-1] + len(line))
    pieces: list[str] = []
    done = 0
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        start = offsets[token.start[0] - 1] + token.start[1]
        end = offsets[token.end[0] - 1] + token.end[1]
        if end <= done:
            continue
        pieces.append(source[done:start])
        text = source[start:end]
        if token.type == tokenize.NAME and text in {"async", "await"}:
            # The blank after a dropped word goes with it.
            text, end = "", end + 1
        elif token.type == tokenize.NAME:
            text = table.get(text, text)
        elif token.type in (tokenize.STRING, tokenize.COMMENT):
            text = _words(text, table)
        pieces.append(text)
        done = end
    return "".join(pieces)


def _words(text: str, table: Mapping[str, str]) -> str:
    text = re.sub(r"\basync (?=with |for |def )|\bawait ", "", text)
    return re.sub(r"\b[A-Za-z_]\w*\b", lambda found: table.get(found[0], found[0]), text)
