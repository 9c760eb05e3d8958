"""Pairs from files and their tokens: ids stay with pairs, and what cannot be used is refused by name."""

import dataclasses
import gzip
import hashlib
import json

import jax
import numpy as np
import pytest

from dynamics import llm

PERSONA = ("question", "answer_matching_behavior", "answer_not_matching_behavior")
HH = {"prompt": "\n\nHuman: Hello\n\nAssistant:", "chosen": " Hello to you.", "rejected": " Go away."}


def write(path, rows, zipped=False):
    text = "".join(json.dumps(row) + "\n" for row in rows)
    if zipped:
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture
def persona(tmp_path):
    for name in ("brave", "kind"):
        rows = [
            dict(zip(PERSONA, (f"Is {name} {i}?", *((" Yes", " No")[:: 1 - 2 * (i % 2)])), strict=True))
            for i in range(10)
        ]
        write(tmp_path / f"{name}.jsonl.gz", rows, zipped=True)
    (tmp_path / "index.json").write_text("{}")
    return f"persona:{tmp_path}"


def test_persona_files_are_read_by_behaviour(persona):
    pairs = llm.read(persona)
    assert pairs.behaviour == ("brave",) * 10 + ("kind",) * 10
    assert pairs[0] == ("Is brave 0?", " Yes", " No", pairs.id[0], "brave")
    assert pairs[1].chosen == " No"
    some = llm.read(persona, behaviours=["kind"], rows=3)
    assert some.id == pairs.id[10:13]
    assert some.behaviour == ("kind",) * 3
    assert llm.read(persona, behaviours=["kind", "brave"], rows=1).behaviour == ("kind", "brave")


def test_ids_are_of_the_texts_and_stay_with_subsets(persona):
    pairs = llm.read(persona)
    first = hashlib.sha256(b"Is brave 0?\0 Yes\0 No").hexdigest()[:12]
    assert pairs.id[0] == first
    assert len(set(pairs.id)) == 20
    order = np.random.default_rng(0).permutation(20)
    assert pairs[order].id == tuple(pairs.id[i] for i in order)
    assert pairs[:4].id + pairs[4:].id == pairs.id
    assert pairs[np.arange(20) % 2 == 0].prompt == pairs.prompt[::2]
    assert len(pairs[[]]) == 0
    assert [pair.id for pair in pairs] == list(pairs.id)
    assert pairs[-1] == pairs[19]


def test_hh_and_plain_rows(tmp_path):
    path = write(tmp_path / "hh.jsonl.gz", [HH], zipped=True)
    assert llm.read(f"hh:{path}")[0][:3] == tuple(HH.values())
    assert llm.read(f"hh:{path}").behaviour == ("hh",)
    plain = write(tmp_path / "own.jsonl", [HH | {"id": "a", "behaviour": "greets"}, HH | {"chosen": " Hi."}])
    pairs = llm.read(str(plain))
    assert pairs.id[0] == "a"
    assert pairs.behaviour == ("greets", "")


def test_flips_are_an_exact_share_of_each_behaviour(persona):
    plain = llm.read(persona)
    flipped = llm.read(persona, flip=0.3, key=jax.random.key(3))
    changed = np.array([a != b for a, b in zip(plain.chosen, flipped.chosen, strict=True)])
    assert changed[:10].sum() == changed[10:].sum() == 3
    assert not np.array_equal(changed[:10], changed[10:])
    for i in np.flatnonzero(changed):
        assert (flipped.chosen[i], flipped.rejected[i]) == (plain.rejected[i], plain.chosen[i])
    assert [a == b for a, b in zip(plain.id, flipped.id, strict=True)] == (~changed).tolist()
    assert llm.read(persona, flip=0.3, key=jax.random.key(3)) == flipped
    assert llm.read(persona, flip=0.3, key=jax.random.key(4)) != flipped


