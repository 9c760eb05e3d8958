"""A sweep that is kept on disk: killed at any time, a full disk, another sweep's store; and two workers, one of them killed."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr
import zarr

import dynamics as dyn
from dynamics.cli import main
from dynamics.sweeps import _blocks, _plan, _store, summary

pytestmark = pytest.mark.usefixtures("optimised")

START = jax.nn.log_softmax(jnp.array([0.3, 0.0, -0.1]))
ROOT = Path(__file__).resolve().parents[2]
AXES = {"alpha": np.linspace(0, 1, 37), "lam": np.linspace(0, 1, 41)}
MEASURES = ("cycle_strength", "reward_margin", "top_response")


@pytest.fixture
def small_blocks(monkeypatch):
    """Blocks of 82 runs, the last of 41."""
    monkeypatch.setattr(_plan, "MIN_RUNS_PER_BLOCK", 100)
    monkeypatch.setattr(_plan, "MAX_RUNS_PER_BLOCK", 100)


def swept(store=None, rounds=50, **options):
    loop = dyn.SelfSampling(dyn.preferences.cyclic(3, 0.4), dyn.IPO(0.1), 0.5, 1.0)
    return dyn.sweep(
        loop, options.pop("over", AXES), measure=MEASURES, rounds=rounds, initial=START, store=store, **options
    )


@pytest.mark.thorough
def test_what_is_kept_is_what_is_computed(small_blocks, tmp_path):
    whole, kept = swept(), swept(tmp_path / "a")
    assert kept["alpha"].dims == ("alpha",)
    xr.testing.assert_identical(kept.load().drop_attrs(), whole.drop_attrs())
    assert kept["result"].attrs == whole["result"].attrs
    assert json.loads(kept.attrs["config"]) == json.loads(whole.attrs["config"])
    info = summary(tmp_path / "a")
    assert (info["blocks"], info["blocks_done"], info["runs"]) == (19, 19, 37 * 41)
    # Lazy: nothing is read until it is asked for.
    assert swept(tmp_path / "a")["cycle_strength"].chunks is not None


@pytest.mark.thorough
def test_devices_do_not_show(tmp_path):
    """Bit for bit, on one device and on three."""
    script = (
        "import sys; sys.path.insert(0, sys.argv[2]); import jax; jax.config.update('jax_enable_x64', True)\n"
        "jax.config.update('jax_num_cpu_devices', int(sys.argv[3]))\n"
        "import test_store, numpy; assert len(jax.local_devices()) == int(sys.argv[3])\n"
        "numpy.save(sys.argv[1], test_store.swept()['reward_margin'].values)"
    )
    found = []
    for devices in (1, 3):
        path = tmp_path / f"{devices}.npy"
        command = [sys.executable, "-c", script, str(path), str(Path(__file__).parent), str(devices)]
        subprocess.run(command, cwd=ROOT, check=True)
        found.append(np.load(path))
    np.testing.assert_array_equal(found[0], found[1])


@pytest.mark.thorough
def test_random_rounds_and_matrices_of_several_sizes(small_blocks, tmp_path):
    class Noisy(dyn.RoundMap):
        preference: jax.Array
        rate: jax.Array
        stochastic = True

        def __call__(self, logits, key=None):
            return 0.5 * logits + self.rate * jax.random.normal(key, logits.shape)

    noisy = Noisy(jnp.full((3, 3), 0.5), jnp.asarray(0.1))
    ask = lambda store: dyn.sweep(
        noisy,
        {"rate": np.linspace(0.1, 1, 230)},
        rounds=10,
        measure="final_entropy",
        key=jax.random.key(1),
        store=store,
    )
    np.testing.assert_array_equal(ask(tmp_path / "noisy")["final_entropy"], ask(None)["final_entropy"])
    matrices = [dyn.preferences.cyclic(K, 0.3) for K in (3, 5, 5, 3, 5)]
    loop = dyn.SelfSampling(matrices[0], dyn.IPO(0.2), 0.5, 1.0)
    ask = lambda store: dyn.sweep(
        loop, {"preference": matrices, "alpha": np.linspace(0, 1, 60)}, rounds=9, measure="final_entropy", store=store
    )
    with pytest.warns(UserWarning, match="for 300 of 300 runs"):
        kept = ask(tmp_path / "sizes")
    with pytest.warns(UserWarning, match="for 300 of 300 runs"):
        np.testing.assert_array_equal(kept["final_entropy"], ask(None)["final_entropy"])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"rounds": 51}, "its rounds is 50, here 51"),
        ({"over": AXES | {"lam": np.linspace(0, 0.9, 41)}}, "its values of lam differ"),
        ({"over": {"alpha": AXES["alpha"]}}, "its over lam is"),
    ],
)
def test_a_store_of_another_sweep_is_refused_by_name(small_blocks, tmp_path, change, said):
    swept(tmp_path / "a")
    with pytest.raises(ValueError, match=said):
        swept(tmp_path / "a", **change)


def test_other_code_measures_and_precision_are_another_sweep(small_blocks, tmp_path, monkeypatch):
    swept(tmp_path / "a")
    monkeypatch.setattr(_store, "code_of", lambda *parts, start: {"dynamics.rounds": "other"})
    with pytest.raises(ValueError, match=r"its code of dynamics\.\S+ is"):
        swept(tmp_path / "a")


def test_what_is_no_store_is_refused(tmp_path, capsys):
    (tmp_path / "file").write_text("text")
    (tmp_path / "folder").mkdir()
    for name in ("file", "folder", "folder/missing"):
        with pytest.raises(SystemExit) as stop:
            main(["results", str(tmp_path / name)])
        assert stop.value.code == 2
        assert "is not the store of a sweep" in capsys.readouterr().err
    (tmp_path / "folder" / "note").write_text("text")
    for name in ("file", "folder"):
        with pytest.raises(ValueError, match="is not the store of a sweep"):
            swept(tmp_path / name)
    assert [p.name for p in (tmp_path / "folder").iterdir()] == ["note"]
    with pytest.raises(ValueError, match="client= needs a store; pass store="):
        swept(client=object())


def test_a_full_disk_keeps_what_is_done_and_goes_on(small_blocks, tmp_path, monkeypatch, capsys):
    write, left = _blocks.write, iter(range(5))

    def full(*args):
        if next(left, None) is None:
            raise OSError(28, "No space left on device")
        write(*args)

    with monkeypatch.context() as patch:
        patch.setattr(_blocks, "write", full)
        with pytest.raises(OSError, match=r"no space left on device\); 5 of 19 blocks are kept"):
            swept(tmp_path / "a")
    main(["results", str(tmp_path / "a")])
    shown = capsys.readouterr().out
    assert "5 of 19 blocks (26%)" in shown
    assert "1517 runs of 50 rounds" in shown
    calls = []
    monkeypatch.setattr(_blocks, "write", lambda *args: (calls.append(args[2]), write(*args)))
    np.testing.assert_array_equal(swept(tmp_path / "a")["cycle_strength"], swept()["cycle_strength"])
    assert len(calls) == 14


def test_an_interrupt_keeps_what_is_done(small_blocks, tmp_path, monkeypatch):
    write, left = _blocks.write, iter(range(3))

    def interrupted(*args):
        write(*args)
        if next(left, None) is None:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(_blocks, "write", interrupted)
        with pytest.raises(KeyboardInterrupt):
            swept(tmp_path / "a")
    assert summary(tmp_path / "a")["blocks_done"] == 4
    np.testing.assert_array_equal(swept(tmp_path / "a")["cycle_strength"], swept()["cycle_strength"])


def test_a_creation_that_died_leaves_nothing(small_blocks, tmp_path, monkeypatch):
    died = tmp_path / ".a.999999999.abcdef"
    died.mkdir()

    def fails(*args, **options):
        raise RuntimeError("died while metadata is written")

    with monkeypatch.context() as patch:
        patch.setattr(zarr.Group, "create_array", fails)
        with pytest.raises(RuntimeError, match="died"):
            swept(tmp_path / "a")
    assert not (tmp_path / "a").exists()
    swept(tmp_path / "a")
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


SCRIPT = """
import sys
sys.path.insert(0, sys.argv[2])
import jax
jax.config.update("jax_enable_x64", True)
import test_store
from dynamics.sweeps import _plan
_plan.MIN_RUNS_PER_BLOCK = _plan.MAX_RUNS_PER_BLOCK = 100
test_store.swept(sys.argv[1])
"""


def killed_and_resumed(store: Path, kills: int, seed: int) -> int:
    """Starts the sweep anew until it ends by itself, killed so many times before; how many kills found it at work."""
    rng, found = np.random.default_rng(seed), 0
    command = [sys.executable, "-c", SCRIPT, str(store), str(Path(__file__).parent)]
    for n in range(kills):
        before = summary(store)["blocks_done"] if store.exists() else 0
        run = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE)
        # Some while metadata is made, most while blocks are.
        least = -1 if n % 4 == 0 else before
        made = lambda least=least: store.exists() and summary(store)["blocks_done"] > least
        while run.poll() is None and not made() and not list(store.parent.glob(f".{store.name}.*")):
            time.sleep(0.002)
        time.sleep(rng.uniform(0, 0.05))
        if run.poll() is None:
            found += 1
            run.send_signal(signal.SIGKILL)
        run.wait()
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return found


@pytest.mark.thorough
@pytest.mark.parametrize("kills", [3, pytest.param(20, marks=pytest.mark.slow)])
def test_kill_nine_at_any_time_loses_nothing(tmp_path, monkeypatch, kills):
    store = tmp_path / "killed"
    assert killed_and_resumed(store, kills, seed=kills) > 0
    for name in ("MIN_RUNS_PER_BLOCK", "MAX_RUNS_PER_BLOCK"):
        monkeypatch.setattr(_plan, name, 100)
    whole = swept()
    for variable in whole.data_vars:
        np.testing.assert_array_equal(swept(store)[variable], whole[variable])


SHARE = """
import sys, time; sys.path.insert(0, sys.argv[2])
import jax; jax.config.update('jax_enable_x64', True)
from dynamics.sweeps import _plan, _stored
_plan.MIN_RUNS_PER_BLOCK = _plan.MAX_RUNS_PER_BLOCK = 100
original = _stored.compute
def compute(plan, block, *rest):
    print(block[0].start, flush=True)
    time.sleep(float(sys.argv[3]))
    return original(plan, block, *rest)
