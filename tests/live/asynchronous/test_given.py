"""What a turn is given and what the model is told of it, on both daemons."""

import base64

import pytest

from digitorn_testing import AsyncDevClient, SessionHandle, models
from digitorn_testing.fakes import FakeModel

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg=="
IMAGE = models.ImageInput(data=PIXEL, mime="image/png", name="dot.png")
NOTE = base64.b64encode(b"Whales sing.").decode()
FILE = models.FileInput(data=NOTE, mime="text/plain", name="note.txt")


@pytest.mark.both_daemons
async def test_an_addendum_images_and_files(
    client: AsyncDevClient, model: FakeModel, session: SessionHandle
) -> None:
    model.will_respond_with_text("An answer of some length.", times=None)
    send = client.api.messages.send_message
    accepted = await send(
        session.app_id, session.session_id, message="hi", files=[FILE], system_addendum=" Page 3. "
    )
    await (await client.turn(session, accepted)).result()
    read = model.requests[-1]
    assert read.last_text.endswith("<<<END_DIGITORN_TRANSIENT_BLOCK>>>\nhi")
    assert "=== BEGIN note.txt ===\nWhales sing.\n=== END note.txt ===" in read.last_text
    assert read.system_addendum == "Page 3."
    assert "\n\n---\n\nPage 3." in read.system_prompt

    await client.send(session, "look", images=[IMAGE])
    looked = model.requests[-1]
    assert [one.content for one in looked.messages if one.role == "user"] == ["hi", "look\n[Image: dot.png]"]
    assert looked.system_addendum == ""
    await client.send(session, "more")
    assert '"type": "image_ref"' in model.requests[-1].messages[2].content
