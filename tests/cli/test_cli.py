"""The command line: the same numbers as the library, and one sentence where something is wrong."""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import subprocess
import sys
import warnings

import jax
import numpy as np
import pytest
from jax.experimental.compilation_cache import compilation_cache

import dynamics as dyn
from dynamics import cli
from dynamics.cli import _main, _study
from dynamics.stability import BranchEnd, NoFixedPoint

NAMES = ("Rock", "Paper", "Scissors [red]")
SETTING = ("--alpha", "0.5", "--lam", "1", "--beta", "0.2")


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    """The entry point's compilation cache, in a folder of the test; the process gets its settings back."""
    names = ("jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs")
    saved = {name: jax.config.values[name] for name in names}
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    jax.config.update("jax_compilation_cache_dir", None)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    yield tmp_path / "cache"
    for name, value in saved.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()


@pytest.fixture
def one(tmp_path):
    path = tmp_path / "one.npz"
    np.savez(path, P=np.asarray(dyn.preferences.cyclic(3, 0.4)), names=np.array(NAMES))
    return path


@pytest.fixture
def three(tmp_path):
    """A cycle, a matrix whose first response beats the rest with certainty, and a weaker cycle."""
    cycle = np.asarray(dyn.preferences.cyclic(3, 0.4))
    certain = np.array([[0.5, 1.0, 1.0], [0.0, 0.5, 0.7], [0.0, 0.3, 0.5]])
    path = tmp_path / "three.npz"
    np.savez(path, P=np.stack([cycle, certain, 0.25 + cycle / 2]))
    return path


@pytest.fixture
def wins(tmp_path):
    path = tmp_path / "wins.csv"
    path.write_text("winner,loser,count\na,b,3\nb,a,1\nb,c,4\n", encoding="utf-8")
    return path


def strict_json(text: str) -> dict:
    def refuse(word: str) -> None:
        raise AssertionError(f"{word} in the JSON")

    return json.loads(text, parse_constant=refuse)


def said(capsys, *args, code: int = 2, printed: str = "") -> str:
    """What is on stderr after a command that fails, one line, with nothing on stdout, or ``printed`` in it."""
    with pytest.raises(SystemExit) as stop:
        cli.main([str(arg) for arg in args])
    out, err = capsys.readouterr()
    assert stop.value.code == code
    assert printed in out if printed else out == ""
    assert err.startswith("dynamics: ")
    assert err.count("\n") == 1
    assert "Traceback" not in err
    return err


class TestClassify:
    def test_json_is_what_the_library_finds(self, capsys, three):
        cli.main(["classify", str(three), "--json"])
        found = strict_json(capsys.readouterr().out)
        matrices = dyn.preferences.read(three)
        assert found["source"] == str(three)
        assert [row["index"] for row in found["matrices"]] == [0, 1, 2]
        for row, P in zip(found["matrices"], matrices, strict=True):
            c = dyn.preferences.classify(P)
            assert row["K"] == 3
            assert row["condorcet_winner"] == c.condorcet_winner
            assert row["smith_set"] == list(c.smith_set)
            assert row["transitivity"] == c.transitivity
            assert row["cycle_margin"] == c.cycle_margin
            assert row["bt_residual"] == c.bt_residual
            assert row["order"] == list(c.order)

    def test_one_matrix_has_the_same_schema(self, capsys, one):
        cli.main(["classify", str(one), "--json"])
        found = strict_json(capsys.readouterr().out)
        assert list(found) == ["source", "matrices"]
        assert found["matrices"][0]["names"] == list(NAMES)

    def test_card_speaks_in_names(self, capsys, one):
        cli.main(["classify", str(one)])
        out = capsys.readouterr().out
        rows = dict(line.split("  ", 1) for line in out.splitlines())
        assert rows["Smith set"].strip() == "Rock, Paper, Scissors [red]"
        assert rows["majority cycle"].strip() == "yes, the strongest with margin 0.4"
        assert rows["Condorcet winner"].strip() == "none"
        assert not any(line.endswith(" ") for line in out.splitlines())

    def test_table_has_a_row_each_and_totals(self, capsys, three):
        cli.main(["classify", str(three)])
        lines = capsys.readouterr().out.splitlines()
        rows = [line.split() for line in lines if line.split()[:1] in (["0"], ["1"], ["2"])]
        assert [row[2] for row in rows] == ["none", "0", "none"]
        assert "transitivity: none 2 · strong 1" in lines
        assert "Condorcet winner: 1 · majority cycle: 2" in lines
        assert any(line.startswith("* 1 without a finite Bradley–Terry fit") for line in lines)

    def test_names_cannot_steer_the_terminal(self, capsys, tmp_path):
        path = tmp_path / "evil.npz"
        np.savez(path, P=np.asarray(dyn.preferences.cyclic(3, 0.4)), names=np.array(["a\x1b[2J", "b\r", "c"]))
        cli.main(["classify", str(path)])
        out = capsys.readouterr().out
        assert "\x1b" not in out
        assert "\r" not in out

    def test_missing_pairs(self, capsys, wins):
        assert "never compared" in said(capsys, "classify", wins)
        cli.main(["classify", str(wins), "--missing", "0.5", "--json"])
        assert strict_json(capsys.readouterr().out)["matrices"][0]["condorcet_winner"] is None
        assert "--missing 0.4" in said(capsys, "classify", wins, "--missing", "0.4")