_stored.compute = compute
from sweeps.test_store import swept
swept(sys.argv[1])
"""


def sharer(store, pause):
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])}
    return subprocess.Popen(
        [sys.executable, "-c", SHARE, str(store), str(ROOT), str(pause)],
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )


@pytest.mark.thorough
def test_processes_that_write_to_one_store_share_its_blocks(small_blocks, tmp_path):
    store = tmp_path / "shared"
    several = [sharer(store, 0.3) for _ in range(2)]
    done = [set(process.communicate(timeout=300)[0].split()) for process in several]
    assert [process.returncode for process in several] == [0, 0]
    assert not done[0] & done[1]
    assert len(done[0] | done[1]) == 19
    assert all(done)
    xr.testing.assert_identical(swept(store).load().drop_attrs(), swept().drop_attrs())


@pytest.mark.thorough
def test_the_block_of_a_process_that_was_killed_is_taken_over(small_blocks, tmp_path):
    store = tmp_path / "taken"
    slow = sharer(store, 600)
    begun = slow.stdout.readline()  # at its first block, which it will not finish
    other = sharer(store, 0)
    lines = [other.stdout.readline() for _ in range(18)]
    assert begun not in lines
    slow.kill()
    assert other.communicate(timeout=300)[0] == begun
    xr.testing.assert_identical(swept(store).load().drop_attrs(), swept().drop_attrs())
    slow.communicate()


def test_a_store_that_is_deleted_meanwhile_is_named(small_blocks, tmp_path, monkeypatch):
    store, write = tmp_path / "gone", _blocks.write

    def lose(*arguments):
        shutil.rmtree(store, ignore_errors=True)
        write(*arguments)

    monkeypatch.setattr(_blocks, "write", lose)
    with pytest.raises(OSError, match="was it deleted"):
        swept(store)


def test_another_kind_of_device_is_told(small_blocks, tmp_path, monkeypatch):
    store, taken = tmp_path / "moved", []

    def full(*arguments):
        if len(taken) == 5:
            raise OSError(28, "No space left on device")
        taken.append(1)
        return write(*arguments)

    write = _blocks.write
    monkeypatch.setattr(_blocks, "write", full)
    with pytest.raises(OSError, match="5 of 19 blocks are kept"):
        swept(store)
    monkeypatch.setattr(_blocks, "write", write)
    monkeypatch.setattr(_store, "processor", lambda: "another processor")
    with pytest.warns(UserWarning, match="and goes on on another processor; the last bits of its blocks may differ"):
        swept(store)


def test_a_worker_that_is_lost_while_the_sweep_is_sent(small_blocks, tmp_path, monkeypatch):
    distributed = pytest.importorskip("distributed")
    from distributed.comm.core import CommClosedError

    sent = []

    def closing(client, *arguments, **options):
        sent.append(1)
        if len(sent) < losses:
            raise CommClosedError("in <TCP (closed) ConnectionPool.scatter>: Stream is closed")
        return scatter(client, *arguments, **options)

    scatter = distributed.Client.scatter
    monkeypatch.setattr(distributed.Client, "scatter", closing)
    with distributed.Client(n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None) as client:
        losses = 3
        kept = swept(tmp_path / "a", client=client)
        losses = 100
        with pytest.raises(CommClosedError):
            swept(tmp_path / "b", client=client)
    assert len(sent) == 3 + 4
    np.testing.assert_array_equal(kept["cycle_strength"], swept()["cycle_strength"])


@pytest.mark.thorough
def test_two_workers_one_of_them_killed(small_blocks, tmp_path):
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as cluster,
        distributed.Client(cluster) as client,
    ):
        first = next(iter(client.run(os.getpid).values()))
        swept(tmp_path / "a", rounds=20, client=client)  # workers have compiled
        timer = threading.Timer(0.3, os.kill, (first, signal.SIGKILL))
        timer.start()
        kept = swept(tmp_path / "b", rounds=3000, client=client)
        timer.join()
    np.testing.assert_array_equal(kept["cycle_strength"], swept(rounds=3000)["cycle_strength"])
    assert summary(tmp_path / "b")["blocks_done"] == 19


BIG = """
import resource, sys
import jax
jax.config.update("jax_enable_x64", True)
import jax.numpy as jnp, numpy as np
import dynamics as dyn
loop = dyn.SelfSampling(dyn.preferences.cyclic(3, 0.4), dyn.IPO(0.1), 0.5, 1.0)
axis = np.linspace(0, 1, 10_000)
start = jax.nn.log_softmax(jnp.array([0.3, 0.0, -0.1]))
ds = dyn.sweep(loop, {"alpha": axis, "lam": axis}, measure="final_entropy", rounds=1, initial=start, store=sys.argv[1])
assert ds["final_entropy"].shape == (10_000, 10_000)
assert np.isfinite(ds["final_entropy"][::2500, ::2500].values).all()
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)
"""


@pytest.mark.slow
def test_a_hundred_million_points_fit_into_two_gibibytes(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", BIG, str(tmp_path / "big")], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert float(done.stdout) < 2.0
