"""The sync twin of async source."""

import tokenize

from digitorn_codegen._twin import translate, whole_strings

SOURCE = '''
class AsyncThing:
    """An AsyncThing; `await thing.go()`."""

    async def __aenter__(self) -> "AsyncThing":
        async with self.lock:
            async for item in self.items():  # await nothing
                await self.go(await item, key=lambda: 1)
        return self

    async def aclose(self) -> None:
        text = f"{await self.name()}"
        raise StopAsyncIteration
'''

TWIN = '''
class Thing:
    """An Thing; `thing.go()`."""

    def __enter__(self) -> "Thing":
        with self.lock:
            for item in self.items():  # nothing
                self.go(item, key=lambda: 1)
        return self

    def close(self) -> None:
        text = f"{self.name()}"
        raise StopIteration
'''


def test_async_words_go_and_names_change() -> None:
    assert translate(SOURCE, {"AsyncThing": "Thing", "aclose": "close"}) == TWIN


def test_source_without_async_is_unchanged() -> None:
    source = "x = {'await': 1}\n\n\ndef f() -> int:\n    return x['await']\n"
    assert translate(source, {}) == source


def test_the_last_line_needs_no_line_break() -> None:
    assert translate("async def f(): await g()", {}) == "def f(): g()"


def test_a_formatted_string_is_one_token_on_every_python() -> None:
    """The tokens of Python 3.12 for `x = f"a{f'{await b}'}c"; y` become those that they were before."""
    start, middle, end, name, op = 1001, 1002, 1003, tokenize.NAME, tokenize.OP
    line = "x = f\"a{f'{await b}'}c\"; y"
    many = [
        *((name, "x", 0), (op, "=", 2), (start, 'f"', 4), (middle, "a", 6), (op, "{", 7), (start, "f'", 8)),
        *((op, "{", 10), (name, "await", 11), (name, "b", 17), (op, "}", 18), (end, "'", 19), (op, "}", 20)),
        *((middle, "c", 21), (end, '"', 22), (op, ";", 23), (name, "y", 25)),
    ]
    tokens = [
        tokenize.TokenInfo(kind, text, (1, column), (1, column + len(text)), line)
        for kind, text, column in many
    ]
    found = [
        (token.type, line[token.start[1] : token.end[1]]) for token in whole_strings(tokens, {start}, {end})
    ]
    assert found == [
        (name, "x"),
        (op, "="),
        (tokenize.STRING, line[4:23]),
        (op, ";"),
        (name, "y"),
    ]


def test_formatted_strings_are_translated_inside_and_outside_their_braces() -> None:
    source = 'x = f"await {await a.aclose()} async {{AsyncThing}} {b!r:>{await w}} {AsyncThing}"\n'
    assert translate(source, {"AsyncThing": "Thing", "aclose": "close"}) == (
        'x = f"{a.close()} async {{Thing}} {b!r:>{w}} {Thing}"\n'
    )
