"""The run for a GPU, at toy size on the CPU: pack, stages, tables; and the pruned vocabulary that travels."""

import csv
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the extra llm: pip install '.[llm]'")
pytest.importorskip("peft", reason="needs the extra llm-trl: pip install '.[llm-trl]'")

from dynamics import llm
from experiments.gpu import _kept, _pack, _prune, _tables, _texts, collect, stages

ROOT = Path(__file__).resolve().parents[2]
STAGES = ("s0", "s1", "s2", "s3", "s4", "s5")


def python(*words):
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, *words], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """(pack, results) of the toy run."""
    place = tmp_path_factory.mktemp("gpu")
    packed = python("-m", "experiments.gpu.prepare", "--toy", "--out", str(place / "pack"))
    assert packed.returncode == 0, packed.stderr
    words = ["--toy", "--pack", str(place / "pack"), "--out", str(place / "out")]
    done = python("-m", "experiments.gpu.stages", *words)
    assert done.returncode == 0, done.stdout + done.stderr
    return place / "pack", place / "out"


@pytest.fixture(scope="module")
def results(folders):
    return {name: _kept.read(folders[1] / f"{name}.npz") for name in STAGES}


def test_few_files_come_back_and_every_stage_is_complete(folders):
    summary = json.loads((folders[1] / "stages.json").read_text())
    assert {name: told["result"] for name, told in summary["stages"].items()} == dict.fromkeys(STAGES, "complete")
    assert all(told["notes"] == [] for told in summary["stages"].values())
    assert len(list(folders[1].iterdir())) <= 8
    assert "/" not in summary["command"]


def test_the_same_function_is_measured_again(results):
    facts, _ = results["s0"]
    assert facts["cases"]["float32"]["within"]
    assert facts["cases"]["float64"]["log_prob"] < 1e-4 < facts["cases"]["bf16"]["log_prob"]


def test_rounds_on_the_model_follow_the_simulator_where_each_is_solved(results):
    runs = _tables.runs(results["s1"])
    solved = [name for name in runs if "Adam" not in name]
    assert len(solved) == 3
    assert all(float(runs[name].total_variation.max()) < 1e-3 for name in solved)
    assert float(runs["IPO, beta 0.20, Adam, 10 steps"].total_variation.max()) > 1e-2  # ten steps are no optimum


@pytest.mark.parametrize("stage", ["s2", "s3"])
def test_margins_belong_to_the_statements_that_were_packed(folders, results, stage):
    pack = _pack.Pack.read(folders[0])
    facts, arrays = results[stage]
    trained = {case: told for case, told in facts["cases"].items() if "behaviours" in told}
    assert len(trained) == {"s2": 2, "s3": 4}[stage]
    for case, told in trained.items():
        some = _texts.of(pack.pairs(), tuple(told["behaviours"]))
        assert arrays[f"{case}/id"].astype(str).tolist() == list(some.id)
        margin, inside = _tables.margins(results[stage], case)
        ds = _kept.dataset_of(facts, arrays, case)
        at = [some.id.index(name) for name in ds.example.values]
        exact = 1e-5 if "bf16" not in case else 1e-2  # measured in float32 after training under autocast
        np.testing.assert_allclose(ds.reward_margin.values[-1], margin[at], atol=exact)
        assert (inside[at] == (ds.split == "train").values).all()


def test_the_flow_is_that_of_the_training_half(results):
    facts, arrays = results["s2"]
    along = arrays["flow, K = 2/margin"]
    inside = arrays["adapter, K = 2/inside"]
    assert along[0].max() == along[0].min() == 0
    assert (np.diff(along[:, inside].mean(axis=1)) > 0).all()
    assert facts["cases"]["flow, K = 2"]["k"] == 2


def test_the_two_platforms_of_the_sweeps_agree(results):
    compared = [told for told in results["s5"][0]["cases"].values() if "ratio" in told]
    assert len(compared) == 2
    assert all(
        told[f"difference of {m}"] < 1e-12 < told[f"largest {m}"] for told in compared for m in ("final_entropy",)
    )


