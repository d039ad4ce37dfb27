"""Names of the secrets of apps, and the credentials of users. Values are not kept: nothing here uses them."""

import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

from digitorn_testing._generated import models

_SHOWN: Final = 4
"""Last characters of a value that are shown; a value that is not much longer is hidden as a whole."""


class AppSecrets:
    """The secrets of apps, which need not be installed."""

    def __init__(self) -> None:
        self._by_app: dict[str, set[str]] = {}

    def keys(self, app_id: str) -> list[str]:
        """The names of an app's secrets, sorted."""
        return sorted(self._by_app.get(app_id, ()))

    def add(self, app_id: str, *keys: str) -> None:
        """Stores secrets; those of the same name are replaced."""
        self._by_app.setdefault(app_id, set()).update(keys)

    def remove(self, app_id: str, key: str) -> bool:
        """Deletes a secret.

        Returns:
            Whether there was one.
        """
        if key not in self._by_app.get(app_id, ()):
            return False
        self._by_app[app_id].remove(key)
        return True

    def remove_app(self, app_id: str) -> int:
        """Deletes every secret of an app, and returns how many there were."""
        return len(self._by_app.pop(app_id, ()))


class SeveralCredentials(Exception):
    """There are several credentials where one was asked for. The released daemon fails on them, too."""


class Credentials:
    """The credentials of users, by their ids."""

    def __init__(self) -> None:
        self._by_id: dict[str, models.Credential] = {}

    def of(self, user_id: str, provider: str | None = None) -> list[models.Credential]:
        """A user's credentials by provider and label; those for one provider if it is given."""
        found = [one for one in self._by_id.values() if one.user_id == user_id]
        wanted = [one for one in found if provider in (None, one.provider_name)]
        return sorted(wanted, key=lambda one: (one.provider_name, one.label))

    def get(self, credential_id: str) -> models.Credential | None:
        """A credential, whosever it is."""
        return self._by_id.get(credential_id)

    def only(self, user_id: str | None, app_id: str | None, provider: str) -> models.Credential | None:
        """The credential of a user and an app for a provider, whatever its label.

        Raises:
            SeveralCredentials: There are several.
        """
        found = self._exactly(user_id, app_id, provider)
        if len(found) > 1:
            raise SeveralCredentials(provider)
        return found[0] if found else None

    def store(
        self,
        before: models.Credential | None,
        fields: Mapping[str, object] | None,
        **members: str | None,
    ) -> models.Credential:
        """Stores a credential.

        Args:
            before: The one that it replaces.
            fields: Its values, which can be seen only in part; as they were if left out.
            members: What else there is to it, by member.
        """
        now = datetime.now(UTC).replace(tzinfo=None).isoformat()
        known = before.to_wire() if before is not None else _new(now)
        display: dict[str, object] = {}
        if before is not None:
            display = before.display_metadata.to_wire()
        if fields is not None:
            masked = {name: _masked(str(value)) for name, value in fields.items() if value is not None}
            display = {"masked_fields": masked}
        if "label" in members:
            display["label"] = members["label"]
        update = {**members, "updated_at": now, "display_metadata": display}
        stored = models.Credential.from_wire({**known, **update})
        self._by_id[stored.id] = stored
        return stored

    def remove(self, *credentials: models.Credential) -> None:
        """Deletes credentials."""
        for one in credentials:
            del self._by_id[one.id]

    def remove_exactly(self, user_id: str, app_id: str | None, provider: str) -> bool:
        """Deletes the credentials of a user and an app for a provider.

        Returns:
            Whether there were any.
        """
        found = self._exactly(user_id, app_id, provider)
        self.remove(*found)
        return bool(found)

    def _exactly(self, user_id: str | None, app_id: str | None, provider: str) -> list[models.Credential]:
        wanted = (user_id, app_id, provider)
        return [one for one in self._by_id.values() if (one.user_id, one.app_id, one.provider_name) == wanted]


def _new(now: str) -> dict[str, object]:
    return {
        "id": uuid.uuid4().hex,
        "owner_type": "user",
        "label": "default",
        "status": "filled",
        "expires_at": None,
        "last_validated_at": None,
        "last_error": None,
        "display_metadata": {},
        "created_at": now,
    }


def _masked(value: str) -> str:
    return f"{value[:3]}...{value[-_SHOWN:]}" if len(value) > _SHOWN + 3 else "****"
