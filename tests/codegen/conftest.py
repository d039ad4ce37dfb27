"""A small contract of a make-believe daemon that each test may break."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from digitorn_codegen import Settings

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
