"""A small contract of a make-believe daemon that each test may break, and clients of made-up documents."""

import email
import importlib
import itertools
import json
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from digitorn_codegen import Settings, generate
from support.strict_mypy import Complaint, StrictMypy

TOY = Path(__file__).parent / "toy"


@pytest.fixture
def toy(tmp_path: Path) -> Settings:
    """Settings over a copy of the toy contract."""
    shutil.copytree(TOY, tmp_path / "schema")
    return Settings(
        openapi=tmp_path / "schema" / "openapi.yaml",
        events=tmp_path / "schema" / "events",
        commands=tmp_path / "schema" / "commands",
        package="toypkg.client",
        out=tmp_path / "out" / "toypkg" / "client",
    )


@pytest.fixture
def edit(toy: Settings) -> Callable[[str, str, str], None]:
    """Replaces a text in one file of the toy contract; the text must be there."""

    def change(name: str, old: str, new: str) -> None:
        path = toy.openapi.parent / name
        text = path.read_text(encoding="utf-8")
        assert old in text, f"{name} has no {old!r}"
        path.write_text(text.replace(old, new, 1), encoding="utf-8")

    return change


@pytest.fixture
def without_events(toy: Settings) -> Settings:
    """The toy contract's REST part alone."""
    return replace(toy, events=None, commands=None)


def document(
    paths: Mapping[str, object], schemas: Mapping[str, object] | None = None, openapi: str = "3.1.0"
) -> dict[str, object]:
    """An OpenAPI document."""
    return {
        "openapi": openapi,
        "info": {"title": "Made up", "version": "1"},
        "paths": paths,
        "components": {"schemas": schemas or {}},
    }


def ok(schema: object, media_type: str = "application/json") -> dict[str, object]:
    """A response with a body."""
    return {"description": "ok", "content": {media_type: {"schema": schema}}}


def ref(name: str) -> dict[str, object]:
    """A reference to a component."""
    return {"$ref": f"#/components/schemas/{name}"}


def parts_in(content: bytes, media_type: str) -> list[tuple[str, object, object, str]]:
    """Name, content, file name and content type of each part of a multipart body, as Python reads it."""
    message = email.message_from_bytes(f"Content-Type: {media_type}\r\n\r\n".encode() + content)
    parts = [part for part in message.walk() if part is not message]
    return [
        (
            str(part.get_param("name", header="Content-Disposition")),
            part.get_payload(decode=True),
            part.get_filename(),
            part.get_content_type(),
        )
        for part in parts
    ]


class Recorder:
    """A transport that keeps the calls and answers nothing."""

    def __init__(self) -> None:
        self.calls: list[Any] = []

    def send(self, call: Any) -> None:
        """Keeps a call."""
        self.calls.append(call)


@dataclass(frozen=True)
class Client:
    """A generated client that is importable while its module of tests runs."""

    settings: Settings
    warnings: tuple[str, ...]
    mypy: StrictMypy

    def module(self, name: str) -> Any:
        """One of its modules."""
        return importlib.import_module(f"{self.settings.package}.{name}")

    def api(self) -> tuple[Any, Recorder]:
        """Its stubs over a transport that keeps the calls."""
        recorder = Recorder()
        return self.module("rest").Api(recorder), recorder

    def warned(self) -> set[str]:
        """The kinds of its warnings."""
        return {text.partition(":")[0] for text in self.warnings}

    def complaints(self) -> list[Complaint]:
        """What strict mypy has to say about it."""
        return self.mypy.complaints("-p", self.settings.package, folder=self.settings.out.parent)


Make = Callable[[Mapping[str, object]], Client]
_numbers = itertools.count()


@pytest.fixture(scope="session")
def strict_mypy(tmp_path_factory: pytest.TempPathFactory) -> StrictMypy:
    """Strict mypy over generated code."""
    return StrictMypy(tmp_path_factory.mktemp("mypy"))


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory, strict_mypy: StrictMypy) -> Iterator[Make]:
    """Makes clients of documents."""
    added: list[str] = []

    def client(found: Mapping[str, object]) -> Client:
        folder = tmp_path_factory.mktemp("client")
        source = folder / "openapi.json"
        source.write_text(json.dumps(found), encoding="utf-8")
        package = f"made_up_{next(_numbers)}"
        asyncapi = source if "asyncapi" in found else None
        out = folder / "out" / package
        settings = Settings(openapi=source, asyncapi=asyncapi, package=package, out=out)
        warnings: list[str] = []
        generate(settings, warnings.append)
        sys.path.insert(0, str(folder / "out"))
        added.append(str(folder / "out"))
        importlib.invalidate_caches()
        return Client(settings, tuple(warnings), strict_mypy)

    yield client
    for entry in added:
        sys.path.remove(entry)
