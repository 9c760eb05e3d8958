"""PrefLib's files of orders: both styles of header, ties and gaps, the published files, and every refused form."""

from __future__ import annotations

import json
import os
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dynamics import preferences
from dynamics.preferences import _orders, _preflib, _wins

Order = list[list[int]]


def write_old(names: list[str], orders: list[tuple[int, Order]]) -> str:
    head = [str(len(names)), *(f"{k + 1},{name}" for k, name in enumerate(names))]
    total = sum(count for count, _ in orders)
    lines = [f"{count},{written(order)}" for count, order in orders]
    return "\n".join([*head, f"{total},{total},{len(orders)}", *lines, ""])


def write_new(names: list[str], orders: list[tuple[int, Order]]) -> str:
    head = ["# FILE NAME: x.toi", "# TITLE: an: election", "# DESCRIPTION:"]
    head += [f"# NUMBER ALTERNATIVES: {len(names)}", f"# NUMBER VOTERS: {sum(count for count, _ in orders)}"]
    head += [f"# NUMBER UNIQUE ORDERS: {len(orders)}"]
    head += [f"# ALTERNATIVE NAME {k + 1}: {name}" for k, name in enumerate(names)]
    return "\n".join([*head, *(f"{count}: {written(order)}" for count, order in orders), ""])


def written(order: Order) -> str:
    return ",".join(
        str(level[0] + 1) if len(level) == 1 else "{" + ",".join(str(k + 1) for k in level) + "}" for level in order
    )


def count_apart(K: int, orders: list[tuple[int, Order]]) -> tuple[np.ndarray, np.ndarray]:
    """Wins, ties half to each, and comparisons, voter by voter and pair by pair."""
    wins, both = np.zeros((K, K)), np.zeros((K, K))
    for count, order in orders:
        rank = {k: place for place, level in enumerate(order) for k in level}
        for i in rank:
            for j in rank:
                if i != j:
                    both[i, j] += count
                    wins[i, j] += count * (rank[i] < rank[j]) + count * (rank[i] == rank[j]) / 2
    return wins, both


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    return tmp_path_factory.mktemp("orders")


