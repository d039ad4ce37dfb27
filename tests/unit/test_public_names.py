"""The names that `digitorn.testing` publishes, and that they are the objects of the implementation."""

import importlib.util
import tomllib
from pathlib import Path
from types import ModuleType
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]
PUBLISHED: Final = "digitorn.testing"
LISTED: Final = Path(__file__).with_name("public_names.txt")
MODULES: Final = ("", "events", "models", "assertions", "builders", "fakes", "legacy", "telemetry")
"""Those whose names are listed; `client` has the names of the package itself."""
APART: Final = "load"
"""Imports Locust, which is not installed here and patches the standard library."""

_LEAKED: Final = "leaked from a module without `__all__`; it was never meant to be public"
_CONTRACT: Final = "an event, a constant or a shape that Digitorn 1.0.3 does not have"
REMOVED: Final = {
    "digitorn.testing.models.Annotated": _LEAKED,
    "digitorn.testing.models.Any": _LEAKED,
    "digitorn.testing.models.ConfigDict": _LEAKED,
    "digitorn.testing.models.Field": _LEAKED,
    "digitorn.testing.models.Literal": _LEAKED,
    "digitorn.testing.models.Model": _LEAKED,
    "digitorn.testing.models.annotations": _LEAKED,
    **dict.fromkeys(
        (
            "digitorn.testing.events.AgentCancel",
            "digitorn.testing.events.AgentProgress",
            "digitorn.testing.events.AgentResult",
            "digitorn.testing.events.AgentSpawn",
            "digitorn.testing.events.AssistantDelta",
            "digitorn.testing.events.AssistantStreamSnapshot",
            "digitorn.testing.events.BackgroundActivationFinished",
            "digitorn.testing.events.BackgroundActivationStarted",
            "digitorn.testing.events.Behavior",
            "digitorn.testing.events.MessageFailed",
            "digitorn.testing.events.Pong",
            "digitorn.testing.events.PreviewDelta",
            "digitorn.testing.events.PreviewSnapshot",
            "digitorn.testing.events.StateSnapshot",
            "digitorn.testing.events.TokenUsage",
            "digitorn.testing.events.ToolEnd",
            "digitorn.testing.events.TurnComplete",
            "digitorn.testing.events.WebPreviewAttach",
            "digitorn.testing.events.WidgetSnapshot",
            "digitorn.testing.models.AppQuotaRemoved",
            "digitorn.testing.models.AuthSession",
            "digitorn.testing.models.ChangePasswordRequest",
            "digitorn.testing.models.ForkAuthSessionRequest",
            "digitorn.testing.models.MetricQuota",
            "digitorn.testing.models.Package",
            "digitorn.testing.models.PackageDetail",
            "digitorn.testing.models.PackageInstallRequest",
            "digitorn.testing.models.PackageInstallation",
            "digitorn.testing.models.PackageList",
            "digitorn.testing.models.PackageRemoval",
            "digitorn.testing.models.PackageUpdateCheck",
            "digitorn.testing.models.PackageUpgrade",
            "digitorn.testing.models.PackageUpgradeRequest",
            "digitorn.testing.models.PasswordChanged",
            "digitorn.testing.models.PreviewServerLogs",
            "digitorn.testing.models.PreviewServerState",
            "digitorn.testing.models.PreviewServerStatus",
            "digitorn.testing.models.QuotaDefinition",
            "digitorn.testing.models.QuotaMetrics",
            "digitorn.testing.models.QuotaRule",
            "digitorn.testing.models.QuotaSetting",
            "digitorn.testing.models.QuotaView",
            "digitorn.testing.models.SetQuotaRequest",
            "digitorn.testing.models.TokenQuota",
            "digitorn.testing.models.TokenQuotaList",
            "digitorn.testing.models.UninstallPackageRequest",
            "digitorn.testing.models.UsageByApp",
            "digitorn.testing.models.UsageCost",
            "digitorn.testing.models.UsageDay",
            "digitorn.testing.models.UsageHour",
            "digitorn.testing.models.UsageQuota",
            "digitorn.testing.models.UserQuotaRemoved",
            "digitorn.testing.models.UserUsage",
        ),
        _CONTRACT,
    ),
    "digitorn.testing.fakes.ChatCompletionRequest": "a request of one interface; now `ProviderRequest`",
}
"""What was there once, and why it is gone."""