def test_pairs_without_use_are_refused_or_counted(tmp_path):
    rows = [HH, HH | {"chosen": ""}, HH | {"rejected": " \n"}, HH | {"chosen": " Go away."}]
    for bad, message in zip(rows[1:], ("empty chosen", "empty rejected", "two equal"), strict=True):
        path = write(tmp_path / "bad.jsonl", [HH, bad])
        with pytest.raises(ValueError, match=rf"bad.jsonl, line 2, has .*{message} answer"):
            llm.read(str(path))
        with pytest.raises(ValueError, match=rf"pair 0 .*{message} answer"):
            llm.Pairs(*((bad[name],) for name in ("prompt", "chosen", "rejected")))
    path = write(tmp_path / "bad.jsonl", rows)
    with pytest.warns(UserWarning, match=r"3 of 4 pairs were left out, first bad.jsonl, line 2\.$"):
        assert len(llm.read(str(path), skip_bad=True)) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"behaviours": ["kinds"]}, "did you mean 'kind'"),
        ({"behaviours": "kind"}, r"pass a list, \['kind'\]"),
        ({"rows": 0}, "rows = 0"),
        ({"flip": 1.5}, r"outside \[0, 1\]"),
        ({"flip": 0.5}, "flip needs key"),
    ],
)
def test_bad_options_name_the_remedy(persona, options, message):
    with pytest.raises(ValueError, match=message):
        llm.read(persona, **options)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "line 1, is not JSON"),
        ('{"prompt": "a", "chosen": " b"}', "has no text 'rejected'"),
        ('{"prompt": "a", "chosen": 3, "rejected": " c"}', "has no text 'chosen'"),
        ("[1]", "has no text 'prompt'"),
        ("", "holds no pair"),
    ],
)
def test_bad_files_name_the_line(tmp_path, text, message):
    path = tmp_path / "bad.jsonl"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        llm.read(str(path))


def test_missing_files_are_named(tmp_path):
    for source, message in (
        (f"persona:{tmp_path}", "holds no .jsonl"),
        (f"hh:{tmp_path / 'x.jsonl'}", "does not exist"),
        (str(tmp_path), "is not a file of rows"),
        ("nothing.csv", "is not a file of rows"),
    ):
        with pytest.raises(ValueError, match=message):
            llm.read(source)


def test_one_id_for_two_pairs_is_refused():
    with pytest.raises(ValueError, match="id 'a' belongs to two different pairs"):
        llm.Pairs(("p", "q"), (" x", " x"), (" y", " y"), ("a", "a"))
    with pytest.raises(ValueError, match="chosen holds 1 texts, prompt 2"):
        llm.Pairs(("p", "q"), (" x",), (" y", " y"))


@pytest.fixture
def tokenizer(language):
    return language.tokenizer


def by_hand(tokenizer, prompt, answer, eos):
    return tokenizer(prompt)["input_ids"], tokenizer(answer)["input_ids"] + [tokenizer.eos_token_id] * eos


@pytest.mark.parametrize("eos", [False, True])
def test_rows_are_prompt_and_answer_padded_on_the_right(pairs, tokenizer, eos):
    some = llm.Pairs(pairs.prompt[:4], (" Yes", " No", " Yes, nobody", " No"), (" No", " Yes, the sea", " No", " Yes"))
    batch = llm.encode(some, tokenizer, eos=eos)
    assert batch.ids.shape == batch.attention.shape == batch.completion.shape
    assert len(batch) == 4
    for row in range(8):
        prompt, answer = by_hand(tokenizer, some.prompt[row % 4], (some.chosen + some.rejected)[row], eos)
        kept = np.flatnonzero(batch.attention[row])
        assert kept.tolist() == list(range(len(prompt) + len(answer)))
        assert batch.ids[row, kept].tolist() == prompt + answer
        assert batch.ids[row, batch.completion[row]].tolist() == answer
        assert set(batch.ids[row, ~batch.attention[row]].tolist()) <= {tokenizer.pad_token_id}
    assert not batch.truncated.any()


def test_truncation_cuts_the_end_and_says_so(pairs, tokenizer):
    some = llm.Pairs(pairs.prompt[:1], (" Yes, nobody listens",), (" No, nobody listens",))
    prompt, answer = by_hand(tokenizer, some.prompt[0], some.chosen[0], True)
    batch = llm.encode(some, tokenizer, eos=True, max_length=len(prompt) + 2)
    assert batch.truncated.all()
    assert batch.ids[0].tolist() == prompt + answer[:2]
    assert batch.completion.sum(axis=1).tolist() == [2, 2]
    whole = llm.encode(some, tokenizer, eos=True, max_length=len(prompt) + len(answer))
    assert not whole.truncated.any()


