"""Generates a typed client package from an OpenAPI document and event JSON Schemas."""

from importlib import import_module
from typing import TYPE_CHECKING, Final

from ._extra import require

if TYPE_CHECKING:
    from ._errors import ContractError as ContractError
    from ._errors import SettingsError as SettingsError
    from ._generate import check as check
    from ._generate import generate as generate
    from ._settings import Settings as Settings
    from ._settings import Twin as Twin

__all__ = ["ContractError", "Settings", "SettingsError", "Twin", "check", "generate"]

_MODULES: Final = {
    "ContractError": "_errors",
    "Settings": "_settings",
    "SettingsError": "_errors",
    "Twin": "_settings",
    "check": "_generate",
    "generate": "_generate",
}

if not TYPE_CHECKING:

    def __getattr__(name):
        # Imported when used, so that the command can say which extra is missing.
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}", name=name)
        require()
        return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