_SERVED: Final = "the model server serves and records other interfaces than OpenAI's, and reads images"
_STATED: Final = "a table that the code kept by hand, now stated by the contract as `x-constants`"
_ANSWERS: Final = "what a function may answer for a scripted model"
_COMPARED: Final = "how two runs of an agent differ"
_LIMITED: Final = "what is asserted of an agent whose model is not scripted"
_TOOLS: Final = "what a tool in Python is told, and how it says that it fails"
_OLD: Final = "names of the predecessor, as deprecated forms"
ADDED: Final = {
    "digitorn.testing.legacy.OldArguments": _OLD,
    "digitorn.testing.legacy.OldAssertions": _OLD,
    "digitorn.testing.legacy.OldCalls": _OLD,
    "digitorn.testing.legacy.OldStream": _OLD,
    "digitorn.testing.Change": _COMPARED,
    "digitorn.testing.ChangesFound": _COMPARED,
    "digitorn.testing.Comparison": _COMPARED,
    "digitorn.testing.compare": _COMPARED,
    "digitorn.testing.Spent": _LIMITED,
    "digitorn.testing.digitorn_live": "the marker of the same name, with its arguments typed",
    "digitorn.testing.assertions.text_matches": _LIMITED,
    "digitorn.testing.assertions.tools_not_called": _LIMITED,
    "digitorn.testing.assertions.within": _LIMITED,
    "digitorn.testing.write_page": "a recording as a page for the browser",
    "digitorn.testing.TurnFailed": "what `TurnResult.raise_for_error` raises",
    "digitorn.testing.Response": "the answer to `client.request`, for routes that the contract lacks",
    "digitorn.testing.ToolContext": _TOOLS,
    "digitorn.testing.ToolDenied": _TOOLS,
    "digitorn.testing.ToolFailed": _TOOLS,
    "digitorn.testing.fakes.Failure": _ANSWERS,
    "digitorn.testing.fakes.ModelAttachment": "an image or a file that came with a message",
    "digitorn.testing.fakes.Reply": _ANSWERS,
    "digitorn.testing.fakes.Silence": _ANSWERS,
    "digitorn.testing.events.CREDENTIAL_FAILURES": _STATED,
    "digitorn.testing.events.FAILURE_CATEGORIES": _STATED,
    "digitorn.testing.events.RETRYABLE_FAILURES": _STATED,
    "digitorn.testing.events.SNAPSHOT_TYPES": _STATED,
    "digitorn.testing.events.TERMINAL_STATES": _STATED,
    "digitorn.testing.events.UNLISTED_TYPES": _STATED,
    "digitorn.testing.fakes.ProviderRequest": _SERVED,
    "digitorn.testing.fakes.ExampleAnswer": "the warning that an answer is made up from the contract",
}
"""What came after the list was written, and why."""

GONE_MODULES: Final = {
    "digitorn.testing.pytest_plugin": "the plugin is `digitorn_testing.pytest_plugin`, a name of its own",
}


def aliases() -> dict[str, str]:
    """The published modules, and the module that each stands for."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    (alias,) = settings["tool"]["digitorn-codegen"]["aliases"]
    return {dotted("" if name == "__init__" else name): module for name, module in alias["modules"].items()}


def dotted(name: str) -> str:
    """The published module of a name; the package itself for none."""
    return f"{PUBLISHED}.{name}" if name else PUBLISHED


@pytest.mark.parametrize(
    ("published", "implementation"), [one for one in aliases().items() if one[0] != dotted(APART)]
)
def test_the_published_names_are_the_same_objects(published: str, implementation: str) -> None:
    alias, real = importlib.import_module(published), importlib.import_module(implementation)
    assert alias is not real
    assert sorted(alias.__all__) == sorted(real.__all__)
    for name in real.__all__:
        ours, published_one = getattr(real, name), getattr(alias, name)
        # Importing `digitorn.testing.assertions` binds that name anew; its own names are compared here too.
        is_alias = isinstance(ours, ModuleType) and published_one.__name__ == f"{published}.{name}"
        assert published_one is ours or (is_alias and published_one.__name__ in aliases()), name


def test_the_public_names_are_those_that_are_listed() -> None:
    found = {
        f"{module}.{name}"
        for module in map(dotted, MODULES)
        for name in importlib.import_module(module).__all__
    }
    listed = {line for line in LISTED.read_text(encoding="utf-8").splitlines() if not line.startswith("#")}
    assert found - listed == ADDED.keys()
    assert sorted(listed - found) == []


def test_no_module_is_published_without_its_names_being_listed() -> None:
    assert set(aliases()) == {*map(dotted, MODULES), dotted("client"), dotted(APART)}


def test_what_was_removed_is_gone() -> None:
    for name in REMOVED:
        module, _, attribute = name.rpartition(".")
        assert not hasattr(importlib.import_module(module), attribute), name
    for module in GONE_MODULES:
        assert importlib.util.find_spec(module) is None, module
