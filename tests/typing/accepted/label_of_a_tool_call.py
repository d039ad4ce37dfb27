"""Correct test code, which a contract without the label breaks: see tests/codegen/test_change.py."""

from digitorn.testing import LiveEventStream
from digitorn.testing.events import ToolCall


def test_tool(stream: LiveEventStream) -> None:
    call = stream.wait_for(ToolCall)
    assert call.payload.name == "Bash"
    assert call.payload.label == "list files"
