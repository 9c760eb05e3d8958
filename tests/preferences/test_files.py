"""Every form of file that docs/files.md lists, as a user passes it to a command, and the published files."""

from __future__ import annotations

import gzip
import io
import json
import lzma
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit

from dynamics import cli, preferences

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "files.md").read_text()
ROW = re.compile(
    r"\| (?P<form>.+?) \| `(?P<name>\S+)`: `(?P<content>.+?)` \| `dynamics (?P<command>.+?)` \| (?P<result>.+) \|"
)
ROWS = [match.groupdict() for match in map(ROW.fullmatch, PAGE.splitlines()) if match]
RESULT = re.compile(r"(\d+) matri\w+; `P\((.+), (.+?)\) = ([\d.]+)(?: of (\d+))?`")
OPTIONS = {"--ties": "ties", "--smoothing": "smoothing", "--attributes": "attributes"}


def read(folder: Path, name: str, content: str | bytes, **options) -> preferences.PreferenceSet:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return preferences.read(path, **options)


def refused(folder: Path, name: str, content: str | bytes, message: str, **options) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        read(folder, name, content, **options)
    text = str(caught.value)
    assert text.startswith(str(folder / name))
    assert "\n" not in text


def text_of(row: dict[str, str]) -> str:
    return row["content"].replace("⏎", "\n").replace("⇥", "\t") + "\n"


def share(found: preferences.PreferenceSet, one: str, other: str, m: int = 0) -> float:
    names = found.names[m] or [str(k) for k in range(len(found[m]))]
    return float(found[m][names.index(one), names.index(other)])


def test_the_page_has_a_row_for_every_form():
    tables = [line for line in PAGE.splitlines() if line.startswith("| ") and not line.startswith("| form")]
    assert len(ROWS) == len(tables) >= 30
    assert len({row["name"] for row in ROWS}) == len(ROWS)


def asked(row: dict[str, str]) -> dict:
    words = row["command"].split()[2:]
    options = dict(zip(words[::2], words[1::2], strict=True))
    found: dict = {OPTIONS[name]: value for name, value in options.items()}
    if "smoothing" in found:
        found["smoothing"] = float(found["smoothing"])
    if "attributes" in found:
        found["attributes"] = found["attributes"].split(",")
    return found


@pytest.mark.parametrize("row", ROWS, ids=[row["name"] for row in ROWS])
def test_the_examples_of_the_page(tmp_path, row, capsys):
    (tmp_path / row["name"]).write_text(text_of(row), encoding="utf-8")
    found = preferences.read(tmp_path / row["name"], **asked(row))
    stated = RESULT.fullmatch(row["result"])
    size, one, other, value, comparisons = stated.groups()
    names = found.names[0] or [str(k) for k in range(len(found[0]))]
    i, j = names.index(one), names.index(other)
    assert len(found) == int(size)
    assert float(f"{float(found[0][i, j]):.12g}") == float(value)
    assert (found.counts[0] is None) == (comparisons is None)
    if comparisons is not None:
        assert found.counts[0][i, j] == float(comparisons)
    words = row["command"].split()
    cli.main([words[0], str(tmp_path / row["name"]), *words[2:], "--json"])
    told = capsys.readouterr()
    assert json.loads(told.out)["matrices"][0]["K"] == len(found[0])
    assert told.err == (f"dynamics: {tmp_path / row['name']}: {'; '.join(found.notes)}.\n" if found.notes else "")


@pytest.mark.parametrize("row", ROWS, ids=[row["name"] for row in ROWS])
def test_the_examples_from_standard_input_and_packed(tmp_path, row, monkeypatch):
    content = text_of(row).encode()
    plain = read(tmp_path, row["name"], content, **asked(row))
    packed = read(tmp_path, f"{row['name']}.gz", gzip.compress(content), **asked(row))
    thin = read(tmp_path, f"{row['name']}.XZ", lzma.compress(content), **asked(row))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
    piped = preferences.read("-", **asked(row))
    assert piped.source == "standard input"
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(gzip.compress(content))))
    for other in (packed, thin, piped, preferences.read("-", **asked(row))):
        assert len(other) == len(plain)
        # What a stream holds is told from its content, so labels and notes may count rows instead of lines.
        assert all(np.array_equal(a, b) for a, b in zip(plain, other, strict=True))


# faults of silence


