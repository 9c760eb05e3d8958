"""`read` and `PreferenceSet`: every accepted form, every refused one, and arbitrary bytes."""

from __future__ import annotations

import contextlib
import gc
import gzip
import io
import json
import os
import struct
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dynamics import preferences
from dynamics.preferences import _csv, _npz

CYCLE = np.array([[0.5, 0.9, 0.1], [0.1, 0.5, 0.9], [0.9, 0.1, 0.5]])
PAIR = np.array([[0.5, 1.0], [0.0, 0.5]])


def npz(compressed: bool = False, **arrays) -> bytes:
    buffer = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(buffer, **arrays)
    return buffer.getvalue()


def read(folder: Path, name: str, content: bytes | str, **options) -> preferences.PreferenceSet:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return preferences.read(path, **options)


def refused(folder: Path, name: str, content: bytes | str, message: str) -> None:
    """One sentence that starts with the file and says what is wrong with it."""
    with pytest.raises(ValueError, match=message) as caught:
        read(folder, name, content)
    text = str(caught.value)
    assert text.startswith(f"{folder / name}")
    assert "\n" not in text
    assert ". " not in text


# .npz


def test_npz_of_one_matrix(tmp_path):
    for content in (npz(anything=CYCLE), npz(P=CYCLE), npz(compressed=True, P=CYCLE), npz(P=np.asfortranarray(CYCLE))):
        found = read(tmp_path, "one.npz", content)
        assert len(found) == 1
        assert np.array_equal(found[0], CYCLE)
    assert (found.counts, found.names, found.voters) == ((None,), (None,), (None,))
    assert found.source == str(tmp_path / "one.npz")
    swapped = read(tmp_path, "ONE.NPZ", npz(P=CYCLE.astype(">f4")))
    assert np.array_equal(swapped[0], CYCLE.astype(np.float32))


def test_npz_stack(tmp_path):
    stack = np.stack([CYCLE, CYCLE.T])
    content = npz(P=stack, N=np.full((2, 3, 3), 7), n_voters=np.array([7, 9]), names=np.array(list("abc")), kind="x")
    found = read(tmp_path, "stack.npz", content)
    assert np.array_equal(np.stack(list(found)), stack)
    assert np.array_equal(found.counts[1], np.full((3, 3), 7))
    assert found.voters == (7, 9)
    assert found.names == (("a", "b", "c"),) * 2
    own = read(tmp_path, "own.npz", npz(P=stack, names=np.array([list("abc"), list("xyz")])))
    assert own.names == (("a", "b", "c"), ("x", "y", "z"))


def test_npz_numbered(tmp_path):
    many = {f"P_{m}": CYCLE if m % 2 else PAIR for m in range(11)}
    found = read(tmp_path, "numbered.npz", npz(**many, N_1=np.full((3, 3), 4), names_0=np.array(["Zoë", "b"]), K=1))
    assert [len(P) for P in found] == [2, 3] * 5 + [2]
    assert found.by_size() == {2: (0, 2, 4, 6, 8, 10), 3: (1, 3, 5, 7, 9)}
    assert found.counts[0] is None
    assert np.array_equal(found.counts[1], np.full((3, 3), 4))
    assert found.names[:2] == (("Zoë", "b"), None)


