"""Emits everything but the classes, from Jinja templates."""

import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from typing import cast

import jinja2

from . import _ir as ir
from ._emit_builders import Builder, builders
from ._media import base
from ._names import constant, identifier, keys_of
from ._text import prose
from ._types import union

_WIDTH = 110
_RUNTIME = ("_checks", "_encoding", "_lazy", "_runtime", "_streams", "_surrogates")


@dataclass(frozen=True)
class _Keyword:
    """A keyword argument of a stub; the default of an optional one is NOT_GIVEN if not named otherwise."""

    argument: str
    type: str
    required: bool
    description: str
    default: str = "NOT_GIVEN"

    @property
    def written(self) -> str:
        """The argument with its type and its default."""
        if self.required:
            return f"{self.argument}: {self.type}"
        left_out = " | NotGiven" if self.default == "NOT_GIVEN" else ""
        return f"{self.argument}: {self.type}{left_out} = {self.default}"


def emit(contract: ir.Contract) -> dict[str, str]:
    """The source of each module, by module name."""
    environment = _environment()
    envelopes = list(
        dict.fromkeys(
            answer.envelope
            for tag in contract.tags
            for operation in tag.operations
            for answer in operation.result.answers
            if answer.envelope
        )
    )
    imported = sorted({key.partition(".")[0] for key in contract.shapes.made})
    modules = {
        "__init__": environment.get_template("init.py.jinja").render(contract=contract),
        "operations": environment.get_template("operations.py.jinja").render(
            contract=contract, envelopes=envelopes, modules=imported, needs=_needs(contract)
        ),
    }
    for module, prefix, is_async in (("rest", "", False), ("rest_async", "Async", True)):
        modules[module] = environment.get_template("rest.py.jinja").render(
            contract=contract, prefix=prefix, is_async=is_async, modules=imported, needs=_needs(contract)
        )
    if contract.events or contract.envelope is not None:
        wires = dict.fromkeys(event.wire for event in contract.events if not event.wire.endswith("*"))
        modules["events"] = environment.get_template("events.py.jinja").render(
            contract=contract, envelope=contract.envelope, wires=list(wires)
        )
        modules["builders"] = environment.get_template("builders.py.jinja").render(
            builders=builders(contract), modules=[name for name in imported if name != "messages"]
        )
    if contract.commands:
        keys = [key for command in contract.commands for key in (command.request, command.ack)]
        keys += [contract.command_error, contract.connect]
        homes: dict[str, dict[str, None]] = {}
        for module, _, name in (key.partition(".") for key in keys if key is not None):
            homes.setdefault(module, {})[name] = None
        modules["commands"] = environment.get_template("commands.py.jinja").render(
            contract=contract, homes=homes
        )
    return modules


def _needs(contract: ir.Contract) -> set[str]:
    """What only some contracts need in the modules of stubs: `overload`, and streams."""
    operations = [operation for tag in contract.tags for operation in tag.operations]
    found = {"overload"} if any(_signatures(operation) for operation in operations) else set[str]()
    if any(answer.is_stream for operation in operations for answer in operation.result.answers):
        found.add("stream")
    return found


def runtime(shared: str | None = None) -> dict[str, str]:
    """The source of each module that generated code runs on, by name.

    Args:
        shared: The package whose modules these are to repeat; None for copies.
    """
    folder = resources.files("digitorn_codegen") / "runtime"
    if shared is None:
        return {name: (folder / f"{name}.py").read_text(encoding="utf-8") for name in _RUNTIME}
    doc = f'"""What several generated packages run on: that of `{shared}`."""'
    return {name: f"{doc}\n\nfrom {shared}.{name} import *\n" for name in _RUNTIME}


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
        signatures=_signatures,
        result_type=_result_type,
        first_type=_first_type,
        base=base,
        at=_at,
        docs=_docs,
        builder_docs=_builder_docs,
        styles=_styles,
        reserved=_reserved,
        part_types=_part_types,
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
    """The keyword arguments of an operation, the required ones first."""
    body = operation.body
    found = _body_keywords(body, required=body.required) if body is not None else []
    found += [
        _Keyword(p.argument, p.type, p.required, p.description)
        for p in operation.parameters
        if p.location != "path"
    ]
    found += _further_keywords(body) if body is not None else []
    return sorted(found, key=lambda k: not k.required)