def test_rates_and_percentages_are_no_counts(tmp_path):
    for text in (
        ",a,b\na,0.5,0.7\nb,0.3,0.5\n",
        ",a,b\na,,70\nb,30,\n",
        ",a,b\na,50,70\nb,30,50\n",
        ",a,b\na,,0.7\nb,0.3,\n",
    ):
        found = read(tmp_path, "x.csv", text)
        assert found.counts == (None,)
        assert share(found, "a", "b") == 0.7
        assert "entries were read as" in found.notes[0]
    refused(
        tmp_path, "x.csv", ",a,b\na,,0.7\nb,0.29,\n", "'a' over 'b' is 0.7, which is no count, .* sums to 0.99, not 1"
    )
    refused(tmp_path, "x.csv", ",a,b\na,,70.2\nb,30,\n", "sums to 100.2, not 1 or 100")
    # The pair that breaks the sum is named, not a good one; also where its entries might be counts.
    for bad, words in ((0.8, "'b' over 'c' is 0.8 and 'c' over 'b' 0.3, which sum to 1.1, not 1"), (1, "sum to 1.3")):
        refused(tmp_path, "x.csv", f",a,b,c\na,,0.7,0.4\nb,0.3,,{bad}\nc,0.6,0.3,\n", words)
    assert read(tmp_path, "x.csv", ",a,b\na,,1.5\nb,0.5,\n").counts[0][0, 1] == 2  # a tie counted half
    once = read(tmp_path, "x.csv", ",a,b,c\na,,1,0\nb,0,,1\nc,1,0,\n")
    assert once.counts[0][0, 1] == 1
    assert "one comparison of each pair" in once.notes[0]
    refused(
        tmp_path, "x.csv", "winner,loser,count\na,b,0.7\nb,a,0.3\n", "line 2 has count = '0.7', which is not a count"
    )
    refused(tmp_path, "x.csv", ",a,b\na,,0\nb,0,\n", "holds no comparison")
    for options in ({"smoothing": 1.0}, {"ties": "drop"}):
        refused(tmp_path, "x.csv", ",a,b\na,,0.7\nb,0.3,\n", "no counts to change; leave out", **options)


def scored(**more) -> str:
    return json.dumps({"prompt": "p", "response": "r", **more}) + "\n"


def test_ids_are_no_ratings(tmp_path):
    text = "".join(scored(id=1000 + n, prompt_id=n, turn=n, index=n, helpfulness=3) for n in range(3))
    found = read(tmp_path, "x.jsonl", text)
    assert np.array_equal(found[0], np.full((3, 3), 0.5))
    assert found.notes == ("ratings used: helpfulness", "columns not used: id, prompt_id, turn, index")
    named = read(tmp_path, "x.jsonl", text, attributes=["turn"])
    assert share(named, "line 2", "line 1") == pytest.approx(expit(1.0), abs=1e-15)
    assert named.notes[0] == "ratings used: turn"
    only = "".join(scored(id=n, score_id=n, width=n) for n in range(2))
    refused(tmp_path, "x.jsonl", only, r"numbers are under 'id', 'score_id', 'width', which may or may not be ratings")
    refused(tmp_path, "x.jsonl", text, "attributes name 'charm', but no row has a number", attributes=["charm"])
    refused(tmp_path, "x.csv", "winner,loser\na,b\n", "attributes choose among ratings", attributes=["a"])


def test_a_header_that_comes_again_is_no_comparison(tmp_path):
    text = "winner,loser\na,b\n\ufeffWinner,LOSER\nb,a\nwinner , loser\na,b\n"
    with pytest.warns(UserWarning, match="line 3 and 1 more repeats the header and was left out"):
        found = read(tmp_path, "x.csv", text)
    assert found.names == (("a", "b"),)
    assert found.counts[0][0, 1] == 3
    for other in ("loser,winner", "chosen,rejected", "model_a,model_b"):
        refused(
            tmp_path, "x.csv", f"winner,loser\na,b\n{other}\nb,a\n", "line 3 is .*looks like a header of other columns"
        )


def test_columns_by_name_not_by_place(tmp_path):
    found = read(tmp_path, "x.csv", "Loser,note,Winner\nb,x,a\n")
    assert share(found, "a", "b") == 1
    assert found.notes == ("columns not used: note",)
    tied = read(tmp_path, "x.csv", "winner,loser,tie\na,b,0\na,b,1\n")
    assert share(tied, "a", "b") == 0.75
    with pytest.warns(UserWarning, match="'GPT-4' and 'gpt-4' differ only in case or blanks"):
        read(tmp_path, "x.csv", "winner,loser\nGPT-4,b\nb,gpt-4\n", missing=0.5)


