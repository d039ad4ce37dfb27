"""What a turn is given reaches its model: images, files, an addendum, a mode, and the model of the app."""

import base64
import json
import math
from typing import Any

import pytest

from digitorn_testing import NOT_GIVEN, AppBuilder, DevClient, NotFound, models
from digitorn_testing.fakes import FakeDaemon, FakeModel, ModelRequest
from support.recorder import APP, Talk, talking

PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg=="
)
NOTE = b"Whales sing.\n"
ANSWER = "An answer of some length."


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


IMAGE = {"data": encoded(PIXEL), "mime": "image/png", "name": "dot.png"}
FILE = {"data": encoded(NOTE), "mime": "text/plain", "name": "note.txt"}


async def asked(talk: Talk, model: FakeModel, text: str, **more: Any) -> ModelRequest:
    """What the model is asked for a message that is sent over REST."""
    sent = await talk.send(text, **more)
    await talk.end(sent["correlation_id"])
    assert model.last_request is not None
    return model.last_request


async def test_images_reach_the_model_and_are_read_back_by_their_id() -> None:
    model = FakeModel().will_respond_with_text(ANSWER, times=None)
    async with talking(model) as talk:
        request = await asked(talk, model, "look", images=[IMAGE])
        (image,) = request.images
        assert (image.name, image.mime, image.data) == ("dot.png", "image/png", PIXEL)
        # The released daemon tells a model the names only.
        assert request.last_text == "look\n[Image: dot.png]"
        read = await talk.client.get(f"{talk.path}/images/{image.id}")
        assert (read.content, read.headers["content-type"]) == (PIXEL, "image/png")
        assert (await talk.client.get(f"{talk.path}/images/none")).status_code == 404
        parts = [
            {"type": "text", "text": "look"},
            {
                "type": "image_ref",
                "image_id": image.id,
                "mime": "image/png",
                "alt_text": "dot.png",
                "width": 1,
                "height": 1,
                "turn": 0,
            },
        ]
        assert json.loads((await talk.get("/history"))["messages"][0]["content"]) == parts
        later = await asked(talk, model, "and now?")
        assert json.loads(later.messages[0].content) == parts
        assert (later.images, later.messages[0].images) == ((), (image,))


async def test_the_text_of_a_file_stands_before_its_message_for_one_turn() -> None:
    model = FakeModel().will_respond_with_text(ANSWER, times=None)
    async with talking(model) as talk:
        request = await asked(talk, model, "read", files=[FILE])
        (file,) = request.files
        assert (file.name, file.data) == ("note.txt", NOTE)
        assert "- note.txt (text/plain, 13 B)" in request.last_text
        assert "=== BEGIN note.txt ===\nWhales sing.\n=== END note.txt ===" in request.last_text
        assert request.last_text.endswith("\nread")
        assert (await talk.get("/history"))["messages"][0]["content"] == request.last_text
        path = f"{talk.path}/workspace/files/attachments/note.txt"
        assert (await talk.client.get(path, params={"raw": "true"})).content == NOTE
        # The same file again is nothing new.
        again = await asked(talk, model, "again", files=[FILE])
        assert [one.content for one in again.messages if one.role == "user"] == ["read", "again"]
        assert again.files == ()


async def test_both_come_with_a_first_message() -> None:
    model = FakeModel().will_respond_with_text(ANSWER)
    with FakeDaemon(model=model) as daemon, daemon.client() as client:
        daemon.add_app(APP)
        client.api.sessions.create_session(
            APP,
            message="see",
            images=[models.ImageInput.from_wire(IMAGE)],
            files=[models.FileInput.from_wire(FILE)],
            system_addendum="Page 3.",
            queue_mode="wait",
        )
    request = model.single_request()
    assert [one.name for one in (*request.images, *request.files)] == ["dot.png", "note.txt"]
    assert request.system_addendum == "Page 3."