class TestStability:
    @pytest.mark.thorough
    def test_one_matrix_from_file_to_figure(self, capsys, one, tmp_path):
        picture = tmp_path / "figure.png"
        cli.main(["stability", str(one), *SETTING, "--rounds", "600", "--plot", str(picture), "--json"])
        found = strict_json(capsys.readouterr().out)
        assert (found["objective"], found["alpha"], found["lam"], found["beta"]) == ("ipo", 0.5, 1.0, 0.2)
        (row,) = found["matrices"]
        assert row["verdict"] == "oscillating"
        assert row["certificate"] == "proven unstable"
        # Statement 2.1 on the 3-cycle: unstable iff alpha² + (a lam)²/(3 beta²) > 1.
        (crossing,) = row["critical_beta"]
        assert crossing["value"] == pytest.approx(0.4 / np.sqrt(3 * 0.75), rel=1e-8)
        assert crossing["kind"] == "Neimark–Sacker"
        assert row["spectral_radius"] == pytest.approx(np.hypot(0.5, 0.4 / (np.sqrt(3) * 0.2)), rel=1e-10)
        assert {s["parameter"] for s in row["suggestions"]} == {"lam", "objective.beta"}
        assert all(s["spectral_radius"] < 1 for s in row["suggestions"])
        assert row["error"] is None
        assert picture.read_bytes().startswith(b"\x89PNG")

        cli.main(["stability", str(one), *SETTING, "--rounds", "600"])
        rows = [line.split("  ", 1) for line in capsys.readouterr().out.splitlines()]
        labels = [label for label, *_ in rows]
        assert labels.count("suggestion") == 2
        text = dict(rows)
        assert text["verdict"].strip() == "oscillating"
        assert text["responses"].strip() == "Rock, Paper, Scissors [red]"
        assert text["critical beta"].split()[0] == f"{crossing['value']:.8g}"

    def test_one_without_an_optimum_is_bad_input(self, capsys, three):
        err = said(capsys, "stability", three, *SETTING, "--objective", "dpo", "--index", "1")
        assert "no finite optimum" in err

    def test_in_a_file_of_many_the_rest_go_on(self, capsys, three, monkeypatch):
        stub_analysis(monkeypatch)
        command = ["stability", str(three), *SETTING, "--objective", "dpo"]
        cli.main([*command, "--json"])
        rows = strict_json(capsys.readouterr().out)["matrices"]
        assert ["verdict" in row for row in rows] == [True, False, True]
        assert "no finite optimum" in rows[1]["error"]
        cli.main(command)
        out = capsys.readouterr().out
        assert "verdict: oscillating 2 · no optimum 1" in out
        assert "certificate: unstable at every fixed point found 2" in out
        assert "no finite optimum" in out

    def test_index_chooses_the_matrix(self, capsys, three, monkeypatch):
        stub_analysis(monkeypatch)
        cli.main(["stability", str(three), *SETTING, "--index", "2", "--json"])
        (row,) = strict_json(capsys.readouterr().out)["matrices"]
        assert row["index"] == 2
        # The stub's report carries the margin of the matrix that it was given.
        assert row["numbers"]["margin"] == pytest.approx(0.2)

    def test_what_does_not_exist_is_null(self, capsys, one, monkeypatch):
        stub_analysis(monkeypatch, lyapunov_exponent=float("-inf"))
        cli.main(["stability", str(one), *SETTING, "--json"])
        assert strict_json(capsys.readouterr().out)["matrices"][0]["lyapunov_exponent"] is None

    def test_a_failed_run_is_no_bad_input(self, capsys, one, monkeypatch):
        def analyze(*_, **__):
            raise RuntimeError("stopped at round 3:\n  not finite.")

        monkeypatch.setattr(_study, "analyze", analyze)
        # What was found before stays.
        told = said(capsys, "stability", one, *SETTING, code=1, printed="first answer    oscillating over 3000 rounds")
        assert told == "dynamics: stopped at round 3: not finite.\n"

    def test_interrupt(self, capsys, one, monkeypatch):
        def analyze(*_, **__):
            raise KeyboardInterrupt

        monkeypatch.setattr(_study, "analyze", analyze)
        told = said(capsys, "stability", one, *SETTING, code=130, printed="first answer")
        assert told == "dynamics: interrupted.\n"

    def test_no_critical_beta_is_said(self, capsys, one, monkeypatch):
        stub_analysis(monkeypatch)

        def critical(*_):
            raise NoFixedPoint("objective.beta", 1e-05, 1000.0)

        monkeypatch.setattr(_study, "critical", critical)
        cli.main(["stability", str(one), *SETTING])
        out = capsys.readouterr().out
        assert (
            "critical beta   not searched: no interior fixed point that could be followed over beta between 1e-05"
            in out
        )
        assert "bounds" not in out

    def test_a_search_that_ends_early_is_said_without_a_warning(self, capsys, one, monkeypatch):
        stub_analysis(monkeypatch)

        def critical(*_):
            warnings.warn(BranchEnd("objective.beta", 0.02), stacklevel=1)
            return ()

        monkeypatch.setattr(_study, "critical", critical)
        cli.main(["stability", str(one), *SETTING, "--json"])
        out, err = capsys.readouterr()
        assert "narrower" not in err
        note = strict_json(out)["matrices"][0]["critical_beta_note"]
        assert note == "searched only to beta = 0.02, where the fixed point could no longer be followed"

    def test_a_default_objective_is_said(self, capsys, one, monkeypatch):
        stub_analysis(monkeypatch)
        cli.main(["stability", str(one), *SETTING])
        assert "IPO (the default; --objective dpo for DPO), α = 0.5" in capsys.readouterr().out
        cli.main(["stability", str(one), *SETTING, "--objective", "IPO"])
        assert "IPO, α = 0.5" in capsys.readouterr().out

    def test_no_optimum_is_said_by_name(self, capsys, tmp_path):
        rows = [f"{winner},{loser},9" for winner, loser in (("a", "b"), ("a", "c"), ("b", "c"), ("c", "b"))]
        (tmp_path / "v.csv").write_text("winner,loser,count\n" + "\n".join(rows) + "\n")
        told = said_after_notes(capsys, "stability", tmp_path / "v.csv", *SETTING, "--objective", "dpo")
        assert "a always wins against b, c; pass --smoothing 0.5, or use IPO" in told