def test_preflib_names_that_repeat_or_are_empty(tmp_path):
    with pytest.warns(UserWarning, match="3 names are empty or repeated"):
        found = read(tmp_path, "x.soc", "3\n1,Bob\n2,\n3,Bob\n1,1,1\n1,1,2,3\n")
    assert found.names == (("Bob (alternative 1)", "alternative 2", "Bob (alternative 3)"),)


def test_pairwise_graphs_and_categories_refused(tmp_path):
    head = "3\n1,a\n2,b\n3,c\n1,1,1\n"
    refused(tmp_path, "x.pwg", head + "1,1,2,3\n", "line 6 is no edge of a pairwise graph")
    refused(tmp_path, "x.pwg", head + "1,{1,2}\n", "line 6 is no edge of a pairwise graph")
    refused(tmp_path, "x.cat", head + "1,{1,4},{}\n", "'4' is not one of the alternatives")
    more = "2\n1,a\n2,b\n3,10,2\n7,1,2\n3,2,1\n"  # more votes than voters, as in graphs made of orders
    found = read(tmp_path, "x.pwg", more)
    assert (found.voters[0], found.counts[0][0, 1]) == (3, 10)
    refused(tmp_path, "x.soc", more, "3 voters but counts that sum to 10")


def test_what_is_dropped_is_said(tmp_path):
    text = "winner,loser\n" + "a,b\nb,c\nc,a\n" + "x,y\n"
    refused(tmp_path, "x.csv", text, "responses fall into 2 groups without a comparison between them")
    with pytest.warns(
        UserWarning, match="2 of 5 responses were left out, .*: x, y; .* sizes 3, 2; kept are 3 of the 3"
    ):
        found = read(tmp_path, "x.csv", text, missing="drop")
    assert found.names == (("a", "b", "c"),)
    assert len(found.notes) == 2


# votes


SIDES = {
    "model_a": 1.0,
    "A": 1.0,
    "left": 1.0,
    "[[B]]": 0.0,
    "tie": 0.5,
    "Tie (bothbad)": 0.5,
    "B>A": 0.0,
    "x": 1.0,
    "y": 0.0,
}


SIDES |= dict.fromkeys(("draw", "both_bad", "BothBad", "A=B", "[[C]]"), 0.5)


@pytest.mark.parametrize("word", SIDES)
def test_words_for_the_winner(tmp_path, word):
    found = read(tmp_path, "x.csv", f"model_a,model_b,winner\nx,y,{word}\n")
    assert share(found, "x", "y") == SIDES[word]
    assert found.ties[0][0, 1] == (SIDES[word] == 0.5)


BAD_VOTES = {
    "unknown word": (
        "model_a,model_b,winner\nx,y,x\nx,y,z\n",
        "line 3 has winner = 'z', which is not model_a, model_b or tie",
    ),
    "no word": ("model_a,model_b,winner\nx,y,\n", "line 2 has winner = ''"),
    "a number": ("model_a,model_b,winner\nx,y,1\n", "line 2 has winner = '1'"),
    "two meanings": (
        "model_a,model_b,winner\nb,a,a\n",
        "'a', which is the name of one response and the word for another",
    ),
    "tie by name": ("model_a,model_b,winner\ntie,a,tie\n", "the name of one response and the word for another"),
    "itself": ("model_a,model_b,winner\nx,x,tie\n", "line 2 has 'x' on both sides; name two different"),
    "half a vote": ("model_a,model_b,winner,count\nx,y,x,0.3\n", "count = '0.3', which is not a count"),
    "wins below 0": ("model_a,model_b,wins,losses\nx,y,-1,2\n", "wins = '-1', which is not a count"),
    "likert": ("model_a,model_b,likert\nx,y,4\n", "likert = 4, which is outside -3 to 3"),
    "likert word": ("model_a,model_b,likert\nx,y,much\n", "'likert' = 'much', which is not a finite number"),
    "preference": (
        "prompt,output_1,output_2,preference\np,x,y,0\n",
        "preference = 0, which is outside 1 .output_1. to 2",
    ),
    "preference word": ("prompt,output_1,output_2,preference\np,x,y,no\n", "preference = 'no', which is not output_1"),
    "same text": ("prompt,chosen,rejected\np,x,x\n", "twice the same text, chosen and rejected"),
    "no text": ("prompt,chosen,rejected\np,,x\n", "line 2 has no chosen"),
    "thousands": (",a,b\na,,1\nb,2,\n".replace(",", ";").replace("1", "1,500"), "may be a thousand or a fraction"),
}


