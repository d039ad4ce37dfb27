"""Generates a typed client package from an OpenAPI document and event JSON Schemas."""

from ._errors import ContractError as ContractError
from ._errors import SettingsError as SettingsError
from ._generate import check as check
from ._generate import generate as generate
from ._settings import Settings as Settings
from ._settings import Twin as Twin

__all__ = ["ContractError", "Settings", "SettingsError", "Twin", "check", "generate"]