def said_after_notes(capsys, *args) -> str:
    """The last line on stderr of a command that fails."""
    with pytest.raises(SystemExit):
        cli.main([str(arg) for arg in args])
    return capsys.readouterr().err.splitlines()[-1]


def stub_analysis(monkeypatch, **changes) -> None:
    """Reports without an analysis: what is tested is the way they take, not what they say."""

    def analyze(process, **_):
        plain = {
            "fixed_points": (),
            "contraction_rate": None,
            "lyapunov_exponent": 0.0,
            "period": None,
            "verdict": "oscillating",
            "reason": "so it went.",
            "basins": {"oscillating": 1.0},
            "certificate": "unstable at every fixed point found",
            "certificate_reason": "because",
            "numbers": {"margin": float(np.max(process.preference)) - 0.5},
            "log_initial": np.full(3, -np.log(3.0)),
            "rounds": 10,
        }
        return dyn.stability.Report(**(plain | changes))

    monkeypatch.setattr(_study, "analyze", analyze)
    monkeypatch.setattr(_study, "critical", lambda *_: ())
    monkeypatch.setattr(_study, "suggest", lambda *_: ())


BAD = {
    "alpha": (("--alpha", "1.5", "--lam", "1", "--beta", "1"), "alpha = 1.5"),
    "lam": (("--alpha", "0.5", "--lam", "-0.1", "--beta", "1"), "lam = -0.1"),
    "beta": (("--alpha", "0.5", "--lam", "1", "--beta", "0"), "beta = 0"),
    "nan": (("--alpha", "nan", "--lam", "1", "--beta", "1"), "alpha = nan"),
    "word": (("--alpha", "half", "--lam", "1", "--beta", "1"), "half"),
    "objective": ((*SETTING, "--objective", "rlhf"), "rlhf"),
    "left out": (("--alpha", "0.5"), "--lam"),
    "misspelt": ((*SETTING, "--objectiv", "ipo"), "--objective"),
    "rounds": ((*SETTING, "--rounds", "3"), "rounds = 3"),
    "index": ((*SETTING, "--index", "3"), "pass 0 to 2"),
    "negative index": ((*SETTING, "--index", "-1"), "--index -1"),
    "plot of many": ((*SETTING, "--plot", "x.png"), "--index"),
    "suffix": ((*SETTING, "--plot", "x.gif", "--index", "0"), ".gif"),
    "no folder": ((*SETTING, "--plot", "nowhere/x.png", "--index", "0"), "cannot be written"),
}


