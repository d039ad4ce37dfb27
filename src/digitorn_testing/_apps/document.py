"""Changes to the definition of an app, in the structure of the app language."""

from collections.abc import Mapping
from typing import Any, Final, cast

from .language import Action, mapping

_UNENFORCED: Final = {"default_policy": "auto", "max_risk_level": "high"}
"""Capabilities without effect. The language's defaults would ask for more approvals than no capabilities."""


def child(parent: dict[str, Any], key: str, path: str) -> dict[str, Any]:
    """A mapping inside a mapping, created if missing."""
    if parent.get(key) is None:
        parent[key] = {}
    found: object = parent[key]
    if not isinstance(found, dict):
        raise ValueError(f"{path}: expected a mapping, got {type(found).__name__}")
    return cast("dict[str, Any]", found)


def _tools_block(document: dict[str, Any]) -> dict[str, Any]:
    for key in ("modules", "capabilities"):
        if key in document:
            raise ValueError(f"{key} stands at the top, as in older app files; move it into tools")
    return child(document, "tools", "tools")


_COMPANIONS: Final = {"workspace": "preview"}
"""Modules whose actions fail without another module."""


def module_block(document: dict[str, Any], module_id: str) -> dict[str, Any]:
    """The block of a module, created if missing together with a module that it needs."""
    modules = child(_tools_block(document), "modules", "tools.modules")
    if (companion := _COMPANIONS.get(module_id)) is not None:
        child(modules, companion, f"tools.modules.{companion}")
    if mapping(document.get("tools")).get("capabilities") is not None:
        # By default a daemon offers no tools of high risk, such as Bash.
        capabilities(document).setdefault("max_risk_level", "high")
    return child(modules, module_id, f"tools.modules.{module_id}")


def capabilities(document: dict[str, Any]) -> dict[str, Any]:
    """The block with the lists of allowed and denied actions, created if missing."""
    tools = _tools_block(document)
    if tools.get("capabilities") is None:
        tools["capabilities"] = dict(_UNENFORCED)
    return child(tools, "capabilities", "tools.capabilities")


def offer(document: dict[str, Any], action: Action, *, requires_approval: bool) -> None:
    """Offers an action to the model, and grants it."""
    is_new = action.module not in mapping(mapping(document.get("tools")).get("modules"))
    check_single(document, action, ("hidden_actions", "deny", *(() if requires_approval else ("approve",))))
    delist(document, action, ("hidden_actions", "deny", "grant", "approve"))
    block = module_block(document, action.module)
    constraints = mapping(block.get("constraints"))
    allowed = strings(constraints.get("allowed_actions"))
    if is_new or (allowed and action.name not in allowed):
        limits = child(block, "constraints", f"tools.modules.{action.module}.constraints")
        limits["allowed_actions"] = [*allowed, action.name]
    blocked = strings(constraints.get("blocked_actions"))
    if action.name in blocked:
        limits = child(block, "constraints", f"tools.modules.{action.module}.constraints")
        limits["blocked_actions"] = [one for one in blocked if one != action.name]
    enlist(document, action, "approve" if requires_approval else "grant")


def _rules(document: dict[str, Any], key: str) -> list[dict[str, Any]]:
    found: object = capabilities(document).get(key)
    if found is None:
        return []
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in cast("list[object]", found)):
        raise ValueError(f"tools.capabilities.{key}: expected a list of mappings")
    return cast("list[dict[str, Any]]", found)


def enlist(document: dict[str, Any], action: Action, key: str) -> None:
    """Adds an action to a list of the capabilities."""
    rules = _rules(document, key)
    rule = next((one for one in rules if one.get("module") == action.module), None)
    if rule is None:
        capabilities(document)[key] = [*rules, {"module": action.module, "actions": [action.name]}]
    elif (there := strings(rule.get("actions"))) and action.name not in there:
        rule["actions"] = [*there, action.name]


def delist(document: dict[str, Any], action: Action, keys: tuple[str, ...]) -> None:
    """Removes an action from lists of the capabilities."""
    if mapping(document.get("tools")).get("capabilities") is None:
        return
    for key in keys:
        kept: list[dict[str, Any]] = []
        for rule in _rules(document, key):
            there = strings(rule.get("actions"))
            # No actions means all of the module, from which a single one cannot be removed.
            if rule.get("module") != action.module or not there:
                kept.append(rule)
            elif others := [one for one in there if one != action.name]:
                kept.append({**rule, "actions": others})
        if kept or key in capabilities(document):
            capabilities(document)[key] = kept


def check_single(document: dict[str, Any], action: Action, keys: tuple[str, ...]) -> None:
    """Refuses to remove one action from a list that names its whole module."""
    capabilities = mapping(mapping(document.get("tools")).get("capabilities"))
    whole = [
        key
        for key in keys
        for rule in (_rules(document, key) if capabilities else ())
        if rule.get("module") == action.module and not strings(rule.get("actions"))
    ]
    if action.module in strings(capabilities.get("hidden_modules")):
        whole.append("hidden_modules")
    if whole:
        raise ValueError(f"tool {action.tool!r}: {whole[0]} names the whole module {action.module!r}")


def is_listed(document: dict[str, Any], action: Action, key: str) -> bool:
    """Whether a list of the capabilities names an action."""
    rules = mapping(mapping(document.get("tools")).get("capabilities")).get(key)
    return any(
        mapping(rule).get("module") == action.module and action.name in strings(mapping(rule).get("actions"))
        for rule in (cast("list[object]", rules) if isinstance(rules, list) else [])
    )


def strings(value: object) -> list[str]:
    """The items of a list as strings; an empty list for any other value."""
    return [str(one) for one in cast("list[object]", value)] if isinstance(value, list) else []


def update(target: dict[str, Any], changes: Mapping[str, object]) -> None:
    """Sets the values that are not None."""
    target.update({key: value for key, value in changes.items() if value is not None})
