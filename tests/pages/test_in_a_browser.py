"""What a person can do with the page of a failure."""

import json
import time
from pathlib import Path
from typing import Any, Final

import pytest
from playwright.sync_api import Locator, Page, expect

from digitorn_testing import write_page
from pages.conftest import Open
from support.frames import frame, token
from support.page_samples import PENDING, URL
from unit.test_page import NASTY, recording

_READY: Final = {1_000: 5_000, 100_000: 15_000}
"""Milliseconds until the list is there, at most: several times what a machine at rest takes."""


def rows(page: Page) -> Locator:
    """The lines of the list that are in sight."""
    return page.locator("#lines .row")


def chosen(page: Page) -> Locator:
    """The chosen line."""
    return page.locator("#lines .row[aria-selected='true']")


def count(page: Page) -> int:
    """How many rows match."""
    return int((page.locator("#count").inner_text()).split(" ")[0].replace(",", ""))


def search(page: Page, text: str) -> None:
    """Searches for a text, and waits until the payloads were looked through."""
    page.keyboard.press("/")
    page.keyboard.type(text)
    page.keyboard.press("Enter")
    expect(page.locator("#count")).to_contain_text(" of ")
    expect(page.locator("#count")).not_to_contain_text("searching")


def test_it_opens_at_what_the_test_waits_for(thousand: Path, show: Open) -> None:
    page = show(thousand)
    expect(page.locator("h1")).to_have_text("tests/test_parser.py::test_the_parser_is_mended (call)")
    expect(page.locator("#headline")).to_have_text("EventTimeout: no end within 30 s")
    waits = f'shell.bash waits for approval (Removes the folder of the build): {{"command": "{PENDING}"}}'
    expect(page.locator("#notes li")).to_contain_text([waits])
    expect(chosen(page)).to_contain_text("approval_request")
    expect(page.locator("#details")).to_contain_text(f'"command": "{PENDING}"')
    assert rows(page).count() < 60
    page.locator("#report summary").click()
    expect(page.locator("#report pre")).to_contain_text("client.send")


def test_search_finds_types_texts_and_payloads(thousand: Path, show: Open) -> None:
    page = show(thousand)
    everything = count(page)
    search(page, "approval_request")
    assert 0 < count(page) < 20
    expect(rows(page).first.locator("mark")).to_have_text("approval_request")
    # A word that only payloads have.
    search(page, '"risk_level": "high"')
    assert count(page) == 1
    search(page, "no such word anywhere")
    expect(page.locator("#empty")).to_be_visible()
    page.locator("#clear").click()
    assert count(page) == everything


def test_search_finds_a_text_across_tokens(tmp_path: Path, show: Open) -> None:
    pieces = ["There is", " one", " file", " left", "."]
    frames = [token(piece, seq=seq) for seq, piece in enumerate(pieces, 1)]
    page = show(write_page(recording(tmp_path / "r.jsonl", *frames), tmp_path / "r.html"))
    expect(rows(page)).to_have_count(1)
    expect(rows(page)).to_contain_text("token ×5“There is one file left.”")
    search(page, "one file")
    assert count(page) == 2
    expect(rows(page).locator("mark")).to_have_text("one file")


def test_lanes_are_filters(thousand: Path, show: Open) -> None:
    page = show(thousand)
    everything = count(page)
    tools = page.locator("#lanes button", has_text="Tools")
    expect(tools).to_have_attribute("aria-pressed", "true")
    tools.click()
    expect(tools).to_have_attribute("aria-pressed", "false")
    without = count(page)
    assert without < everything
    page.keyboard.press("4")
    assert count(page) == everything
    page.locator("#lanes button", has_text="REST").click(modifiers=["Shift"])
    page.locator("#list").focus()
    page.keyboard.press("Home")
    types = set(rows(page).locator(".type").all_inner_texts())
    assert types <= {"get_health", "send_message", "list_session_events"}
    page.keyboard.press("6")
    page.locator("#problems").click()
    expect(rows(page).locator(".badge").first).to_be_visible()
    assert rows(page).locator(".badge").count() == rows(page).count()