def test_tables_and_the_figure_are_made(folders, tmp_path):
    assert collect.main([str(folders[1]), "--out", str(tmp_path)]) == 0
    names = {path.name for path in tmp_path.glob("gpu_*.csv")}
    assert names == {f"gpu_{n}.csv" for n in ("identity", "rounds", "adapters", "whole", "throughput", "sweeps")}
    text = (tmp_path / "gpu_rounds.csv").read_text().splitlines()
    assert text[0].startswith("# python -m experiments.gpu.stages")
    assert any(line.startswith("# version_torch") for line in text)
    rows = list(csv.DictReader(line for line in text if not line.startswith("#")))
    assert {"IPO, beta 0.20", "IPO, beta 0.20, all weights"} <= {row["of"] for row in rows}
    assert (tmp_path / "gpu.png").stat().st_size > 10_000


def test_a_case_too_large_loses_its_arrays_and_no_other(tmp_path):
    kept = _kept.Kept(tmp_path, "s9", 4096)
    kept.case("small", {"value": 1}, arrays={"x": np.arange(3)})
    kept.case("large", {"value": 2}, arrays={"x": np.random.default_rng(0).normal(size=2000)})
    facts, arrays = _kept.read(tmp_path / "s9.npz")
    assert [told["value"] for told in facts["cases"].values()] == [1, 2]
    assert list(arrays) == ["small/x"]
    assert "large" in facts["notes"][0]
    assert kept.path.stat().st_size <= 4096


@pytest.mark.skipif(not hasattr(stages.signal, "setitimer"), reason="this system has no timers")
def test_a_stage_that_hangs_is_stopped():
    with pytest.raises(stages.Stopped), stages._limit(0.05):
        time.sleep(5)


def test_a_pruned_model_is_the_same_function_of_the_same_tokens(tmp_path):
    pytest.importorskip("gguf", reason="needs the extra llm: pip install '.[llm]'")
    from gguf_files import tiny, write

    whole = write(tmp_path / "whole.gguf", tiny(), quantised=True)
    before = llm.load(llm.convert(whole, tmp_path / "before"))
    texts = ["the band and", "a banana. é\n", "the  ban"]
    ids = {i for row in before.tokenizer(texts)["input_ids"] for i in row}
    kept = _prune.prune(whole, tmp_path / "pruned.gguf", ids)
    after = llm.load(llm.convert(tmp_path / "pruned.gguf", tmp_path / "after"))
    assert 256 + 4 < len(kept) < before.model.config.vocab_size
    for text in texts:
        assert kept[after.tokenizer(text)["input_ids"]].tolist() == before.tokenizer(text)["input_ids"]
    pairs = llm.Pairs(("the band", "a ban"), (" and", "."), (".", " and"))
    ours, theirs = (llm.features(x, pairs, progress=False) for x in (after, before))
    np.testing.assert_array_equal(ours.feature.values, theirs.feature.values)
    np.testing.assert_array_equal(kept[ours.chosen_token.values], theirs.chosen_token.values)


def test_parts_make_the_whole_again_and_a_broken_one_is_refused(tmp_path):
    (tmp_path / "whole").write_bytes(bytes(range(256)) * 10)
    names, digest = _pack.split(tmp_path / "whole", tmp_path / "pack", 1000)
    assert [len((tmp_path / "pack" / str(i + 1) / name).read_bytes()) for i, name in enumerate(names)] == [
        1000,
        1000,
        560,
    ]
    _pack.write_manifest(tmp_path / "pack" / "1", {"parts": names, "sha256": digest})
    (tmp_path / "pack" / "2" / names[1]).write_bytes(b"x" * 1000)
    with pytest.raises(ValueError, match="carry them again"):
        _pack.Pack.read(tmp_path / "pack").model(tmp_path)
    (tmp_path / "pack" / "2" / names[1]).unlink()
    with pytest.raises(ValueError, match=r"lacks part-2\.bin"):
        _pack.Pack.read(tmp_path / "pack").model(tmp_path)