class TestBadInput:
    @pytest.mark.parametrize("case", BAD)
    def test_one_sentence_before_anything_is_computed(self, capsys, three, tmp_path, monkeypatch, case):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(_study, "analyze", lambda *_, **__: pytest.fail("an analysis was started"))
        options, words = BAD[case]
        assert words in said(capsys, "stability", three, *options)
        assert not list(tmp_path.glob("*.png"))

    def test_plot_over_a_folder_or_without_the_right_to_write(self, capsys, one, tmp_path, monkeypatch):
        monkeypatch.setattr(_study, "analyze", lambda *_, **__: pytest.fail("an analysis was started"))
        folder = tmp_path / "folder.png"
        folder.mkdir()
        assert "cannot be written" in said(capsys, "stability", one, *SETTING, "--plot", folder)
        if os.geteuid() != 0:
            folder.chmod(0o500)
            assert "cannot be written" in said(capsys, "stability", one, *SETTING, "--plot", folder / "x.png")

    def test_a_figure_that_is_there_stays_until_it_is_replaced(self, capsys, one, tmp_path, monkeypatch):
        def analyze(*_, **__):
            raise RuntimeError("stopped.")

        monkeypatch.setattr(_study, "analyze", analyze)
        picture = tmp_path / "x.png"
        picture.write_bytes(b"old")
        said(capsys, "stability", one, *SETTING, "--plot", picture, code=1, printed="first answer")
        assert picture.read_bytes() == b"old"

    @pytest.mark.parametrize("command", ["classify", "stability"])
    def test_files(self, capsys, tmp_path, command):
        options = SETTING if command == "stability" else ()
        assert "does not exist" in said(capsys, command, tmp_path / "nowhere.npz", *options)
        assert "is a folder" in said(capsys, command, _folder(tmp_path), *options)
        foreign = tmp_path / "foreign.npz"
        foreign.write_bytes(b"not a zip")
        assert str(foreign) in said(capsys, command, foreign, *options)
        np.savez(tmp_path / "bad.npz", P=np.full((3, 3), 0.7))
        assert "diagonal" in said(capsys, command, tmp_path / "bad.npz", *options).lower()
        assert ".txt" in said(capsys, command, tmp_path / "words.txt", *options)

    @pytest.mark.parametrize("boxes", ["utf-8", "ascii"])
    @pytest.mark.parametrize(
        ("args", "sentence"),
        [
            (
                (),
                "Expected one of {classify, stability, advise, compare, methods, safe, fit, theorem, verify, explore, "
                "results, llm}",
            ),
            (
                ("nothing",),
                "Unrecognized options: nothing; available subcommands: classify, stability, advise, compare, methods, "
                "safe, fit, theorem, verify, explore, results, llm",
            ),
            (("classify",), "Missing from dynamics classify: FILE"),
            (("stability", "x.npz", "--alpha", "1"), "Missing from dynamics stability: --lam L --beta B"),
        ],
    )
    def test_advice_is_one_sentence(self, capsys, monkeypatch, boxes, args, sentence):
        monkeypatch.setattr(type(sys.stdout), "encoding", boxes, raising=False)
        command = f" {args[0]}" if args[:1] in (("classify",), ("stability",)) else ""
        assert said(capsys, *args) == f"dynamics: {sentence}; see dynamics{command} --help.\n"

    @pytest.mark.parametrize(
        ("args", "meant"),
        [
            (("stabilty", "f.csv", *SETTING), "stabilty is no command; did you mean stability?"),
            (
                ("stability", "f.csv", "--lambda", "1"),
                "--lambda is no option of dynamics stability; did you mean --lam?",
            ),
            (
                ("stability", "f.csv", "--loss", "dpo"),
                "--loss is no option of dynamics stability; did you mean --objective?",
            ),
            (("stability", "f.csv", "--objetive", "dpo"), "did you mean --objective? See"),
            (("stability", "f.csv", "--objective", "sigmoid"), "--objective sigmoid is not known; pass dpo"),
        ],
    )
    def test_what_was_meant_is_named_once(self, capsys, args, meant):
        told = said(capsys, *args)
        assert meant in told
        assert told.endswith("dynamics stability --help.\n")
        assert told.count("--objective ") <= 1

    def test_advice_in_colour(self):
        plain = "╭─ Title ─╮\n│ Error here. │\n│ ─────────── │\n│ For full helptext, see it │\n╰───╯\n"
        coloured = plain.replace("│", "\x1b[31m\x1b[1m│\x1b[0m").replace("Error", "\x1b[1mError\x1b[0m")
        assert _main._sentence(coloured) == _main._sentence(plain) == "Error here; see dynamics --help."


