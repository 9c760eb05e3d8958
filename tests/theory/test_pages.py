"""The pages of docs/theory: their form, and that code, captions and pages point at each other."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

from dynamics import theorems

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted((ROOT / "docs" / "theory").glob("*.md"))
STATEMENTS = theorems.statements()
NUMBER = r"\d\.\d+"
# How a statement is cited: "statement 7.15", "statements 7.1, 7.5 and 7.14", "[derived] 7.2, 7.3", "[derived 7.15]".
_TAG = r"(?:[Ss]tatements?|\[(?:derived|paper)\]|\[derived|\[paper)"
CITED = re.compile(rf"{_TAG}\s+({NUMBER}(?:(?:,| and|, and)\s+{NUMBER})*)(?!\d)")


def sections() -> dict[str, str]:
    found = {}
    for page in PAGES:
        for section in re.split(r"(?m)^(?=## )", page.read_text())[1:]:
            number = section.split()[1]
            if re.fullmatch(r"\d(?:\.\d+)?", number):
                assert number not in found, number
                found[number] = section
    return found


SECTIONS = sections()


def test_every_number_has_one_section():
    assert set(SECTIONS) == set(STATEMENTS)
    count = {1: 8, 2: 6, 3: 8, 4: 4, 5: 5, 7: 17, 8: 3, 9: 2}
    for part, last in count.items():
        assert {f"{part}.{n}" for n in range(1, last + 1)} <= set(STATEMENTS), part


@pytest.mark.parametrize("number", SECTIONS)
def test_a_section_has_its_parts(number):
    section, statement = SECTIONS[number], STATEMENTS[number]
    assert re.match(r"\[(paper|derived)\]", statement.kind), statement.kind
    # What a terminal prints: complete, and without LaTeX or links.
    assert statement.text.endswith((".", ")")), statement.text
    assert not re.search(r"[$\\]|\]\(", statement.text), statement.text
    assert "**Statement.**" in section
    assert "**Measured.**" in section
    assert "∎" in section or "Not proved here" in section or "published" in section
    # A proof ends where it says so.
    assert section.count("**Proof") <= section.count("∎") + section.count("Not proved here")


@pytest.mark.parametrize("number", SECTIONS)
def test_a_section_names_its_theorems_and_code_that_exists(number):
    head = SECTIONS[number].split("\n>")[0]
    named = set(re.findall(r"`([A-Za-z_.]+)`", head))
    for theorem in STATEMENTS[number].theorems:
        assert theorem.name in named, (number, theorem.name)
    for name in named:
        if name in theorems.all():
            assert theorems.all()[name].number == number, name
        elif name.startswith("dynamics."):
            module, _, attribute = name.rpartition(".")
            assert reachable(module, attribute), name


def reachable(module: str, attribute: str) -> bool:
    try:
        return hasattr(importlib.import_module(module), attribute)
    except ModuleNotFoundError:
        outer, _, kind = module.rpartition(".")
        return hasattr(getattr(importlib.import_module(outer), kind), attribute)


def test_every_theorem_points_at_a_section():
    for theorem in theorems.all().values():
        assert theorem.number in STATEMENTS, theorem.name
        assert theorem.kind == "paper" or "[derived]" in STATEMENTS[theorem.number].kind, theorem.name
        for cited in re.findall(rf"statement ({NUMBER})", theorem.source):
            assert cited == theorem.number, theorem.name


def cited_numbers(text: str) -> set[str]:
    return {number for group in CITED.findall(text) for number in re.findall(NUMBER, group)}


def test_citations_are_recognised():
    text = "statements 7.1, 7.5 and 7.14; [derived] 7.2, 7.3; [derived 7.15]; [paper] 2.3; version 1.26, TRL 1.16"
    assert cited_numbers(text) == {"7.1", "7.5", "7.14", "7.2", "7.3", "7.15", "2.3"}


def test_every_number_that_is_cited_exists():
    files = [
        path for folder in ("dynamics", "experiments", "figures", "tests") for path in (ROOT / folder).rglob("*.py")
    ]
    files += [*(ROOT / "docs").rglob("*.md"), *(ROOT / "notebooks").glob("*.ipynb"), ROOT / "README.md"]
    seen = set()
    for path in files:
        if path == Path(__file__):
            continue
        numbers = cited_numbers(path.read_text())
        assert numbers <= set(STATEMENTS), (path, numbers - set(STATEMENTS))
        seen |= numbers
    assert len(seen) > 30


def test_pages_do_not_hold_macros_that_browsers_cannot_draw():
    for page in PAGES:
        assert not re.search(r"\\(operatorname|tag|label|newcommand|def)\b", page.read_text()), page


def test_help_shows_the_statement_and_its_inputs():
    import pydoc

    told = pydoc.render_doc(theorems.uniqueness, renderer=pydoc.plaintext)
    assert "exactly one fixed point" in told
    assert "Statement 7.1 of docs/theory" in told
    for name in theorems.uniqueness.inputs:
        assert f"{name}: " in told
