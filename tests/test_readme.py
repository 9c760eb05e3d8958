"""The README's Python runs as it stands."""

import contextlib
import io
import re
import warnings
from pathlib import Path

import pytest

import dynamics
from dynamics import cli

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()


def run_blocks(page: Path) -> tuple[dict, str]:
    """The names that a page's Python defines, and what it prints."""
    names: dict = {"__name__": page.stem}
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        # The run-time checks of these tests choose entries of containers with `random`.
        warnings.filterwarnings("ignore", "Do not use the `random` module inside strategies")
        for block in re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL):
            exec(compile(block, page.name, "exec"), names)
    return names, printed.getvalue()


def test_the_five_lines_of_the_readme_run():
    _, printed = run_blocks(ROOT / "README.md")
    assert "oscillating" in printed


@pytest.mark.thorough
def test_the_output_that_the_readme_shows_is_printed(tmp_path, capsys):
    (block,) = re.findall(r"```text\n(.*?)```", README, re.DOTALL)
    wins = {("a", "b"): 70, ("b", "a"): 30, ("b", "c"): 70, ("c", "b"): 30, ("c", "a"): 65, ("a", "c"): 35}
    rows = [f"{first},{second},{count}" for (first, second), count in wins.items()]
    (tmp_path / "votes.csv").write_text("\n".join(["winner,loser,count", *rows]) + "\n")
    options = ["--alpha", "0.5", "--lam", "1", "--beta", "0.1", "--objective", "dpo"]
    cli.main(["stability", str(tmp_path / "votes.csv"), *options])
    printed = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    shown = [" ".join(line.split()) for line in block.splitlines()]
    assert len(shown) == 6
    for line in shown:
        assert any(full.startswith(line.removesuffix(" …")) for full in printed), line


PAGES = sorted((ROOT / "docs").rglob("*.md"))


@pytest.mark.thorough
@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT / "docs")))
def test_the_blocks_of_docs_run_in_order(page):
    names, printed = run_blocks(page)
    assert printed or page.parent.name == "theory"
    if page.stem == "index" and page.parent.name == "docs":
        assert names["report"].verdict == "oscillating"
        assert names["ds"].sizes == {"alpha": 41, "lam": 41}
        assert "Neimark–Sacker" in printed
        (crossing,) = names["dyn"].stability.critical(names["mine"], "eta", bounds=(0.1, 10.0))
        assert round(crossing.value, 2) == 2.25  # as the comment beside it says


def test_links_between_pages_lead_somewhere():
    for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *PAGES]:
        text = re.sub(r"```.*?```|\$\$.*?\$\$|\$[^$]*\$", "", page.read_text(), flags=re.DOTALL)
        for link in re.findall(r"\]\(([^)\s#]+)[^)]*\)", text):
            assert (page.parent / link).exists(), (page.name, link)


def test_every_file_that_the_readme_and_the_claims_name_exists():
    for path in [*re.findall(r"\((figures/[^)]+)\)", README), "CITATION.cff", "LICENSE", "CHANGELOG.md"]:
        assert (ROOT / path).is_file(), path
    assert len(README.encode()) <= 8000
    claims = (ROOT / "docs" / "claims.md").read_text()
    tests = {path.stem for path in (ROOT / "tests").rglob("test_*.py")}
    assert set(re.findall(r"`(test_\w+)`", claims)) <= tests

    for name in re.findall(r"^\|.*$", claims, re.MULTILINE):
        for theorem in re.findall(r"`([a-z_]+)`", name.split("|")[3]) if name.count("|") == 7 else []:
            assert theorem in dynamics.theorems.all(), theorem
