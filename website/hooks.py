"""What the site has beyond docs/: pages of the interface, the gallery, the course, formulas, and files that pages link to.

MkDocs calls ``on_files``, ``on_page_markdown`` and ``on_page_content``.
"""

from __future__ import annotations

import html
import importlib
import inspect
import pkgutil
import posixpath
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from latex2mathml.converter import convert
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
LINK = re.compile(r"(!?\[[^\]]*\])\(((?:\.\./)+[^)#\s]+)(#[^)\s]*)?\)")
FORMULA = re.compile(r'<(span|div) class="arithmatex">(.*?)</\1>', re.DOTALL)
FUNCTION = re.compile(
    r"((?<!<msub>)(?<!<msup>)(?<!<munder>)(?<!<msubsup>)<mi>(?:log|ln|exp|max|min|sin|cos|det)</mi>)(?=<m[in])"
)
# A page of the course for each, in this order.
COURSE = (
    "first_stability_question",
    "bring_your_data",
    "training_as_a_flow",
    "attack_a_theorem",
    "distribution_learning",
    "choose_a_method",
    "a_real_model",
    "extend_the_laboratory",
)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the generated pages."""
    sys.path.insert(0, str(ROOT))
    made = {**_interface(), **_course(), "gallery.md": _gallery()}
    for entry in config.nav or []:
        for title, pages in entry.items():
            if title in ("Course", "Interface"):
                folder = "course" if title == "Course" else "api"
                pages += [
                    name
                    for name in made
                    if name.startswith(f"{folder}/") and name.endswith(".md") and name not in pages
                ]
    for name, content in made.items():
        files.append(File.generated(config, name, content=content))
    for picture in sorted((ROOT / "figures" / "gallery").glob("*.png")):
        files.append(File.generated(config, f"figures/gallery/{picture.name}", abs_src_path=str(picture)))
    added: set[str] = set()
    for page in [file for file in files if file.is_documentation_page()]:
        for match in LINK.finditer(page.content_string):
            name = _target(page.src_uri, match[2])
            if name in added or files.get_file_from_path(name) is not None or not (ROOT / name).is_file():
                continue
            added.add(name)
            # Sources are shown as text.
            files.append(File.generated(config, f"{name}.txt", content=(ROOT / name).read_text()))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Links that leave docs/ lead to the copy on the site."""

    def moved(match: re.Match[str]) -> str:
        name = _target(page.file.src_uri, match[2])
        for known in (name, f"{name}.txt"):
            if files.get_file_from_path(known) is not None:
                here = posixpath.dirname(page.file.src_uri) or "."
                return f"{match[1]}({posixpath.relpath(known, here)}{match[3] or ''})"
        raise PluginError(f"{page.file.src_uri} links to {match[2]}, which does not exist.")

    return LINK.sub(moved, markdown)