class TestVerify:
    CHEAP = ("verify", "--instances", "5", "--only", "divergence_on_policy")

    def test_json_is_what_the_library_finds(self, capsys):
        cli.main([*self.CHEAP, "--json"])
        out = capsys.readouterr().out
        (row,) = strict_json(out)["rows"]
        (expected,) = strict_json(dyn.ledger.verify(5, 0, "divergence_on_policy").to_json())["rows"]
        del row["seconds"], expected["seconds"]
        assert row == expected

    def test_table_and_markdown_say_the_rule_the_row_and_the_mutant(self, capsys):
        for option in ((), ("--markdown",)):
            cli.main([*self.CHEAP, *option])
            out = capsys.readouterr().out
            assert out.startswith("5 instances a theorem, seed 0. Green: no violation")
            assert "at least 5 instances" in out
            (cells,) = [line.split() for line in out.splitlines() if "derived" in line]
            assert "divergence_on_policy" in cells
            assert " ".join(cells).rstrip(" |").endswith("green (6 of 100)")
            assert "upper side 1% stronger, caught by directed instance 0" in out

    def test_a_wrong_theorem_ends_in_one(self, capsys, monkeypatch):
        theorem = dyn.theorems.all()["divergence_on_policy"]

        @functools.wraps(theorem.claim)
        def claim(**inputs):
            true = theorem.claim(**inputs)
            return dataclasses.replace(true, upper=0.5 * true.upper)

        registry = dyn.theorems._bound._REGISTRY
        monkeypatch.setitem(registry, theorem.name, dataclasses.replace(theorem, claim=claim))
        with pytest.raises(SystemExit) as stop:
            cli.main(list(self.CHEAP))
        out, err = capsys.readouterr()
        assert stop.value.code == 1
        assert "violations, 0 allowed" in out
        assert err == "dynamics: 1 of 1 theorems are red: divergence_on_policy.\n"

    def test_an_uncaught_mutant_ends_in_one(self, capsys, monkeypatch):
        trial = dyn.ledger.TRIALS["divergence_on_policy"]
        mutant = dyn.ledger.Tighter(("upper",), share=0.0)
        monkeypatch.setitem(dyn.ledger.TRIALS, "divergence_on_policy", dataclasses.replace(trial, mutant=mutant))
        with pytest.raises(SystemExit) as stop:
            cli.main([*self.CHEAP, "--json"])
        assert stop.value.code == 1
        assert strict_json(capsys.readouterr().out)["ok"] is False

    def test_bad_requests_are_named(self, capsys):
        assert "did you mean 'spectrum'" in said(capsys, "verify", "--only", "spectrm")
        assert "exclude each other" in said(capsys, "verify", "--json", "--markdown")
        assert "instances = 0" in said(capsys, "verify", "--instances", "0")
        assert "seed = 99999999999999999999999" in said(capsys, "verify", "--seed", "9" * 23)


