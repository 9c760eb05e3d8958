"""The README's Python runs as it stands."""

import contextlib
import io
import re
import warnings
from pathlib import Path

README = (Path(__file__).resolve().parents[1] / "README.md").read_text()


def test_the_code_blocks_run_in_order():
    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len(blocks) == 4
    names: dict = {"__name__": "readme"}
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        for block in blocks:
            exec(compile(block, "README.md", "exec"), names)
    assert names["report"].verdict == "oscillating"
    assert names["ds"].sizes == {"alpha": 41, "lam": 41}
    assert "Neimark–Sacker" in printed.getvalue()
    (crossing,) = names["dyn"].stability.critical(names["mine"], "eta", bounds=(0.1, 10.0))
    assert round(crossing.value, 2) == 2.25  # as the comment beside it says


def test_the_blocks_of_docs_run_in_order():
    pages = sorted((Path(__file__).resolve().parents[1] / "docs").glob("*.md"))
    assert pages
    for page in pages:
        names: dict = {"__name__": page.stem}
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed), warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)
            for block in re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL):
                exec(compile(block, page.name, "exec"), names)
        assert printed.getvalue()


def test_every_file_that_the_readme_names_exists():
    root = Path(__file__).resolve().parents[1]
    for path in [*re.findall(r"\((figures/[^)]+)\)", README), "CITATION.cff", "LICENSE", "CHANGELOG.md"]:
        assert (root / path).is_file(), path
    tests = {path.stem for path in (root / "tests").rglob("test_*.py")}
    assert set(re.findall(r"`(test_\w+)`", README)) <= tests
    import dynamics

    for name in re.findall(r"^\|.*$", README, re.MULTILINE):
        for theorem in re.findall(r"`([a-z_]+)`", name.split("|")[3]) if name.count("|") == 7 else []:
            assert theorem in dynamics.theorems.all(), theorem