def test_a_tokenizer_set_to_truncate_is_not_allowed_to(pairs, language, make):
    tokenizer = llm.load(make("llama", steps=30)).tokenizer
    tokenizer.backend_tokenizer.enable_truncation(6)
    assert len(tokenizer.backend_tokenizer.encode(pairs.prompt[0]).ids) == 6
    cut, whole = (llm.encode(pairs, t, eos=False) for t in (tokenizer, language.tokenizer))
    assert np.array_equal(cut.ids, whole.ids)


class Faulty:
    """A tokenizer that merges, strips or ends, as some do."""

    def __init__(self, kind):
        self.kind, self.eos_token_id, self.eos_token, self.pad_token_id = kind, 0, "<end>", None

    def __call__(self, texts, **_):
        ids = [list(text.rstrip().encode() if self.kind == "strips" else text.encode()) for text in texts]
        if self.kind == "merges":  # "a" and "b" into one token, across the boundary of prompt and answer
            ids = [[int(i) for i in " ".join(map(str, row)).replace("97 98", "500").split()] for row in ids]
        return {"input_ids": [[*row, 0] for row in ids] if self.kind == "ends" else ids}

    def convert_ids_to_tokens(self, ids):
        return [str(i) for i in ids]


@pytest.mark.parametrize(
    ("kind", "texts", "message"),
    [
        ("merges", ("a", "b", "c"), r"merges the prompt's end \['97'\] with the answer 'b' into \['500'\]"),
        ("merges", ("a", "cab", "c500"), None),
        ("strips", ("a", "\u2028b ", "\u2028b"), "answers with the same tokens"),
        ("ends", ("a", " b", " c"), "add_eos_token=False"),
        ("plain", ("", "b", "c"), "prompt without tokens"),
    ],
)
def test_what_a_tokenizer_does_to_answers_is_refused(kind, texts, message):
    pairs = llm.Pairs(*((text,) for text in texts))
    if message is None:
        assert llm.encode(pairs, Faulty(kind), eos=False).ids.shape == (2, 5)
    else:
        with pytest.raises(ValueError, match=message):
            llm.encode(pairs, Faulty(kind), eos=False)


def test_lengths_without_room_are_refused(pairs, tokenizer):
    some = llm.Pairs(pairs.prompt[:1], (" Yes, the sea",), (" Yes, nobody",))
    length = len(tokenizer(some.prompt[0])["input_ids"])
    with pytest.raises(
        ValueError, match=f"prompt of {length} tokens, which leaves no room for an answer within {length}"
    ):
        llm.encode(some, tokenizer, eos=False, max_length=length)
    with pytest.raises(ValueError, match=f"equal after truncation to {length + 1} tokens"):
        llm.encode(some, tokenizer, eos=False, max_length=length + 1)
    with pytest.raises(ValueError, match="pairs is empty"):
        llm.encode(some[:0], tokenizer, eos=False)
    endless = Faulty("plain")
    endless.eos_token_id = None
    with pytest.raises(ValueError, match="pass eos=False"):
        llm.encode(some, endless, eos=True)


def test_pairs_are_frozen(pairs):
    with pytest.raises(dataclasses.FrozenInstanceError):
        pairs.prompt = ()


def test_the_shared_sets_are_read(shared_data):
    pairs = llm.read(f"persona:{shared_data / 'persona'}", behaviours=["agreeableness"], rows=100)
    assert sorted(set(pairs.chosen)) == [" No", " Yes"]
    assert pairs.chosen.count(" Yes") == 50
    source = f"hh:{shared_data / 'hh' / 'harmless_base_test.jsonl.gz'}"
    with pytest.raises(ValueError, match="empty chosen answer"):
        llm.read(source)
    with pytest.warns(UserWarning, match="4 of 2307 pairs"):
        assert len(llm.read(source, skip_bad=True)) == 2303
