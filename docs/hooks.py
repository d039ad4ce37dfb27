"""What mkdocs adds to docs/: the reference, pages from elsewhere in the repository, a check of all links.

The reference is written from `schema/` and from what the package exports each time the site is built, so
it cannot be out of date.
"""

import ast
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Final, TypeAlias, cast
from urllib.parse import unquote, urlsplit

import yaml
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files

ROOT: Final = Path(__file__).resolve().parents[1]
PACKAGE: Final = ROOT / "src" / "digitorn_testing"
SCHEMA: Final = ROOT / "schema"

Json: TypeAlias = "Mapping[str, Json] | list[Json] | str | int | float | bool | None"
Node: TypeAlias = "Mapping[str, Json]"

PAGES_FROM_ELSEWHERE: Final = {
    "contributing.md": "CONTRIBUTING.md",
    "changelog.md": "CHANGELOG.md",
    "benchmarks.md": "benchmarks/README.md",
    "benchmark-results.md": "benchmarks/RESULTS.md",
}
"""Page of the site → file of the repository."""

REFERENCE: Final = {
    "client": ("Client", ("the client", "connections", "traffic", "the rest")),
    "turns": ("Turns and approvals", ("turns", "approvals")),
    "streams": ("Streams and event logs", ("events",)),
    "recordings": ("Recordings, live tests and operations", ("recordings", "tests", "operations")),
    "errors": ("Errors", ("errors",)),
}
"""Page of the reference → title, and the groups of `digitorn_testing.__all__` that it shows."""

MORE: Final = {"recordings": ["telemetry.export_spans"]}
"""What else a page shows."""

METHODS: Final = ("get", "post", "put", "patch", "delete", "head")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Puts a page for each group of operations into the navigation."""
    tags: list[str] = sorted(one for one in operations_by_tag(openapi()))
    nav = cast("list[dict[str, list[dict[str, object]]]]", config["nav"])
    for section in nav:
        for entry in section.get("Reference", []):
            if "REST operations" in entry:
                entry["REST operations"] = [
                    "reference/rest.md",
                    *({tag: f"reference/rest/{tag}.md"} for tag in tags),
                ]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the generated pages."""
    for name, text in generated_pages():
        files.append(File.generated(config, name, content=text))
    return files


def on_post_build(config: MkDocsConfig) -> None:
    """Refuses a site with a dead link, a dead anchor, or anything loaded from a network."""
    found = faults_of_site(Path(config.site_dir))
    if found:
        raise PluginError("\n".join(["the site has faults:", *found]))


# ------------------------------------------------------------------ pages


def generated_pages() -> Iterator[tuple[str, str]]:
    """Each generated page with its text."""
    for page, file in PAGES_FROM_ELSEWHERE.items():
        text = (ROOT / file).read_text(encoding="utf-8")
        yield page, with_site_links(text, file)
    groups = exported_groups()
    for page, (title, shown) in REFERENCE.items():
        yield (
            f"reference/{page}.md",
            reference_page(title, [n for one in shown for n in groups.pop(one)] + MORE.get(page, [])),
        )
    if set(groups) != {"assertions"}:
        raise LookupError(f"docs/hooks.py has no page for the groups {set(groups) - {'assertions'}}")
    document = openapi()
    by_tag = operations_by_tag(document)
    yield "reference/index.md", index_page()
    yield "reference/rest.md", operations_page(document, by_tag)
    for tag, operations in by_tag.items():
        yield f"reference/rest/{tag}.md", tag_page(tag, operations)
    yield "reference/shapes.md", shapes_page(document)
    yield "reference/events.md", events_page()
    yield "reference/commands.md", commands_page()


def with_site_links(text: str, file: str) -> str:
    """The text of a file of the repository, with links as the site has them."""
    return re.sub(r"\]\((?!https?:)([^)#]+)", lambda link: f"]({site_link(link[1], file)}", text)


def site_link(link: str, file: str) -> str:
    """A link of a file of the repository as a link of the site."""
    target = (ROOT / file).parent.joinpath(link).resolve().relative_to(ROOT)
    for page, other in PAGES_FROM_ELSEWHERE.items():
        if Path(other) == target:
            return page
    return target.relative_to("docs").as_posix()


