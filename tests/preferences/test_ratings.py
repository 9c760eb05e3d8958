"""`from_ratings`, and scored responses out of `.jsonl` files and `datasets`."""

from __future__ import annotations

import gzip
import json
import re
import sys
import time
import types
import warnings
from pathlib import Path

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit

from dynamics import cli, preferences
from dynamics.cli import _tables
from dynamics.preferences import _jsonl, _ratings, _responses, _rows

HELPSTEER = ("helpfulness", "correctness", "coherence", "complexity", "verbosity")
EPS = np.finfo(float).eps
scores = st.one_of(st.integers(0, 4).map(float), st.just(np.nan), st.floats(-20, 20))


@st.composite
def ratings(draw):
    K, A = draw(st.integers(2, 5)), draw(st.integers(1, 4))
    return np.array(draw(st.lists(st.lists(scores, min_size=A, max_size=A), min_size=K, max_size=K)))


# from_ratings


@given(ratings(), st.floats(0.01, 3.0))
def test_mean_over_common_attributes(r, scale):
    P = np.asarray(preferences.from_ratings(r, key=None, scale=scale, missing=0.5))
    for i in range(len(r)):
        for j in range(len(r)):
            common = ~np.isnan(r[i]) & ~np.isnan(r[j])
            expected = expit(scale * (r[i, common] - r[j, common])).mean() if common.any() and i != j else 0.5
            assert abs(P[i, j] - expected) <= 8 * EPS
    assert np.array_equal(P + P.T, np.ones_like(P))
    order = np.random.default_rng(len(r)).permutation(len(r))
    again = preferences.from_ratings(r[order], key=None, scale=scale, missing=0.5)
    assert np.array_equal(again, P[np.ix_(order, order)])


@given(ratings(), st.integers(0, 2**31))
def test_drawn_entries_are_those_of_one_common_attribute(r, seed):
    P = np.asarray(preferences.from_ratings(r, key=jax.random.key(seed), missing=0.5))
    assert np.array_equal(P + P.T, np.ones_like(P))
    for i in range(len(r)):
        for j in range(i):
            own = expit(r[i] - r[j])
            own = own[~np.isnan(own)]
            assert np.min(np.abs(own - P[i, j]), initial=1.0 if len(own) else abs(P[i, j] - 0.5)) <= 4 * EPS


def test_the_draw_is_uniform_and_apart_for_every_pair():
    r = np.array([[0.0, 3.0, 1.0, np.nan], [1.0, 1.0, 2.0, 5.0], [4.0, 0.0, 2.0, 1.0]])
    P = np.asarray(preferences.from_ratings(np.broadcast_to(r, (20_000, 3, 4)), key=jax.random.key(5)))
    mean = np.asarray(preferences.from_ratings(r, key=None))
    assert P.shape == (20_000, 3, 3)
    assert np.all(np.abs(P.mean(axis=0) - mean) <= 5 * P.std(axis=0) / np.sqrt(len(P)))
    # Which attribute (0, 1) gave entry must tell nothing of which gave entry (0, 2).
    correlation = np.corrcoef(P[:, 0, 1], P[:, 0, 2])[0, 1]
    assert abs(correlation) <= 5 / np.sqrt(len(P))
    values, counts = np.unique(P[:, 1, 2], return_counts=True)
    assert len(values) == 4
    assert np.all(np.abs(counts / len(P) - 0.25) <= 5 * np.sqrt(0.25 * 0.75 / len(P)))


def test_a_stack_is_its_matrices():
    r = np.random.default_rng(0).integers(0, 5, (6, 4, 5)).astype(float)
    P = preferences.from_ratings(r, key=None, scale=0.7)
    for m in range(6):
        assert np.array_equal(P[m], preferences.from_ratings(r[m], key=None, scale=0.7))
    whole = preferences.from_ratings(r.astype(int).tolist(), key=None, scale=0.7)
    assert np.array_equal(P, whole)


def test_blocks_of_pairs_change_nothing(monkeypatch):
    r = np.random.default_rng(0).integers(0, 5, (50, 4, 5)).astype(float)
    r[r == 4] = np.nan
    found = [preferences.from_ratings(r, key=key, missing=0.5) for key in (None, jax.random.key(1))]
    monkeypatch.setattr(_ratings, "_BLOCK", 7)
    again = [preferences.from_ratings(r, key=key, missing=0.5) for key in (None, jax.random.key(1))]
    assert np.array_equal(found, again)