BAD_NPZ = {
    "nothing inside": (npz(), "it holds nothing"),
    "foreign": (npz(weights=PAIR, bias=PAIR), r"it holds 'weights', 'bias'; pass one"),
    "foreign member": (npz(**{f"a{i}": PAIR for i in range(20)}), "and 12 more"),
    "unnamed stack": (npz(data=np.stack([PAIR, PAIR])), "a stack .* under the name P"),
    "both forms": (npz(P=PAIR, P_0=PAIR), "both P and P_0"),
    "gap": (npz(P_0=PAIR, P_2=PAIR), "P_2 but no P_1"),
    "stray counts": (npz(P_0=PAIR, N_1=PAIR), "N_1 but no matrix"),
    "objects": (npz(P=np.array([[0.5, "a"]], dtype=object)), "dtype object"),
    "complex": (npz(P=PAIR.astype(complex)), "complex128"),
    "records": (npz(P=np.zeros(2, dtype=[("a", float)])), "dtype"),
    "strings": (npz(P=PAIR.astype(str)), "real numbers"),
    "no matrices": (npz(P=np.zeros((0, 3, 3))), "0 matrices"),
    "one response": (npz(P=np.array([[0.5]])), r"matrices\[0\].*K ≥ 2"),
    "too many responses": (npz(P=np.full((_npz.MAX_RESPONSES + 1, 1), 0.5)), "shape|K = 4097|K ≥ 2"),
    "bad entry": (npz(P=np.stack([CYCLE, CYCLE + 0.2])), r"matrices\[1\]\[0, 1\] = 1\.1"),
    "bad entry, numbered": (npz(P_0=PAIR, P_1=PAIR * np.nan), r"matrices\[1\]\[0, 0\] = nan"),
    "asymmetric counts": (npz(P_0=PAIR, N_0=np.array([[0, 1], [2, 0]])), r"counts\[0\]\[0, 1\] = 1 but"),
    "negative counts": (npz(P_0=PAIR, N_0=-np.ones((2, 2))), r"counts\[0\]\[0, 0\] = -1 is not a count"),
    "counts of another shape": (npz(P_0=PAIR, N_0=CYCLE), r"counts\[0\] has shape \(3, 3\)"),
    "stacked counts of another shape": (npz(P=PAIR[None], N=PAIR), r"N has shape \(2, 2\)"),
    "too few names": (npz(P_0=PAIR, names_0=np.array(["a"])), r"names\[0\] has 1 entries"),
    "too few shared names": (npz(P=PAIR, names=np.array(["a"])), r"names has shape \(1,\)"),
    "numbers for names": (npz(P_0=PAIR, names_0=np.arange(2)), "int64; store a vector of K strings"),
    "surrogates in names": (npz(P_0=PAIR, names_0=np.array(["\ud800", "b"])), "not Unicode text"),
    "too few voters": (npz(P=np.stack([PAIR, PAIR]), n_voters=np.array([1])), r"n_voters has shape \(1,\)"),
    "negative voters": (npz(P=PAIR, n_voters=np.array([-1])), r"voters\[0\] = -1"),
    "empty": (b"", "damaged or not .npz content"),
    "text": (b"winner,loser\na,b\n", "damaged or not .npz content"),
    "an .npy file": (npz(P=PAIR)[30:], "damaged or not .npz content|damaged"),
    "truncated": (npz(P=CYCLE)[:-30], "damaged or not .npz content"),
}


@pytest.mark.parametrize("case", BAD_NPZ)
def test_npz_refused(tmp_path, case):
    refused(tmp_path, "bad.npz", *BAD_NPZ[case])


def archive(member: bytes, compression: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as file:
        file.writestr("P.npy", member)
    return buffer.getvalue()


def header(shape: str, descr: str = "'<f8'") -> bytes:
    text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}}}".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


@pytest.mark.parametrize(
    ("member", "message"),
    [
        (b"", "damaged"),
        (b"\x93NUMPY\x09\x00", "damaged"),
        (header("(2, 2)") + bytes(31), "claims 32 bytes of data but has 31|claims shape"),
        (header("(2, 2)") + bytes(33), "claims 32 bytes of data but has 33"),
        (header("(4000000000, 4000000000)"), "claims shape"),
        (header("(-2, -2)") + bytes(32), "claims shape"),
        (header("(2, 2)", "'<U0'"), "dtype"),
        (header("(2, 2)", "'|O'") + bytes(32), "dtype object"),
        (header("__import__('os').getcwd()"), "damaged"),
        (header("(" * 4000), "damaged"),
    ],
)
def test_npz_of_a_forged_array_is_refused(tmp_path, member, message):
    refused(tmp_path, "forged.npz", archive(member), message)


def declaring(content: bytes, size: int) -> bytes:
    """An archive of one entry whose directory claims that it unpacks to ``size`` bytes."""
    at = content.rindex(b"PK\x01\x02") + 24
    return content[:at] + struct.pack("<I", size) + content[at + 4 :]