def test_the_keys_walk_through_the_list(thousand: Path, show: Open) -> None:
    page = show(thousand)
    page.locator("#list").focus()
    page.keyboard.press("Home")
    expect(chosen(page)).to_contain_text("get_health")
    page.keyboard.press("ArrowDown")
    expect(chosen(page)).to_contain_text("send_message")
    expect(page.locator("#list")).to_have_attribute("aria-activedescendant", "line-1")
    while "token ×" not in chosen(page).inner_text():
        page.keyboard.press("ArrowDown")
    before = page.evaluate("items.length")
    expect(page.locator("#details h2")).to_contain_text("token ×")
    page.keyboard.press("ArrowRight")
    expect(chosen(page)).to_have_attribute("aria-expanded", "true")
    assert page.evaluate("items.length") > before
    page.keyboard.press("ArrowDown")
    expect(chosen(page)).to_have_class("row child")
    page.keyboard.press("ArrowLeft")
    assert page.evaluate("items.length") == before
    page.keyboard.press("e")
    expect(chosen(page).locator(".badge")).to_have_count(1)
    page.keyboard.press("o")
    expect(chosen(page)).to_contain_text("tool_start")
    page.keyboard.press("End")
    expect(chosen(page)).to_contain_text("approval_request")
    page.keyboard.press("?")
    expect(page.locator("#help")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#help")).not_to_be_visible()


def test_a_call_is_copied_as_a_command(thousand: Path, show: Open) -> None:
    page = show(thousand)
    page.locator("#list").focus()
    page.keyboard.press("Home")
    rows(page).filter(has_text="send_message").first.click()
    details = page.locator("#details")
    expect(details).to_contain_text(f"curl \\\n  {URL}/api/apps/repairs/sessions/s-1/messages")
    details.locator("button", has_text="Copy the command").click()
    expect(details.locator("button", has_text="Copied")).to_be_visible()
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied.startswith("curl \\\n") and "$DIGITORN_TOKEN" in copied
    rows(page).filter(has_text="user_message").first.click()
    expect(details.locator("h2")).to_have_text("user_message")
    page.keyboard.press("c")
    page.wait_for_function("navigator.clipboard.readText().then((text) => text.includes('content'))")
    payload = json.loads(page.evaluate("navigator.clipboard.readText()"))
    assert payload["content"] == "Please mend the parser, part 1."


def test_a_part_of_the_time_is_shown_by_dragging(thousand: Path, show: Open) -> None:
    page = show(thousand)
    everything = count(page)
    box = page.locator("#plot").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 150, box["y"] + 60)
    page.mouse.down()
    page.mouse.move(box["x"] + 400, box["y"] + 60)
    page.mouse.up()
    expect(page.locator("#range")).to_be_visible()
    assert 0 < count(page) < everything
    page.keyboard.press("0")
    assert count(page) == everything
    middle = page.evaluate("((bar) => (bar.from * 0.7 + bar.to * 0.3))(bars.find((one) => one.lane === 0))")
    page.mouse.move(box["x"] + 6 + middle * (box["width"] - 12), box["y"] + 35)
    expect(page.locator("#tip")).to_contain_text("turn: ")


def test_a_row_has_an_address(thousand: Path, show: Open) -> None:
    page = show(thousand)
    page.goto(f"{thousand.as_uri()}#3")
    page.reload()
    page.wait_for_selector("html[data-ready]")
    expect(chosen(page)).to_contain_text("message_started")


def test_colours_follow_the_system_and_the_switch(thousand: Path, show: Open) -> None:
    page = show(thousand)
    back = "getComputedStyle(document.body).backgroundColor"
    page.emulate_media(color_scheme="light")
    light = page.evaluate(back)
    page.emulate_media(color_scheme="dark")
    dark = page.evaluate(back)
    assert (light, dark) == ("rgb(255, 255, 255)", "rgb(20, 24, 29)")
    theme = page.locator("#theme")
    theme.click()
    expect(theme).to_have_text("Theme: light")
    assert page.evaluate(back) == light
    page.reload()
    page.wait_for_selector("html[data-ready]")
    expect(theme).to_have_text("Theme: light")
    page.keyboard.press("t")
    page.emulate_media(color_scheme="light")
    assert page.evaluate(back) == dark


