"""Emits everything but the classes, from Jinja templates."""

import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from typing import cast

import jinja2

from . import _ir as ir
from ._emit_builders import Builder, builders
from ._names import constant, identifier, keys_of
from ._text import prose

_WIDTH = 110


@dataclass(frozen=True)
class _Keyword:
    argument: str
    type: str
    required: bool
    description: str


def emit(contract: ir.Contract) -> dict[str, str]:
    """The source of each module, by module name."""
    environment = _environment()
    envelopes = list(
        dict.fromkeys(o.result.envelope for t in contract.tags for o in t.operations if o.result.envelope)
    )
    imported = sorted({key.partition(".")[0] for key in contract.shapes.made})
    modules = {
        "__init__": environment.get_template("init.py.jinja").render(contract=contract),
        "operations": environment.get_template("operations.py.jinja").render(
            contract=contract, envelopes=envelopes, modules=imported
        ),
    }
    for module, prefix, is_async in (("rest", "", False), ("rest_async", "Async", True)):
        modules[module] = environment.get_template("rest.py.jinja").render(
            contract=contract, prefix=prefix, is_async=is_async, modules=imported
        )
    if contract.envelope is not None:
        wires = dict.fromkeys(event.wire for event in contract.events if not event.wire.endswith("*"))
        modules["events"] = environment.get_template("events.py.jinja").render(
            contract=contract, envelope=contract.envelope, wires=list(wires)
        )
        modules["builders"] = environment.get_template("builders.py.jinja").render(
            builders=builders(contract), modules=[name for name in imported if name != "messages"]
        )
    if contract.commands:
        keys = [key for command in contract.commands for key in (command.request, command.ack)]
        keys += [key for key in (contract.command_error, contract.connect) if key is not None]
        names = list(dict.fromkeys(_bare(key) for key in keys))
        modules["commands"] = environment.get_template("commands.py.jinja").render(
            contract=contract, names=names
        )
    return modules


def runtime() -> dict[str, str]:
    """The source of each module that generated code runs on, by name."""
    folder = resources.files("digitorn_codegen") / "runtime"
    return {
        name: (folder / f"{name}.py").read_text(encoding="utf-8") for name in ("_checks", "_lazy", "_runtime")
    }


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("digitorn_codegen"),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=jinja2.StrictUndefined,
        autoescape=False,
    )
    # jinja2 types its table by the filters it ships.
    filters = cast("dict[str, Callable[..., object]]", environment.filters)
    filters.update(
        literal=repr,
        docstring=_docstring,
        bare=_bare,
        positional=_positional,
        keywords=_keywords,
        at=_at,
        docs=_docs,
        builder_docs=_builder_docs,
        styles=_styles,
        media_type=_media_type,
        keys_of=keys_of,
        identifier=identifier,
        constant=constant,
    )
    return environment


def _bare(key: str) -> str:
    return key.rpartition(".")[2]


def _docstring(text: str, indent: int) -> str:
    return _wrap(prose(text), indent).strip()


def _wrap(text: str, indent: int, hanging: int = 0) -> str:
    return textwrap.fill(
        text,
        width=_WIDTH - 4,
        initial_indent=" " * indent,
        subsequent_indent=" " * (indent + hanging),
        break_long_words=False,
        break_on_hyphens=False,
    )


def _positional(operation: ir.OperationSpec) -> list[ir.Parameter]:
    return [p for p in operation.parameters if p.location == "path"]


def _at(operation: ir.OperationSpec, location: str) -> list[ir.Parameter]:
    return [p for p in operation.parameters if p.location == location]


def _keywords(operation: ir.OperationSpec) -> list[_Keyword]:
    found: list[_Keyword] = []
    body = operation.body
    if body is not None and body.whole is not None:
        found.append(_Keyword("body", body.whole, body.required, "The request body."))
    for field in body.fields if body else ():
        found.append(_Keyword(field.argument, field.type, field.required, field.description))
    for p in operation.parameters:
        if p.location != "path":
            found.append(_Keyword(p.argument, p.type, p.required, p.description))
    if body is not None and body.extra:
        found.append(
            _Keyword(
                "extra_body",
                "Mapping[str, object] | None",
                False,
                "Further members of the body, by wire name.",
            )
        )
    return sorted(found, key=lambda k: not k.required)


def _styles(operation: ir.OperationSpec) -> dict[tuple[str, str], str]:
    found: dict[tuple[str, str], str] = {
        (p.location, p.name): p.style for p in operation.parameters if p.style is not None
    }
    for member in operation.body.fields if operation.body else ():
        if member.style is not None:
            found["body", member.name] = member.style
    return found


_USUAL = {
    "json": "application/json",
    "form": "application/x-www-form-urlencoded",
    "binary": "application/octet-stream",
}


def _media_type(body: ir.Body) -> str | None:
    """The content type of a body, if it is not the one that the runtime sends anyway."""
    if body.media == "multipart" or body.media_type == _USUAL.get(body.media):
        return None
    return body.media_type


def _docs(operation: ir.OperationSpec) -> str:
    """The docstring of a stub, without its quotes."""
    sentence = prose(operation.summary) or operation.id.replace("_", " ")
    lines = [sentence if sentence.endswith(".") else f"{sentence}."]
    described = prose(operation.description)
    if described and described.rstrip(".") != sentence.rstrip("."):
        lines += ["", _wrap(described, 8)]
    arguments = [(p.argument, p.description) for p in _positional(operation)]
    arguments += [(k.argument, k.description) for k in _keywords(operation)]
    if any(text for _, text in arguments):
        lines += ["", "        Args:"]
        lines += [_wrap(f"{name}: {prose(text)}", 12, 4) for name, text in arguments if text]
    lines += ["", "        " + prose(f"Contract: `{operation.method} {operation.path}`")]
    return "\n".join(lines)


def _builder_docs(builder: Builder) -> str:
    """The docstring of a builder, without its quotes."""
    lines = [prose(f"A payload of `{builder.wire}`."), "", "    Args:"]
    lines += [_wrap(f"{m.argument}: {prose(m.description)}", 8, 4) for m in builder.members if m.description]
    lines += ["        extra_members: Further members of the payload, by wire name."]
    lines += ["", "    Raises:", "        pydantic.ValidationError: The payload breaks the contract."]
    return "\n".join(lines)