def test_npz_bombs_are_refused_before_they_are_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr(_npz, "_read_array", None)
    refused(tmp_path, "bomb.npz", npz(compressed=True, P=np.full((3000, 3000), 0.5)), "made to exhaust memory")
    # An entry that declares 4 GiB, whatever it holds.
    refused(tmp_path, "huge.npz", declaring(archive(b"x" * 100), 2**32 - 2), "unpacks to 4096 MiB")
    monkeypatch.setattr(_npz, "_MAX_MATRICES", 2)
    refused(tmp_path, "many.npz", npz(**{f"P_{m}": PAIR for m in range(8)}), "8 arrays")


def test_npz_never_unpacks_more_than_an_entry_declares(tmp_path):
    packed = archive(header("(2, 2)") + bytes(10**6), zipfile.ZIP_DEFLATED)
    refused(tmp_path, "liar.npz", declaring(packed, len(header("(2, 2)")) + 32), "damaged")


@pytest.mark.parametrize("compression", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_npz_packed_in_other_ways_is_refused(tmp_path, compression):
    refused(tmp_path, "bad.npz", archive(header("(2, 2)") + bytes(32), compression), "compressed in an unknown way")


# .csv


@pytest.mark.parametrize(
    "text",
    [
        "winner,loser\na,b\nb,a\na,b\na,b\n",
        "\ufeffWinner , LOSER\r\na,b\r\n\r\nb , a\r\na,b\r\na,b",
        '"winner","loser","count"\n"a","b",3\nb,a,1\n',
        "winner,loser,count\na,b,1\nb,a,1\na,b,2.0\n",
        ",a,b\na,0,3\nb,1,0\n",
        "any cell, a ,b\na,,3\n\nb,1e0,\n",
    ],
)
def test_csv(tmp_path, text):
    found = read(tmp_path, "wins.csv", text)
    assert np.array_equal(found[0], [[0.5, 0.75], [0.25, 0.5]])
    assert np.array_equal(found.counts[0], [[0, 4], [4, 0]])
    assert found.names == (("a", "b"),)
    assert found.voters == (None,)


def test_csv_names_are_text_and_come_in_order_of_appearance(tmp_path):
    text = 'winner,loser,count\n"Ålesund, N",10,1\n10,"b\n""c""",1\n"Ålesund, N","b\n""c""",2\n'
    found = read(tmp_path, "wins.csv", text)
    assert found.names == (("Ålesund, N", "10", 'b\n"c"'),)
    assert np.array_equal(found[0], [[0.5, 1, 1], [0, 0.5, 1], [0, 0, 0.5]])


def test_csv_header_decides_the_form(tmp_path):
    """Long form iff the header says so, even where the names make it look like a table."""
    table = read(tmp_path, "table.csv", "first,winner,loser\nwinner,0,1\nloser,3,0\n")
    assert table.names == (("winner", "loser"),)
    assert table[0][0, 1] == 0.25


def test_csv_missing_pairs(tmp_path):
    text = "winner,loser\na,b\nb,c\n"
    refused(tmp_path, "wins.csv", text, "wins of 'a' over 'c' and the wins of 'c' over 'a' are both 0")
    assert read(tmp_path, "wins.csv", text, missing=0.5)[0][0, 2] == 0.5
    with pytest.raises(ValueError, match=r"missing = 0\.1"):
        read(tmp_path, "wins.csv", text, missing=0.1)


BAD_CSV = {
    "empty": ("", "it is empty"),
    "blank": ("\n \n,,\n", "it is empty"),
    "header only": ("winner,loser\n", "no comparisons"),
    "short row": ("winner,loser,count\na,b\n", "line 2 has 2 cells under a header of 3"),
    "long row": ("winner,loser\na,b\nb,a,1\n", "line 3 has 3 cells"),
    "self": ("winner,loser\na,a\n", "name two different responses"),
    "nameless": ("winner,loser\n,a\n", "name two different responses"),
    "word for count": ("winner,loser,count\na,b,many\n", "line 2 has count = 'many', which is not a count"),
    "negative count": ("winner,loser,count\na,b,-1\n", "line 2 has count = '-1', which is not a count"),
    "nan count": ("winner,loser,count\na,b,nan\n", "line 2 has count = 'nan', which is not a count"),
    "infinite count": ("winner,loser,count\na,b,1e999\n", "line 2 has count = '1e999', which is not a count"),
    "underscore count": ("winner,loser,count\na,b,1_0\n", "line 2 has count = '1_0', which is not a count"),
    "inexact count": ("winner,loser,count\na,b,1e300\n", r"the wins of 'a' over 'b' = 1e\+300 is above"),
    "other separator": ("sep=:\nwinner:loser\na:b\n", "separate cells by , ; | or a tab"),
    "other header": (
        "winner,looser\na,b\n",
        "its header has the columns 'winner', 'looser', which are those of no known",
    ),
    "column twice": ("winner,loser,winner\na,b,c\n", "two columns named 'winner'"),
    "order": (",a,b\nb,0,1\na,1,0\n", "line 2 starts with 'b' where the header has 'a'"),
    "extra row": (",a,b\na,0,1\nb,1,0\nc,1,1\n", "line 4 starts with 'c' where the header has 'nothing more'"),
    "missing row": (",a,b\na,0,1\n", "the row of 'b' is missing"),
    "ragged": (",a,b\na,0\nb,1,0\n", "line 2 has 2 cells under a header of 3"),
    "hole": (",a,b\na,0,\nb,1,0\n", "line 2: '' is not a count"),
    "twice": (",a,a\na,0,1\na,1,0\n", "the name 'a' empty or repeated"),
    "diagonal": (",a,b\na,2,1\nb,1,0\n", "'a' over 'a' = 2 is on the diagonal"),
    "one response": (",a\na,0\n", "1 named columns"),
    "open quote": ('winner,loser\n"a,b\n', "line 2: .*comma-separated"),
    "odd quote": ('winner,loser\n"a"b,c\n', "line 2: .*comma-separated"),
    "latin-1": ("winner,loser\nZoë,b\n".encode("latin-1"), "not UTF-8"),
    "utf-16 without a mark": ("winner,loser\na,ü\n".encode("utf-16-le"), "UTF-8|NUL|null|winner"),
    "huge cell": ("winner,loser\n" + "a" * 200_000 + ",b\n", "line 2: field larger than"),
    "huge name": ("winner,loser\n" + "a" * 1000 + "," + "a" * 1000 + "\n", "'a{39}…'"),
    "many names": ("winner,loser\n" + "".join(f"{i},x\n" for i in range(100_000)), "at most 4096 responses"),
    "many columns": ("," * 5000 + "a\n", "at most 4096 responses"),
}


@pytest.mark.parametrize("case", BAD_CSV)
def test_csv_refused(tmp_path, case):
    refused(tmp_path, "bad.csv", *BAD_CSV[case])


def test_utf_16_with_its_mark_is_read(tmp_path):
    for encoding in ("utf-16", "utf-16-be"):
        file = tmp_path / f"{encoding}.csv"
        mark = b"\xfe\xff" if encoding == "utf-16-be" else b""
        file.write_bytes(mark + "winner,loser,count\nZoë,b,3\nb,Zoë,1\n".encode(encoding))
        found = preferences.read(file)
        assert found.names == (("Zoë", "b"),)
        assert float(found.matrices[0][0, 1]) == 0.75


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("a,b,c\n,3,1\n1,,2\n3,2,\n", 0.75),
        ("a;b;c\n50;75;25\n25;50;75\n75;25;50\n", 0.75),
    ],
)
def test_rows_without_names_follow_the_header(tmp_path, text, first):
    (tmp_path / "unnamed.csv").write_text(text)
    found = preferences.read(tmp_path / "unnamed.csv")
    assert found.names == (("a", "b", "c"),)
    assert float(found.matrices[0][0, 1]) == first
    assert "order of its header" in found.notes[0]