_CONTRAST: Final = """() => {
  const probe = document.createElement("span");
  document.body.append(probe);
  const light = (name) => {
    probe.style.color = `var(--${name})`;
    const parts = getComputedStyle(probe).color.match(/[\\d.]+/g).slice(0, 3).map((part) => part / 255);
    const [r, g, b] = parts.map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ratio = (one, other) => {
    const [low, high] = [light(one), light(other)].sort((a, b) => a - b);
    return (high + 0.05) / (low + 0.05);
  };
  const pairs = [["bad", "bad-back"], ["wait", "wait-back"], ["warn", "warn-back"], ["mark-ink", "mark"]];
  for (const back of ["back", "raised", "hover", "chosen"]) {
    for (const ink of ["ink", "soft", "bad"]) pairs.push([ink, back]);
    for (let lane = 0; lane < 8; lane++) pairs.push([`lane${lane}`, back]);
  }
  for (const ink of ["key", "text", "number", "word"]) pairs.push([`json-${ink}`, "raised"]);
  return pairs.map(([ink, back]) => [ink, back, ratio(ink, back)]).filter(([, , found]) => found < 4.5);
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_stand_out_from_their_background(scheme: Any, thousand: Path, show: Open) -> None:
    page = show(thousand)
    page.emulate_media(color_scheme=scheme)
    assert page.evaluate(_CONTRAST) == []


_NAMELESS: Final = """() => [...document.querySelectorAll("button, input, select, aside, section")].filter(
  (one) => !one.hidden && !(one.textContent.trim() || one.ariaLabel || one.labels?.length)
).length"""


def test_everything_has_a_role_and_a_name(thousand: Path, show: Open) -> None:
    page = show(thousand)
    assert page.evaluate(_NAMELESS) == 0
    expect(page.get_by_role("listbox", name="Events and REST calls")).to_be_visible()
    expect(page.locator("#list").get_by_role("option", selected=True)).to_have_count(1)
    expect(page.get_by_role("img", name="Timeline of 1,0")).to_be_visible()
    expect(page.get_by_role("searchbox")).to_be_visible()
    assert page.get_by_role("heading", level=1).count() == 1


def test_a_narrow_window_needs_no_scrolling_sideways(thousand: Path, show: Open) -> None:
    page = show(thousand)
    page.set_viewport_size({"width": 480, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 480
    expect(page.locator("#list")).to_be_visible()


def test_it_prints_its_rows(thousand: Path, show: Open) -> None:
    page = show(thousand)
    page.emulate_media(color_scheme="dark", media="print")
    lines = page.evaluate("items.length")
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.locator("#print .row").count() == lines
    expect(page.locator("#print .row").last).to_contain_text("approval_request")
    expect(page.locator("#list")).not_to_be_visible()
    assert len(page.pdf()) > 10_000
    page.evaluate("window.dispatchEvent(new Event('afterprint'))")
    page.emulate_media(media="screen")
    expect(page.locator("#theme")).to_have_text("Theme: auto")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(20, 24, 29)"


def test_hostile_text_is_shown_as_text(tmp_path: Path, show: Open) -> None:
    frames = [frame("user_message", {"content": NASTY}, seq=1), frame(NASTY, {NASTY: NASTY}, seq=2)]
    file = recording(tmp_path / "r.jsonl", *frames, token(NASTY, seq=3))
    page = show(write_page(file, tmp_path / "r.html", title=NASTY, error=f"E   {NASTY}"))
    expect(page.locator("h1")).to_contain_text("</script><script>alert(1)</script><!-- <b>&amp;")
    for _ in range(3):
        page.keyboard.press("ArrowUp")
    for _ in range(3):
        expect(page.locator("#details")).to_contain_text("</script><script>alert(1)")
        page.keyboard.press("ArrowDown")


@pytest.mark.timeout(300)  # most of it makes the large page
@pytest.mark.parametrize("events", [1_000, 100_000])
def test_it_is_there_soon_whatever_its_size(events: int, request: pytest.FixtureRequest, show: Open) -> None:
    file: Path = request.getfixturevalue({1_000: "thousand", 100_000: "many"}[events])
    page = show(file)
    ready = int(page.evaluate("document.documentElement.dataset.ready"))
    painted = page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
    total = count(page)
    assert total >= events
    began = time.perf_counter()
    page.locator("#list").focus()
    page.keyboard.press("Home")
    page.keyboard.press("End")
    expect(chosen(page)).to_contain_text("approval_request")
    walked = time.perf_counter() - began
    began = time.perf_counter()
    search(page, '"risk_level": "high"')
    searched = time.perf_counter() - began
    assert count(page) == 1
    assert page.evaluate("document.querySelectorAll('*').length") < 2_000
    size = file.stat().st_size / 1e6
    print(f"\n{events:,} events, {size:.2f} MB: painted after {painted:.0f} ms, ready after {ready} ms")
    print(f"first to last row {walked * 1000:.0f} ms, payloads searched in {searched * 1000:.0f} ms")
    assert ready < _READY[events]
