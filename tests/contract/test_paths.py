"""No argument leaves its place in the path, for any operation of the contract."""

import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

import httpx
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from contract.arguments import required_arguments
from digitorn_testing._generated._runtime import Call
from digitorn_testing._generated.operations import OPERATIONS
from digitorn_testing._generated.rest import Api
from digitorn_testing._transport.paths import check_path

T = TypeVar("T")

BASE = "http://daemon.test"
PARAMETER = re.compile(r"\{(\w+)\}")
# Which may hold slashes (contract: rest, section 1).
SPAN = {"file_path", "asset_path", "tool_name", "path", "key", "rest"}
NASTY = [
    ".",
    "..",
    "/",
    "\\",
    "%2f",
    "%2F",
    "%2e%2e",
    "%5c",
    "?",
    "#",
    "&",
    ";",
    "//",
    "\0",
    "\n",
    "\x7f",
    " ",
]
IDS = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,127}")


class Called(Exception):
    """What a stub would have sent."""

    def __init__(self, call: Call[Any]) -> None:
        super().__init__(call.path)
        self.call = call


class Recorder:
    """Takes calls as a transport does, and sends nothing."""

    def send(self, call: Call[T], /) -> T:
        """Tells of a call."""
        raise Called(call)


@dataclass(frozen=True)
class Stub:
    """An operation whose path has parameters."""

    method: Any
    path: str
    parameters: tuple[str, ...]

    def call(self, name: str, value: str) -> Call[Any]:
        """The call with one parameter set, the others plain."""
        arguments = {
            **required_arguments(self.method, {}),
            **dict.fromkeys(self.parameters, "x"),
            name: value,
        }
        try:
            self.method(**arguments)
        except Called as called:
            return called.call
        raise AssertionError(f"{self.path}: nothing was sent")

    def segments(self, name: str, value: str) -> list[str]:
        """What the segments of the path mean."""
        found: list[str] = []
        for segment in self.path.split("/"):
            if segment == "{" + name + "}" and name in SPAN:
                found += value.split("/")
            else:
                found.append(PARAMETER.sub(lambda one: value if one[1] == name else "x", segment))
        return found


def stubs() -> Iterator[Stub]:
    paths = {one.id: one.path for one in OPERATIONS}
    for group in vars(Api(Recorder())).values():
        for name, method in inspect.getmembers(group, inspect.ismethod):
            if name in paths and (parameters := tuple(PARAMETER.findall(paths[name]))):
                yield Stub(method, paths[name], parameters)


STUBS = list(stubs())
VALUES = st.one_of(
    st.text(max_size=12),
    st.lists(st.sampled_from([*NASTY, "a", "é", "..a", "history"]), max_size=5).map("".join),
)


@settings(max_examples=20)
@given(value=VALUES)
@example("..")
@example("../..")
@example("%2e%2e")
@example("a/../../auth/me")
@example("x?token=1#2")
@example("\ud800")
def test_no_value_leaves_its_segment(value: str) -> None:
    for stub in STUBS:
        for name in stub.parameters:
            try:
                call = stub.call(name, value)
                check_path(call)
            except ValueError:
                assert IDS.fullmatch(value) is None
                continue
            # httpx resolves dots and quotes what it finds unquoted: neither may happen.
            url = httpx.Request("GET", BASE + call.path).url
            assert url.raw_path == call.path.encode()
            assert (urlsplit(str(url)).query, urlsplit(str(url)).fragment) == ("", "")
            # A server decodes the whole before it looks for a route, or each segment by itself.
            meant = stub.segments(name, value)
            assert unquote(call.path).split("/") == meant
            assert [unquote(one) for one in call.path.split("/")] == meant
            assert not {"", ".", ".."} & set(meant[1:])


def test_every_operation_with_a_path_parameter_is_looked_at() -> None:
    assert len(STUBS) == sum(bool(PARAMETER.search(one.path)) for one in OPERATIONS) > 150
    assert {name for stub in STUBS for name in stub.parameters} > {"app_id", "session_id", "file_path"}


@settings(max_examples=40)
@given(st.from_regex(IDS, fullmatch=True))
def test_ids_of_the_contract_are_taken(value: str) -> None:
    for stub in STUBS[:20]:
        check_path(stub.call(stub.parameters[0], value))


@pytest.mark.parametrize("value", [".", "..", "a/b", "a\\b", "a\0", "a\n", "a\x7f"])
def test_what_would_leave_a_segment_is_refused(value: str) -> None:
    stub = next(one for one in STUBS if one.parameters == ("app_id",))
    with pytest.raises(ValueError, match="cannot be a part of a path"):
        check_path(stub.call("app_id", value))


@pytest.mark.parametrize("value", ["/etc/passwd", "a//b", "a/", "/", "../a", "a/../../b", "a/./b"])
def test_a_file_path_stays_below_its_folder(value: str) -> None:
    stub = next(one for one in STUBS if "file_path" in one.parameters)
    with pytest.raises(ValueError, match="cannot be a part of a path"):
        check_path(stub.call("file_path", value))
    check_path(stub.call("file_path", "src/a b/ü.txt"))