def read(folder: Path, name: str, content: str | bytes, **options) -> preferences.PreferenceSet:
    (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return preferences.read(folder / name, **options)


@st.composite
def elections(draw):
    K = draw(st.integers(2, 7))
    orders = []
    for _ in range(draw(st.integers(1, 12))):
        places = draw(st.lists(st.integers(0, K), min_size=K, max_size=K))  # K: not ranked
        order = [[k for k in range(K) if places[k] == place] for place in range(K)]
        if any(order):
            orders.append((draw(st.integers(1, 400)), [level for level in order if level]))
    return K, orders


@given(elections())
def test_weak_orders_are_read_back_in_both_styles(scratch, election):
    K, orders = election
    names = [f"Ms. {k}, née {k}" for k in range(K)]
    wins, both = count_apart(K, orders)
    never = (both == 0) & ~np.eye(K, dtype=bool)
    for content in (write_old(names, orders), write_new(names, orders)):
        if never.any():
            with pytest.raises(ValueError, match=f"never compared .{never.sum() // 2} in all.; .*pass missing=.drop."):
                read(scratch, "x.toi", content)
        found = read(scratch, "x.toi", content, missing=0.5)
        assert np.array_equal(found.counts[0], both)
        assert np.array_equal(found[0], np.where(both > 0, wins / np.maximum(both, 1), 0.5))
        assert found.names == (tuple(names),)
        assert found.voters == (sum(count for count, _ in orders),)


def test_many_orders_go_through_in_blocks(scratch, monkeypatch):
    rng = np.random.default_rng(3)
    orders = [
        (int(rng.integers(1, 9)), [[int(k)] for k in rng.permutation(6)[: rng.integers(2, 7)]]) for _ in range(50)
    ]
    wins, both = count_apart(6, orders)
    for block in (1, 7, 50, 64):
        monkeypatch.setattr(_orders, "_BLOCK", block)
        found = read(scratch, "x.soi", write_new(list("abcdef"), orders), missing=0.5)
        assert np.array_equal(found.counts[0], both)
        assert np.array_equal(found[0], np.where(both > 0, wins / np.maximum(both, 1), 0.5))


@pytest.mark.parametrize("style", [write_old, write_new])
def test_spaces_bytes_and_line_ends_do_not_matter(scratch, style):
    orders = [(2, [[0], [1, 2]]), (1, [[2], [0]])]
    text = style(["Ålesund", "b", "c"], orders)
    plain = read(scratch, "x.toi", text)
    loose = text.replace(",", ", ").replace("{", " { ").replace("\n", " \r\n\r\n")
    assert np.array_equal(read(scratch, "x.TOI", "\ufeff" + loose)[0], plain[0])
    assert np.array_equal(plain[0], [[0.5, 1, 2 / 3], [0, 0.5, 0.5], [1 / 3, 0.5, 0.5]])
    latin = read(scratch, "x.toi", text.encode("latin-1"))
    assert latin.names[0] == plain.names[0] == ("Ålesund", "b", "c")


def drop_apart(total: np.ndarray) -> list[int]:
    """Recounted from scratch after each response that goes."""
    left = list(range(len(total)))
    while True:
        never = {i: sum(total[i, j] == 0 for j in left if j != i) for i in left}
        if not any(never.values()):
            return left
        left.remove(min(left, key=lambda i: (-never[i], sum(total[i, j] for j in left), i)))


@given(st.integers(2, 8), st.integers(0, 2**32 - 1))
def test_what_is_dropped(K, seed):
    upper = np.triu(np.random.default_rng(seed).integers(0, 3, (K, K)), 1).astype(float)
    total = upper + upper.T
    left = _wins.without_missing(total)
    assert left.tolist() == drop_apart(total)
    assert np.all(total[np.ix_(left, left)] + np.eye(len(left)) > 0)


def test_dropping(scratch):
    text = write_new(list("abcd"), [(3, [[0], [1]]), (1, [[1], [0]]), (2, [[2], [0], [1]]), (1, [[3], [2]])])
    with pytest.warns(UserWarning, match=r"1 of 4 responses were left out, .* never compared: d\.$"):
        found = read(scratch, "x.soi", text, missing="drop")
    assert found.names == (("a", "b", "c"),)
    assert np.array_equal(found.counts[0], [[0, 6, 2], [6, 0, 2], [2, 2, 0]])
    assert found.voters == (7,)
    apart = write_new(list("ab"), [(1, [[0]]), (1, [[1]])])
    with pytest.raises(ValueError, match="no two of its responses were ever compared"):
        read(scratch, "x.soi", apart, missing="drop")
    with pytest.warns(UserWarning, match=r"1 of 4 responses were left out, .*: c\.$"):
        table = read(scratch, "x.csv", "winner,loser\na,b\nc,d\na,d\nb,d\n", missing="drop")
    assert table.names == (("a", "b", "d"),)


@pytest.mark.parametrize("missing", [0.4, "0.5", "dropped"])
def test_other_guesses_are_refused(scratch, missing):
    with pytest.raises(Exception, match=r"missing = .*0\.5 or 'drop'|missing"):
        read(scratch, "x.soc", write_new(["a", "b"], [(1, [[0], [1]])]), missing=missing)


NEW = write_new(["a", "b", "c"], [(2, [[0], [1], [2]]), (1, [[2], [1], [0]])])
OLD = write_old(["a", "b", "c"], [(2, [[0], [1], [2]]), (1, [[2], [1], [0]])])

BAD = {
    "empty": ("soi", "", "it is empty"),
    "blank": ("soi", "\n \n", "it is empty"),
    "binary": ("soi", bytes(range(256)), "line 1 is .*; pass a PrefLib file"),
    "a table": ("soi", "winner,loser\na,b\n", "line 1 is 'winner,loser'; pass a PrefLib file"),
    "utf-16": ("soi", NEW.encode("utf-16"), "pass a PrefLib file"),
    "no alternatives": ("soi", NEW.replace("# NUMBER ALTERNATIVES: 3\n", ""), "no line '# NUMBER ALTERNATIVES: …'"),
    "no voters": ("soi", NEW.replace("# NUMBER VOTERS: 3\n", ""), "no line '# NUMBER VOTERS: …'"),
    "no orders stated": ("soi", NEW.replace("# NUMBER UNIQUE ORDERS: 2\n", ""), "NUMBER UNIQUE ORDERS"),
    "stated twice": ("soi", "# NUMBER VOTERS: 3\n" + NEW, "line 6 gives NUMBER VOTERS a second time"),
    "word for a number": (
        "soi",
        NEW.replace("VOTERS: 3", "VOTERS: many"),
        "line 5: 'many' is not a value of NUMBER VOTERS",
    ),
    "one alternative": ("soi", write_new(["a"], [(1, [[0]])]), "states 1 alternatives; pass a file of 2 to 4096"),
    "too many": ("soi", NEW.replace("ALTERNATIVES: 3", "ALTERNATIVES: 5000"), "states 5000 alternatives"),
    "one too many stated": (
        "soi",
        NEW.replace("ALTERNATIVES: 3", "ALTERNATIVES: 4"),
        "states 4 alternatives and names 3",
    ),
    "one too few stated": (
        "soi",
        NEW.replace("ALTERNATIVES: 3", "ALTERNATIVES: 2"),
        "states 2 alternatives and names 3",
    ),
    "named twice": ("soi", NEW.replace("NAME 2", "NAME 1"), "line 8 gives alternative 1 a second time"),
    "odd number": ("soi", NEW.replace("NAME 2", "NAME b"), "line 8: 'b' is not an alternative"),
    "voters": ("soi", NEW.replace("VOTERS: 3", "VOTERS: 4"), "counts sum to 3 where line 5 states 4 voters"),
    "orders": ("soi", NEW.replace("ORDERS: 2", "ORDERS: 3"), "ends after 2 of the 3 orders that line 6 states"),
    "more orders": ("soi", NEW.replace("ORDERS: 2", "ORDERS: 1"), "line 11 is order 2 of the 1 that line 6 states"),
    "no orders": ("soi", NEW[: NEW.index("2: 1")], "ends after 0 of the 2 orders"),
    "cut short": ("soi", NEW[:-9], "ends after 1 of the 2 orders"),
    "cut in a line": ("soc", NEW[:-3], "line 11 ranks 2 of 3 alternatives, but .* complete.* name the file .soi"),
    "a tie": ("soc", NEW.replace("1,2,3", "1,{2,3}"), "line 10 has a tie, but .*strict.* name the file .toc"),
    "an incomplete tie": ("soi", NEW.replace("1,2,3", "{2,3}"), "line 10 has a tie, .* name the file .toi"),
    "incomplete, ties": ("toc", NEW.replace("1,2,3", "{2,3}"), "name the file .toi"),
    "unknown": ("soi", NEW.replace("1,2,3", "1,4"), "line 10: '4' is not one of the alternatives 1 to 3"),
    "a name": ("soi", NEW.replace("1,2,3", "1,b"), "line 10: 'b' is not one of the alternatives"),
    "padded number": ("soi", NEW.replace("1,2,3", "1,02"), "line 10: '02' is not one"),
    "trailing comma": ("soi", NEW.replace("1,2,3", "1,2,"), "line 10: '' is not one"),
    "nothing ranked": ("soi", NEW.replace("1,2,3", ""), "line 10: '' is not one"),
    "twice": ("soi", NEW.replace("1,2,3", "1,2,1"), "line 10 ranks alternative 1 twice"),
    "twice in braces": ("toi", NEW.replace("1,2,3", "1,{2,1}"), "line 10 ranks alternative 1 twice"),
    "unclosed": ("toi", NEW.replace("1,2,3", "1,{2,3"), "line 10 opens a brace that is never closed"),
    "unopened": ("toi", NEW.replace("1,2,3", "1,2},3"), "line 10 has a misplaced brace"),
    "nested": ("toi", NEW.replace("1,2,3", "{1,{2,3}}"), "line 10 has a misplaced brace"),
    "empty braces": ("toi", NEW.replace("1,2,3", "1,{},2"), "line 10: '' is not one"),
    "brace inside": ("toi", NEW.replace("1,2,3", "1{2},3"), "line 10 has a misplaced brace"),
    "no count": ("soi", NEW.replace("2: 1,2,3", "1,2,3"), "line 10 is '1,2,3'; write an order as count:a,b"),
    "zero": ("soi", NEW.replace("2: 1", "0: 1"), "line 10: '0' is not the count of an order; write a whole number ≥ 1"),
    "negative": ("soi", NEW.replace("2: 1", "-2: 1"), "line 10: '-2' is not the count"),
    "half": ("soi", NEW.replace("2: 1", "1.5: 1"), "line 10: '1.5' is not the count"),
    "endless count": ("soi", NEW.replace("2: 1", "9" * 5000 + ": 1"), "line 10: '9{39}…' is not the count"),
    "superscript": ("soi", NEW.replace("2: 1", "²: 1"), "line 10: '²' is not the count"),
    "old: no more than a number": ("soi", "3", "ends after 0 of 3 alternatives"),
    "old: superscript": ("soi", OLD.replace("3", "²", 1), "line 1: '²' is not the number of alternatives"),
    "old: more stated": ("soi", OLD.replace("3", "4", 1), "line 5 gives alternative 3 a second time"),
    "old: many more stated": (
        "soi",
        OLD.replace("3", "4", 1).replace("3,3,2", "9,9,2"),
        "line 5 names alternative 9 of the 4 that line 1 states",
    ),
    "old: fewer stated": ("soi", OLD.replace("3", "2", 1), "line 4 is '3,c' where voters,sum of counts,orders should"),
    "old: ends": ("soi", "2\n1,a\n2,b\n", "it ends where voters,sum of counts,orders should follow 2 alternatives"),
    "old: weighted": ("soi", OLD.replace("3,3,2", "3,4,2"), "line 5 has 3 voters but counts that sum to 4"),
    "old: voters": ("soi", OLD.replace("3,3,2", "4,4,2"), "counts sum to 3 where line 5 states 4 voters"),
    "old: orders": ("soi", OLD.replace("3,3,2", "3,3,1"), "line 7 is order 2 of the 1 that line 5 states"),
    "old: no order": ("soi", OLD.replace("2,1,2,3", "2"), "line 6 is '2'; write an order as count,a,b"),
    "too much work": ("soi", NEW.replace("ORDERS: 2", "ORDERS: 99999999999"), "99999999999 orders of 3 alternatives"),
}


@pytest.mark.parametrize("case", BAD)
def test_refused(tmp_path, case):
    suffix, content, message = BAD[case]
    with pytest.raises(ValueError, match=message) as caught:
        read(tmp_path, f"bad.{suffix}", content)
    text = str(caught.value)
    assert text.startswith(f"{tmp_path / 'bad'}.{suffix}: ")
    assert "\n" not in text
    assert text.endswith(".")


def test_limits(tmp_path, monkeypatch):
    monkeypatch.setattr(_preflib, "_MAX_LINE_BYTES", 20)
    with pytest.raises(ValueError, match="line 2 has more than 20 bytes"):
        read(tmp_path, "x.soi", NEW)
    monkeypatch.setattr(_preflib, "_MAX_FILE_BYTES", 20)
    with pytest.raises(ValueError, match="MiB"):
        read(tmp_path, "x.soi", NEW)


def survives(folder: Path, suffix: str, content: bytes, missing) -> None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # names that the damage emptied or made equal are told
            found = read(folder, f"any{suffix}", content, missing=missing)
    except ValueError:
        return
    preferences.check(found[0])


TIED = write_old(list("abcd"), [(12, [[0], [1, 2], [3]]), (3, [[3], [2]])])


@pytest.mark.thorough
@settings(max_examples=500)
@given(data=st.data(), missing=st.sampled_from([None, 0.5, "drop"]))
def test_damaged_files(scratch, data, missing):
    content = bytearray(data.draw(st.sampled_from([NEW, OLD, TIED])).encode())
    for _ in range(data.draw(st.integers(0, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.sampled_from(b"0123,{}: #\n\xc3\x00a"))
    end = data.draw(st.sampled_from([0, 0, *range(len(content))]))
    survives(scratch, data.draw(st.sampled_from(_preflib.SUFFIXES)), bytes(content[: len(content) - end]), missing)


@given(content=st.binary(max_size=200))
@example(content=b"2\n1,a\n2,b\n1,1,1\n1,\xff")
@example(content=b"#:\n#\n: \n")
def test_arbitrary_bytes(scratch, content):
    survives(scratch, ".toi", content, 0.5)


@pytest.mark.thorough
def test_published_files(shared_data):
    folder = shared_data / "preflib"
    described = json.loads((folder / "index.json").read_text())
    assert len(described) == len([name for name in os.listdir(folder) if name != "index.json"]) > 70
    for entry in described:
        i = entry["i"]
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always", UserWarning)
            found = preferences.read(folder / entry["file"], missing="drop")
        gone = entry["K"] < preferences.read(folder / entry["file"], missing=0.5)[0].shape[0]
        assert gone == any("left out" in str(w.message) for w in told), entry
        with np.load(shared_data / "preferences" / f"{entry['family']}.npz") as stored:
            assert np.array_equal(found[0], stored[f"P_{i}"]), entry
            assert np.array_equal(found.counts[0], stored[f"N_{i}"]), entry
            assert list(found.names[0]) == stored[f"names_{i}"].tolist(), entry
        assert (found.voters[0], len(found[0])) == (entry["voters"], entry["K"]), entry
