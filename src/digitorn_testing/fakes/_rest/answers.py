"""Answers in JSON."""

from starlette import responses

from digitorn_testing._texts import json_text


class JSONResponse(responses.JSONResponse):
    """An answer in JSON; halves of surrogate pairs, which an event may hold, are escaped in it."""

    def render(self, content: object) -> bytes:
        """The body."""
        return json_text(content, separators=(",", ":")).encode()