@pytest.mark.parametrize("over", ["rest", "socket"])
async def test_an_addendum_is_for_the_model_only(over: str) -> None:
    model = FakeModel().will_respond_with_text(ANSWER, times=None)
    async with talking(model) as talk:
        await asked(talk, model, "first")
        told = {"message": "hi", "system_addendum": "  The user is on page 12. "}
        if over == "rest":
            request = await asked(talk, model, told.pop("message"), **told)
        else:
            ack = await talk.recorder.call(
                "send_message", {"app_id": APP, "session_id": talk.session_id, **told}
            )
            await talk.end(ack["correlation_id"])
            request = model.requests[-1]
        assert request.system_addendum == "The user is on page 12."
        assert request.last_text == "hi"
        assert request.system_prompt.endswith("\n\n---\n\nThe user is on page 12.")
        (event,) = talk.recorder.of("system_message")
        assert event["payload"]["source"] == "template_addendum"
        assert request.system_prompt.endswith(event["payload"]["content"])
        shown = [one["content"] for one in (await talk.get("/history"))["messages"]]
        assert shown == ["first", ANSWER, "hi", ANSWER]
        assert (await asked(talk, model, "later")).system_addendum == ""


def moded() -> AppBuilder:
    return (
        AppBuilder(APP)
        .with_system_prompt("Be brief.")
        .with_tools("Bash", "Read")
        .with_mode("auto")
        .with_mode("plan", label="Planning", system_prompt="Only plan.", tools=["Read"])
    )


def test_a_mode_is_told_to_the_model_and_shown_by_the_session() -> None:
    model = FakeModel()
    with FakeDaemon() as daemon, daemon.client() as client:
        daemon.deploy(moded(), model=model)
        session = client.new_session(APP)

        def send(mode: str | None) -> ModelRequest:
            model.will_respond_with_text(ANSWER)
            accepted = client.api.messages.send_message(
                APP, session.session_id, message="hi", mode=mode or NOT_GIVEN
            )
            client.turn(session, accepted).result()
            assert model.last_request is not None
            active = client.api.sessions.get_session(APP, session.session_id).active_mode_id
            assert active == model.last_request.mode
            return model.last_request

        first = send(None)
        assert (first.mode, [one.name for one in first.tools]) == ("auto", ["Bash", "Read"])
        planned = send("plan")
        assert (planned.mode, [one.name for one in planned.tools]) == ("plan", ["Read"])
        assert "[Mode: Planning]\n\nOnly plan.\n\nTools available in this mode: Read" in planned.system_prompt
        assert send("plan").system_prompt == planned.system_prompt
        assert send("unknown").mode is None
        assert send(None).mode == "auto"


def test_a_mode_blocks_what_it_does_not_allow() -> None:
    model = FakeModel().will_call_tool("Bash", {"command": "ls"}, result="a").will_respond_with_text(ANSWER)
    with FakeDaemon() as daemon, daemon.client() as client:
        daemon.deploy(moded(), model=model)
        session = client.new_session(APP)
        accepted = client.api.messages.send_message(APP, session.session_id, message="hi", mode="plan")
        (call,) = client.turn(session, accepted).result().tool_calls
    assert call.error is not None
    assert call.error.startswith("Tool 'Bash' is blocked in mode 'Planning'. Allowed tools: Read.")


def test_the_model_that_an_app_names_is_reported() -> None:
    model = FakeModel().will_respond_with_text(ANSWER)
    app = AppBuilder(APP).with_model(provider="acme", model="large-1", temperature=0.5)
    with FakeDaemon() as daemon, daemon.client() as client:
        daemon.deploy(app, model=model)
        result = client.chat(APP, "hi")
        detail = client.api.sessions.get_session(APP, result.session.session_id)
    settings = model.single_request().model_settings
    assert (settings.provider, settings.model) == ("acme", "large-1")
    assert math.isclose(settings.temperature or 0, 0.5)
    assert detail.model == "large-1"


def test_somebody_elses_image_looks_absent() -> None:
    model = FakeModel().will_respond_with_text(ANSWER)
    with FakeDaemon(model=model) as daemon, daemon.client() as client:
        daemon.add_app(APP)
        session = client.new_session(APP)
        client.send(session, "look", images=[models.ImageInput.from_wire(IMAGE)])
        (image,) = model.single_request().images
        assert client.api.sessions.get_session_image(APP, session.session_id, image.id) == PIXEL
        eve = daemon.add_user("eve@example.com", "a-long-password", permissions=["*"])
        with (
            DevClient.with_token(daemon.token(eve), daemon_url=daemon.url) as other,
            pytest.raises(NotFound),
        ):
            other.api.sessions.get_session_image(APP, session.session_id, image.id)
