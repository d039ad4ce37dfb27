"""The arguments of the event payload builders, and the example that each starts from."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from . import _ir as ir
from . import _shapes
from ._documents import JsonObject
from ._examples import Examples
from ._names import Scope, free_argument, snake

# What the module needs itself, and what may stand in annotations.
_TAKEN = (
    *("BUILDERS", "NOT_GIVEN", "Any", "Callable", "EventPayload", "Final", "Literal", "Mapping", "NotGiven"),
)
_BUILTINS = ("bool", "dict", "float", "int", "list", "str")
_EXTRA = "extra_members"


@dataclass(frozen=True)
class Member:
    """One member of a payload, passed as a keyword argument."""

    name: str
    argument: str
    type: str
    description: str


@dataclass(frozen=True)
class Builder:
    """The builder of one payload class.

    Attributes:
        function: Its name.
        payload: The class.
        members: What it takes.
        example: Every required member, with a value that fits its schema.
    """

    function: str
    payload: str
    wire: str
    members: tuple[Member, ...]
    example: JsonObject


def builders(contract: ir.Contract) -> list[Builder]:
    """A builder for each event, in the order in which the events are emitted."""
    scope = Scope.reserving((*_TAKEN, *_BUILTINS))
    written = {definition.key: definition.schema for definition in contract.definitions}
    examples = Examples(contract.shapes, written)
    return [_builder(contract, event, examples, scope) for event in contract.events]


def _builder(contract: ir.Contract, event: ir.Event, examples: Examples, scope: Scope) -> Builder:
    key = f"payloads.{event.name}"
    taken = {_EXTRA}
    members: list[Member] = []
    for member in _members(contract, key, examples):
        argument = free_argument(member.name, "member", taken)
        taken.add(argument)
        members.append(Member(member.name, argument, _type(contract, member.shape), member.description))
    function = scope.allot(snake(event.name), event.name)
    return Builder(function, event.name, event.wire, tuple(members), examples.of_class(key))


def _members(contract: ir.Contract, key: str, examples: Examples) -> Iterable[_shapes.Member]:
    """The members of a payload, those of all its forms included."""
    made = contract.shapes.made.get(key)
    found: dict[str, _shapes.Member] = {}
    for option in (made.options if isinstance(made, _shapes.Class) else ()) or (key,):
        for member in examples.members(option):
            before = found.get(member.name)
            shape = member.shape if before is None else _shapes.union([before.shape, member.shape])
            found[member.name] = replace(member, shape=shape)
    return found.values()


def _type(contract: ir.Contract, shape: _shapes.Shape) -> str:
    """The type of an argument: a class that the contract does not name is any object, checked when called."""

    def reference(key: str) -> str:
        if key not in contract.origins:
            return "dict[str, Any]"
        return contract.shapes.reference(key, lambda one: f"_{one}")

    return _shapes.Source(reference, checked=False).of(shape)