def exported_groups() -> dict[str, list[str]]:
    """What the package exports, by the comments in its `__all__`."""
    source = (PACKAGE / "__init__.py").read_text(encoding="utf-8")
    inside = source.partition("__all__ = [\n")[2].partition("\n]")[0]
    groups: dict[str, list[str]] = {}
    for line in inside.splitlines():
        if line.strip().startswith("#"):
            groups[line.strip("# ")] = []
        else:
            groups[list(groups)[-1]].append(ast.literal_eval(line.strip(" ,")))
    return groups


def reference_page(title: str, names: Iterable[str]) -> str:
    """A page with what mkdocstrings writes about each name."""
    lines = [f"# {title}", "", "Import these from `digitorn.testing`, or from `digitorn_testing`.", ""]
    lines += [f"::: digitorn_testing.{name}\n" for name in names]
    return "\n".join(lines)


def index_page() -> str:
    """What the reference holds."""
    return """# API reference

| module | holds |
|---|---|
| `digitorn.testing` | the [client](client.md), [turns and approvals](turns.md), [streams](streams.md), \
[recordings and operations](recordings.md), [errors](errors.md) |
| `digitorn.testing.assertions` | [assertions](assertions.md) |
| `digitorn.testing.events` | [a payload class for each event type](events.md) |
| `digitorn.testing.models` | [shapes of the REST interface](shapes.md) |
| `digitorn.testing.fakes` | [the embedded daemon and the scripted model](fakes.md) |
| `digitorn.testing.builders` | [builders of events, turns and sessions](builders.md) |
| `digitorn.testing.telemetry` | \
[operations as spans](recordings.md#digitorn_testing.telemetry.export_spans) |
| `client.api` | [every REST operation](rest.md) |

Every name is also in the package `digitorn_testing` ([import names](../import-names.md)).
`AsyncDevClient` and the other classes with that prefix have the same methods, to be awaited.
"""


# ------------------------------------------------------------------ the contract


def openapi() -> Node:
    """The OpenAPI document."""
    loaded: Node = yaml.safe_load((SCHEMA / "openapi.yaml").read_text(encoding="utf-8"))
    return loaded


def node(value: Json) -> Node:
    """The members of a JSON object; none if it is something else."""
    return value if isinstance(value, Mapping) else {}


def text_of(value: Json) -> str:
    """A description on one line, safe in a cell of a table."""
    said = " ".join(str(value or "").split())
    return said.replace("|", "\\|").replace("<", "&lt;")


def operations_by_tag(document: Node) -> dict[str, list[tuple[str, str, Node]]]:
    """Method, path and operation, by tag."""
    found: dict[str, list[tuple[str, str, Node]]] = {}
    for path, item in node(document["paths"]).items():
        for method in METHODS:
            if operation := node(node(item).get(method)):
                tags = operation["tags"]
                assert isinstance(tags, list)
                found.setdefault(str(tags[0]), []).append((method.upper(), path, operation))
    return found


def class_of(tag: str) -> str:
    """The class of the stubs for a tag."""
    return "".join(part.capitalize() for part in tag.split("_"))


def operations_page(document: Node, by_tag: Mapping[str, list[tuple[str, str, Node]]]) -> str:
    """The groups of operations, and every operation by name."""
    said = {str(node(one)["name"]): text_of(node(one).get("description")) for one in each(document["tags"])}
    lines = ["# REST operations", ""]
    lines += ["Every operation is a typed method at `client.api`, in the group of its tag.", ""]
    lines += ["| group | operations | |", "|---|---|---|"]
    for tag in sorted(by_tag):
        lines.append(f"| [`client.api.{tag}`](rest/{tag}.md) | {len(by_tag[tag])} | {said.get(tag, '')} |")
    lines += ["", "## All operations", "", "| operation | request | |", "|---|---|---|"]
    everything = [
        (str(one["operationId"]), tag, method, path, one)
        for tag, operations in by_tag.items()
        for method, path, one in operations
    ]
    for name, tag, method, path, one in sorted(everything, key=lambda entry: entry[0]):
        where = f"rest/{tag}.md#digitorn_testing._generated.rest.{class_of(tag)}.{name}"
        lines.append(f"| [{name}]({where}) | `{method} {path}` | {text_of(one.get('summary'))} |")
    return "\n".join([*lines, ""])