@pytest.mark.parametrize("case", BAD_VOTES)
def test_votes_refused(tmp_path, case):
    refused(tmp_path, "x.csv", *BAD_VOTES[case])


BAD_ROWS = {
    "error": ({"model_1": "a", "model_2": "b", "g1_winner": "error", "g2_winner": "tie"}, "g1_winner = 'error'"),
    "id": ({"prompt": "p", "response_0": "x", "response_1": "y", "better_response_id": 2}, "is not 0 or 1"),
    "truth": ({"prompt": "p", "response_0": "x", "response_1": "y", "better_response_id": True}, "is not 0 or 1"),
    "answers": ({"prompt": "p", "answers": "x"}, "answers that are not a list of objects"),
    "no rank": ({"prompt": "p", "answers": [{"answer": "x"}]}, "answer 1 without a text or a rank"),
    "rank": ({"prompt": "p", "answers": [{"answer": "x", "rank": "best"}]}, r"answers\[0\].rank' = 'best'"),
    "completions": ({"instruction": "p", "completions": 3}, "completions that are not a list"),
    "no instruction": ({"completions": []}, "completions but no instruction"),
    "no annotations": ({"instruction": "p", "completions": [{}]}, "completion 1 without annotations"),
    "rating": (
        {"instruction": "p", "completions": [{"annotations": {"honesty": {"Rating": "five"}}}]},
        "'five', which is not a",
    ),
    "failed": ({"question_id": 1, "model": "a", "score": -1}, "score = -1, which marks a judgment that failed"),
    "nameless": ({"winner": None, "loser": "b"}, "winner = None, which is no name"),
    "columns": ({"question": "x", "statement": "y"}, "has the columns 'question', 'statement', .* of no known form"),
}


@pytest.mark.parametrize("case", BAD_ROWS)
def test_rows_refused(tmp_path, case):
    row, message = BAD_ROWS[case]
    refused(tmp_path, "x.jsonl", json.dumps(row), f"line 1 .*{message}")


def test_single_scores_of_one_model_twice(tmp_path):
    row = json.dumps({"question_id": 1, "model": "a", "score": 3}) + "\n"
    refused(tmp_path, "x.jsonl", row + row, "line 2 rates 'a' a second time for one prompt")


def test_a_row_counts_whole_or_not_at_all(tmp_path):
    """A row whose second answer is bad leaves nothing behind."""
    good = {"prompt": "p", "answers": [{"answer": "x", "rank": 1}, {"answer": "y", "rank": 2}]}
    bad = {
        "prompt": "p",
        "answers": [{"answer": "x", "rank": 2}, {"answer": "y", "rank": 1}, {"answer": "z", "rank": None}],
    }
    with pytest.warns(UserWarning, match="1 bad row was left out"):
        found = read(tmp_path, "x.jsonl", json.dumps(good) + "\n" + json.dumps(bad), skip_bad=True)
    assert found.counts[0].tolist() == [[0, 1], [1, 0]]


votes = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 3), st.sampled_from(["left", "right", "tie"]), st.integers(1, 3)),
    min_size=1,
)


@given(votes, st.sampled_from(["half", "drop"]), st.sampled_from([0.0, 0.5]))
def test_votes_are_counted(tmp_path_factory, rows, ties, smoothing):
    rows = [row for row in rows if row[0] != row[1]]
    wins, met = np.zeros((4, 4)), np.zeros((4, 4), dtype=bool)
    for a, b, word, count in rows:
        if word == "tie" and ties == "drop":
            continue
        met[a, b] = met[b, a] = True
        won = {"left": 1.0, "right": 0.0, "tie": 0.5}[word] * count
        wins[a, b] += won
        wins[b, a] += count - won
    if not met.any():
        return
    wins += smoothing * met
    total = wins + wins.T
    text = "left,right,winner,count\n" + "".join(f"r{a},r{b},{word},{count}\n" for a, b, word, count in rows)
    folder = tmp_path_factory.getbasetemp()
    found = read(folder, "any.csv", text, missing=0.5, ties=ties, smoothing=smoothing)
    k = [int(name[1:]) for name in found.names[0]]
    square = np.ix_(k, k)
    assert np.array_equal(found.counts[0], total[square])
    expected = np.where(total > 0, wins / np.maximum(total, 1e-9), 0.5)[square]
    assert np.allclose(found[0], expected, rtol=0, atol=1e-15)


