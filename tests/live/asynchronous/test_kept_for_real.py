"""What has a short name is kept: secrets, credentials, background sessions, and what triggers bring about."""

import uuid
from pathlib import Path

import pytest

from digitorn_testing import ApiError, AsyncDevClient, NotFound, models
from digitorn_testing.fakes import FakeModel
from support.faces import async_eventually
from support.fixtures import Place

pytestmark = pytest.mark.both_daemons


async def ended(client: AsyncDevClient, app_id: str, count: int) -> list[models.Activation]:
    """The activations of an app, the newest first, when that many have ended."""

    def is_enough(page: models.ActivationPage) -> bool:
        return [one.status == "running" for one in page.activations] == [False] * count

    page = await async_eventually(lambda: client.api.background.list_activations(app_id), is_enough)
    assert page.total == count
    return page.activations


async def test_a_secret_is_listed_until_it_is_deleted(background: Place) -> None:
    app_id = background.app_id
    async with background.async_client() as client:
        before = (await client.list_secrets(app_id)).keys
        stored = await client.set_secret(app_id, "TOKEN", "a-secret-value")
        assert (stored.status, stored.reloaded) == ("set", True)
        await client.api.secrets.set_secrets(app_id, secrets={"OTHER": "x"}, reload=False)
        assert (await client.list_secrets(app_id)).keys == sorted([*before, "OTHER", "TOKEN"])
        assert (await client.api.secrets.check_secret(app_id, "TOKEN")).exists
        assert (await client.delete_secret(app_id, "TOKEN")).status == "deleted"
        assert not (await client.api.secrets.check_secret(app_id, "TOKEN")).exists
        with pytest.raises(NotFound, match="Secret 'TOKEN' not found"):
            await client.delete_secret(app_id, "TOKEN")
        with pytest.raises(ApiError, match="'secrets' map is empty"):
            await client.api.secrets.set_secrets(app_id, secrets={})
        # An app need not exist to have secrets.
        assert not (await client.set_secret(f"{app_id}-absent", "KEY", "x")).reloaded
        assert (await client.list_secrets(f"{app_id}-absent")).keys == ["KEY"]
        await client.delete_secret(f"{app_id}-absent", "KEY")


async def test_a_credential_is_listed_masked_until_it_is_deleted(background: Place) -> None:
    provider = f"provider-{uuid.uuid4().hex[:8]}"
    async with background.async_client() as client:
        first = await client.set_credential("_global", provider, {"api_key": "sk-0123456789", "pin": 12})
        assert first.display_metadata.masked_fields == {"api_key": "sk-...6789", "pin": "****"}
        second = await client.set_credential("_global", provider, {})
        assert (second.id, second.display_metadata.masked_fields) == (first.id, {})
        listed = [one.id for one in (await client.list_credentials()).credentials]
        assert listed.count(first.id) == 1
        found = await client.api.credentials.get_user_credential(background.app_id, provider)
        assert isinstance(found, models.FilledCredential)
        with pytest.raises(NotFound, match="has no credentials_schema"):
            await client.set_credential(background.app_id, provider, {"api_key": "x"})
        assert (await client.delete_credential("_global", provider)).deleted
        assert not [one for one in (await client.list_credentials()).credentials if one.id == first.id]
        with pytest.raises(NotFound, match="Credential not found"):
            await client.delete_credential("_global", provider)
        missing = await client.api.credentials.get_user_credential("_global", provider)
        assert isinstance(missing, models.MissingCredential)


async def test_credentials_have_ids_and_labels(background: Place) -> None:
    provider = f"provider-{uuid.uuid4().hex[:8]}"
    async with background.async_client() as client:
        api = client.api.credentials
        made = await api.create_credential(
            provider_name=provider, fields={"api_key": "1234567890"}, label="b"
        )
        assert (made.label, made.name, made.provider_type) == ("b", provider, "api_key")
        again = await api.create_credential(provider_name=provider, fields={"api_key": "x"}, label="b")
        assert again.id == made.id
        changed = await api.update_credential(made.id, label="c")
        assert (changed.label, (await api.get_credential(made.id)).label) == ("c", "c")
        assert [one.id for one in (await api.list_credentials(provider=provider)).credentials] == [made.id]
        assert (await api.delete_credential(made.id)).deleted
        with pytest.raises(NotFound):
            await api.get_credential(made.id)