def tag_page(tag: str, operations: Iterable[tuple[str, str, Node]]) -> str:
    """The operations of a group: as a table, then each with its arguments."""
    lines = [f"# client.api.{tag}", ""]
    lines += ["| operation | request | body | answer | errors |", "|---|---|---|---|---|"]
    for method, path, one in operations:
        name = str(one["operationId"])
        here = f"#digitorn_testing._generated.rest.{class_of(tag)}.{name}"
        body = ", ".join(shapes_in(one.get("requestBody"))) or "–"
        answers = node(one["responses"])
        good = (
            ", ".join(
                dict.fromkeys(
                    link for status in answers if status < "4" for link in shapes_in(answers[status])
                )
            )
            or "–"
        )
        bad = ", ".join(status for status in answers if status >= "4") or "–"
        lines.append(f"| [{name}]({here}) | `{method} {path}` | {body} | {good} | {bad} |")
    lines += ["", f"::: digitorn_testing._generated.rest.{class_of(tag)}", "    options:"]
    lines += ["      show_root_heading: false", "      show_root_toc_entry: false"]
    lines += ["      heading_level: 2", "      merge_init_into_class: false", "      filters: ['!^_']", ""]
    return "\n".join(lines)


ENVELOPES: Final = {"AppResponse", "SoftFailure", "Problem"}


def shapes_in(value: Json, prefix: str = "../shapes.md") -> list[str]:
    """Links to the components that a part of the document refers to, in order."""
    found: dict[str, None] = {}

    def walk(one: Json) -> None:
        if isinstance(one, Mapping):
            reference = one.get("$ref")
            if isinstance(reference, str) and reference.startswith("#/components/schemas/"):
                name = reference.rpartition("/")[2]
                if name not in ENVELOPES:
                    found[f"[{name}]({prefix}#{name.lower()})"] = None
            for key, inner in one.items():
                if key != "examples":
                    walk(inner)
        elif isinstance(one, list):
            for inner in one:
                walk(inner)

    walk(value)
    return list(found)


def each(value: Json) -> list[Json]:
    """The items of a JSON array."""
    return value if isinstance(value, list) else []


def type_of(schema: Json, refer: str) -> str:
    """A schema as a reader names it: `str`, `int[]`, a link to a shape."""
    one = node(schema)
    reference = one.get("$ref")
    if isinstance(reference, str):
        name = re.split(r"[/#]", reference)[-1].removesuffix(".json")
        return f"[{name}]({refer}#{name.lower()})" if "components/schemas" in reference else f"`{name}`"
    for key in ("oneOf", "anyOf", "allOf"):
        if one.get(key):
            joined = " & " if key == "allOf" else " or "
            return joined.join(dict.fromkeys(type_of(part, refer) for part in each(one[key])))
    if "enum" in one or "const" in one:
        values = each(one.get("enum")) or [one.get("const")]
        return ", ".join(f"`{text_of(json.dumps(value))}`" for value in values)
    kinds = one.get("type")
    names = [str(kind) for kind in (kinds if isinstance(kinds, list) else [kinds or "any"])]
    words: list[str] = []
    for kind in names:
        if kind == "array":
            words.append(f"list of {type_of(one.get('items'), refer)}")
        else:
            words.append(f"`{kind}`")
    return " or ".join(words)


