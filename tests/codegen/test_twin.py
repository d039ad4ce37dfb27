"""The sync twin of async source."""

from digitorn_codegen._twin import translate

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