def _folder(tmp_path):
    folder = tmp_path / "folder.npz"
    folder.mkdir()
    return folder


class TestEntryPoint:
    def test_version(self, capsys):
        cli.main(["--version"])
        assert capsys.readouterr().out == f"dynamics {dyn.__version__}\n"

    def test_help(self, capsys):
        with pytest.raises(SystemExit) as stop:
            cli.main(["stability", "--help"])
        out = capsys.readouterr().out
        assert stop.value.code == 0
        assert all(
            f"--{name}" in out for name in ("alpha", "lam", "beta", "objective", "plot", "json", "rounds", "index")
        )

    def test_compilation_cache_lies_with_the_user(self, one, own_cache):
        cli.main(["classify", str(one), "--json"])
        assert jax.config.values["jax_compilation_cache_dir"] == str(own_cache / "alignment-dynamics" / "xla")
        assert (own_cache / "alignment-dynamics" / "xla").is_dir()

    def test_a_cache_that_cannot_be_is_done_without(self, capsys, one, own_cache):
        own_cache.write_text("a file where the folder would be", encoding="utf-8")
        cli.main(["classify", str(one), "--json"])
        assert strict_json(capsys.readouterr().out)["matrices"]
        assert capsys.readouterr().err == ""

    def test_a_cache_of_the_users_choice_stays(self, one, tmp_path):
        jax.config.update("jax_compilation_cache_dir", str(tmp_path / "mine"))
        cli.main(["classify", str(one), "--json"])
        assert jax.config.values["jax_compilation_cache_dir"] == str(tmp_path / "mine")

    def test_module_and_help_in_processes_of_their_own(self, one):
        run = [sys.executable, "-m", "dynamics", "classify", str(one), "--json"]
        done = subprocess.run(run, capture_output=True, text=True, check=True)
        assert strict_json(done.stdout)["matrices"][0]["cycle_margin"] == pytest.approx(0.4, abs=1e-15)
        assert done.stderr == ""
        ascii_only = subprocess.run(
            run[:-1], capture_output=True, check=True, env=os.environ | {"PYTHONIOENCODING": "ascii"}
        )
        assert b"Bradley?Terry" in ascii_only.stdout
        code = "import sys, dynamics.cli as c\ntry: c.main(['--help'])\nfinally: sys.exit('jax' in sys.modules)"
        subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)


def test_real_file(shared_data, capsys):
    cli.main(["classify", str(shared_data / "preferences" / "berkley.npz"), "--json"])
    (row,) = strict_json(capsys.readouterr().out)["matrices"]
    assert row["K"] == len(row["names"]) == 4
    assert row["voters"] > 0