# matrices, texts and ratings


def test_arrays(tmp_path):
    P = np.array([[0.5, 0.9, 0.1], [0.1, 0.5, 0.9], [0.9, 0.1, 0.5]])

    def npy(array: object) -> bytes:
        buffer = io.BytesIO()
        np.save(buffer, array)
        return buffer.getvalue()

    assert np.array_equal(read(tmp_path, "x.npy", npy(P))[0], P)
    assert len(read(tmp_path, "x.npy", npy(np.stack([P, P.T])))) == 2
    counted = read(tmp_path, "x.npy", npy(np.array([[0, 3], [1, 0]])))
    assert counted.counts[0][0, 1] == 4
    refused(tmp_path, "x.npy", npy(np.array([[0.5, 0.9], [0.2, 0.5]])), r"\[0, 1\] \+ .* = 1.1, not 1")
    refused(tmp_path, "x.npy", npy(np.array([[0.5, "a"]], dtype=object)), "dtype object")
    refused(tmp_path, "x.npy", npy(np.ones(3)), r"shape \(3,\)")
    refused(tmp_path, "x.npy", b"winner,loser", "damaged or not .npy content")
    refused(tmp_path, "x.json", "[[0.5, 0.9], [0.1]]", "rows are not numbers of equal length")
    refused(tmp_path, "x.json", '{"P": [[0.5, NaN], [0.1, 0.5]]}', r"entry \[0, 1\] = nan")
    refused(tmp_path, "x.json", '{"P": [[0.5, 1], [0, 0.5]], "names": ["a"]}', "names are not a list of 2 texts")
    refused(tmp_path, "x.json", "{", "is not JSON")
    refused(tmp_path, "x.json", "3", "neither a list of rows nor a matrix")
    both = read(
        tmp_path, "x.json", '{"P": [[0.5, 1], [0, 0.5]], "N": [[0, 4], [4, 0]], "names": ["a", "b"], "by": "me"}'
    )
    assert both.wins(0).tolist() == [[0, 4], [0, 0]]
    assert both.notes == ("names not used: 'by'",)
    lines = '{"winner": "a", "loser": "b"}\n{"winner": "b", "loser": "a"}\n'
    assert read(tmp_path, "x.json", lines).counts[0][0, 1] == 2


def test_percent_signs_are_percentages_and_never_counts(tmp_path):
    found = read(tmp_path, "x.csv", ",a,b,c\na,,70%,35 %\nb,30%,,70%\nc,65%,30%,\n")
    assert found.counts == (None,)
    assert found.notes == ("its entries were read as percentages, so there are no counts of comparisons",)
    assert np.allclose(found[0], [[0.5, 0.7, 0.35], [0.3, 0.5, 0.7], [0.65, 0.3, 0.5]], rtol=0, atol=1e-15)
    refused(
        tmp_path, "x.csv", ",a,b\na,,70%\nb,31%,\n", "'a' over 'b' is 70 and 'b' over 'a' 31, which sum to 101, not 100"
    )


def test_bars_separate_cells(tmp_path):
    found = read(tmp_path, "x.csv", "winner|loser|count\na|b|3\nb|a|1\n")
    assert found.names == (("a", "b"),)
    assert share(found, "a", "b") == 0.75
    refused(tmp_path, "x.csv", "winer|loser\na|b\n", "its header has the columns 'winer', 'loser'")


def test_a_winner_that_is_none_of_the_two(tmp_path):
    text = "model_a,model_b,winner\na,b,z\n"
    refused(tmp_path, "x.csv", text, "nor the name of one of the two; correct it, or pass skip_bad=True")


def test_short_texts_are_names(tmp_path):
    long, lines = "w" * 41, "two\nlines"
    text = pair("p", "yes", "no") + pair("p", "no", long) + pair("p", lines, "yes") + pair("p", " no", "yes")
    found = read(tmp_path, "x.jsonl", text, missing=0.5)
    assert found.names == (("yes", "no", "line 2 rejected", "line 3 chosen", "line 4 chosen"),)