def members_table(schema: Json, refer: str) -> list[str]:
    """The members of an object schema, those of its `allOf` parts too."""
    parts = [node(schema), *(node(part) for part in each(node(schema).get("allOf")))]
    rows: list[str] = []
    for part in parts:
        required = {str(name) for name in each(part.get("required"))}
        for name, member in node(part.get("properties")).items():
            always = "always" if name in required else ""
            said = text_of(node(member).get("description"))
            rows.append(f"| `{name}` | {type_of(member, refer)} | {always} | {said} |")
    based = [type_of(part, refer) for part in parts if "$ref" in part]
    lines = [f"Also has the members of {', '.join(based)}.", ""] if based else []
    if rows:
        lines += ["| member | type | there | |", "|---|---|---|---|", *rows, ""]
    return lines


def shapes_page(document: Node) -> str:
    """Every component schema with its members."""
    lines = ["# REST shapes", "", "Classes of `digitorn.testing.models`, from `schema/openapi.yaml`.", ""]
    for name, schema in sorted(node(node(document["components"])["schemas"]).items()):
        lines += [f"## {name}", "", text_of(node(schema).get("description")), ""]
        table = members_table(schema, "")
        lines += table or [type_of(schema, ""), ""]
    return "\n".join(lines)


def events_page() -> str:
    """Every event type with its payload class."""
    lines = ["# Event types", ""]
    lines += ["Payload classes of `digitorn.testing.events`, from `schema/events/`.", ""]
    lines += ["[Events](../contract/events.md) says when the daemon sends each of them.", ""]
    for file in sorted((SCHEMA / "events").glob("*.json")):
        schema: Node = json.loads(file.read_text(encoding="utf-8"))
        title = str(schema["title"])
        lines += [f"## {title}", ""]
        if "x-event-type" in schema:
            lines += [f"`{schema['x-event-type']}` · {schema['x-event-status']}", ""]
        lines += [text_of(schema.get("description")), "", *members_table(schema, "shapes.md")]
        for name, shape in node(schema.get("$defs")).items():
            lines += [f"### {title}: {name}", "", text_of(node(shape).get("description")), ""]
            lines += members_table(shape, "shapes.md")
    return "\n".join(lines)


def commands_page() -> str:
    """Every command with its request and acknowledgement."""
    lines = ["# Commands", ""]
    lines += [
        "What a client sends over Socket.IO, from `schema/commands/`. The library sends them for you.",
        "",
    ]
    for file in sorted((SCHEMA / "commands").glob("*.json")):
        schema: Node = json.loads(file.read_text(encoding="utf-8"))
        lines += [f"## {schema.get('x-command', schema['title'])}", ""]
        lines += [text_of(schema.get("description")), "", *members_table(schema, "shapes.md")]
        for name, shape in node(schema.get("$defs")).items():
            lines += [f"### {name}", "", text_of(node(shape).get("description")), ""]
            lines += members_table(shape, "shapes.md")
    return "\n".join(lines)


# ------------------------------------------------------------------ the built site


class Page(HTMLParser):
    """What a page of HTML defines, links to and loads."""

    def __init__(self) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.loads: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Notes the anchors and links of a tag."""
        given = {name: value for name, value in attrs if value}
        for name in ("id", "name"):
            if name in given:
                self.anchors.add(given[name])
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        elif tag == "link" and "href" in given and given.get("rel") in {"stylesheet", "icon", "preload"}:
            self.loads.append(given["href"])
        elif "src" in given:
            self.loads.append(given["src"])


def faults_of_site(site: Path) -> list[str]:
    """Links and anchors that lead nowhere, and what a page would load from a network."""
    pages: dict[Path, Page] = {}
    for file in sorted(site.rglob("*.html")):
        pages[file] = Page()
        pages[file].feed(file.read_text(encoding="utf-8"))
    found: list[str] = []
    for file, page in pages.items():
        if file.name == "404.html":  # its links start at the root of the server
            continue
        for link in [*page.links, *page.loads]:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                if link in page.loads and parts.scheme != "data":
                    found.append(f"{file.relative_to(site)} loads {link}")
                continue
            target = (file.parent / unquote(parts.path)).resolve() if parts.path else file
            if target.is_dir():
                target /= "index.html"
            anchor = unquote(parts.fragment)
            if not target.exists() or (anchor and target in pages and anchor not in pages[target].anchors):
                found.append(f"{file.relative_to(site)}: {link}")
    return found