async def test_a_fired_trigger_runs_the_app(background: Place, model: FakeModel) -> None:
    app_id = background.app_id
    async with background.async_client() as client:
        overview = await client.list_triggers(app_id)
        assert (overview.mode, [one.id for one in overview.triggers]) == ("background", ["nightly", "silent"])
        with pytest.raises(NotFound, match="Trigger 'none' not found"):
            await client.fire_trigger(app_id, "none")
        model.will_respond_with_text("The report is done.")
        fired = await client.fire_trigger(app_id, "nightly")
        assert (fired.dispatch, fired.message, fired.target_session_count) == (
            "global_fallback",
            "Report.",
            0,
        )
        (first,) = await ended(client, app_id, 1)
        assert (first.trigger_id, first.status, first.response) == (
            "nightly",
            "completed",
            "The report is done.",
        )
        assert (first.turns_used, first.tool_calls_count, first.trigger_payload) == (1, 0, {"manual": True})
        model.when(contains="silent").will_fail("provider_error", "no more", status=400)
        assert (
            await client.fire_trigger(app_id, "silent")
        ).message == "[manual fire] Trigger silent activated."
        last, _ = await ended(client, app_id, 2)
        assert (last.status, last.response, last.turns_used) == ("failed", "", 0)
        assert "no more" in (last.error or "")
        stats = await client.api.background.get_activation_stats(app_id)
        assert (stats.total, stats.completed, stats.failed, stats.success_rate) == (2, 1, 1, 50.0)
        model.will_respond_with_text("Tried.")
        assert (await client.api.background.test_trigger(app_id, "nightly")).response == "Tried."
        # The released daemon asks twice before a turn fails.
        asked = dict.fromkeys(request.last_text for request in model.requests)
        assert list(asked) == ["Report.", "[manual fire] Trigger silent activated."]


async def test_a_fired_trigger_wakes_background_sessions(
    background: Place, model: FakeModel, tmp_path: Path
) -> None:
    app_id, report = background.app_id, tmp_path / "report.txt"
    async with background.async_client() as client:
        api = client.api.background
        session = await client.create_background_session(app_id, name="Rome", params={"city": "Rome"})
        await api.set_background_payload(app_id, session.id, prompt="Hurry.", metadata={"tone": "calm"})
        await api.upload_background_payload_file(app_id, session.id, file=("notes.txt", b"Some notes."))
        model.will_call_tool("Write", {"file_path": str(report), "content": "All well."})
        model.will_respond_with_text("Written.")
        fired = await client.fire_trigger(app_id, "nightly")
        assert (fired.dispatch, fired.target_session_ids) == ("sessions", [session.id])
        (activation,) = await ended(client, app_id, 1)
        assert (
            activation.message
            == model.requests[0].last_text
            == (
                "Report.\n\nSession context:\n[city]: Rome\n\n---\nUser request:\nHurry.\n\n"
                "User preferences:\n[tone]: calm\n\nAttached files:\n--- notes.txt ---\nSome notes.\n"
                "--- end notes.txt ---\n"
            )
        )
        assert (activation.response, activation.tool_calls_count, activation.turns_used) == ("Written.", 1, 2)
        events = (await api.list_activation_events(app_id, activation.id)).events
        assert [(one.sequence, one.event_type) for one in events] == [(1, "tool_call"), (2, "artifact")]
        called = {name: events[0].data[name] for name in ("name", "short_name", "success", "error")}
        assert called == {"name": "filesystem.write", "short_name": "Write", "success": True, "error": ""}
        artifacts = (await api.list_activation_artifacts(app_id, activation.id)).artifacts
        assert [(one.path, one.action) for one in artifacts] == [(str(report), "filesystem.write")]
        assert await api.download_artifact(app_id, events[1].id) == b"All well."
        await api.head_artifact(app_id, events[1].id)
        with pytest.raises(NotFound, match="Artifact not found"):
            await api.download_artifact(app_id, events[0].id)

        async def activations() -> int:
            return (await api.get_background_session(app_id, session.id)).activation_count

        # It is counted after its activation has ended.
        assert await async_eventually(activations, lambda count: count == 1) == 1


async def test_background_sessions_are_listed_paused_and_deleted(background: Place) -> None:
    app_id = background.app_id
    async with background.async_client() as client:
        api = client.api.background
        one, two = [await client.create_background_session(app_id, name=name) for name in ("one", "two")]
        with pytest.raises(ApiError, match=r"Max sessions per user reached \(2\)"):
            await client.create_background_session(app_id, name="three")
        page = await client.list_background_sessions(app_id)
        assert ([session.id for session in page.sessions], page.count) == ([two.id, one.id], 2)
        assert (await api.pause_background_session(app_id, one.id)).status == "paused"
        # Only those that are active count.
        three = await client.create_background_session(app_id, name="three")
        assert (await api.get_background_session(app_id, one.id)).status == "paused"
        assert (await api.resume_background_session(app_id, one.id)).status == "active"
        empty = await api.get_background_payload(app_id, one.id)
        assert (empty.prompt, empty.metadata, empty.files, empty.validation.valid) == ("", {}, [], True)
        given = await api.set_background_payload(app_id, one.id, metadata={"a": 1})
        assert given.to_wire() == {"files": [], "metadata": {"a": 1}}
        assert (await api.clear_background_payload(app_id, one.id)).cleared
        for session in (one, two, three):
            assert (await api.delete_background_session(app_id, session.id)).deleted
        assert (await client.list_background_sessions(app_id)).sessions == []
        with pytest.raises(NotFound, match="Session not found"):
            await api.pause_background_session(app_id, one.id)
        with pytest.raises(NotFound, match="Background session not found"):
            await api.get_background_payload(app_id, one.id)