def pair(prompt: str | None, chosen: str, rejected: str) -> str:
    return json.dumps(({} if prompt is None else {"prompt": prompt}) | {"chosen": chosen, "rejected": rejected}) + "\n"


def test_texts_that_come_again_make_larger_matrices(tmp_path):
    text = pair("p", "x", "y") + pair("q", "x", "y") + pair("p", "y", "z") + pair("p", "z", "x") + pair("p", "v", "w")
    found = read(tmp_path, "x.jsonl", text)
    assert [len(P) for P in found] == [3, 2, 2]
    assert found.names[0] == ("x", "y", "z")
    assert np.array_equal(found[0], [[0.5, 1, 0], [0, 0.5, 1], [1, 0, 0.5]])
    assert "responses to 1 prompts were not all linked" in found.notes[0]
    apart = read(tmp_path, "x.jsonl", pair(None, "x", "y") + pair(None, "u", "v") + pair(None, "y", "x"))
    assert [len(P) for P in apart] == [2, 2]
    assert np.array_equal(apart[0], np.full((2, 2), 0.5))
    assert "no column of prompts" in apart.notes[0]
    chats = [{"chosen": [{"role": "user", "content": "p"}, {"role": "assistant", "content": c}]} for c in "ab"]
    both = json.dumps(chats[0] | {"rejected": chats[1]["chosen"]})
    assert len(read(tmp_path, "x.jsonl", both + "\n" + both)) == 1
    assert read(tmp_path, "x.jsonl", both + "\n" + both).counts[0][0, 1] == 2


def test_a_scale_for_each_attribute(tmp_path):
    text = scored(honesty=2, taste_score=1) + scored(honesty=1, taste_score=4)
    scale = {"honesty": 2.0, "taste-score": 0.5}
    found = read(tmp_path, "x.jsonl", text, scale=scale)
    assert share(found, "line 1", "line 2") == pytest.approx((expit(2.0) + expit(-1.5)) / 2, abs=1e-15)
    refused(tmp_path, "x.jsonl", text, "scale names 'charm', but its attributes are honesty", scale={"charm": 1.0})
    refused(tmp_path, "x.jsonl", text, r"scale\['honesty'\] = -1", scale={"honesty": -1.0})
    refused(tmp_path, "x.jsonl", text, "holds ratings, which are not counts; leave out smoothing", smoothing=1.0)
    refused(tmp_path, "x.jsonl", text, "holds ratings, which are not counts; leave out ties", ties="drop")


def test_ultrafeedback_has_gaps(tmp_path):
    def completion(**ratings: str) -> dict:
        return {"annotations": {name: {"Rating": rating} for name, rating in ratings.items()}}

    row = {"instruction": "p", "completions": [completion(honesty="5", truthfulness="N/A"), completion(honesty="4")]}
    found = read(tmp_path, "x.jsonl", json.dumps(row))
    assert share(found, "line 1 completion 1", "line 1 completion 2") == pytest.approx(expit(1.0), abs=1e-15)
    assert found.notes[0] == "ratings used: honesty"


# containers


def test_parquet(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    rows = [{"model_a": "a", "model_b": "b", "winner": word, "turn": 1} for word in ("model_a", "tie")]
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "x.parquet")
    found = preferences.read(tmp_path / "x.parquet")
    assert share(found, "a", "b") == 0.75
    assert found.notes == ("columns not used: turn",)
    nested = [{"prompt": "p", "answers": [{"answer": "x", "rank": 1.0}, {"answer": "y", "rank": 2.0}]}]
    parquet.write_table(pyarrow.Table.from_pylist(nested), tmp_path / "x.parquet")
    assert preferences.read(tmp_path / "x.parquet")[0][0, 1] == 1
    content = (tmp_path / "x.parquet").read_bytes()
    refused(tmp_path, "x.parquet", content[:-20], "damaged or not Parquet content")
    refused(tmp_path, "x.csv", content, "it is Parquet content, not .csv text")