@pytest.mark.parametrize("rows", ["0,1,2\n3,0,4\n5,6,0\n", "0.5,0.2,0.9\n0.9,0.5,0.1\n0.1,0.2,0.5\n"])
def test_rows_without_names_that_could_be_records_are_refused(tmp_path, rows):
    refused(tmp_path, "unclear.csv", "a,b,c\n" + rows, "of no known form")


def test_csv_limits(tmp_path, monkeypatch):
    text = "winner,loser\na,b\nb,a\na,b\n"
    monkeypatch.setattr(_csv, "_MAX_ROWS", 2)
    refused(tmp_path, "rows.csv", text, "more than 2 rows")
    monkeypatch.setattr(_csv, "_MAX_LINE_LENGTH", 8)
    refused(tmp_path, "line.csv", text, "line 1 has 13 characters")
    monkeypatch.setattr(_csv, "_MAX_LINE_LENGTH", 80)
    monkeypatch.setattr(_csv, "_MAX_FILE_BYTES", 20)
    refused(tmp_path, "file.csv", text, "MiB")


# any file


def test_paths_that_are_no_files(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.csv does not exist"):
        preferences.read(tmp_path / "none.csv")
    (tmp_path / "folder.npz").mkdir()
    with pytest.raises(ValueError, match="is a folder"):
        preferences.read(str(tmp_path / "folder.npz"))
    os.mkfifo(tmp_path / "pipe.csv")
    with pytest.raises(ValueError, match="not a regular file"):
        preferences.read(tmp_path / "pipe.csv")
    refused(tmp_path, "wins.txt", "winner,loser\na,b\n", r"suffix '\.txt'")
    refused(tmp_path, "wins", "winner,loser\na,b\n", "suffix ''")
    with pytest.raises(ValueError, match="cannot be read"):
        preferences.read(tmp_path / ("x" * 5000 + ".csv"))


FILES = {
    "wins.csv": b"winner,loser\na,b\nb,a\n",
    "bad.csv": b"winner,loser\na\n",
    "latin-1.csv": "winner,loser\nZoë,b\n".encode("latin-1"),
    "matrix.npz": npz(P=PAIR),
    "bad.npz": npz(P=PAIR)[:-30],
    "orders.soc": b"2\n1,a\n2,b\n1,1,1\n1,1,2\n",
    "bad.soc": b"2\n1,a\n",
    "scores.jsonl": b'{"prompt": "p", "response": "r", "help_score": 1}\n' * 2,
    "bad.jsonl": b"[1, 2]\n[3]\n",
    "scores.jsonl.gz": gzip.compress(b'{"prompt": "p", "response": "r", "help_score": 1}\n' * 2),
    "bad.jsonl.gz": gzip.compress(b"[1, 2]\n[3]\n"),
}


@pytest.mark.thorough
@pytest.mark.parametrize("name", FILES)
def test_files_are_closed(tmp_path, name):
    (tmp_path / name).write_bytes(FILES[name])
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", ResourceWarning)
        with pytest.raises(ValueError, match=name) if "bad" in name or "latin" in name else contextlib.nullcontext():
            preferences.read(tmp_path / name)
        gc.collect()
    assert not [str(w.message) for w in told if issubclass(w.category, ResourceWarning)]


def test_no_right_to_read(tmp_path, monkeypatch):
    (tmp_path / "wins.csv").write_text("winner,loser\na,b\n")
    (tmp_path / "wins.csv").chmod(0)
    if os.geteuid() == 0:
        # The superuser may read everything, so the refusal has to be played.
        def deny(*_, **__):
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(Path, "open", deny)
    with pytest.raises(PermissionError, match=r"wins\.csv may not be read"):
        preferences.read(tmp_path / "wins.csv")


VALID = {
    ".npz": [
        npz(P=CYCLE),
        npz(compressed=True, P=np.stack([CYCLE, CYCLE]), N=np.ones((2, 3, 3), int), n_voters=np.array([3, 4])),
        npz(P_0=PAIR, N_0=np.full((2, 2), 9), names_0=np.array(["a", "b"]), P_1=CYCLE, n_voters=np.array([1, 2])),
    ],
    ".csv": [
        b"winner,loser,count\na,b,3\nb,a,1\n",
        b"winner,loser\na,b\nb,c\nc,a\n",
        b'"",a,b\r\na,0,3\r\nb,"1",0\r\n',
    ],
}


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    return tmp_path_factory.mktemp("bytes")


def survives(folder: Path, suffix: str, content: bytes) -> None:
    try:
        found = read(folder, f"any{suffix}", content, missing=0.5)
    except ValueError:
        return
    for P in found:
        preferences.check(P)


@settings(max_examples=300, deadline=None)
@given(suffix=st.sampled_from([".npz", ".csv"]), content=st.binary(max_size=400))
@example(suffix=".npz", content=b"PK\x05\x06" + bytes(18))
@example(suffix=".csv", content=b"winner,loser\n\0,\0\0\n")
def test_arbitrary_bytes(scratch, suffix, content):
    survives(scratch, suffix, content)


@settings(max_examples=300, deadline=None)
@given(text=st.text(alphabet='ab,"\n\r 01-.\0é', max_size=60), head=st.sampled_from(["", "winner,loser\n", ",a,b\n"]))
def test_arbitrary_tables(scratch, text, head):
    survives(scratch, ".csv", (head + text).encode())


@pytest.mark.thorough
@settings(max_examples=600, deadline=None)
@given(data=st.data(), suffix=st.sampled_from([".npz", ".csv"]))
def test_damaged_files(scratch, data, suffix):
    content = bytearray(data.draw(st.sampled_from(VALID[suffix])))
    for _ in range(data.draw(st.integers(0, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    start, end = data.draw(st.integers(0, 3)), data.draw(st.sampled_from([0, 0, *range(len(content))]))
    cut = content[start if start == 1 else 0 : len(content) - end]
    survives(scratch, suffix, bytes(cut))


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_damaged_arrays_with_a_right_checksum(scratch, data):
    member = bytearray(header("(2, 2)") + PAIR.tobytes())
    for _ in range(data.draw(st.integers(1, 4))):
        member[data.draw(st.integers(0, len(member) - 1))] = data.draw(st.integers(0, 255))
    survives(scratch, ".npz", archive(bytes(member)))


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".npz", ".csv"])
def test_every_flipped_byte(tmp_path, suffix):
    for content in VALID[suffix]:
        for at in range(len(content)):
            for bits in (0x01, 0x80, 0xFF):
                survives(tmp_path, suffix, content[:at] + bytes([content[at] ^ bits]) + content[at + 1 :])


# PreferenceSet


def test_set():
    built = preferences.PreferenceSet([CYCLE, PAIR, CYCLE], voters=[3, None, 4], names=[list("abc"), None, None])
    assert len(built) == 3
    assert [len(P) for P in built] == [3, 2, 3]
    assert np.array_equal(built[-2], PAIR)
    tail = built[1:]
    assert isinstance(tail, preferences.PreferenceSet)
    assert (tail.voters, tail.names, tail.by_size()) == ((None, 4), (None, None), {2: (0,), 3: (1,)})
    assert repr(built) == "PreferenceSet(3 matrices, K = 2–3, with names, voters)"
    assert repr(preferences.PreferenceSet([PAIR], source="x.csv")) == "PreferenceSet(1 matrix, K = 2, from x.csv)"
    with pytest.raises(IndexError):
        built[3]
    with pytest.raises(ValueError, match="empty"):
        built[3:]
    with pytest.raises(AttributeError):
        built.source = "elsewhere"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"matrices": []}, "matrices is empty"),
        ({"matrices": [PAIR, CYCLE * 2]}, r"matrices\[1\]\[0, 1\] = 1\.8"),
        ({"matrices": [PAIR], "voters": [1, 2]}, "voters has 2 entries for 1 matrices"),
        ({"matrices": [PAIR], "voters": [1.5]}, r"voters\[0\] = 1\.5"),
        ({"matrices": [PAIR], "voters": [float("nan")]}, r"voters\[0\] = nan"),
        ({"matrices": [PAIR], "names": [["a"]]}, r"names\[0\] has 1 entries"),
    ],
)
def test_set_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        preferences.PreferenceSet(**arguments)


# real data


def test_real_files(shared_data):
    folder = shared_data / "preferences"
    for family in json.loads((folder / "index.json").read_text())["families"][:12]:
        found = preferences.read(folder / family["npz"])
        with np.load(folder / family["npz"]) as archive:
            stored = dict(archive)
        assert len(found) == len(family["matrices"])
        for m, described in enumerate(family["matrices"]):
            assert np.array_equal(found[m], stored[f"P_{m}"])
            assert np.array_equal(found.counts[m], stored[f"N_{m}"])
            assert list(found.names[m]) == stored[f"names_{m}"].tolist()
            assert (found.voters[m], len(found[m])) == (described["voters"], described["K"])