def test_ties_and_far_ratings_are_exact():
    r = [[1.0, 2.0], [1.0, 2.0], [1e308, 1e308], [-1e308, -1e308]]
    P = np.asarray(preferences.from_ratings(r, key=None))
    assert P[0, 1] == 0.5
    assert np.array_equal(P[2], [1.0, 1.0, 0.5, 1.0])
    preferences.check(P)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"ratings": [[1.0], [np.inf]]}, r"ratings\[1, 0\] = inf; pass a finite number, or nan"),
        ({"ratings": [1.0, 2.0]}, r"ratings have shape \(2,\)"),
        ({"ratings": [[1.0, 2.0]]}, r"ratings have shape \(1, 2\).*K ≥ 2"),
        ({"ratings": np.zeros((2, 0))}, r"shape \(2, 0\)"),
        ({"ratings": np.zeros((0, 2, 3))}, r"shape \(0, 2, 3\)"),
        ({"ratings": [["a"], ["b"]]}, "ratings has dtype"),
        ({"ratings": [[1.0, np.nan], [np.nan, 1.0]]}, "responses 0 and 1 have no attribute in common .1 such"),
        ({"ratings": [[[1.0], [2.0]], [[1.0], [np.nan]]]}, r"ratings\[1\]: responses 0 and 1 have no attribute"),
        ({"ratings": [[1.0], [2.0]], "scale": 0.0}, "scale = 0 is outside"),
        ({"ratings": [[1.0], [2.0]], "scale": np.nan}, "scale = nan"),
        ({"ratings": [[1.0], [2.0]], "missing": 0.3}, "missing = 0.3"),
    ],
)
def test_from_ratings_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        preferences.from_ratings(**{"key": None, **arguments})


# .jsonl


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    return tmp_path_factory.mktemp("scored")


def row(prompt: str, *values: object, **more: object) -> str:
    return json.dumps({"prompt": prompt, "response": "…", **dict(zip(HELPSTEER, values, strict=False)), **more})