def on_page_content(content: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Formulas as MathML, which browsers draw without scripts."""

    def drawn(match: re.Match[str]) -> str:
        latex = html.unescape(match[2]).strip()
        display = latex.startswith("\\[")
        inner = latex[2:-2].strip()
        try:
            mathml = convert(inner, display="block" if display else "inline")
        except Exception as error:
            raise PluginError(f"{page.file.src_uri}: the formula {inner!r} cannot be drawn: {error!r}") from None
        mathml = FUNCTION.sub(r'\1<mspace width="0.17em"/>', mathml)  # a space between log and what it is taken of
        # Browsers draw no bold from the attribute.
        mathml = re.sub(r'<(mn|mi) mathvariant="bold">(\w)</\1>', lambda m: f"<{m[1]}>{_bold(m[2])}</{m[1]}>", mathml)
        return f'<div class="formula">{mathml}</div>' if display else mathml

    return FORMULA.sub(drawn, content)


def _bold(sign: str) -> str:
    start = {"0": 0x1D7CE, "A": 0x1D400, "a": 0x1D41A}["0" if sign.isdigit() else "A" if sign.isupper() else "a"]
    first = "0" if sign.isdigit() else "A" if sign.isupper() else "a"
    return chr(start + ord(sign) - ord(first))


def _target(page: str, link: str) -> str:
    """The path in the repository, or in the site, of a relative link on a page of docs/."""
    name = posixpath.normpath(posixpath.join("docs", posixpath.dirname(page), link))
    return name.removeprefix("docs/")


# The interface


def rooms() -> Iterator[ModuleType]:
    """The public modules of the package, outermost first."""
    package = importlib.import_module("dynamics")
    yield package
    for found in sorted(pkgutil.iter_modules(package.__path__), key=lambda module: module.name):
        if found.name.startswith("_") or found.name in ("cli", "llm"):
            continue
        yield importlib.import_module(f"dynamics.{found.name}")


def _interface() -> dict[str, str]:
    pages = {room.__name__: _room(room) for room in rooms()}
    # Written out, because it needs packages that the others do not.
    pages["dynamics.llm"] = "# dynamics.llm\n\n::: dynamics.llm\n    options:\n      show_submodules: false\n"
    lines = ["# Interface", "", "Every public name by the module that it comes from. `import dynamics as dyn`.", ""]
    for name in pages:
        about = (
            (sys.modules[name].__doc__ or "").split("\n\n")[0]
            if name in sys.modules
            else "Language models on CPU or GPU."
        )
        lines.append(f"- [`{name}`]({_file(name)}): {' '.join(about.split())}")
    return {f"api/{_file(name)}": text for name, text in pages.items()} | {"api/index.md": "\n".join(lines) + "\n"}


def _file(name: str) -> str:
    return f"{name.removeprefix('dynamics.')}.md"


def _room(room: ModuleType) -> str:
    names = sorted(getattr(room, "__all__", []) or [n for n in vars(room) if not n.startswith("_")])
    if room.__name__ == "dynamics":
        return _front(room, names)
    drawn = [name for name in names if inspect.isclass(getattr(room, name)) or inspect.isroutine(getattr(room, name))]
    drawn = [name for name in drawn if (getattr(room, name).__module__ or "").startswith("dynamics")]
    if room.__name__ == "dynamics.theorems":
        return _theorems(room, drawn)
    members = "".join(f"        - {name}\n" for name in drawn)
    return f"# {room.__name__}\n\n::: {room.__name__}\n    options:\n      members:\n{members}"


def _front(package: ModuleType, names: list[str]) -> str:
    """The names that the package offers at the top, and where each is described."""
    lines = [
        "# dynamics",
        "",
        *inspect.cleandoc(package.__doc__ or "").splitlines(),
        "",
        "| name | from |",
        "|---|---|",
    ]
    for name in names:
        thing = getattr(package, name)
        module = getattr(thing, "__module__", None) if not inspect.ismodule(thing) else thing.__name__
        room = ".".join((module or "dynamics").split(".")[:2])
        anchor = "" if inspect.ismodule(thing) else f"#{room}.{name}"
        lines.append(
            f"| `dyn.{name}` | [`{room}`]({_file(room)}{anchor}) |" if room != "dynamics" else f"| `dyn.{name}` | |"
        )
    return "\n".join(lines) + "\n"


def _theorems(room: ModuleType, others: list[str]) -> str:
    """Objects made at run time: their own descriptions, with a link to the proof."""
    statements = room.statements()
    members = "".join(f"        - {name}\n" for name in others if name != "all")
    lines = [f"# {room.__name__}", "", f"::: {room.__name__}\n    options:\n      members:\n{members}"]
    for name, theorem in room.all().items():
        page = f"../theory/{statements[theorem.number].page}" if theorem.number in statements else "../theory/index.md"
        lines += [f"## {name}", "", html.escape(theorem.statement), ""]
        lines.append(f"[Statement {theorem.number}]({page}), {html.escape(theorem.source)}.")
        lines += [f"It bounds: {html.escape(theorem.quantity)}.", ""]
        inputs = theorem.__doc__.split("by name:\n")[1].split("\n\n")[0]
        lines += [*(f"- {html.escape(line.strip())}" for line in inputs.splitlines()), ""]
    return "\n".join(lines)


# The gallery


def _gallery() -> str:
    titles: dict[str, Any] = (
        importlib.import_module("experiments").TITLES | importlib.import_module("experiments").ON_MODELS
    )
    claims = [row.split("|") for row in (ROOT / "docs" / "claims.md").read_text().splitlines() if row.count("|") == 7]
    lines = ["# Gallery", "", "Every figure, the claims that it shows, and the code and command that draw it.", ""]
    for picture in sorted((ROOT / "figures" / "gallery").glob("*.png")):
        name = picture.stem
        shown = [row[1].strip() for row in claims if name in re.findall(r"\w+", row[6])]
        title = titles.get(name, name.replace("_", " "))
        lines += [f"## {name}", "", title if isinstance(title, str) else name, ""]
        lines += [f"- {claim}" for claim in shown] + [""] * bool(shown)
        code = f"[drawn by](../figures/{name}.py)" if (ROOT / "figures" / f"{name}.py").is_file() else ""
        lines += [f"![{name}](figures/gallery/{picture.name})", "", f"`python -m experiments run {name}` · {code}", ""]
    return "\n".join(lines)


# The course


def _course() -> dict[str, Any]:
    import nbformat
    from nbconvert import MarkdownExporter

    made: dict[str, Any] = {}
    lines = [
        "# Course",
        "",
        "Notebooks with their outputs. Each ends with exercises, and with what was proven, computed and",
    ]
    lines += ["measured.", ""]
    exporter = MarkdownExporter()
    present = {path.stem for path in (ROOT / "notebooks").glob("*.ipynb")}
    for name in [*COURSE, *sorted(present - set(COURSE))]:
        if name not in present:
            continue
        notebook = nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4)
        text, resources = exporter.from_notebook_node(notebook)
        for output, data in resources.get("outputs", {}).items():
            made[f"course/{name}_{output}"] = data
            text = text.replace(f"({output})", f"({name}_{output})")
        title = next((line[2:] for line in text.splitlines() if line.startswith("# ")), name)
        made[f"course/{name}.md"] = f"{text}\n\nThis page is [`{name}.ipynb`](../../notebooks/{name}.ipynb).\n"
        lines.append(f"1. [{title}]({name}.md)")
    made["course/index.md"] = "\n".join(lines) + "\n"
    return made
