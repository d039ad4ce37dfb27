"""Classes of schemas of every kind: values that fit, values that do not, and what is warned of instead."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from codegen.conftest import Make, document, ok, ref
from digitorn_codegen._merge import same
from support.classes import components, wire

TEXT: dict[str, Any] = {"type": "string"}
WHOLE: dict[str, Any] = {"type": "integer"}
Case = tuple[dict[str, Any], tuple[Any, ...], tuple[Any, ...]]


def obj(required: tuple[str, ...] = (), /, **properties: object) -> dict[str, Any]:
    return {"type": "object", "properties": properties, **({"required": list(required)} if required else {})}


def const(value: object) -> dict[str, Any]:
    return {"const": value}


def nullable(schema: Mapping[str, object]) -> dict[str, Any]:
    return {**schema, "nullable": True}


SHARED: dict[str, Any] = {
    "Shelf": obj(("number",), number=WHOLE),
    "CaseShelf": obj(("row",), row=TEXT),
    "BoxItem": obj(("weight",), weight=WHOLE),
    "Base": obj(("id",), id=TEXT, name=TEXT, ended={"type": ["string", "null"]}),
    "Closed": {**obj(("a",), a=TEXT), "additionalProperties": False},
    "Left": {"allOf": [ref("Base"), obj(left=WHOLE)]},
    "Right": {"allOf": [ref("Base"), obj(right=WHOLE)]},
    "Dog": obj(("kind",), kind=const("dog"), age=WHOLE),
    "Cat": obj(("kind",), kind=const("cat"), lives=WHOLE),
    "Pet": {"oneOf": [ref("Dog"), ref("Cat")], "discriminator": {"propertyName": "kind"}},
    "Loose": obj(kind=TEXT, a=WHOLE),
    "Other": obj(kind=TEXT, b=TEXT),
    "Either": {"oneOf": [ref("Loose"), ref("Other")], "discriminator": {"propertyName": "kind"}},
    "LooseHeir": {"allOf": [ref("Loose"), obj(more=WHOLE)]},
    "Void": {"type": ["object", "null"], "properties": {"q": TEXT}},
    "Voids": {"type": ["array", "null"], "items": TEXT},
    "Word": {"type": ["string", "null"], "enum": ["a", None]},
    "Json": {
        "anyOf": [
            *({"type": kind} for kind in ("string", "number", "boolean", "null")),
            {"type": "array", "items": ref("Json")},
            {"type": "object", "additionalProperties": ref("Json")},
        ]
    },
    "Nest": {"type": "array", "items": ref("Nest")},
    "Node": obj(("v",), v=TEXT, next=ref("Node"), kids={"type": "array", "items": ref("Node")}),
    "Sum": obj(("k", "l", "r"), k=const("sum"), l=ref("Term"), r=ref("Term")),
    "One": obj(("k", "v"), k=const("one"), v=WHOLE),
    "Term": {"oneOf": [ref("One"), ref("Sum")], "discriminator": {"propertyName": "k"}},
    "Genre": obj(("n",), n=TEXT),
    "Book": obj(("genre",), genre=ref("Genre")),
    "Old": {"type": "string", "enum": ["a"], "deprecated": True},
}
CASES: dict[str, Case] = {
    # --- names
    "a member called like a component": (
        obj(shelf=obj(("label",), label=TEXT)),
        ({"shelf": {"label": "x"}},),
        ({"shelf": {"number": 1}},),
    ),
    "items called like a component": (
        obj(box={"type": "array", "items": obj(("tag",), tag=TEXT)}),
        ({"box": [{"tag": "a"}]},),
        ({"box": [{"weight": 1}]},),
    ),
    "an object in a map in a list in a union": (
        {
            "anyOf": [
                {"type": "array", "items": {"type": "object", "additionalProperties": obj(("q",), q=TEXT)}},
                TEXT,
            ]
        },
        ([{"a": {"q": "x"}}], "x"),
        ([{"a": {}}], [{"a": {"q": 1}}]),
    ),
    # --- branches
    "branches beside members": (
        {**obj(("id",), id=TEXT), "oneOf": [obj(("card",), card=TEXT), obj(("iban",), iban=TEXT)]},
        ({"id": "1", "card": "x"}, {"id": "1", "iban": "y"}),
        ({"iban": "y"}, {"id": "1"}, {"id": "1", "iban": 2}),
    ),
    "branches that are written out": (
        {"oneOf": [obj(("s",), s={"enum": ["shut"]}), obj(("s", "by"), s={"enum": ["open"]}, by=WHOLE)]},
        ({"s": "shut"}, {"s": "open", "by": 1}),
        ({"s": "open"}, {"s": "ajar"}),
    ),
    "branches that differ in what they require": (
        {**obj(text=TEXT, image=TEXT), "anyOf": [{"required": ["text"]}, {"required": ["image"]}]},
        ({"text": "a"}, {"image": "b"}, {"text": "a", "image": "b"}),
        ({},),
    ),
    "branches beside allOf": (
        {"allOf": [ref("Base")], "oneOf": [obj(("on",), on=WHOLE), obj(("until",), until=WHOLE)]},
        ({"id": "1", "on": 2}, {"id": "1", "until": 3}),
        ({"until": 3}, {"id": "1"}),
    ),
    "a union in allOf": (
        {"allOf": [ref("Pet"), obj(("tag",), tag=WHOLE)]},
        ({"kind": "dog", "tag": 1}, {"kind": "cat", "lives": 9, "tag": 1}),
        ({"kind": "dog"}, {"kind": "cow", "tag": 1}, {"kind": "cat", "lives": "x", "tag": 1}),
    ),
    "unions in unions": (
        {
            "anyOf": [
                {"anyOf": [TEXT, WHOLE]},
                {"oneOf": [{"type": "null"}, {"type": "array", "items": WHOLE}]},
            ]
        },
        ("a", 1, None, [1]),
        (1.5, ["a"], {}),
    ),
    "a union of lists": (
        {"anyOf": [{"type": "array", "items": TEXT}, {"type": "array", "items": WHOLE}]},
        (["a"], [1], []),
        (["a", 1], [1.5]),
    ),
    "values that Python takes for equal": (
        {"anyOf": [const(1), const(True), const("1")]},
        (1, True, "1"),
        (False, 2, "2", 0),
    ),
    "a union of more than thirty branches": (
        {"anyOf": [obj((f"m{number}",), **{f"m{number}": WHOLE}) for number in range(40)]},
        ({"m0": 1}, {"m39": 1}),
        ({}, {"m39": "x"}),
    ),
    "a union that may be false": ({"anyOf": [False, TEXT]}, ("x",), (1,)),
    # --- parts
    "a member that a part narrows to null": (
        {"allOf": [ref("Base"), obj(("ended",), ended={"type": "null"})]},
        ({"id": "1", "ended": None},),
        ({"id": "1", "ended": "x"}, {"id": "1"}),
    ),
    "a member that a part narrows to one text": (
        {"allOf": [ref("Base"), {"properties": {"name": const("n")}}]},
        ({"id": "1", "name": "n"}, {"id": "1"}),
        ({"id": "1", "name": "m"},),
    ),
    "a part that only requires": (
        {"allOf": [ref("Base"), {"required": ["name", "ended"]}]},
        ({"id": "1", "name": "n", "ended": None},),
        ({"id": "1", "name": "n"}, {"id": "1", "ended": None}),
    ),
    "required beside allOf": (
        {"allOf": [ref("Base")], "required": ["name"]},
        ({"id": "1", "name": "n"},),
        ({"id": "1"},),
    ),
    "two heirs of one base": (
        {"allOf": [ref("Left"), ref("Right")]},
        ({"id": "1", "left": 1, "right": 2},),
        ({"left": 1}, {"id": "1", "left": "x"}, {"id": "1", "right": "x"}),
    ),
    "an heir of a class that is closed": (
        {"allOf": [ref("Closed"), {"required": ["a"]}]},
        ({"a": "x"},),
        ({"a": "x", "b": 1}, {}),
    ),
    "an heir that adds to a class that is closed": (
        {"allOf": [ref("Closed"), obj(b=WHOLE)]},
        ({"a": "x"},),
        ({"a": "x", "b": 1},),
    ),
    "an object that another part closes": (
        {"allOf": [{**obj(a=TEXT), "additionalProperties": False}, obj(b=WHOLE)]},
        ({"a": "x"},),
        ({"a": "x", "b": 1}, {"a": 1}),
    ),
    "other members of a part that another names": (
        {"allOf": [{"type": "object", "additionalProperties": TEXT}, obj(a={"type": ["string", "integer"]})]},
        ({"a": "x", "b": "y"},),
        ({"b": 1}, {"a": 1}),
    ),
    "a member that parts give types without a common value": (
        {"allOf": [obj(m=TEXT), obj(m=WHOLE)]},
        ({},),
        ({"m": "x"}, {"m": 1}),
    ),
    "a member that a part types anew": (
        obj(
            book={
                "allOf": [
                    ref("Book"),
                    obj(genre={**obj(("n", "f"), n=TEXT, f=TEXT), "additionalProperties": False}),
                ]
            }
        ),
        ({"book": {"genre": {"n": "x", "f": "y"}}},),
        ({"book": {"genre": {"n": "x"}}},),
    ),
    "parts of a number": ({"allOf": [WHOLE, {"minimum": 3}]}, (3,), (2, "3")),
    "parts of a text": (
        {"allOf": [{"type": "string", "minLength": 2, "pattern": "^a"}, {"maxLength": 3, "pattern": "b$"}]},
        ("ab", "aab"),
        ("a", "aaab", "aa", "bb"),
    ),
    "steps of parts": (
        {"allOf": [{"type": "number", "multipleOf": 0.5}, {"multipleOf": 0.75}]},
        (1.5, 3),
        (0.5, 0.75, 1),
    ),
    "first items of parts": (
        {"allOf": [{"type": "array", "prefixItems": [TEXT]}, {"prefixItems": [{"minLength": 2}, WHOLE]}]},
        (["ab", 1], ["ab"]),
        (["a", 1], ["ab", "x"], [1]),
    ),
    "values of parts": ({"allOf": [{"enum": [1, 2, "a"]}, {"enum": [2, "a", 3]}, TEXT]}, ("a",), (1, 2, 3)),
    "null in one of two parts": (
        {"allOf": [ref("Void"), ref("Base")]},
        ({"id": "1", "q": "x"},),
        (None, {"id": "1", "q": 1}),
    ),
    "parts that refer to themselves": (
        obj(b=const(1), a={"allOf": [ref("Node"), obj(("next",), next=ref("Node"))]}),
        ({"a": {"v": "1", "next": {"v": "2"}}},),
        ({"a": {"v": "1"}},),
    ),
    # --- lists
    "a list of first items": (
        {"type": "array", "prefixItems": [TEXT, WHOLE], "items": False, "minItems": 2},
        (["a", 1],),
        (["a"], ["a", 1, 2], [1, "a"]),
    ),
    "first items that may be missing": (
        {"type": "array", "prefixItems": [TEXT, WHOLE], "minItems": 1, "maxItems": 2},
        (["a"], ["a", 1]),
        ([], ["a", 1, 2], ["a", "b"]),
    ),
    "first items and others": (
        {"type": "array", "prefixItems": [TEXT], "items": WHOLE, "maxItems": 3},
        ([], ["a"], ["a", 1, 2]),
        (["a", "b"], ["a", 1, 2, 3]),
    ),
    "first items and null": (
        {"type": "array", "prefixItems": [TEXT], "items": {"type": "null"}},
        (["a", None, None], []),
        (["a", 1], [None]),
    ),
    "first items and anything": ({"type": "array", "prefixItems": [TEXT]}, ([], ["a", 1, None]), ([1],)),
    "first items that are too many": (
        {"type": "array", "prefixItems": [TEXT, WHOLE], "maxItems": 1},
        ([], ["a"]),
        (["a", 1],),
    ),
    "first items and no unevaluated ones": (
        {"type": "array", "prefixItems": [TEXT], "unevaluatedItems": False},
        (["a"],),
        (["a", 1],),
    ),
    "first items that are too few": (
        {"type": "array", "prefixItems": [TEXT], "items": False, "minItems": 2},
        (),
        (["a"], ["a", "b"], []),
    ),
    "no items": ({"type": "array", "items": False}, ([],), ([1],)),
    "no items, and one at least": ({"type": "array", "items": False, "minItems": 1}, (), ([], [1])),
    "items of which no two are equal": (
        {"type": "array", "uniqueItems": True},
        ([1, True, "1"], [{"a": 1}, {"a": 2}]),
        ([1, 1.0], [{"a": 1}, {"a": 1}], [[1], [1]]),
    ),
    "an item that must be there": (
        {"type": "array", "contains": const(1)},
        ([1, 2],),
        ([2],),
    ),
    "limits of lists": (
        {"type": "array", "items": {"type": "array", "items": WHOLE}, "minItems": 1.0, "maxItems": 2},
        ([[1]], [[], [2]]),
        ([], [[], [], []], [["x"]]),
    ),
    # --- objects
    "members by two patterns": (
        {"type": "object", "patternProperties": {"^x-": TEXT, "^n-": WHOLE}, "additionalProperties": False},
        ({"x-a": "s", "n-a": 1},),
        ({"x-a": 1}, {"n-a": "s"}, {"z": 1}),
    ),
    "members by pattern, and others": (
        {"type": "object", "patternProperties": {"^x-": TEXT}},
        ({"x-a": "s", "o": 1},),
        ({"x-a": 1},),
    ),
    "members by pattern alone": (
        {"type": "object", "patternProperties": {"^x-": TEXT}, "additionalProperties": False},
        ({"x-a": "s"}, {}),
        ({"x-a": 1}, {"a": "s"}),
    ),
    "members by pattern beside others": (
        {**obj(("id",), id=TEXT), "patternProperties": {"^x-": WHOLE}},
        ({"id": "1", "x-a": 2},),
        ({"id": "1", "x-a": "s"},),
    ),
    "members and typed others": (
        {**obj(("a",), a=WHOLE), "additionalProperties": TEXT},
        ({"a": 1, "b": "x"}, {"a": 1}),
        ({"a": 1, "b": 2}, {"b": "x"}),
    ),
    "members and others of a class": (
        {**obj(a=WHOLE), "additionalProperties": obj(("q",), q=TEXT)},
        ({"a": 1, "b": {"q": "x"}},),
        ({"b": {}}, {"b": 1}),
    ),
    "a member that must not be there": (obj(a=False), ({},), ({"a": 1},)),
    "members that depend": (
        {**obj(a=TEXT, b=TEXT), "dependentRequired": {"a": ["b"]}},
        ({"a": "1", "b": "2"}, {}),
        ({"a": "1"},),
    ),
    "a condition": (
        {
            **obj(k=TEXT, x=WHOLE),
            "if": {"properties": {"k": const("n")}, "required": ["k"]},
            "then": {"required": ["x"]},
        },
        ({"k": "n", "x": 1}, {"k": "o"}),
        ({"k": "n"},),
    ),
    "not": ({**obj(a=TEXT, b=TEXT), "not": {"required": ["a", "b"]}}, ({"a": "1"},), ({"a": "1", "b": "2"},)),
    "counts of members": (
        {"type": "object", "additionalProperties": WHOLE, "minProperties": 1, "maxProperties": 2},
        ({"a": 1},),
        ({}, {"a": 1, "b": 2, "c": 3}),
    ),
    "counts of members of a class": ({**obj(a=WHOLE), "minProperties": 1}, ({"a": 1},), ({},)),
    "names of members": (
        {"type": "object", "propertyNames": {"pattern": "^[a-z]+$"}, "additionalProperties": WHOLE},
        ({"a": 1},),
        ({"A1": 1},),
    ),
    "listed names of members": (
        {"type": "object", "propertyNames": {"enum": ["a"]}},
        ({"a": 1},),
        ({"b": 1},),
    ),
    "an object or a text": (
        {"type": ["object", "string"], "properties": {"a": WHOLE}},
        ({"a": 1}, "x"),
        ({"a": "x"}, 1),
    ),
    "keywords of objects without a type": ({"properties": {"a": WHOLE}}, ({"a": 1},), ({"a": "x"},)),
    "a required member that is not described": ({"required": ["a"]}, ({"a": None},), ({},)),
    "an object with listed values": ({**obj(("a",), a=WHOLE), "enum": [{"a": 1}]}, ({"a": 1},), ({"a": 2},)),
    "a class with listed values": (
        {"allOf": [ref("Base")], "enum": [{"id": "1"}]},
        ({"id": "1"},),
        ({"id": "2"},),
    ),
    "a part that says something of other members": (
        {"allOf": [ref("Base"), {**obj(b=WHOLE), "additionalProperties": WHOLE}]},
        (),
        ({"id": "1", "b": 2}, {"b": 1}),
    ),
    # --- values
    "a constant number": (const(1.5), (1.5,), (2.5, True)),
    "a constant one": (const(1), (1, 1.0), (True, "1", 2)),
    "a constant one with a point": (const(1.0), (1.0, 1), (True, 2)),
    "a constant true": (const(True), (True,), (1, 1.0, "true")),
    "a constant null": (const(None), (None,), (0, "", False)),
    "a constant list": (const([1]), ([1],), ([True], [], [1, 1])),
    "a constant object": (const({"a": 1}), ({"a": 1},), ({"a": 2}, {"a": True}, {})),
    "listed numbers": ({"type": "number", "enum": [1.5, 2.5]}, (1.5,), (9.5, 1)),
    "listed values of all types": ({"enum": ["a", 1, None, True]}, ("a", 1, None, True), ("b", 2, False)),
    "listed values beside a type": ({"type": ["string", "null"], "enum": ["a", 1]}, ("a",), (None, 1)),
    "listed values beside limits": (
        {"type": "string", "enum": ["a", "abc"], "maxLength": 2},
        ("a",),
        ("abc",),
    ),
    "listed numbers beside limits": ({"enum": [1, 2, 3], "minimum": 2, "multipleOf": 2}, (2,), (1, 3)),
    "listed texts beside a pattern": (
        {"enum": ["a", "b"], "type": "string", "pattern": "^a"},
        ("a",),
        ("b",),
    ),
    # --- numbers
    "an integer": (WHOLE, (3, 3.0, 2**70), (2.5, True, "3", None)),
    "integers above a half": ({"type": "integer", "minimum": 1.5, "exclusiveMaximum": 3.5}, (2, 3), (1, 4)),
    "integers between whole limits with a point": (
        {"type": "integer", "exclusiveMinimum": 1.0, "maximum": 3.0},
        (2, 3),
        (1, 4),
    ),
    "integers with limits of both kinds": (
        {"type": "integer", "maximum": 3, "exclusiveMaximum": 1.5, "minimum": -3, "exclusiveMinimum": -1.5},
        (1, -1),
        (2, -2),
    ),
    "integers in steps of a half": ({"type": "integer", "multipleOf": 0.5}, (1, 2), (1.5,)),
    "integers in steps of one and a half": ({"type": "integer", "multipleOf": 1.5}, (3, 6), (2, 4)),
    "integers in steps of three tenths": ({"type": "integer", "multipleOf": 0.3}, (3, 6), (1, 2)),
    "numbers in steps": ({"type": "number", "multipleOf": 0.01}, (19.99, 3), (0.001,)),
    "a limit that no number here reaches": ({"type": "number", "maximum": 10**400}, (5,), ("5",)),
    "limits of large integers": (
        {"type": "integer", "minimum": 0, "maximum": 2**64 - 1},
        (2**64 - 1,),
        (-1, 2**64),
    ),
    # --- texts
    "a pattern": ({"type": "string", "pattern": r"^\d{3}$"}, ("123",), ("12", "123\n", 123)),
    "a pattern that looks ahead": ({"type": "string", "pattern": r"^(?=.*\d).+$"}, ("a1",), ("a", "1\n")),
    "a pattern that looks back": ({"type": "string", "pattern": r"^(a|b)\1$"}, ("aa",), ("ab",)),
    "two engines of patterns": (
        obj(
            letters={"type": "string", "pattern": r"^\p{L}+$"},
            digit={"type": "string", "pattern": r"^(?=.*\d).+$"},
        ),
        ({"letters": "é", "digit": "a1"},),
        ({"letters": "1"}, {"digit": "a"}),
    ),
    "a pattern that is none": ({"type": "string", "pattern": r"^[\d-x]$"}, ("-",), ("b",)),
    "lengths": ({"type": "string", "minLength": 2.0, "maxLength": 3}, ("ab", "😀😀"), ("a", "abcd")),
    "a pattern without a type": ({"pattern": "a"}, ("a",), ("b",)),
    # --- null
    "members that are null": (
        obj(("n", "l", "w"), n=ref("Void"), l=ref("Voids"), w=ref("Word")),
        ({"n": None, "l": None, "w": None}, {"n": {"q": "x"}, "l": ["x"], "w": "a"}),
        ({"n": {"q": 1}, "l": None, "w": None}, {"n": None, "l": None, "w": "b"}),
    ),
    "a component that may be null": (ref("Void"), (None, {"q": "x"}), (1, {"q": 1})),
    "a list of what may be null": ({"type": "array", "items": ref("Void")}, ([None, {"q": "x"}],), ([1],)),
    "a member that may only be missing": (obj(a=TEXT), ({},), ({"a": None},)),
    # --- tags
    "a tag that is missing": (ref("Loose"), ({"a": 1},), ({"a": "x"},)),
    "an heir with a tag of its own": (ref("LooseHeir"), ({"kind": "heir", "more": 1},), ({"more": "x"},)),
    "a union with tags": (
        ref("Either"),
        ({"kind": "Other", "b": "s"}, {"kind": "Loose", "a": 1}),
        ({"kind": "Other", "b": 1},),
    ),
    # --- recursion
    "any JSON": (ref("Json"), ([1, "a", {"b": None}], "x", 1, True, None), ()),
    "lists of lists": (ref("Nest"), ([[], [[]]],), ([1],)),
    "a tree": (
        ref("Node"),
        ({"v": "1", "next": {"v": "2"}, "kids": [{"v": "3", "kids": []}]},),
        ({"v": "1", "next": {}},),
    ),
    "sums of sums": (
        ref("Term"),
        (
            {
                "k": "sum",
                "l": {"k": "one", "v": 1},
                "r": {"k": "sum", "l": {"k": "one", "v": 2}, "r": {"k": "one", "v": 3}},
            },
        ),
        ({"k": "sum", "l": {"k": "one", "v": 1}},),
    ),
    # --- beside a reference
    "members beside a reference": (
        {**ref("Base"), "properties": {"shelf": WHOLE}, "required": ["shelf"]},
        ({"id": "1", "shelf": 2},),
        ({"id": "1"}, {"id": "1", "shelf": "x"}),
    ),
    "a limit beside a reference": (obj(t={**ref("Old"), "maxLength": 0}), ({},), ({"t": "a"},)),
    # --- keywords of other tools
    "keywords of other tools": (
        {
            **obj(a={"type": "string", "x-python-type": "datetime.datetime"}),
            "customBasePath": "a.module.Base",
        },
        ({"a": "2020"},),
        ({"a": 1},),
    ),
}
NULLABLE: dict[str, Case] = {
    "an object": (nullable(obj(("q",), q=TEXT)), (None, {"q": "x"}), ({}, 1)),
    "a component": (ref("Void"), (None, {"q": "x"}), ({"q": 1}, 1)),
    "a member": (obj(("n",), n=ref("Void")), ({"n": None},), ({}, {"n": 1})),
    "allOf": (nullable({"allOf": [ref("Base")]}), (None, {"id": "1"}), ({}, 1)),
    "anyOf": (nullable({"anyOf": [ref("Base")]}), (None, {"id": "1"}), ({}, 1)),
    "oneOf": (nullable({"oneOf": [ref("Base"), TEXT]}), (None, {"id": "1"}, "x"), ({}, 1)),
    "a list": (nullable({"type": "array", "items": nullable(TEXT)}), (None, ["a", None]), ([1],)),
    "a map": (
        nullable({"type": "object", "additionalProperties": nullable(WHOLE)}),
        (None, {"a": None}),
        ({"a": "x"},),
    ),
    "listed values": (nullable({"type": "string", "enum": ["a"]}), (None, "a"), ("b",)),
    "listed values with null": (nullable({"type": "string", "enum": ["a", None]}), (None, "a"), ("b",)),
    "both parts": ({"allOf": [ref("Void"), ref("Base")]}, ({"id": "1"},), (None,)),
    "a limit that is excluded": ({"type": "integer", "minimum": 1, "exclusiveMinimum": True}, (2,), (1,)),
    "a limit that is not excluded": (
        {"type": "integer", "minimum": 1, "exclusiveMinimum": False},
        (1,),
        (0,),
    ),
    "what is only read or written": (
        obj(("r", "w"), r={"type": "string", "readOnly": True}, w={"type": "string", "writeOnly": True}),
        ({"r": "x"}, {"r": "x", "w": "y"}),
        ({"w": "y"},),
    ),
}
SHARED_3_0 = {"Void": nullable(obj(q=TEXT)), "Base": obj(("id",), id=TEXT)}
# What is not refused is warned of; a check that goes missing is one too many here.
WARNED = {
    "branches beside members": "one-of-overlap",
    "branches that differ in what they require": "not-checked",
    "branches beside allOf": "one-of-overlap",
    "a member that a part narrows to null": "override-required",
    "a part that only requires": "override-required",
    "required beside allOf": "override-required",
    "an heir that adds to a class that is closed": "not-checked",
    "an object that another part closes": "not-checked",
    "a member that parts give types without a common value": "impossible-schema",
    "parts that refer to themselves": "override-required",
    "first items and no unevaluated ones": "not-checked",
    "an item that must be there": "not-checked",
    "members by two patterns": "not-checked",
    "members by pattern, and others": "not-checked",
    "members by pattern beside others": "not-checked",
    "a member that must not be there": "not-checked",
    "members that depend": "not-checked",
    "a condition": "not-checked",
    "not": "not-checked",
    "counts of members of a class": "not-checked",
    "listed names of members": "not-checked",
    "keywords of objects without a type": "type-implied",
    "a required member that is not described": "type-implied",
    "an object with listed values": "not-checked",
    "a part that says something of other members": "not-checked",
    "a class with listed values": "not-checked",
    "a pattern that is none": "pattern-dropped",
    "a pattern without a type": "type-implied",
    "a limit beside a reference": "impossible-schema",
}
_DIALECTS = {"3.1.0": (CASES, SHARED), "3.0.3": (NULLABLE, SHARED_3_0)}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for version, (cases, shared) in _DIALECTS.items():
        schemas = {f"Case{number}": case[0] for number, case in enumerate(cases.values())}
        found[version] = components({**schemas, **shared}, tmp_path_factory.mktemp("classes"), version)
    return found


@pytest.mark.parametrize(
    ("version", "case"), [(v, case) for v, (cases, _) in _DIALECTS.items() for case in cases]
)
def test_a_schema_is_what_it_says(version: str, case: str, made: Mapping[str, Any]) -> None:
    cases = _DIALECTS[version][0]
    name = f"Case{list(cases).index(case)}"
    read = made[version].reader(name)
    _, fitting, others = cases[case]
    for value in fitting:
        assert same(wire(read(value)), value)
    # These two warn of something else.
    if made[version].kind_at(name) in ("", "override-required", "type-implied"):
        for value in others:
            with pytest.raises(ValidationError):
                read(value)


def test_what_is_not_checked_is_warned_of(made: Mapping[str, Any]) -> None:
    cases = list(CASES)
    found = {case: kind for n, case in enumerate(cases) if (kind := made["3.1.0"].kind_at(f"Case{n}"))}
    assert found == WARNED
    assert not [w for w in made["3.0.3"].warnings if w[0] != "name-collision"]


TAKEN = (
    *("Int", "Maybe", "Model", "Model2", "Any", "Field", "List", "Literal", "ConfigDict", "OrObject"),
    *("UNIQUE", "EXACT", "matching", "one_of", "places", "tagged", "EventPayload", "models", "str", "None"),
)
SPELLINGS = (
    *("class", "from", "None", "dict", "copy", "json", "model_dump", "from_wire", "model_config", "self"),
    *("cls", "__init__", "__class__", "__forms__", "__pydantic_extra__", "_x", "", "1", "a b", "a-b", "a_b"),
    *(
        "@type",
        "é",
        "名",
        "Int",
        "Maybe",
        "Any",
        "list",
        "str",
        "models",
        "annotations",
        "lateFee",
        "late_fee",
    ),
)


def test_names_that_generated_code_needs(tmp_path: Path) -> None:
    members: dict[str, Any] = {
        "n": WHOLE,
        "e": {"enum": [1, True]},
        "u": {"type": "array", "items": WHOLE, "uniqueItems": True},
        "p": {"type": "string", "pattern": "^(?=a)a"},
        "o": {"enum": [1.5]},
        "l": {"type": "array", "prefixItems": [TEXT]},
        "y": {"anyOf": [ref("Int"), {"type": "object"}]},
        "t": ref("Pet"),
    }
    schemas = {name: obj(("n",), **members) for name in TAKEN}
    made = components({**schemas, **{name: SHARED[name] for name in ("Dog", "Cat", "Pet")}}, tmp_path)
    value = {"n": 1, "e": True, "u": [1], "p": "a", "o": 1.5, "l": ["a"], "y": {"n": 2}, "t": {"kind": "cat"}}
    wrong = {"n": "x", "e": False, "u": [1, 1], "p": "b", "o": 2.5, "l": [1], "y": 1, "t": {"kind": "cow"}}
    classes = [name for name in made.module.__all__ if name not in ("Dog", "Cat", "Pet")]
    assert len(classes) == len(TAKEN)
    for name in classes:
        read = made.reader(name)
        assert wire(read(value)) == value
        assert type(read(value).y).__name__ == "Int"
        for member, one in wrong.items():
            with pytest.raises(ValidationError):
                read({**value, member: one})


def test_members_go_by_their_wire_names(tmp_path: Path) -> None:
    made = components(
        {
            "Texts": obj(**dict.fromkeys(SPELLINGS, TEXT)),
            "Lists": obj(SPELLINGS, **dict.fromkeys(SPELLINGS, obj())),
        },
        tmp_path,
    )
    read = made.reader("Texts")
    for name in SPELLINGS:
        assert wire(read({name: "v"})) == {name: "v"}
        with pytest.raises(ValidationError):
            read({name: 1})
    for name in ("class_", "from_", "dict_", "field_x", "field_1"):
        # None of the contract's, whatever its like is called in Python.
        read_back = wire(read({name: 5}))
        assert (read_back[name], read_back.get("class")) == (5, None)
    empty: dict[str, dict[str, object]] = {name: {} for name in SPELLINGS}
    assert wire(made.reader("Lists")(empty)) == empty


def test_the_tag_tells_the_class(tmp_path: Path) -> None:
    read = components(SHARED, tmp_path).reader("Either")
    assert [type(read({"kind": kind})).__name__ for kind in ("Loose", "Other")] == ["Loose", "Other"]


RESULTS: dict[str, Case] = {
    "number": ({"type": "number"}, (1.5,), ("3", True, "inf", None)),
    "boolean": ({"type": "boolean"}, (True,), (1, "true")),
    "list": ({"type": "array", "items": {"type": "number"}}, ([1.5],), (["3"], [True])),
    "map": ({"type": "object", "additionalProperties": {"type": "boolean"}}, ({"a": True},), ({"a": "yes"},)),
    "null": ({"type": ["number", "null"]}, (None,), ("3",)),
    "integer": (WHOLE, (3, 3.0), ("3", 2.5, True)),
    "tuple": ({"type": "array", "prefixItems": [{"type": "number"}]}, ([1.5],), (["3"],)),
    "void": (ref("Void"), (None, {"q": "x"}), (1,)),
    "beside": ({**ref("Base"), "required": ["name"]}, ({"id": "1", "name": "n"},), ({"id": "1"},)),
    "old": (ref("Old"), ("a",), ("b",)),
}


@pytest.mark.filterwarnings("error::UserWarning")
def test_results_are_read_as_strictly_as_members(make: Make) -> None:
    paths = {
        f"/{name}": {"get": {"operationId": f"get_{name}", "responses": {"200": ok(schema)}}}
        for name, (schema, _, _) in RESULTS.items()
    }
    client = make(document(paths, SHARED))
    operations = {one.path[1:]: one for one in client.module("operations").OPERATIONS}
    for name, (_, fitting, others) in RESULTS.items():
        for read in (operations[name].read, operations[name].read_in_steps):
            for value in fitting:
                assert same(wire(read(json.dumps(value).encode())), value)
            for value in others:
                with pytest.raises(client.module("_runtime").Undecodable):
                    read(json.dumps(value).encode())
    assert client.complaints() == []
