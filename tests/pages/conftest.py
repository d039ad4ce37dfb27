"""Pages of failures in a real Chromium: the one that `$CHROMIUM` names, or one on PATH."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, sync_playwright

from digitorn_testing import write_page
from support.page_samples import sample

NAMES: Final = ("chromium", "chromium-browser", "google-chrome", "chrome")


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """A browser without a window."""
    found = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        pytest.exit(f"no Chromium: set $CHROMIUM, or put one of {', '.join(NAMES)} on PATH", returncode=2)
    with sync_playwright() as playwright:
        # Chromium's own sandbox does not work for root, as in containers; the pages are our own.
        made = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield made
        made.close()


class Seen:
    """What a browser did beside showing the page.

    Attributes:
        said: Errors, and whatever was written to the console.
        asked: Addresses that it loaded.
    """

    def __init__(self, page: Page) -> None:
        self.said: list[str] = []
        self.asked: list[str] = []
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.said.append(str(error)))
        page.on("dialog", lambda dialog: self.said.append(f"dialog: {dialog.message}"))
        page.on("request", self._request)

    def _console(self, message: ConsoleMessage) -> None:
        self.said.append(f"{message.type}: {message.text}")

    def _request(self, request: Request) -> None:
        self.asked.append(request.url)


Open = Callable[..., Page]


@pytest.fixture
def show(browser: Browser) -> Iterator[Open]:
    """Opens a file; at the end no error may have been shown, and nothing else may have been loaded."""
    contexts = [browser.new_context(viewport={"width": 1440, "height": 900})]
    contexts[0].grant_permissions(["clipboard-read", "clipboard-write"])
    seen: list[tuple[Path, Seen]] = []

    def show(file: Path) -> Page:
        page = contexts[0].new_page()
        page.set_default_timeout(20_000)
        seen.append((file, Seen(page)))
        page.goto(file.as_uri())
        page.wait_for_selector("html[data-ready]")
        return page

    yield show
    for one in contexts:
        one.close()
    for file, did in seen:
        assert did.said == []
        # Icons and the page itself; what is read from the page is no request.
        assert {one.partition("#")[0] for one in did.asked} <= {file.as_uri(), "data:,"}


@pytest.fixture(scope="session")
def thousand(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page of 1,000 events."""
    return made(tmp_path_factory.mktemp("thousand"), 1_000)


@pytest.fixture(scope="session")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page of 100,000 events."""
    return made(tmp_path_factory.mktemp("many"), 100_000)


def made(folder: Path, events: int) -> Path:
    """A page of a recording of so many events."""
    title = "tests/test_parser.py::test_the_parser_is_mended (call)"
    error = ">       client.send(session, 'Now clean up.')\nE   EventTimeout: no end within 30 s"
    return write_page(sample(folder / "run.jsonl", events), folder / "run.html", title=title, error=error)
