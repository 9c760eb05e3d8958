"""``dynamics safe``: what holds whatever people prefer."""

import json
import subprocess
import sys

import pytest

from dynamics import cli


def said(capsys, *args):
    cli.main(["safe", *args])
    return " ".join(capsys.readouterr().out.split())


def test_thresholds_and_a_verdict(capsys):
    out = said(capsys, "--alpha", "0.5", "--lam", "1", "--beta", "0.3")
    for words in (
        "every start, proven, at beta above 0.7071 [derived 7.15]",
        "attracts, proven, at beta above 0.3676 [derived 7.14]",
        "some preferences make IPO oscillate",
        "3 responses in a circle, each of which always beats the next one",
        "lam below 0.4243",
        "gamma above 0.2806",
        "DPO: no beta is proven safe",
    ):
        assert words in out


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--alpha", "0.5", "--lam", "1", "--beta", "0.5"], "whatever people prefer: proven [derived 7.14]"),
        (["--alpha", "0.9", "--lam", "0.5", "--beta", "2"], "whatever people prefer: proven [derived 7.15]"),
        (["--alpha", "1", "--lam", "1"], "at alpha = 1 no beta is safe"),
        (
            ["--alpha", "1", "--lam", "0", "--beta", "1"],
            "and collapses unless all tie",
        ),
        (["--alpha", "0.5", "--lam", "0"], "DPO converges at every beta too"),
        (["--alpha", "0.5", "--lam", "1", "--beta", "0.36"], "responses in a circle, each of which always beats the"),
    ],
)
def test_every_case_is_told(capsys, args, words):
    assert words in said(capsys, *args)


def test_json_is_one_document_without_infinities(capsys):
    row = json.loads(said(capsys, "--alpha", "1", "--lam", "1", "--beta", "0.2", "--json"), parse_constant=pytest.fail)
    assert row["verdict"] == "never"
    assert row["proven"] is None
    assert row["gamma"] == pytest.approx(((0.2**2 + 1) ** 0.5 - 0.2) / 2)
    assert row["statements"]["proven"] == "7.15"


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--alpha", "2", "--lam", "1"], "alpha = 2 is outside [0, 1]"),
        (["--alpha", "0.5", "--lam", "nan"], "lam = nan is outside [0, 1]"),
        (["--alpha", "0.5", "--lam", "1", "--beta", "-1"], "beta = -1 is outside (0, inf)"),
        (["--alpha", "0.5"], "--lam"),
    ],
)
def test_bad_input_is_one_sentence(capsys, args, words):
    with pytest.raises(SystemExit) as stop:
        cli.main(["safe", *args])
    told = capsys.readouterr().err
    assert stop.value.code == 2
    assert words in told
    assert "Traceback" not in told


def test_it_does_not_load_jax():
    code = "import sys; from dynamics import cli; cli.main(['safe', '--alpha', '0.5', '--lam', '1']); "
    code += "print(sorted({'jax', 'scipy'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1].endswith("[]")
