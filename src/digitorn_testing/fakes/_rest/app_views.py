"""Apps as the contract shows them."""

import time
from datetime import UTC, datetime, timedelta
from typing import Any

from digitorn_testing._generated import models
from digitorn_testing.fakes._store.apps import App, AppDefinition, Apps
from digitorn_testing.fakes._wire.envelopes import iso


def app_summary(app: App) -> models.AppSummary:
    """An app as lists show it; one that is not deployed has few fields."""
    return models.AppSummary(**_summary(app))


def app_detail(app: App) -> models.AppDetail:
    """An app on its own; what it was deployed from lies in memory and cannot drift."""
    return models.AppDetail(**_summary(app), drift=models.DriftReport(drifted=False, missing=False))


def _summary(app: App) -> dict[str, Any]:
    definition = app.definition
    shown: dict[str, Any] = {
        "app_id": definition.app_id,
        "name": definition.name,
        "version": definition.version,
        "description": definition.description,
        "runtime_status": app.status,
        "install_status": "installed",
        "is_builtin": False,
        "installed_at": iso(app.installed_at),
        "scope": "system",
        "owner_user_id": None,
    }
    if app.status == "running":
        shown.update(_deployed_fields(app))
    return shown


def _deployed_fields(app: App) -> dict[str, Any]:
    definition = app.definition
    return {
        "short_name": definition.name,
        "mode": definition.mode,
        "modes": list(definition.modes),
        "agents": list(definition.agents),
        "modules": list(definition.modules),
        "total_tools": len(definition.tools),
        "total_categories": 0,
        "deployed_at": app.deployed_at,
        "greeting": definition.greeting,
        "workspace_mode": "none",
        "icon": "",
        "color": "",
        "category": "",
        "author": "",
        "tags": [],
        "quick_prompts": [],
        "attachments": ["image"],
        "attachments_mode": "inline",
        "builtin": False,
        "features": {},
        "theme": {},
        "slash_commands": [],
        "warnings": [],
        "session_mode": "multi",
    }


def app_validation(definition: AppDefinition) -> models.AppValidation:
    """What a definition declares."""
    return models.AppValidation(
        app_id=definition.app_id,
        name=definition.name,
        version=definition.version,
        modules=list(definition.modules),
        agents=list(definition.agents),
        setup_steps=definition.setup_steps,
        constrained_modules=list(definition.constrained_modules),
        security_policy=definition.security_policy,
        max_risk_level=definition.max_risk_level,
        skills=definition.skills,
    )


def deploy_status(apps: Apps, app_id: str) -> models.DeployStatus:
    """How the last deployment of an app went."""
    deployed = apps.deployed(app_id) is not None
    failure = apps.failure(app_id)
    if failure is None:
        return models.DeployStatus(app_id=app_id, deployed=deployed, error=None)
    return models.DeployStatus(
        app_id=app_id,
        deployed=deployed,
        error=failure.error,
        traceback=None,
        failed_at=failure.failed_at,
        yaml_path=failure.yaml_path,
    )


def app_status(app: App) -> models.AppStatus:
    """The activity of an app: none, for nothing here runs in the background."""
    return models.AppStatus(
        app_id=app.app_id,
        mode="conversation",
        is_background=False,
        live=models.AppLiveState(state="idle", running_count=0, status_counts={}),
        stats=models.ActivationStats(
            total=0,
            completed=0,
            failed=0,
            total_duration_ms=0.0,
            avg_duration_ms=0.0,
            total_prompt_tokens=0,
            total_completion_tokens=0,
            total_tool_calls=0,
            last_activation_at=None,
            success_rate=0.0,
        ),
        hourly=[
            models.HourlyActivity(hour_utc=hour, total=0, completed=0, failed=0) for hour in _last_hours()
        ],
        trend_24h=models.ActivityTrend(total=0, completed=0, failed=0, success_rate=0.0),
        triggers_summary=models.TriggersSummary(count=0, types=[]),
        channels_summary=models.ChannelsSummary(count=0, names=[]),
    )


def _last_hours() -> list[str]:
    now = datetime.fromtimestamp(time.time(), UTC).replace(minute=0, second=0, microsecond=0)
    return [(now - timedelta(hours=back)).isoformat() for back in reversed(range(24))]


def disabled_app(app: App) -> models.DisabledApp:
    """An app that is switched off, as lists show it."""
    return models.DisabledApp(
        app_id=app.app_id,
        scope="system",
        owner_user_id=None,
        name=app.definition.name,
        version=app.definition.version,
        disabled=True,
        has_bundle=True,
    )
