"""Reads a contract into its intermediate form, or reports what is wrong with it and where."""

import hashlib
from pathlib import Path

from . import _check, _circles
from . import _ir as ir
from ._compile import Compiler
from ._definitions import Definitions
from ._documents import Document, Documents, text_of
from ._errors import ContractError
from ._events import read_commands, read_events
from ._operations import OperationReader
from ._settings import Settings
from ._shapes import Shapes

_SCHEMA_SUFFIXES = (".json", ".yaml", ".yml")


def load(settings: Settings) -> ir.Contract:
    """Reads the contract that the settings name.

    Raises:
        ContractError: It cannot be generated from.
    """
    try:
        return _load(settings)
    except RecursionError as error:
        raise ContractError(settings.openapi, "", "is nested too deeply") from error


def _load(settings: Settings) -> ir.Contract:
    documents = Documents()
    api = documents.get(settings.openapi)
    event_documents = _folder(documents, settings.events)
    command_documents = _folder(documents, settings.commands)
    _check.schemas((*event_documents, *command_documents))
    _check.references(documents, (api, *event_documents, *command_documents))
    operations = OperationReader(_definitions(documents, api, event_documents, command_documents), api)
    operations.check_ids()
    _check.openapi(api)

    definitions = operations.definitions
    for pointer in _check.components(api):
        definitions.define(api, pointer)
    events = read_events(definitions, event_documents)
    commands = read_commands(definitions, command_documents)
    _circles.check(definitions)
    compiler = Compiler(definitions)
    definitions.typed = compiler.typed
    compiler.make_all(events.payloads)
    # Last: what the contract names itself has its name by now, and made-up names give way.
    tags = operations.tags()
    _circles.check(definitions)
    compiler.make_all()
    info = api.root.get("info")
    return ir.Contract(
        source=api.path,
        title=text_of(info, "title") if isinstance(info, dict) else "",
        version=text_of(info, "version") if isinstance(info, dict) else "",
        digest=_digest(documents, api.path.parent),
        definitions=tuple(definitions.found[key] for key in sorted(definitions.found)),
        tags=tags,
        events=events.events,
        envelope=events.envelope,
        commands=commands.commands,
        command_error=commands.error,
        connect=commands.connect,
        constants=events.constants,
        payload_bases=_payload_bases(compiler.shapes, events.payloads),
        shapes=compiler.shapes,
        origins=definitions.origins,
        files=documents.paths(),
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
