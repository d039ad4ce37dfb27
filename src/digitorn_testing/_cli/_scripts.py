"""Scripts for the model of `digitorn-testing serve`: a YAML or JSON file, or a Python module."""

from __future__ import annotations

import importlib
import inspect
import runpy
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from digitorn_testing._apps.builder import AppBuilder

from ._failing import USAGE, CommandFailed

if TYPE_CHECKING:
    import yaml

    from digitorn_testing.fakes import FakeModel, ModelRequest
    from digitorn_testing.fakes._model.script import Script

_DOCUMENTS: Final = (".json", ".yaml", ".yml")
_MEMBERS: Final = frozenset({"app", "system_prompt", "greeting", "answers", "rules"})
_APP: Final = "my-app"
_MODEL: Final = "model"


@dataclass(frozen=True, slots=True)
class Scripted:
    """What `serve` serves.

    Attributes:
        app: The app.
        model: Its model.
    """

    app: AppBuilder
    model: FakeModel


def load(script: str | None, app_id: str | None) -> Scripted:
    """Makes a model of a script.

    Args:
        script: A file, or a module with the name of the model behind a colon; a model that repeats what it is
            told if left out.
        app_id: Id of the app; the script's if left out.

    Raises:
        CommandFailed: The script cannot be read, or says what no script can.
    """
    if script is None:
        return Scripted(AppBuilder(app_id or _APP), _echo())
    try:
        if Path(script).suffix in _DOCUMENTS:
            if not Path(script).is_file():
                raise CommandFailed(f"{script} does not exist", USAGE)
            return _of_document(Path(script), app_id)
        return _of_module(script, app_id)
    except CommandFailed:
        raise
    except Exception as error:
        # A module may raise anything.
        raise CommandFailed(f"{script}: {type(error).__name__}: {error}", USAGE) from error


def _echo() -> FakeModel:
    from digitorn_testing.fakes import FakeModel

    def repeat(request: ModelRequest) -> str:
        return f"You said: {request.last_text}"

    return FakeModel().will_answer(repeat, times=None)


# --- a document


def _of_document(file: Path, app_id: str | None) -> Scripted:
    import yaml

    from digitorn_testing.fakes import FakeModel

    try:
        # JSON is YAML too.
        document: object = yaml.safe_load(file.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise CommandFailed(f"{file}: {_mistake(error)}", USAGE) from error
    script = _mapping(document, str(file))
    if unknown := sorted(script.keys() - _MEMBERS):
        raise CommandFailed(
            f"{file}: unknown member {unknown[0]!r}; known: {', '.join(sorted(_MEMBERS))}", USAGE
        )
    model = FakeModel()
    for number, one in enumerate(_items(script.get("rules"), f"{file}: rules"), 1):
        place = f"{file}: rule {number}"
        rule = _mapping(one, place)
        if set(rule) != {"when", "answers"}:
            raise CommandFailed(f"{place} must have the members 'when' and 'answers'", USAGE)
        made: Script = _called(model.when, rule["when"], place)
        _answer(made, rule["answers"], place)
    _answer(model, script.get("answers"), str(file))
    app = AppBuilder(app_id or str(script.get("app") or _APP))
    app = app.with_system_prompt(str(script.get("system_prompt") or ""))
    return Scripted(app.with_greeting(str(script.get("greeting") or "")), model)


def _mistake(error: yaml.YAMLError) -> str:
    """What is wrong in a YAML document, and where, on one line."""
    from yaml import MarkedYAMLError

    if not isinstance(error, MarkedYAMLError) or error.problem_mark is None:
        return " ".join(str(error).split())
    return f"line {error.problem_mark.line + 1}: {error.problem}"


def _answer(script: Script, answers: object, place: str) -> None:
    """Adds the answers of a document to a script. Each is named as the method of `FakeModel` that adds it."""
    known = [one for one in dir(script) if one.startswith("will_")]
    for number, one in enumerate(_items(answers, f"{place}: answers"), 1):
        where = f"{place}: answer {number}"
        entry = _mapping(one, where)
        name, given = next(iter(entry.items()), ("", None))
        if len(entry) != 1 or name not in known:
            raise CommandFailed(f"{where} must have one member, which is one of: {', '.join(known)}", USAGE)
        _called(getattr(script, name), given, where)


def _called(method: Callable[..., Any], given: object, place: str) -> Any:
    """Calls a method with what a document says: named arguments, the first argument, or nothing."""
    from digitorn_testing.fakes import ScriptedToolCall, Usage

    try:
        if given is None:
            return _with(method)
        if not isinstance(given, dict):
            return _with(method, given)
        named = dict(cast("Mapping[str, Any]", given))
        if "usage" in named:
            named["usage"] = _with(Usage, **named["usage"])
        if "calls" in named:
            named["calls"] = [_with(ScriptedToolCall, **one) for one in named["calls"]]
        return _with(method, **named)
    except (TypeError, ValueError) as error:
        raise CommandFailed(f"{place}: {error}", USAGE) from error


def _with(call: Callable[..., Any], *first: object, **named: Any) -> Any:
    """Calls something, and tells which arguments it knows if it does not know one."""
    signature = inspect.signature(call)
    known = signature.parameters
    takes_any = any(one.kind is one.VAR_KEYWORD for one in known.values())
    unknown = [name for name in named if name not in known and not takes_any]
    if unknown:
        raise TypeError(f"unknown argument {unknown[0]!r}; known: {', '.join(known)}")
    # It says what is missing without the name of a Python method.
    signature.bind(*first, **named)
    return call(*first, **named)


def _mapping(value: object, place: str) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise CommandFailed(f"{place} must be a mapping", USAGE)
    return cast("Mapping[str, object]", value)


def _items(value: object, place: str) -> list[object]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise CommandFailed(f"{place} must be a list", USAGE)
    return cast("list[object]", value)


# --- a module


def _of_module(script: str, app_id: str | None) -> Scripted:
    from digitorn_testing.fakes import FakeModel

    # A drive of Windows ends with a colon too.
    module, colon, name = script.rpartition(":")
    if not colon or not name.isidentifier():
        module, name = script, _MODEL
    members = _members_of(module)
    found = members.get(name)
    if callable(found):
        found = found()
    if not isinstance(found, FakeModel):
        raise CommandFailed(f"{script}: {name} must be a FakeModel, or a function that returns one", USAGE)
    app = members.get("app")
    if not isinstance(app, AppBuilder):
        app = AppBuilder(app_id or _APP)
    elif app_id not in (None, app.app_id):
        raise CommandFailed(f"{script} defines the app {app.app_id!r}; leave out --app", USAGE)
    return Scripted(app, found)


def _members_of(module: str) -> Mapping[str, object]:
    if Path(module).suffix == ".py":
        if not Path(module).is_file():
            raise CommandFailed(f"{module} does not exist", USAGE)
        return runpy.run_path(module)
    # As `python -m` finds it.
    sys.path.insert(0, "")
    return vars(importlib.import_module(module))