def _body_keywords(body: ir.Body, *, required: bool) -> list[_Keyword]:
    """The arguments that a body is made of.

    Args:
        body: The body.
        required: Whether those that the body requires must be given.
    """
    if body.whole is not None:
        return [_Keyword("body", body.whole, required, "The request body.")]
    return [_Keyword(f.argument, f.type, required and f.required, f.description) for f in body.fields]


def _further_keywords(body: ir.Body) -> list[_Keyword]:
    """The arguments that a body has besides its members."""
    found: list[_Keyword] = []
    if body.extra is not None:
        text = "Further members of the body, by wire name."
        found.append(_Keyword("extra_body", f"Mapping[str, {body.extra}] | None", False, text, "None"))
    if body.choices:
        names = ", ".join(map(repr, (body.media_type, *body.choices)))
        text = "The content type to send the body as."
        found.append(_Keyword(body.chooser, f"Literal[{names}]", False, text, repr(body.media_type)))
    return found


def _signatures(operation: ir.OperationSpec) -> list[list[_Keyword]]:
    """The keyword arguments of each signature, where one is not enough: without the body, and with it."""
    body = operation.body
    if body is None or not body.may_be_left_out:
        return []
    everything = _keywords(operation)
    given = {keyword.argument: keyword for keyword in _body_keywords(body, required=True)}
    of_body = {*given, *(keyword.argument for keyword in _further_keywords(body))}
    without = [k for k in everything if k.argument not in of_body]
    return [without, sorted([given.get(k.argument, k) for k in everything], key=lambda k: not k.required)]


def _first_type(result: ir.Result) -> str:
    """The type of the result of an answer in the first form; of a stream, of its items."""
    if not result.answers:
        return "None"
    first = result.answers[0]
    return union([first.type] + ["None"] * (result.may_be_empty and not first.is_stream))


def _result_type(result: ir.Result, is_async: bool | None) -> str:
    """The type of the result.

    Args:
        result: The result.
        is_async: Whether streams are iterated over asynchronously; None for either.
    """
    stream = "AnyStream" if is_async is None else "AsyncStream" if is_async else "Stream"
    types = [f"{stream}[{a.type}]" if a.is_stream else a.type for a in result.answers]
    return union(types + ["None"] * (result.may_be_empty or not types))


def _styles(operation: ir.OperationSpec) -> dict[tuple[str, str], str]:
    found: dict[tuple[str, str], str] = {
        (p.location, p.name): p.style for p in operation.parameters if p.style is not None
    }
    for member in operation.body.fields if operation.body else ():
        if member.style is not None:
            found["body", member.name] = member.style
    return found


def _reserved(operation: ir.OperationSpec) -> tuple[tuple[str, str], ...]:
    """The parameters and members that are sent with reserved characters as they are."""
    found: list[tuple[str, str]] = [(p.location, p.name) for p in operation.parameters if p.reserved]
    found += [("body", f.name) for f in (operation.body.fields if operation.body else ()) if f.reserved]
    return tuple(found)


def _part_types(body: ir.Body) -> dict[str, str]:
    """The content types of the parts of a multipart body, as far as the contract names them."""
    return {f.name: f.content_type for f in body.fields if f.content_type is not None}


_USUAL = {
    "json": "application/json",
    "form": "application/x-www-form-urlencoded",
    "multipart": "multipart/form-data",
    "binary": "application/octet-stream",
}


def _media_type(body: ir.Body) -> str | None:
    """The content type of a body, if it is not the one that the runtime sends anyway."""
    return None if body.media_type == _USUAL.get(body.media) else body.media_type


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
