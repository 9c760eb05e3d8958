"""Records and checkpoints of training runs that lost or changed a file."""

import os

import numpy as np
import pytest

import dynamics as dyn
from dynamics.llm import _record

PLACES = {
    "lost": os.remove,
    "cut": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "garbage": lambda path: path.write_bytes(bytes(255 - b for b in path.read_bytes())),
    "empty": lambda path: path.write_bytes(b""),
}


@pytest.fixture
def record(tmp_path):
    variables = {"loss": dyn.schema.VARIABLES["loss"], "batch_loss": dyn.schema.VARIABLES["batch_loss"]}
    made = dyn.llm.Record(tmp_path / "run.zarr", variables, attrs={"result": "running"})
    for step in range(5):
        made.append(step, {"loss": 1.0 / (step + 1), "batch_loss": 0.5})
    return made


def test_a_record_goes_on_where_it_was(record):
    again = _record.open_record(record.path)
    again.truncate(3)
    again.append(7, {"loss": 0.1, "batch_loss": 0.2})
    np.testing.assert_array_equal(dyn.llm.read_record(record.path).step, [0, 1, 2, 7])
    np.testing.assert_array_equal(dyn.llm.read_record(record.path).loss, [1.0, 0.5, 1 / 3, 0.1])


@pytest.mark.parametrize("kind", PLACES)
@pytest.mark.parametrize("file", ["loss/0", "step/0", "batch_loss/.zarray", ".zattrs"])
def test_a_damaged_record_is_refused_by_name(record, file, kind):
    PLACES[kind](record.path / file)
    with pytest.raises(ValueError, match=r"record \S+run\.zarr is damaged: its .* is missing or not .*; restore it"):
        dyn.llm.read_record(record.path)


@pytest.mark.parametrize("kind", ["cut", "garbage", "empty", "flipped"])
def test_a_damaged_checkpoint_is_refused_by_name(tmp_path, kind):
    torch = pytest.importorskip("torch")
    from dynamics.llm import _checkpoint

    _checkpoint.write(tmp_path, {"config": "{}", "weights": {"w": torch.ones(1000)}})
    path = tmp_path / "state.pt"
    assert _checkpoint.load(tmp_path, {}) is not None
    if kind == "flipped":
        content = bytearray(path.read_bytes())
        at = content.find(np.ones(1000, np.float32).tobytes()) + 400
        content[at] ^= 1
        path.write_bytes(bytes(content))
    else:
        PLACES[kind](path)
    with pytest.raises(
        ValueError, match=r"in \S+ is damaged: its file state\.pt is not .*; restore it from a copy, or"
    ):
        _checkpoint.load(tmp_path, {})
