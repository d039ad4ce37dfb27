"""Reads a contract into its intermediate form, or reports what is wrong with it and where."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from . import _asyncapi, _check, _circles
from . import _ir as ir
from ._compile import Compiler
from ._definitions import Definitions
from ._depth import room
from ._documents import Document, Documents, text_of
from ._errors import ContractError
from ._events import CommandSources, EventSources, assembled, command_files, commands_of, event_files
from ._operations import OperationReader
from ._settings import Settings
from ._shapes import Shapes
from ._webhooks import read_webhooks

_SCHEMA_SUFFIXES = (".json", ".yaml", ".yml")


def load(settings: Settings) -> ir.Contract:
    """Reads the contract that the settings name.

    Raises:
        ContractError: It cannot be generated from.
    """
    try:
        with room():
            return _load(settings)
    except RecursionError as error:
        raise ContractError(settings.openapi, "", "is nested too deeply") from error


@dataclass(frozen=True)
class Sources:
    """What a contract consists of, before it is brought into the form that classes are made of.

    Attributes:
        api: The OpenAPI document, or the AsyncAPI document if there is no other.
        operations: Reads the operations, if there is an OpenAPI document.
    """

    api: Document
    definitions: Definitions
    operations: OperationReader | None
    events: EventSources
    commands: CommandSources


def gather(settings: Settings) -> Sources:
    """Reads and checks every file of a contract.

    Raises:
        ContractError: It cannot be generated from.
    """
    documents = Documents()
    api = documents.get(settings.openapi)
    event_documents = _folder(documents, settings.events)
    command_documents = _folder(documents, settings.commands)
    asyncapi = documents.get(settings.asyncapi) if settings.asyncapi is not None else None
    definitions = _definitions(documents, api, event_documents, command_documents)
    schema_files = (*event_documents, *command_documents)
    operations: OperationReader | None = None
    if api is not asyncapi:
        _check.openapi(api, definitions.warn)
    _check.schemas(schema_files)
    _check.references(documents, api if api is not asyncapi else None, schema_files, definitions.warn)
    if api is not asyncapi:
        operations = OperationReader(definitions, api)
        for pointer in _check.components(api):
            definitions.define(api, pointer)
    events = event_files(definitions, event_documents)
    commands = command_files(definitions, command_documents)
    if asyncapi is not None:
        _check.asyncapi(asyncapi)
        definitions.modules[asyncapi.path] = "payloads"
        found = _asyncapi.read(definitions, asyncapi, settings.asyncapi_describes)
        events.add(found.events)
        commands.add(found.commands)
    if operations is not None:
        events.add(read_webhooks(definitions, api))
    return Sources(api, definitions, operations, events, commands)


def _load(settings: Settings) -> ir.Contract:
    sources = gather(settings)
    api, definitions, commands = sources.api, sources.definitions, sources.commands
    events = assembled(definitions, sources.events)
    named = tuple(commands_of(definitions, commands))
    _circles.check(definitions)
    compiler = Compiler(definitions)
    definitions.typed = compiler.typed
    compiler.make_all(events.payloads | commands.classes)
    # Last: what the contract names itself has its name by now, and made-up names give way.
    tags = sources.operations.tags() if sources.operations is not None else ()
    _circles.check(definitions)
    compiler.make_all()
    compiler.check()
    info = api.root.get("info")
    return ir.Contract(
        source=api.path,
        title=text_of(info, "title") if isinstance(info, dict) else "",
        version=text_of(info, "version") if isinstance(info, dict) else "",
        digest=_digest(definitions.documents, api.path.parent),
        definitions=tuple(definitions.found[key] for key in sorted(definitions.found)),
        tags=tags,
        events=events.events,
        envelope=events.envelope,
        commands=named,
        command_error=commands.error,
        connect=commands.connect,
        constants=events.constants,
        payload_bases=_payload_bases(compiler.shapes, events.payloads),
        shapes=compiler.shapes,
        origins=definitions.origins,
        files=definitions.documents.paths(),
        servers=sources.operations.servers() if sources.operations is not None else (),
        warnings=tuple(definitions.warnings),
    )


def _payload_bases(shapes: Shapes, payloads: frozenset[str]) -> frozenset[str]:
    """The keys of the classes that are event payloads, or that such extend."""
    bases = {base for key in payloads for base in shapes.ancestors(key) if base.startswith("payloads.")}
    return payloads | bases


def _definitions(
    documents: Documents, api: Document, events: tuple[Document, ...], commands: tuple[Document, ...]
) -> Definitions:
    modules: dict[Path, ir.Module] = {api.path: "models"}
    modules.update(dict.fromkeys((document.path for document in events), "payloads"))
    modules.update(dict.fromkeys((document.path for document in commands), "messages"))
    return Definitions(documents, modules, text_of(api.root, "openapi").startswith("3.0"))


def _folder(documents: Documents, folder: Path | None) -> tuple[Document, ...]:
    if folder is None:
        return ()
    if not folder.is_dir():
        raise ContractError(folder, "", "is no folder of schemas")
    return tuple(documents.get(file) for file in sorted(folder.iterdir()) if file.suffix in _SCHEMA_SUFFIXES)


def _digest(documents: Documents, root: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(documents.paths()):
        shown = path.relative_to(root) if path.is_relative_to(root) else Path(path.name)
        digest.update(shown.as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]
