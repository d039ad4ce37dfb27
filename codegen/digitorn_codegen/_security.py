"""Which credentials an operation takes."""

from typing import TypeAlias

from ._documents import JsonObject, JsonValue, text_of
from ._sides import Operation, Side, object_of

Credentials: TypeAlias = frozenset[tuple[tuple[str, ...], frozenset[str]]]
"""Security schemes, by what they are on the wire, each with its scopes."""


def security_of(side: Side, operation: Operation) -> frozenset[Credentials]:
    """The sets of credentials that an operation takes, any of which is enough."""
    found = operation.value.get("security", side.openapi.root.get("security"))
    listed = [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []
    schemes = object_of(side.openapi.root.get("components"), "securitySchemes")
    return frozenset(
        frozenset((_scheme(schemes, name), _scopes(scopes)) for name, scopes in one.items())
        for one in listed or [{}]
    )


def _scheme(schemes: JsonObject, name: str) -> tuple[str, ...]:
    """What a security scheme is on the wire; its name if it is not described."""
    scheme = object_of(schemes, name)
    kind = text_of(scheme, "type")
    if kind == "http":
        return kind, text_of(scheme, "scheme").lower()
    if kind == "apiKey":
        return kind, text_of(scheme, "in"), text_of(scheme, "name")
    return kind or name, text_of(scheme, "openIdConnectUrl")


def _scopes(scopes: JsonValue) -> frozenset[str]:
    return frozenset(map(str, scopes)) if isinstance(scopes, list) else frozenset()


def is_enough(have: Credentials, needed: Credentials) -> bool:
    """Whether who has some credentials may call what needs others."""
    return all(any(one == scheme and scopes <= more for one, more in have) for scheme, scopes in needed)
