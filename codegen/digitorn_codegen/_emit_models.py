"""Emits the pydantic classes; datamodel-code-generator does the work."""

import ast
import re
import warnings
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import cast

from datamodel_code_generator import InputFileType, LiteralType, generate
from datamodel_code_generator.enums import DataModelType
from datamodel_code_generator.format import PythonVersion

from . import _ir as ir
from ._documents import JsonObject, JsonValue, below, walk
from ._errors import ContractError
from ._names import snake

DOCSTRINGS = {
    "models": "Shapes of the REST interface.",
    "payloads": "Event payloads: one class an event type.",
    "messages": "Socket commands: their requests and acknowledgements.",
}

# The base class sets this for all; the generator repeats it in each.
_REPEATED_ITEM = re.compile(r"        use_attribute_docstrings=True,\n")
_EMPTY_CONFIG = re.compile(r"    model_config = ConfigDict\(\s*\)\n")
_CLASS_OR_OBJECT = re.compile(r"(?<!\| )(?<![\w.])([\w.]+) \| dict\[str, Any\](?! \|)")
_EMPTY_CLASS = re.compile(r"^(class [^\n]+:\n)(?=\n*(?:\S|\Z))", re.MULTILINE)


Report = Callable[[ir.ContractWarning], None]


def emit(contract: ir.Contract, package: str, report: Report) -> dict[str, str]:
    """The source of each module of classes, by module name.

    Args:
        contract: What to emit.
        package: Dotted name of the generated package.
        report: Called with each part that the classes cannot express.

    Raises:
        ContractError: No class can be made of a definition.
    """
    schemas: JsonObject = {}
    for definition in contract.definitions:
        schema = cast("JsonObject", _plain(definition.schema))
        base = "EventPayload" if definition.key in contract.payload_bases else None
        if base is not None:
            schema["customBasePath"] = f"{package}._runtime.{base}"
        schema.pop("title", None)
        schemas[definition.key] = schema
    if not schemas:
        return {}
    document: JsonObject = {
        "openapi": "3.1.0",
        "info": {"title": "Contract", "version": "1"},
        "paths": {},
        "components": {"schemas": schemas},
    }
    found = _generated(contract, document, package, report)
    bound = {module: _bound(source) for module, source in found.items()}
    _check_names(contract, bound)
    if "payloads" in found:
        found["payloads"] = _based(found["payloads"], contract)
    found = {module: _in_order(source, contract) for module, source in found.items()}
    return {module: source + _exports(bound[module]) for module, source in found.items()}


def _exports(bound: Iterable[str]) -> str:
    """The end of a module: the names that `import *` brings, which are those of the contract alone."""
    names = "".join(f'    "{name}",\n' for name in sorted(bound) if not name.startswith("_"))
    return f"\n\n__all__ = [\n{names}]\n"


def _generated(contract: ir.Contract, document: JsonObject, package: str, report: Report) -> dict[str, str]:
    with warnings.catch_warnings(record=True) as noticed:
        warnings.simplefilter("always")
        try:
            found = generate(
                document,
                input_file_type=InputFileType.OpenAPI,
                output_model_type=DataModelType.PydanticV2BaseModel,
                target_python_version=PythonVersion.PY_311,
                base_class=f"{package}._runtime.Model",
                enum_field_as_literal=LiteralType.All,
                use_annotated=True,
                use_standard_collections=True,
                use_union_operator=True,
                use_schema_description=True,
                use_field_description=True,
                use_attribute_docstrings=True,
                use_double_quotes=True,
                use_type_alias=True,
                use_one_literal_as_default=False,
                use_single_line_docstring=True,
                strict_nullable=True,
                snake_case_field=True,
                aliases=_aliases(contract),
                disable_timestamp=True,
                field_constraints=True,
                formatters=[],
            )
        except Exception as error:
            said = str(error).splitlines()[0][:200] if str(error) else ""
            text = f"no classes can be made of it: {type(error).__name__}: {said}"
            raise ContractError(contract.source, "/components/schemas", text) from error
    for warning in noticed:
        if warning.category is UserWarning:
            report(ir.ContractWarning("classes", contract.source, "", str(warning.message)))
    modules = {Path(*path).stem: text for path, text in found.items()} if isinstance(found, dict) else {}
    return {name: _clean(text, package) for name, text in modules.items() if name != "__init__"}


def _aliases(contract: ir.Contract) -> dict[str, str]:
    """Other attributes for members that would replace the methods of every class."""
    members = {
        name
        for definition in contract.definitions
        for _, schema in walk(definition.schema)
        if isinstance(properties := schema.get("properties"), dict)
        for name in properties
    }
    return {name: f"{snake(name)}_" for name in sorted(members) if snake(name) in ("from_wire", "to_wire")}


def _check_names(contract: ir.Contract, bound: Mapping[str, set[str]]) -> None:
    """Refuses classes that came out under another name than the one the stubs call them by."""
    for definition in contract.definitions:
        if definition.name not in bound.get(definition.module, set()):
            file, pointer = contract.origins[definition.key]
            raise ContractError(file, pointer, f"no class named {definition.name} can be made of it")


def _bound(source: str) -> set[str]:
    """The names that a module binds."""
    names: set[str] = set()
    for node in ast.parse(source).body:
        if isinstance(node, ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign):
            names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names.add(node.target.id)
    return names


# On the wire dates, addresses and identifiers are text, and stay text; examples are for builders.
_LEFT_OUT = ("format", "contentMediaType", "contentEncoding", "examples")


def _plain(value: JsonValue, table: bool = False) -> JsonValue:
    """A schema without what a class does not show."""
    if isinstance(value, list):
        return [_plain(one) for one in value]
    if not isinstance(value, dict):
        return value
    found = {key: member for key, member in value.items() if table or key not in _LEFT_OUT}
    for key, member, is_table in below(found, table):
        found[key] = _plain(member, is_table)
    return found


def _based(source: str, contract: ir.Contract) -> str:
    """The payload classes, also those that extend a REST shape, as event payloads."""
    models = {definition.name for definition in contract.definitions if definition.module == "models"}
    events = {event.name for event in contract.events}

    def head(found: re.Match[str]) -> str:
        name, base = found.groups()
        is_heir = name in events and base.removeprefix("models.") in models
        return f"class {name}({base}, EventPayload):" if is_heir else found[0]

    source = re.sub(r"^class (\w+)\(([\w.]+)\):", head, source, flags=re.MULTILINE)
    return source.replace("from ._runtime import", "from ._runtime import EventPayload,", 1)


def _in_order(source: str, contract: ir.Contract) -> str:
    """The classes, with the unions of a class and an open object that may be tried in that order."""
    # An empty object would fit a class that requires nothing.
    requiring = {definition.name for definition in contract.definitions if definition.schema.get("required")}

    def in_order(union: re.Match[str]) -> str:
        return f"OrObject[{union[1]}]" if union[1].rpartition(".")[2] in requiring else union[0]

    ordered = _CLASS_OR_OBJECT.sub(in_order, source)
    if ordered == source:
        return source
    return ordered.replace("from ._runtime import", "from ._runtime import OrObject,", 1)


def _clean(source: str, package: str) -> str:
    source = re.sub(r"\A(?:#[^\n]*\n|\n)+", "", source)
    source = _REPEATED_ITEM.sub("", source)
    source = _EMPTY_CONFIG.sub("", source)
    source = _EMPTY_CLASS.sub(r"\1    pass\n", source)
    return source.replace(f"from {package}._runtime import", "from ._runtime import")