def test_parquet_without_pyarrow(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    refused(tmp_path, "x.parquet", b"PAR1", "the package pyarrow is not installed; run pip install pyarrow")


def test_zstd(tmp_path, monkeypatch):
    zstandard = pytest.importorskip("zstandard")
    content = zstandard.ZstdCompressor().compress(b"winner,loser\na,b\n")
    assert share(read(tmp_path, "x.csv.zst", content), "a", "b") == 1
    with pytest.warns(UserWarning, match="line 3 repeats the header"):
        assert read(tmp_path, "x.csv.zst", content + content).counts[0][0, 1] == 2
    for damaged in (content[:-3], b"winner,loser", content + content[:-3]):
        refused(tmp_path, "x.csv.zst", damaged, "damaged or not zstd content")
    monkeypatch.setitem(sys.modules, "zstandard", None)
    if sys.version_info < (3, 14):
        refused(tmp_path, "x.csv.zst", content, "packed with zstd; run pip install zstandard")


REASONS = {
    "x.xlsx": "is an Excel workbook; save the sheet as .csv",
    "x.wmg": "weighted majority graph, whose margins do not tell how often",
    "x.pkl": "is a pickle, which may run code",
    "x.csv.bz2": "is packed with bzip2; pack it as one of .gz",
    "x.txt": "has suffix '.txt'; pass one of .npz, .npy, .csv, .tsv",
}


@pytest.mark.parametrize("name", REASONS)
def test_what_is_not_read_is_refused_for_the_right_reason(tmp_path, name):
    refused(tmp_path, name, b"winner,loser\na,b\n", REASONS[name])


def test_content_of_another_kind(tmp_path):
    refused(tmp_path, "x.csv", b"PK\x03\x04rest", "it is a zip archive or Excel workbook, not .csv text")
    # A packed file without its suffix is unpacked.
    assert share(read(tmp_path, "x.csv", gzip.compress(b"winner,loser\na,b\n")), "a", "b") == 1
    refused(tmp_path, "x.csv.xz", lzma.compress(b"winner,loser\na,b\n" * 9)[:-9], "damaged or not xz content")


def test_nothing_is_piped_in(monkeypatch):
    class Terminal(io.TextIOWrapper):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stdin", Terminal(io.BytesIO()))
    with pytest.raises(ValueError, match="'-' is standard input, but nothing is piped into it"):
        preferences.read("-")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"# TITLE: x\n")))
    with pytest.raises(ValueError, match="standard input: it starts with '#' but names no '# DATA TYPE:'"):
        preferences.read("-")


# published files


@pytest.mark.thorough
def test_published_arenas(shared_data, capsys):
    arena = shared_data / "arena"
    food = preferences.read(arena / "food.csv")
    won = {"left": (1.0, 0.0), "right": (0.0, 1.0), "tie": (0.5, 0.5)}
    rows = [line.split(",") for line in (arena / "food.csv").read_text().splitlines()[1:]]
    pizza = sum(won[word][side] for *sides, word in rows for side in (0, 1) if sides[side] == "Pizza")
    assert food.wins(0)[food.names[0].index("Pizza")].sum() == pytest.approx(pizza, abs=1e-12)
    assert food.counts[0].sum() == 2 * len(rows)
    large = preferences.read(arena / "llmfao.csv", missing=0.5)
    assert len(large[0]) == 59
    assert large.counts[0].sum() == 2 * 8931
    with pytest.raises(SystemExit):
        cli.main(["classify", str(arena / "llmfao.csv")])
    assert "was never compared (784 in all)" in capsys.readouterr().err
    cli.main(["classify", str(arena / "llmfao.csv"), "--missing", "drop", "--json"])
    told = capsys.readouterr()
    assert json.loads(told.out)["matrices"][0]["K"] == 14
    assert "45 of 59 responses were left out" in told.err
    assert "columns not used: id, prompt, model_x, model_y, worker" in told.err


@pytest.mark.thorough
def test_published_pairs_are_a_table_over_prompts(shared_data, capsys):
    file = shared_data / "hh" / "harmless_base_test.jsonl.gz"
    found = preferences.read(file)
    assert (len(found), {len(P) for P in found}) == (2307, {2})
    assert all(np.array_equal(N, [[0, 1], [1, 0]]) for N in found.counts)
    assert len(found.distinct()[0]) == 1
    cli.main(["classify", str(file)])
    out = capsys.readouterr().out
    assert out.startswith(f"2307 prompts, from {file}")
    assert re.search(r"Condorcet winner +100\.0% +2307", out)


def test_published_statements_are_no_preferences(shared_data):
    with pytest.raises(ValueError, match=r"line 1 has the columns 'question', 'statement'.* of no known form"):
        preferences.read(shared_data / "persona" / "agreeableness.jsonl.gz")
