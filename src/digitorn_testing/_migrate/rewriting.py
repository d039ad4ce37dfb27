"""Rewrites one module. What a name stands for is known from the assignments in its function alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, cast

import libcst as cst
from libcst.codemod import CodemodContext
from libcst.codemod.visitors import AddImportsVisitor
from libcst.metadata import CodeRange, MetadataWrapper, ParentNodeProvider, PositionProvider

from .names import (
    ANSWERS,
    CALLS,
    CONSTRUCTED,
    ENVELOPE,
    EPHEMERAL,
    FORMS,
    GONE,
    ITEMS,
    LISTS,
    OLD_APP,
    TURN_RESULT,
    Kind,
    Renamed,
    event_class,
    has_member,
)
from .uses import MODULES, PACKAGE, Uses, dotted, text_of

EVENTS: Final = f"{PACKAGE}.events"
_MOVED: Final = frozenset({"TurnResult", "AppHandle", "LiveEvent"})
"""Names of `models` that are in the package itself now."""
_LISTED: Final = (cst.Subscript, cst.For, cst.CompFor, cst.Comparison, cst.ComparisonTarget)
"""What only a list or a number is used in."""
_COMMA: Final = cst.Comma(whitespace_after=cst.SimpleWhitespace(" "))
_EQUAL: Final = cst.AssignEqual(cst.SimpleWhitespace(""), cst.SimpleWhitespace(""))


@dataclass(frozen=True, order=True)
class Note:
    """Something that a person must do.

    Attributes:
        line: Where, in the file as it was.
        reason: What, and why it was not rewritten.
    """

    line: int
    reason: str


@dataclass(frozen=True)
class Rewritten:
    """A module after the rewriting.

    Attributes:
        text: Its source.
        notes: What a person must do, in order.
    """

    text: str
    notes: tuple[Note, ...]


class Unsure(Exception):
    """A call that is not rewritten; the message says why."""


def rewrite(source: str) -> Rewritten:
    """Rewrites the source of a module.

    Args:
        source: Python source.

    Raises:
        libcst.ParserSyntaxError: It is no Python.
    """
    if PACKAGE not in source:
        return Rewritten(source, ())
    wrapper = MetadataWrapper(cst.parse_module(source))
    uses = Uses()
    wrapper.visit(uses)
    if not uses.imported:
        return Rewritten(source, ())
    rewriter = _Rewriter(uses)
    changed = wrapper.visit(rewriter)
    context = CodemodContext()
    for module, name in sorted(rewriter.needed):
        AddImportsVisitor.add_needed_import(context, module, name)
    changed = AddImportsVisitor(context).transform_module(changed)
    return Rewritten(changed.code, tuple(sorted(set(rewriter.notes))))


def _parse(template: str, **parts: cst.BaseExpression) -> cst.BaseExpression:
    """An expression from a text in which names stand for other expressions."""

    class Fill(cst.CSTTransformer):
        def leave_Name(self, original_node: cst.Name, updated_node: cst.Name) -> cst.BaseExpression:
            return parts.get(updated_node.value, updated_node)

    return cast("cst.BaseExpression", cst.parse_expression(template).visit(Fill()))


def _keyword(name: str, value: cst.BaseExpression) -> cst.Arg:
    return cst.Arg(value, keyword=cst.Name(name), equal=_EQUAL)


def _separated(args: Sequence[cst.Arg], before: Sequence[cst.Arg]) -> list[cst.Arg]:
    """Arguments with commas between them, and after the last one if there was one."""
    last = before[-1].comma if before else cst.MaybeSentinel.DEFAULT
    found = [one if isinstance(one.comma, cst.Comma) else one.with_changes(comma=_COMMA) for one in args[:-1]]
    return [*found, args[-1].with_changes(comma=last)] if args else []


class _Rewriter(cst.CSTTransformer):
    METADATA_DEPENDENCIES = (ParentNodeProvider, PositionProvider)

    def __init__(self, uses: Uses) -> None:
        super().__init__()
        self.uses = uses
        self.needed: set[tuple[str, str]] = set()
        self.notes: list[Note] = []
        self._scopes: list[dict[str, Kind | None]] = [{}]
        self._functions: list[cst.CSTNode | None] = [None]
        self._lambdas: set[cst.CSTNode] = set()

    # --- what things are

    def kind(self, node: cst.BaseExpression) -> Kind | None:
        match node:
            case cst.Name(value=name):
                if name in self._names():
                    return self._names()[name]
                return "DevClient class" if self.uses.imported.get(name) == "DevClient" else None
            case cst.Call(func=cst.Name(value=name), args=[cst.Arg(value=first), *_]) if (
                name in ("list", "sorted", "reversed", "tuple") and name not in self.uses.bound
            ):
                return "events" if self.kind(first) == "events" else None
            case cst.Call(func=cst.Name(value=name)):
                return CONSTRUCTED.get(self.uses.imported.get(name, ""))
            case cst.Call(func=cst.Attribute(value=owner, attr=cst.Name(value=name)), args=args):
                if name == "sort_by_seq" and self._is_assertions(owner) and args:
                    return self.kind(args[0].value)
                kind = self.kind(owner)
                return None if kind is None else ANSWERS.get((kind, name))
            case cst.Subscript(value=owner, slice=[cst.SubscriptElement(slice=cst.Slice())]):
                return self.kind(owner)
            case cst.Subscript(value=owner, slice=[cst.SubscriptElement(slice=cst.Index(value=index))]):
                kind = self.kind(owner)
                return None if kind is None or text_of(index) is not None else ITEMS.get(kind)
            case cst.ListComp(elt=cst.Name(value=item), for_in=cst.CompFor(target=cst.Name(value=name))):
                kind = self.kind(node.for_in.iter)
                return kind if item == name and kind in ITEMS else None
            case cst.NamedExpr(value=value):
                return self.kind(value)
            case _:
                return None

    def _names(self) -> dict[str, Kind | None]:
        return {name: kind for scope in self._scopes for name, kind in scope.items()}

    def _is_assertions(self, node: cst.BaseExpression) -> bool:
        return isinstance(node, cst.Name) and self.uses.imported.get(node.value) == "assertions"

    def _bind(self, target: cst.BaseExpression, kind: Kind | None) -> None:
        for name in [target] if isinstance(target, cst.Name) else _names_in(target):
            self._scopes[-1][name.value] = kind if isinstance(target, cst.Name) else None

    def _parent(self, node: cst.CSTNode) -> cst.CSTNode | None:
        parent: cst.CSTNode | None = self.get_metadata(ParentNodeProvider, node, None)
        return parent

    def note(self, node: cst.CSTNode, reason: str) -> None:
        place = self.get_metadata(PositionProvider, node)
        assert isinstance(place, CodeRange)
        self.notes.append(Note(place.start.line, reason))

    # --- scopes

    def visit_FunctionDef(self, node: cst.FunctionDef) -> None:
        self._functions.append(node)
        self._scopes.append({})
        for one in [*node.params.posonly_params, *node.params.params, *node.params.kwonly_params]:
            annotation = one.annotation.annotation if one.annotation is not None else None
            name = text_of(annotation) if annotation is not None else None
            name = name or (dotted(annotation) if annotation is not None else "")
            self._scopes[-1][one.name.value] = CONSTRUCTED.get(self.uses.imported.get(name, ""))

    def leave_FunctionDef(
        self, original_node: cst.FunctionDef, updated_node: cst.FunctionDef
    ) -> cst.FunctionDef:
        self._functions.pop()
        self._scopes.pop()
        return updated_node

    def leave_Assign(self, original_node: cst.Assign, updated_node: cst.Assign) -> cst.Assign:
        kind = self.kind(original_node.value)
        for target in original_node.targets:
            self._bind(target.target, kind)
        return updated_node

    def leave_AnnAssign(self, original_node: cst.AnnAssign, updated_node: cst.AnnAssign) -> cst.AnnAssign:
        self._bind(original_node.target, self.kind(original_node.value) if original_node.value else None)
        return updated_node

    def visit_With(self, node: cst.With) -> None:
        for item in node.items:
            if item.asname is not None:
                kind = self.kind(item.item)
                self._bind(item.asname.name, kind if kind in ("client", "stream") else None)

    def visit_For(self, node: cst.For) -> None:
        self._bind(node.target, self._item(node.iter))

    def _item(self, iterated: cst.BaseExpression) -> Kind | None:
        kind = self.kind(iterated)
        return None if kind is None else ITEMS.get(kind)

    def _enter(self, node: cst.BaseComp | cst.DictComp) -> None:
        self._scopes.append({})
        part: cst.CompFor | None = node.for_in
        while part is not None:
            self._bind(part.target, self._item(part.iter))
            part = part.inner_for_in

    def visit_ListComp(self, node: cst.ListComp) -> None:
        self._enter(node)

    def visit_SetComp(self, node: cst.SetComp) -> None:
        self._enter(node)

    def visit_GeneratorExp(self, node: cst.GeneratorExp) -> None:
        self._enter(node)

    def visit_DictComp(self, node: cst.DictComp) -> None:
        self._enter(node)

    def leave_ListComp(self, original_node: cst.ListComp, updated_node: cst.ListComp) -> cst.ListComp:
        self._scopes.pop()
        return updated_node

    def leave_SetComp(self, original_node: cst.SetComp, updated_node: cst.SetComp) -> cst.SetComp:
        self._scopes.pop()
        return updated_node

    def leave_GeneratorExp(
        self, original_node: cst.GeneratorExp, updated_node: cst.GeneratorExp
    ) -> cst.GeneratorExp:
        self._scopes.pop()
        return updated_node

    def leave_DictComp(self, original_node: cst.DictComp, updated_node: cst.DictComp) -> cst.DictComp:
        self._scopes.pop()
        return updated_node

    def visit_Lambda(self, node: cst.Lambda) -> None:
        takes_event = node in self._lambdas
        self._scopes.append({one.name.value: "event" if takes_event else None for one in node.params.params})

    def leave_Lambda(self, original_node: cst.Lambda, updated_node: cst.Lambda) -> cst.Lambda:
        self._scopes.pop()
        return updated_node

    def visit_Call(self, node: cst.Call) -> None:
        match node.func:
            case cst.Attribute(value=owner, attr=cst.Name(value="wait_for")) if self.kind(owner) == "stream":
                takes_event = True
            case cst.Name(value="sorted" | "filter" | "min" | "max"):
                takes_event = any(self.kind(one.value) == "events" for one in node.args)
            case _:
                takes_event = False
        if takes_event:
            self._lambdas.update(one.value for one in node.args if isinstance(one.value, cst.Lambda))

    # --- imports

    def leave_ImportFrom(
        self, original_node: cst.ImportFrom, updated_node: cst.ImportFrom
    ) -> cst.ImportFrom | cst.RemovalSentinel:
        module = "" if original_node.relative else dotted(original_node.module)
        if module not in MODULES or isinstance(updated_node.names, cst.ImportStar):
            return updated_node
        names = [dotted(alias.name) for alias in updated_node.names]
        if "ToolCall" in names and module == f"{PACKAGE}.models":
            self.note(original_node, "ToolCall of models is ToolCallRecord now: an item of result.tool_calls")
        if module != f"{PACKAGE}.client" and not (module == f"{PACKAGE}.models" and _MOVED.issuperset(names)):
            return updated_node
        now = ["DigitornError" if name == "DevClientError" else name for name in names]
        if self.uses.imports_package and not any(alias.asname for alias in updated_node.names):
            self.needed.update((PACKAGE, name) for name in now)
            return cst.RemoveFromParent()
        renamed = [
            one.with_changes(name=cst.Name(name)) for one, name in zip(updated_node.names, now, strict=True)
        ]
        return updated_node.with_changes(module=_parse(PACKAGE), names=renamed)

    def leave_Name(self, original_node: cst.Name, updated_node: cst.Name) -> cst.Name:
        if original_node.value != "DevClientError" or "DevClientError" not in self.uses.imported:
            return updated_node
        match self._parent(original_node):
            case cst.ImportAlias():
                return updated_node
            case cst.Attribute(attr=name) | cst.Arg(keyword=name) if name is original_node:
                return updated_node
            case _:
                return updated_node.with_changes(value="DigitornError")

    # --- calls

    def leave_Call(self, original_node: cst.Call, updated_node: cst.Call) -> cst.BaseExpression:
        try:
            if isinstance(func := original_node.func, cst.Name):
                return self._constructed(original_node, updated_node, self.uses.imported.get(func.value, ""))
            if not isinstance(func, cst.Attribute):
                return updated_node
            owner, name = func.value, func.attr.value
            kind = self.kind(owner)
            if self._is_assertions(owner):
                return self._assertion(original_node, updated_node, name)
            if kind == "client":
                return self._on_client(original_node, updated_node, name)
            if kind == "stream":
                return self._on_stream(original_node, updated_node, name)
            if name == "get":
                return self._get(original_node, updated_node, kind)
            if kind is None and name in FORMS:
                self.note(original_node, f"it is not certain what this is called on; {FORMS[name]}")
        except Unsure as unsure:
            self.note(original_node, str(unsure))
        return updated_node

    def _constructed(self, original: cst.Call, updated: cst.Call, name: str) -> cst.BaseExpression:
        if name == "LiveEventStream":
            given = {one.keyword.value for one in original.args if one.keyword is not None}
            if gone := given & {"on_event", "also_join_app", "also_join_user"}:
                raise Unsure(
                    f"{', '.join(sorted(gone))} of LiveEventStream is gone: use @stream.on(Type) for "
                    "callbacks; a stream joins its session alone"
                )
            parameters = ("daemon_url", "token", "app_id", "session_id", "on_event", "since_seq")
            return self._renamed(updated, Renamed("", parameters, {"since_seq": "since"}, positional=0))
        if name == "DevClient" and not original.args:
            self.note(
                original,
                "DevClient() reads no token from disk: pass token=…, or use with_user(email, password)",
            )
        if name == "SessionHandle":
            names = ("session_id", "app_id", "daemon_url", "workspace")
            return self._renamed(updated, Renamed("", names, positional=0))
        return updated

    def _renamed(self, call: cst.Call, to: Renamed) -> cst.Call:
        """A call with the new names of its arguments, and of its method."""
        args: list[cst.Arg] = []
        given: set[str] = set()
        for number, one in enumerate(call.args):
            if one.star:
                raise Unsure("its arguments are passed by * or **; rename them by hand")
            if one.keyword is None and number >= len(to.parameters):
                raise Unsure("it has more arguments than the predecessor took")
            name = one.keyword.value if one.keyword is not None else to.parameters[number]
            given.add(name)
            new = to.keywords.get(name, name)
            if new is None:
                continue
            if one.keyword is None and number < to.positional:
                args.append(one)
            else:
                args.append(one.with_changes(keyword=cst.Name(new), equal=_equal(one)))
        for old, (new, value) in to.added.items():
            if old not in given:
                args.append(_keyword(new, cst.parse_expression(value)))
        if not to.to:
            return call.with_changes(args=_separated(args, call.args))
        func = cst.ensure_type(call.func, cst.Attribute).with_changes(attr=cst.Name(to.to))
        return call.with_changes(func=func, args=_separated(args, call.args))

    def _simply(self, call: cst.Call, kind: Kind, name: str) -> cst.BaseExpression | None:
        to = CALLS.get((kind, name))
        if to is None:
            return None
        changed: cst.BaseExpression = self._renamed(call, to)
        return _parse(f"changed{to.then}", changed=changed) if to.then else changed

    def _on_client(self, original: cst.Call, updated: cst.Call, name: str) -> cst.BaseExpression:
        changed = self._simply(updated, "client", name)
        if changed is not None:
            return changed
        if name in LISTS:
            return self._list(original, updated, name)
        if name == "create_session":
            return self._new_session(original, updated)
        if name == "deploy" and _has(original, "wait"):
            return self._deployed(original, updated)
        if name == "deploy_yaml_content":
            client = cst.ensure_type(updated.func, cst.Attribute).value
            to = Renamed("deploy_text", ("yaml_content", "force"), added={"force": ("force", "True")})
            return _parse("client.wait_for_app(call.app_id)", client=client, call=self._renamed(updated, to))
        if name == "send_live":
            return self._send_live(original, updated)
        if name in ("_get", "_post", "_put", "_patch", "_delete"):
            self.note(original, f"client.request raises ApiError if the daemon refuses; was {name}")
            method = _keywordless(cst.SimpleString(f'"{name[1:].upper()}"'))
            func = cst.ensure_type(updated.func, cst.Attribute).with_changes(attr=cst.Name("request"))
            return updated.with_changes(func=func, args=_separated([method, *updated.args], updated.args))
        if name in GONE:
            raise Unsure(GONE[name])
        if name == "chat" and (_has(original, "session_id") or len(original.args) > 2):
            raise Unsure("chat returns the TurnResult, not the session, and takes session= and workspace=")
        return updated

    def _list(self, original: cst.Call, updated: cst.Call, name: str) -> cst.BaseExpression:
        used = self._used(original)
        if used == "as now":
            return updated
        if used == "unknown":
            if self.uses.is_old:
                self.note(original, f"{name} answered a list, which is in .{LISTS[name]} now")
            return updated
        added = {"include_system": ("include_system", "True")} if name == "get_history" else {}
        parameters = {"get_history": "include_system", "get_queue": "include_finished"}.get(name, "limit")
        to = Renamed(name, ("session", parameters), added=added)
        return _parse(f"changed.{LISTS[name]}", changed=self._renamed(updated, to))

    def _used(self, call: cst.Call) -> str:
        """Whether an answer is used as the list that it was: `before`, `as now` or `unknown`."""
        parent = self._parent(call)
        uses = [parent]
        if isinstance(parent, cst.Assign) and isinstance(target := parent.targets[0].target, cst.Name):
            used = self.uses.of(self._functions[-1], target.value)
            uses = [one for one in used if one is not parent.targets[0]]
        if any(isinstance(one, (cst.Attribute, cst.Expr)) for one in uses):
            return "as now"
        if any(isinstance(one, _LISTED) for one in uses):
            return "before"
        callers = [self._parent(one) for one in uses if isinstance(one, cst.Arg)]
        takes_list = ("len", "list", "sorted", "enumerate", "any", "all")
        is_list = any(isinstance(one, cst.Call) and dotted(one.func) in takes_list for one in callers)
        return "before" if is_list else "unknown"

    def _new_session(self, original: cst.Call, updated: cst.Call) -> cst.BaseExpression:
        parameters = ("app_id", "workspace", "session_id")
        if len(original.args) < 3 and not _has(original, "session_id"):
            if len(original.args) == 1:
                self.note(original, "the workspace was the current folder; pass workspace= if it matters")
            return self._renamed(updated, Renamed("new_session", parameters))
        client = cst.ensure_type(updated.func, cst.Attribute).value
        changed = self._renamed(updated, Renamed("", parameters, positional=0))
        self.needed.add((PACKAGE, "SessionHandle"))
        url = _keyword("daemon_url", cst.Attribute(client, cst.Name("daemon_url")))
        return changed.with_changes(
            func=cst.Name("SessionHandle"), args=_separated([*changed.args, url], updated.args)
        )

    def _deployed(self, original: cst.Call, updated: cst.Call) -> cst.BaseExpression:
        client = cst.ensure_type(updated.func, cst.Attribute).value
        wait = next((one.value for one in updated.args if one.keyword and one.keyword.value == "wait"), None)
        if wait is None:
            raise Unsure("deploy waits no longer: pass force=True, and call wait_for_app(app_id, timeout=…)")
        keywords = {"yaml_path": "path", "wait": None}
        to = Renamed("deploy", ("path", "force"), keywords, added={"force": ("force", "True")})
        return _parse(
            "client.wait_for_app(call.app_id, timeout=wait)",
            client=client,
            call=self._renamed(updated, to),
            wait=wait,
        )

    def _send_live(self, original: cst.Call, updated: cst.Call) -> cst.BaseExpression:
        given = {one.keyword.value: one.value for one in updated.args if one.keyword is not None}
        if gone := given.keys() & {"queue_mode", "client_message_id"}:
            raise Unsure(f"send_live takes no {', '.join(sorted(gone))}; start_turn(session, text) does")
        if "stream" not in given:
            to = Renamed("send_live", ("session", "message"), {"idle_seconds": None}, positional=2)
            return self._renamed(updated, to)
        if not isinstance(self._parent(original), cst.Expr):
            raise Unsure(
                "send_live takes no stream: call stream.wait_for_turn(client.post_message_raw(session, text))"
            )
        dropped = {"idle_seconds": None, "stream": None, "total_timeout": None}
        to = Renamed("post_message_raw", ("session", "message"), {**dropped, "message": "text"}, positional=2)
        timeout = f", timeout={'seconds' if 'total_timeout' in given else '180.0'}"
        return _parse(
            f"stream.wait_for_turn(call{timeout})",
            stream=given["stream"],
            call=self._renamed(updated, to),
            seconds=given.get("total_timeout", cst.Name("seconds")),
        )

    def _on_stream(self, original: cst.Call, updated: cst.Call, name: str) -> cst.BaseExpression:
        if name == "wait_for":
            return self._wait_for(original, updated)
        if name == "wait_for_any":
            return self._wait_for_any(updated)
        if name == "last_seq":
            stream = cst.ensure_type(updated.func, cst.Attribute).value
            return _parse("stream.log.last_seq", stream=stream)
        if name in ("events_by_type", "events_of", "has_event_of"):
            updated = self._with_classes(original, updated, range(len(updated.args)))
        changed = self._simply(updated, "stream", name)
        if changed is not None:
            return changed
        if name in GONE:
            raise Unsure(GONE[name])
        return updated

    def _wait_for(self, original: cst.Call, updated: cst.Call) -> cst.BaseExpression:
        given = {one.keyword.value for one in original.args if one.keyword is not None}
        is_text = bool(original.args) and text_of(original.args[0].value) is not None
        is_certain = "predicate" in given or len(original.args) - len(given) > 1
        is_tested = (is_certain or (is_text and self.uses.is_old)) and self._is_tested(original)
        updated = self._with_classes(original, updated, range(1))
        to = "poll_for" if is_tested else "wait_for"
        changed = self._renamed(
            updated,
            Renamed(
                to,
                ("type", "timeout", "predicate"),
                {"predicate": "where", "event_type": "type"},
                # `poll_for` looks once by default.
                added={"timeout": ("timeout", "30.0")} if is_tested else {},
            ),
        )
        args = [one for one in changed.args if not (_is(one, "where") and dotted(one.value) == "None")]
        return changed.with_changes(args=_separated(args, changed.args))

    def _is_tested(self, call: cst.Call) -> bool:
        """Whether the answer may be None for the code: it is compared with None, or negated."""
        parent = self._parent(call)
        tested: list[cst.CSTNode | None] = [parent]
        if isinstance(parent, cst.Assign) and isinstance(target := parent.targets[0].target, cst.Name):
            tested.extend(self.uses.of(self._functions[-1], target.value))
        elif isinstance(parent, cst.NamedExpr):
            tested.append(self._parent(parent))
            if isinstance(parent.target, cst.Name):
                tested.extend(self.uses.of(self._functions[-1], parent.target.value))
        return any(_tests(one) for one in tested)

    def _wait_for_any(self, updated: cst.Call) -> cst.BaseExpression:
        named = zip(("types", "timeout"), updated.args, strict=False)
        given = {one.keyword.value if one.keyword else name: one.value for name, one in named}
        types = given.get("types")
        if types is None:
            raise Unsure(GONE["wait_for_any"])
        self._need_event_payload()
        if isinstance(types, cst.List):
            types = cst.Set(types.elements) if types.elements else types
        timeout = given.get("timeout") or cst.parse_expression("30.0")
        return _parse(
            "stream.poll_for(EventPayload, where=lambda event: event.type in types, timeout=timeout_)",
            stream=cst.ensure_type(updated.func, cst.Attribute).value,
            types=types,
            timeout_=timeout,
        )

    def _need_event_payload(self) -> None:
        if "EventPayload" in self.uses.bound and self.uses.imported.get("EventPayload") != "EventPayload":
            raise Unsure("the name EventPayload means something else here")
        self.needed.add((PACKAGE, "EventPayload"))

    # --- event types

    def _class(self, node: cst.CSTNode, wire: str) -> cst.Name | None:
        """The class of an event type, which is imported then."""
        name = event_class(wire)
        if name is None or name in self.uses.bound:
            why = "is no event type of the contract" if name is None else f"is {name}, which is taken here"
            self.note(node, f"{wire!r} {why}")
            return None
        self.needed.add((EVENTS, name))
        return cst.Name(name)

    def _with_classes(self, original: cst.Call, updated: cst.Call, places: Sequence[int]) -> cst.Call:
        """A call in which texts at some places, or in lists there, are classes of events."""
        args = list(updated.args)
        for place in places:
            if place >= len(args) or args[place].keyword is not None:
                continue
            args[place] = args[place].with_changes(value=self._as_classes(original, args[place].value))
        return updated.with_changes(args=args)

    def _as_classes(self, node: cst.CSTNode, value: cst.BaseExpression) -> cst.BaseExpression:
        if (wire := text_of(value)) is not None:
            return self._class(node, wire) or value
        if isinstance(value, (cst.List, cst.Tuple)):
            elements = [one.with_changes(value=self._as_classes(node, one.value)) for one in value.elements]
            return value.with_changes(elements=elements)
        return value

    def _assertion(self, original: cst.Call, updated: cst.Call, name: str) -> cst.BaseExpression:
        if name == "event_count":
            return self._event_count(original, updated)
        if name in ("event_order", "no_event"):
            return self._with_classes(original, updated, range(1, len(updated.args)))
        if name == "seq_is_monotonic":
            to = Renamed("seq_unique", ("events", "exclude_types"), {"exclude_types": None})
            return self._renamed(updated, to)
        if name == "ephemeral_types_absent_from_persistent":
            names = [self._class(original, one) for one in EPHEMERAL]
            classes = [_keywordless(one) for one in names if one is not None]
            changed = self._renamed(updated, Renamed("no_event", ("events",)))
            return changed.with_changes(args=_separated([*changed.args, *classes], updated.args))
        if name == "report" and original.args and self._is_report_of_checks(original.args[0].value):
            raise Unsure("report renders events now: keep the checks in a dict, and use all(checks.values())")
        if name == "correlation_id_thread":
            raise Unsure("use correlation_thread(events, correlation_id), and event_order for the types")
        return updated

    def _is_report_of_checks(self, value: cst.BaseExpression) -> bool:
        if isinstance(value, cst.List):
            return any(isinstance(one.value, cst.Tuple) for one in value.elements)
        return self.uses.is_old and self.kind(value) is None

    def _event_count(self, original: cst.Call, updated: cst.Call) -> cst.BaseExpression:
        is_text = len(original.args) > 1 and text_of(original.args[1].value) is not None
        given = {one.keyword.value for one in original.args if one.keyword is not None}
        positional = len(original.args) - len(given)
        is_old = bool(given & {"minimum", "maximum"}) or positional > 3
        if not is_old and given:
            return self._with_classes(original, updated, range(1, 2))
        if not is_old and positional == 3:
            # Nothing else tells whether it is the minimum of before or the number of now.
            if not is_text:
                return updated
            if not self.uses.is_old:
                raise Unsure("the third argument is the exact number; if a minimum is meant, say at_least=")
        to = Renamed(
            "event_count",
            ("events", "type", "minimum", "maximum"),
            {"event_type": "type", "minimum": "at_least", "maximum": "at_most"},
            positional=2,
            added={"minimum": ("at_least", "1")},
        )
        return self._with_classes(original, self._renamed(updated, to), range(1, 2))

    # --- members

    def leave_Attribute(
        self, original_node: cst.Attribute, updated_node: cst.Attribute
    ) -> cst.BaseExpression:
        name = original_node.attr.value
        kind = self.kind(original_node.value)
        if kind == "result" and self.uses.is_old and name in TURN_RESULT:
            return updated_node.with_changes(attr=cst.Name(TURN_RESULT[name]))
        if kind == "result" and name == "tools_used":
            return _parse("[call.name for call in result.tool_calls]", result=updated_node.value)
        if kind == "app handle" and name in OLD_APP and self.uses.is_old:
            self.note(original_node, OLD_APP[name])
        return updated_node

    def leave_Subscript(
        self, original_node: cst.Subscript, updated_node: cst.Subscript
    ) -> cst.BaseExpression:
        match original_node.slice:
            case [cst.SubscriptElement(slice=cst.Index(value=index))] if (key := text_of(index)) is not None:
                pass
            case _:
                return updated_node
        if (read := self._posted(original_node, updated_node)) is not None:
            return read
        kind = self.kind(original_node.value)
        return self._member(original_node, updated_node, updated_node.value, kind, key)

    def _get(self, original: cst.Call, updated: cst.Call, kind: Kind | None) -> cst.BaseExpression:
        if (read := self._posted(original, updated)) is not None:
            return read
        key = text_of(original.args[0].value) if original.args else None
        if key is None or kind is None or kind == "posted":
            return updated
        has_default = len(original.args) > 1
        if kind == "event" and has_default and key not in ("type", "seq"):
            return updated
        if has_default and kind != "event":
            raise Unsure(f"it is no dict any more: read .{key}, which is None where nothing is known")
        return self._member(original, updated, cst.ensure_type(updated.func, cst.Attribute).value, kind, key)

    def _member(
        self,
        original: cst.CSTNode,
        updated: cst.BaseExpression,
        owner: cst.BaseExpression,
        kind: Kind | None,
        key: str,
    ) -> cst.BaseExpression:
        """A member by its name, as an attribute."""
        if kind == "event":
            return cst.Attribute(owner, cst.Name(key)) if key in ENVELOPE else updated
        if kind == "forked" and key in ("session_id", "new_session_id"):
            return cst.Attribute(owner, cst.Name("session_id"))
        if kind is not None and has_member(kind, key):
            return cst.Attribute(owner, cst.Name(key))
        if kind is not None and kind in (*ITEMS.values(), "memory", "health", "aborted", "forked"):
            self.note(original, f"it is no dict any more, and the contract has no member {key!r} of it")
        return updated

    def _posted(self, original: cst.BaseExpression, updated: cst.BaseExpression) -> cst.BaseExpression | None:
        """What is read of the answer to a message, of which `body` and `data` are gone."""
        owner, keys = _path(original)
        if self.kind(owner) != "posted" or not keys:
            return None
        if keys == ["status_code"]:
            self.note(original, "post_message_raw raises if the daemon refuses, RateLimited for example")
        if keys[:2] != ["body", "data"] or len(keys) != 3:
            return None
        return cst.Attribute(_path(updated)[0], cst.Name(keys[2]))

    def leave_Comparison(
        self, original_node: cst.Comparison, updated_node: cst.Comparison
    ) -> cst.BaseExpression:
        match original_node.comparisons:
            case [cst.ComparisonTarget(operator=operator, comparator=right)]:
                pass
            case _:
                return updated_node
        owner, keys = _path(original_node.left)
        if keys != ["type"] or self.kind(owner) != "event":
            return updated_node
        left = updated_node.left
        event = left.value if isinstance(left, cst.Attribute) else _path(left)[0]
        wanted: cst.BaseExpression | None = None
        if isinstance(operator, (cst.Equal, cst.NotEqual)):
            wire = text_of(right)
            wanted = None if wire is None else self._class(original_node, wire)
        elif isinstance(operator, (cst.In, cst.NotIn)) and isinstance(right, (cst.List, cst.Tuple, cst.Set)):
            names = [text_of(one.value) for one in right.elements]
            classes = [self._class(original_node, one) for one in names if one is not None]
            found = [one for one in classes if one is not None]
            if found and len(found) == len(right.elements):
                wanted = cst.Tuple([cst.Element(one) for one in found])
        if wanted is None:
            return updated_node
        test = _parse("isinstance(event.payload, wanted)", event=event, wanted=wanted)
        if isinstance(operator, (cst.NotEqual, cst.NotIn)):
            test = _parse("not test", test=test)
        return test.with_changes(lpar=updated_node.lpar, rpar=updated_node.rpar)


def _path(node: cst.BaseExpression) -> tuple[cst.BaseExpression, list[str]]:
    """An expression, and the keys by which members of members are read from it."""
    match node:
        case cst.Subscript(value=owner, slice=[cst.SubscriptElement(slice=cst.Index(value=index))]):
            key = text_of(index)
        case cst.Call(func=cst.Attribute(value=owner, attr=cst.Name(value="get")), args=[first, *_]):
            key = text_of(first.value)
        case cst.BooleanOperation(left=owner, operator=cst.Or(), right=cst.Dict() | cst.SimpleString()):
            return _path(owner)
        case _:
            return node, []
    if key is None:
        return node, []
    start, keys = _path(owner)
    return start, [*keys, key]


def _names_in(target: cst.BaseExpression) -> list[cst.Name]:
    if isinstance(target, (cst.Tuple, cst.List)):
        return [name for one in target.elements for name in _names_in(one.value)]
    return [target] if isinstance(target, cst.Name) else []


def _tests(node: cst.CSTNode | None) -> bool:
    match node:
        case cst.Comparison(comparisons=[cst.ComparisonTarget(operator=cst.Is() | cst.IsNot())]):
            return True
        case cst.UnaryOperation(operator=cst.Not()):
            return True
        case cst.If() | cst.IfExp() | cst.While():
            return True
        case _:
            return False


def _has(call: cst.Call, keyword: str) -> bool:
    return any(_is(one, keyword) for one in call.args)


def _is(arg: cst.Arg, keyword: str) -> bool:
    return arg.keyword is not None and arg.keyword.value == keyword


def _equal(arg: cst.Arg) -> cst.AssignEqual:
    return arg.equal if isinstance(arg.equal, cst.AssignEqual) else _EQUAL


def _keywordless(value: cst.BaseExpression) -> cst.Arg:
    return cst.Arg(value)