def read(folder: Path, content: str | bytes, name: str = "x.jsonl", **options) -> preferences.PreferenceSet:
    (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return preferences.read(folder / name, **options)


TWO = "\n".join(
    [
        row("p", 4, 4, 4, 2, 2),
        row("q", 0, 1, 4, 2, 2),
        "",
        row("p", 3, 3, 4, 2, 3),
        row("q", 0, 1),
        row("p", 1, 1, 1, 1, 1),
    ]
)


def test_rows_with_one_prompt_are_one_matrix(scratch):
    found = read(scratch, TWO)
    assert found.names == (("line 1", "line 4", "line 6"), ("line 2", "line 5"))
    r = np.array([[4, 4, 4, 2, 2], [3, 3, 4, 2, 3], [1, 1, 1, 1, 1]])
    assert np.array_equal(found[0], preferences.from_ratings(r, key=None))
    assert np.array_equal(found[1], np.full((2, 2), 0.5))
    assert (found.counts, found.voters) == ((None, None), (None, None))
    hot = read(scratch, TWO, scale=3.0)
    assert np.array_equal(hot[0], preferences.from_ratings(r, key=None, scale=3.0))
    packed = read(scratch, gzip.compress(TWO.encode()), "x.JSONL.GZ")
    assert np.array_equal(packed[0], found[0])
    assert np.array_equal(read(scratch, b"\xef\xbb\xbf" + TWO.encode().replace(b"\n", b"\r\n"))[0], found[0])


def test_a_key_draws_attributes(scratch):
    drawn = [np.asarray(read(scratch, TWO, key=jax.random.key(seed))[0]) for seed in range(40)]
    assert {round(float(P[0, 1]), 6) for P in drawn} == {round(float(expit(x)), 6) for x in (1, 0, -1)}
    assert np.array_equal(read(scratch, TWO, key=jax.random.key(3))[0], drawn[3])


def test_missing_attributes(scratch):
    text = "\n".join([row("p", 4, None, 1), row("p", None, 2, 0), row("p", None, 3), row("p", 1, 1, 1)])
    with pytest.raises(
        ValueError, match=r"line 1 and line 3 answer one prompt .* \(1 such pairs in all\); pass missing="
    ):
        read(scratch, text)
    even = np.asarray(read(scratch, text, missing=0.5)[0])
    assert even[0, 1] == expit(1.0)
    assert even[0, 2] == 0.5
    assert even[0, 3] == pytest.approx((expit(3.0) + 0.5) / 2, abs=4 * EPS)
    with pytest.warns(UserWarning, match=r"1 responses of 1 of 1 prompts were left out, as they share no attribute"):
        left = read(scratch, text, missing="drop")
    assert left.names == (("line 2", "line 3", "line 4"),)
    with pytest.warns(
        UserWarning, match=r"1 prompt without two responses that share .* was left out \(the first: line 5\)"
    ):
        left = read(scratch, "\n".join([text, row("q", 1), row("q", None, 1)]), missing="drop")
    assert len(left) == 1


def test_a_single_response_is_left_out_with_a_warning(scratch):
    with pytest.warns(
        UserWarning, match=r"x.jsonl: 2 prompts with one response only were left out .the first: line 1.\.$"
    ):
        found = read(scratch, "\n".join([row("a", 1), row("p", 1), row("b", 1), row("p", 2)]))
    assert found.names == (("line 2", "line 4"),)


BAD_LINES = {
    "half": ('{"prompt": "p", "resp', r"line 2 is not JSON \(Unterminated string .*, column 17\); write one object"),
    "list": ("[1, 2]", "line 2 is not an object; write columns with names"),
    "no prompt": ('{"response": "r", "a": 1}', "line 2 has no prompt; write"),
    "no response": ('{"prompt": "r", "a": 1}', "line 2 has no response; write"),
    "a number": ('{"prompt": 3, "response": "r"}', "line 2 has a prompt that is not text"),
    "twice": ('{"prompt": "p", "response": "r", "score": 1, "score": 5}', "line 2 has the name 'score' twice"),
    "string": (row("p", "4"), "line 2 has 'helpfulness' = '4', which is not a finite number; write a number or null"),
    "bool": (row("p", True), "line 2 has 'helpfulness' = True, which is not a finite number"),
    "nan": (row("p", float("nan")), "line 2 has 'helpfulness' = nan"),
    "infinite": (row("p", float("-inf")), "line 2 has 'helpfulness' = -inf"),
    "overflow": ('{"prompt": "p", "response": "r", "score": 1e999}', "line 2 has 'score' = inf"),
    "huge": ('{"prompt": "p", "response": "r", "score": 1' + 400 * "0" + "}", "'score' = 'a number beyond 1e308'"),
    "endless": ('{"prompt": "p", "response": "r", "a": 1' + 5000 * "0" + "}", "is not readable JSON"),
    "deep": ("[" * 100_000, "is not readable JSON"),
    "object": (row("p", {"a": 1}), "line 2 has 'helpfulness' = dict"),
    "latin-1": ('{"prompt": "é", "response": "r"}'.encode("latin-1"), "line 2 is not UTF-8 text"),
    "surrogate": ('{"prompt": "p", "response": "r", "\\ud800 score": "x"}', r"line 2 has '\\ud800_score' = 'x'"),
}


@pytest.mark.parametrize("case", BAD_LINES)
def test_bad_lines(tmp_path, case):
    line, message = BAD_LINES[case]
    bad = line if isinstance(line, bytes) else line.encode()
    good = [row("p", 1).encode(), row("p", 2).encode(), row("p", 0).encode()]
    content = b"\n".join([good[0], bad, good[1], good[2]])
    with pytest.raises(ValueError, match=message) as caught:
        read(tmp_path, content)
    text = str(caught.value)
    assert text.startswith(f"{tmp_path / 'x.jsonl'}: line 2 ")
    assert text.endswith("or pass skip_bad=True (--skip-bad) to leave such rows out.")
    assert "\n" not in text
    with pytest.warns(UserWarning, match="1 bad row was left out .the first: line 2") as told:
        found = read(tmp_path, content, skip_bad=True)
    assert len(told) == 1
    assert found.names == (("line 1", "line 3", "line 4"),)
    with pytest.raises(ValueError, match="none of its 2 rows can be used: line 1 "):
        read(tmp_path, bad + b"\n" + bad, skip_bad=True)


BAD_FILES = {
    "empty": ("", "it is empty; write winner,loser"),
    "blank": ("\n \n", "it is empty"),
    "no attributes": (row("p") + "\n" + row("p"), "no attribute with a number"),
    "apart": (row("p", 1) + "\n" + row("q", 1), "no prompt has two responses among 2"),
    "nothing shared": (row("p", 1) + "\n" + row("p", None, 1), "line 1 and line 2 answer one prompt"),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_bad_files(tmp_path, case):
    content, message = BAD_FILES[case]
    with pytest.raises(ValueError, match=message) as caught:
        read(tmp_path, content)
    assert re.fullmatch(r"[^\n]*x\.jsonl: [^\n]*\.", str(caught.value))


def test_nothing_left_to_compare(tmp_path):
    with pytest.raises(ValueError, match="no prompt has two responses with an attribute in common"):
        read(tmp_path, row("p", 1) + "\n" + row("p", None, 1), missing="drop")


def test_limits(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="line 3 makes 258 attributes of 3 responses"):
        read(tmp_path, "\n".join([row("p", 1), row("p", 1), row("p", **{f"score{n}x score": 1 for n in range(257)})]))
    monkeypatch.setattr(_responses, "MAX_RESPONSES", 2)
    with pytest.raises(ValueError, match="the prompt of line 1 has 3 responses"):
        read(tmp_path, TWO)
    monkeypatch.setattr(_rows, "_MAX_ROWS", 2)
    with pytest.raises(ValueError, match="line 4 exceeds the limit of 2 rows"):
        read(tmp_path, TWO, skip_bad=True)
    monkeypatch.setattr(_jsonl, "_MAX_LINES", 5)
    with pytest.raises(ValueError, match="it has more than 5 lines"):
        read(tmp_path, row("p", 1) + 9 * "\n")
    monkeypatch.setattr(_jsonl, "_MAX_LINE_BYTES", 20)
    with pytest.raises(ValueError, match="line 1 has more than"):
        read(tmp_path, TWO)
    monkeypatch.setattr(_jsonl, "_MAX_LINE_BYTES", 2000)
    monkeypatch.setattr(_jsonl, "_MAX_TEXT_BYTES", 200)
    with pytest.raises(ValueError, match="MiB of text"):
        read(tmp_path, TWO)


def test_packed_files_are_unpacked_no_further_than_they_may_be(tmp_path):
    bomb = gzip.compress((b" " * 65535 + b"\n") * 2**11)
    with pytest.raises(ValueError, match="made to exhaust memory"):
        read(tmp_path, bomb, "x.jsonl.gz")
    line = gzip.compress(b" " * 2**25)
    with pytest.raises(ValueError, match="line 1 has more than 16 MiB"):
        read(tmp_path, line, "x.jsonl.gz")
    good = gzip.compress(TWO.encode())
    for damaged in (b"", TWO.encode(), good[:-9], good[:20] + b"xxxx" + good[24:], good[:5]):
        with pytest.raises(ValueError, match=r"damaged or not gzip content|it is empty"):
            read(tmp_path, damaged, "x.jsonl.gz")


@pytest.mark.thorough
@settings(max_examples=400)
@given(data=st.data(), skip_bad=st.booleans())
def test_damaged_files(scratch, data, skip_bad):
    content = bytearray(TWO.encode())
    for _ in range(data.draw(st.integers(0, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.sampled_from(b'01,{}:"\n\xc3\x00aeN-'))
    end = data.draw(st.sampled_from([0, 0, *range(len(content))]))
    missing = data.draw(st.sampled_from([None, 0.5, "drop"]))
    packed = data.draw(st.booleans())
    content = bytes(content[: len(content) - end])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            found = read(
                scratch,
                gzip.compress(content) if packed else content,
                "any.jsonl.gz" if packed else "any.jsonl",
                missing=missing,
                skip_bad=skip_bad,
            )
        except ValueError:
            return
    for P in found:
        preferences.check(P)


@pytest.mark.slow
def test_a_hundred_thousand_rows_in_seconds(tmp_path):
    rng = np.random.default_rng(0)
    values = rng.integers(0, 5, (100_000, 5)).tolist()
    groups = np.repeat(np.arange(100_000), rng.integers(2, 5, 100_000))[:100_000]
    content = "\n".join(row(f"{group} " + 200 * "words ", *five) for group, five in zip(groups, values, strict=True))
    (tmp_path / "x.jsonl").write_text(content)
    began = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = preferences.read(tmp_path / "x.jsonl", key=jax.random.key(0))
    assert time.perf_counter() - began <= 20
    assert len(found) > 30_000


# datasets:NAME


class Hub(types.ModuleType):
    """Stands in for the package `datasets`."""

    def __init__(self):
        super().__init__("datasets")
        self.asked = []

    def load_dataset(self, name: str, split: str):
        self.asked.append((name, split))
        if name == "nobody/nothing":
            raise ConnectionError("Couldn't reach 'nobody/nothing'\non the Hub.")
        return [json.loads(line) for line in TWO.split("\n") if line]


@pytest.fixture
def hub(monkeypatch):
    stand_in = Hub()
    monkeypatch.setitem(sys.modules, "datasets", stand_in)
    return stand_in


def test_hub(hub, scratch):
    found = preferences.read("datasets:nvidia/HelpSteer", scale=2.0)
    file = read(scratch, TWO, scale=2.0)
    assert all(np.array_equal(a, b) for a, b in zip(found, file, strict=True))
    assert found.names == (("row 0", "row 2", "row 4"), ("row 1", "row 3"))
    assert found.source == "datasets:nvidia/HelpSteer"
    preferences.read("datasets:nvidia/HelpSteer:validation[:50%]")
    assert hub.asked == [("nvidia/HelpSteer", "train"), ("nvidia/HelpSteer", "validation[:50%]")]


def test_hub_that_does_not_answer(hub, monkeypatch):
    with pytest.raises(
        ValueError, match=r"^datasets:nobody/nothing: split 'train' cannot be loaded \(ConnectionError: "
    ) as e:
        preferences.read("datasets:nobody/nothing")
    assert re.search("Hub.; check the name, the split and the network.$", str(e.value))
    assert "\n" not in str(e.value)
    with pytest.raises(ValueError, match="datasets: names no data set; pass datasets:NAME"):
        preferences.read("datasets:")
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ValueError, match="package datasets is not installed; run pip install datasets"):
        preferences.read("datasets:nvidia/HelpSteer")


# the command line


def test_the_command_line_skips_bad_lines_where_asked(scratch, capsys):
    path = scratch / "command.jsonl"
    path.write_text(TWO + "\n{\n" + row("alone", 1))
    with pytest.raises(SystemExit) as stop:
        cli.main(["classify", str(path)])
    assert stop.value.code == 2
    assert re.fullmatch(r"dynamics: [^\n]*line 7 is not JSON [^\n]*\(--skip-bad\)[^\n]*\n", capsys.readouterr().err)
    cli.main(["classify", str(path), "--skip-bad"])
    told = capsys.readouterr()
    assert re.fullmatch(r"dynamics: [^\n]*1 bad row was left out [^\n]*; 1 prompt with one [^\n]*\n", told.err)
    assert "Condorcet winner: 1 · majority cycle: 0" in told.out


def test_the_command_line_drops_what_was_never_compared(scratch, capsys):
    path = scratch / "wins.csv"
    path.write_text("winner,loser\na,b\nb,c\n")
    cli.main(["classify", str(path), "--missing", "drop", "--json"])
    assert json.loads(capsys.readouterr().out)["matrices"][0]["names"] == ["b", "c"]


def test_long_tables_are_cut_and_their_totals_are_not(scratch, capsys, monkeypatch):
    path = scratch / "many.jsonl"
    path.write_text("\n".join(row(str(n // 2), n % 2) for n in range(14)))
    monkeypatch.setattr(_tables, "MAX_ROWS", 3)
    cli.main(["classify", str(path)])
    lines = capsys.readouterr().out.splitlines()
    assert sum(line.split()[:1] == [str(m)] for m in range(7) for line in lines) == 3
    assert "… and 4 more matrices, counted below; --json prints all" in lines
    assert "Condorcet winner: 7 · majority cycle: 0" in lines
    cli.main(["classify", str(path), "--json"])
    assert len(json.loads(capsys.readouterr().out)["matrices"]) == 7
