"""What a process is: a kept sweep is never another process's, and never lost over what does not enter its numbers."""

import collections
import enum
import functools
import importlib
import json
import linecache
import os
import shutil
import subprocess
import sys
import threading
import types
from pathlib import Path
from typing import ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import dynamics as dyn
from dynamics._identity import identify
from dynamics._parameters import describe, parameters, replace
from dynamics._source_digest import imported
from dynamics.sweeps import _axes, _grid, _plan, _store, _stored

P = dyn.preferences.cyclic(3, 0.4)
START = jax.nn.log_softmax(jnp.array([0.3, 0.0, -0.1]))
OTHER = "holds another sweep"


def swept(process, store=None, name="beta", values=(0.2, 0.5), measure="final_entropy", **options):
    options = {"rounds": 3, "initial": START} | options
    return dyn.sweep(process, {name: values}, measure=measure, store=store, **options)


class Mine(dyn.RoundMap):
    preference: jax.Array
    beta: jax.Array
    mode: str = eqx.field(static=True)

    def __call__(self, logits, key=None):
        return logits + self.preference @ jnp.exp(logits) / self.beta if self.mode == "ipo" else 0.0 * logits


def test_a_static_field_makes_another_process(tmp_path):
    one, other = (Mine(P, jnp.asarray(0.3), mode) for mode in ("ipo", "none"))
    first = swept(one, tmp_path / "a")["final_entropy"].values
    with pytest.raises(ValueError, match=r'its process mode is "ipo", here "none"'):
        swept(other, tmp_path / "a")
    fresh = swept(other, tmp_path / "b")["final_entropy"].values
    assert np.abs(first - fresh).min() > 0.01
    np.testing.assert_array_equal(swept(one, tmp_path / "a")["final_entropy"], first)


class Pulling(dyn.objectives.MarginLoss):
    """(h_w - h_l - scale)²/2, its scale by mode."""

    mode: str = eqx.field(static=True)

    def __init__(self, beta, mode):
        super().__init__(beta)
        self.mode = mode

    def loss(self, margin):
        return (margin - (1.0 if self.mode == "twice" else 0.5)) ** 2

    def slope(self, margin):
        return 2 * (margin - (1.0 if self.mode == "twice" else 0.5))


@pytest.fixture
def not_computed(monkeypatch):
    """Stores hold zeros: what is kept where is looked at, not the numbers."""

    def zeros(plan, block, *_):
        shape = tuple(s.stop - s.start for s in block)
        found = {name: np.zeros(shape + trailing, dtype) for name, (_, trailing, dtype) in _plan.layout(plan).items()}
        return found | {"still": np.zeros(shape, bool)}

    monkeypatch.setattr(_stored, "compute", zeros)


@pytest.mark.thorough
def test_a_static_field_of_an_objective_makes_another_process(not_computed, tmp_path):
    one, other = (dyn.SelfSampling(P, Pulling(0.3, mode), 0.5, 1.0) for mode in ("once", "twice"))
    assert float(jnp.abs(one(START) - other(START)).max()) > 0.01
    swept(one, tmp_path / "a")
    swept(one, tmp_path / "a")
    with pytest.raises(ValueError, match=r'its process objective.mode is "once", here "twice"'):
        swept(other, tmp_path / "a")


# Each: a module of the user's own, and an edit of it that changes what a round computes.
HEAD = "import equinox as eqx, jax, jax.numpy as jnp, dynamics as dyn, functools\nfrom typing import ClassVar\n"
MINE = (
    "class Mine(dyn.RoundMap):\n    preference: jax.Array\n    beta: jax.Array\n"
    "    def __call__(self, z, key=None):\n        return {round}\n"
)
EDITS = {
    "its method": (MINE.format(round="z * self.beta * 2.0"), "2.0", "3.0"),
    "a helper": ("def helper(z):\n    return z * 2.0\n" + MINE.format(round="helper(z) * self.beta"), "2.0", "3.0"),
    "a helper's helper": (
        "def deep(z):\n    return z * 2.0\ndef helper(z):\n    return deep(z)\n"
        + MINE.format(round="helper(z) * self.beta"),
        "2.0",
        "3.0",
    ),
    "a constant": ("RATE = 2.0\n" + MINE.format(round="z * self.beta * RATE"), "2.0", "3.0"),
    "a constant array": ("RATE = jnp.full(3, 2.0)\n" + MINE.format(round="z * self.beta * RATE"), "2.0", "3.0"),
    "the order of a dictionary": (
        "STEPS = {'a': lambda z: z + 1.0, 'b': lambda z: z * 2.0}\n"
        "def run(z):\n    for step in STEPS.values():\n        z = step(z) * jnp.arange(3.0)\n    return z\n"
        + MINE.format(round="run(z) * self.beta"),
        "{'a': lambda z: z + 1.0, 'b': lambda z: z * 2.0}",
        "{'b': lambda z: z * 2.0, 'a': lambda z: z + 1.0}",
    ),
    "a default": (
        "def helper(z, rate=2.0):\n    return z * rate\n" + MINE.format(round="helper(z) * self.beta"),
        "2.0",
        "3.0",
    ),
    "a default by keyword": (
        "def helper(z, *, rate=2.0):\n    return z * rate\n" + MINE.format(round="helper(z) * self.beta"),
        "2.0",
        "3.0",
    ),
    "an attribute of the class": (
        MINE.format(round="z * self.beta * self.rate") + "    rate: ClassVar[float] = 2.0\n",
        "2.0",
        "3.0",
    ),
    "a base class": (
        "class Base(dyn.RoundMap):\n    def scale(self, z):\n        return 2.0 * z\n"
        + MINE.format(round="self.scale(z) * self.beta").replace("dyn.RoundMap", "Base"),
        "2.0",
        "3.0",
    ),
    "another class": (
        "class Scale:\n    def of(self, z):\n        return 2.0 * z\n" + MINE.format(round="Scale().of(z) * self.beta"),
        "2.0",
        "3.0",
    ),
    "a function inside": (
        MINE.format(round="jax.lax.fori_loop(0, 2, lambda i, x: x * 2.0, z) * self.beta"),
        "2.0",
        "3.0",
    ),
    "a keyword argument": (MINE.format(round="jnp.clip(z * self.beta, max=0.1)"), "max", "min"),
    "a compiled function": (
        "@jax.jit\ndef helper(z):\n    return z * 2.0\n" + MINE.format(round="helper(z) * self.beta"),
        "2.0",
        "3.0",
    ),
    "a derivative of one's own": (
        "@jax.custom_jvp\ndef helper(z):\n    return z\n@helper.defjvp\ndef _(x, dx):\n    return x[0], 2.0 * dx[0]\n"
        + MINE.format(round="jax.grad(lambda x: helper(x).sum())(z) * z * self.beta"),
        "2.0",
        "3.0",
    ),
    "a decorator": (
        "def scaled(rate):\n    def wrap(f):\n        @functools.wraps(f)\n        def g(self, z, key=None):\n"
        "            return rate * f(self, z, key)\n        return g\n    return wrap\n"
        + MINE.format(round="z * self.beta").replace("    def", "    @scaled(2.0)\n    def"),
        "2.0",
        "3.0",
    ),
    "a partial function": (
        "helper = functools.partial(jnp.multiply, 2.0)\n" + MINE.format(round="helper(z) * self.beta"),
        "2.0",
        "3.0",
    ),
    "what the library is asked": (
        MINE.format(round="jnp.log(dyn.preferences.cyclic(3, 0.2)[0]) * self.beta"),
        "0.2",
        "0.3",
    ),
}


@pytest.fixture
def of_source(tmp_path, monkeypatch):
    """Makes a process of a module's source, as a user does who edits a file and runs it again."""
    folder = tmp_path / "mine"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def make(source, name="my_rounds"):
        (folder / f"{name}.py").write_text(HEAD + source)
        importlib.invalidate_caches()
        for known in [known for known in sys.modules if known in ("my_rounds", "my_helpers")]:
            del sys.modules[known]
        module = importlib.import_module(name)
        return module.Mine(P, jnp.asarray(0.3)) if name == "my_rounds" else module

    yield make
    for known in ("my_rounds", "my_helpers"):
        sys.modules.pop(known, None)


@pytest.mark.thorough
@pytest.mark.parametrize("edit", EDITS)
def test_an_edit_of_ones_own_code_makes_another_process(edit, of_source, not_computed, tmp_path):
    source, old, new = EDITS[edit]
    one = of_source(source)
    before = one(START)
    swept(one, tmp_path / "a")
    assert swept(of_source(source), tmp_path / "a").sizes["beta"] == 2  # read again, the same
    other = of_source(source.replace(old, new))
    assert float(jnp.abs(other(START) - before).max()) > 0.01
    with pytest.raises(ValueError, match=OTHER):
        swept(other, tmp_path / "a")


@pytest.mark.parametrize(
    "rounds",
    [
        "import my_helpers\n" + MINE.format(round="my_helpers.scale(z) * self.beta"),
        "from my_helpers import scale\n" + MINE.format(round="scale(z) * self.beta"),
        MINE.format(round="scale(z) * self.beta").replace(
            "        return", "        from my_helpers import scale\n        return"
        ),
        MINE.format(round="h.scale(z) * self.beta").replace(
            "        return", "        import my_helpers as h\n        return"
        ),
    ],
    ids=["module", "name", "name when it runs", "module when it runs"],
)
def test_an_edit_of_another_file_of_ones_own_makes_another_process(rounds, of_source, not_computed, tmp_path):
    helpers = "def scale(z):\n    return {} * z\n"
    of_source(helpers.format(2.0), "my_helpers")
    one = of_source(rounds)
    swept(one, tmp_path / "a")
    found = identify(one)
    of_source(helpers.format(3.0), "my_helpers")
    other = of_source(rounds)
    assert identify(other).digest != found.digest
    with pytest.raises(ValueError, match=OTHER):
        swept(other, tmp_path / "a")


@pytest.mark.parametrize("text", ["    # a comment\n", '    """A docstring."""\n', "\n\n"])
def test_what_is_not_code_does_not_count(text, of_source):
    source = "def helper(z):\n" + "    return z * 2.0\n" + MINE.format(round="helper(z) * self.beta")
    one = identify(of_source(source))
    other = identify(of_source(source.replace("helper(z):\n", "helper(z):\n" + text)))
    assert one == other


class Mode(enum.Enum):
    FAST = 1
    SLOW = 2


class Pair(NamedTuple):
    first: float
    second: float


class Settings:
    def __init__(self, rate):
        self.rate = rate


class Holder(dyn.RoundMap):
    preference: jax.Array
    beta: jax.Array
    held: object = eqx.field(static=True)

    def __call__(self, logits, key=None):
        return logits * self.beta


def rate_of(rate):
    return lambda z: rate * z


def method_of(rate):
    class Local:
        def run(self, z):
            return rate * z

    return Local


HELD = {
    "text": lambda x: str(x),
    "number": lambda x: x,
    "whole number or not": lambda x: 1 if x == 1.0 else 1.0,
    "tuple": lambda x: (1, (x, "a")),
    "set": lambda x: frozenset({"a", "b", "c", str(x)}),
    "dict": lambda x: {"a": {"b": x}},
    "order of a dict": lambda x: dict([("a", 1), ("b", 2)][:: 1 if x == 1.0 else -1]),
    "enum": lambda x: Mode.FAST if x == 1.0 else Mode.SLOW,
    "named tuple": lambda x: Pair(0.0, x),
    "object": lambda x: Settings(x),
    "closure": rate_of,
    "closure in a closure": lambda x: rate_of(rate_of(x)),
    "lambda": lambda x: (lambda z: z * 2) if x == 1.0 else (lambda z: z * 3),
    "partial": lambda x: functools.partial(jnp.multiply, x),
    "partial by keyword": lambda x: functools.partial(jnp.sum, axis=int(x)),
    "method": lambda x: method_of(x)().run,
    "class": lambda x: method_of(x),
    "type": lambda x: jnp.float32 if x == 1.0 else jnp.float64,
    "dtype": lambda x: np.dtype("f4" if x == 1.0 else "f8"),
    "array": lambda x: np.array([1.0, x]),
    "dtype of an array": lambda x: np.zeros(2, "f4" if x == 1.0 else "f8"),
    "shape of an array": lambda x: np.zeros((2, 3) if x == 1.0 else (3, 2)),
    "large array": lambda x: np.append(np.zeros(20_000), x),
    "module": lambda x: dyn.IPO(x),
    "function of a package": lambda x: jnp.exp if x == 1.0 else jnp.log,
    "function of numpy": lambda x: np.exp if x == 1.0 else np.log,
    "operation of jax": lambda x: jax.nn.relu if x == 1.0 else jax.nn.gelu,
    "adam": lambda x: optax.adam(0.05 if x == 1.0 else 0.050001),
    "kind of optimizer": lambda x: optax.sgd(0.1) if x == 1.0 else optax.adam(0.1),
    "schedule": lambda x: optax.sgd(optax.cosine_decay_schedule(0.1, 30 if x == 1.0 else 31)),
    "mapped function": lambda x: jax.vmap(rate_of(x)),
    "compiled function": lambda x: jax.jit(rate_of(x)),
}


@pytest.mark.filterwarnings("ignore:A JAX array is being set as static")
@pytest.mark.parametrize("kind", HELD)
def test_whatever_a_static_field_holds_is_compared(kind):
    make = lambda x: identify(Holder(P, jnp.asarray(0.3), HELD[kind](x)))
    one, again, other = make(1.0), make(1.0), make(2.0)
    assert not one.unknown
    assert not one.unread
    assert one == again
    assert one.digest != other.digest
    same_text = kind in ("whole number or not", "dtype of an array")  # 1 and 1.0 read alike
    assert (one.described != other.described) is not same_text


@pytest.mark.parametrize("change", [{"dtype": jnp.float32}, {"shape": (1,)}])
def test_dtype_and_shape_of_a_leaf_are_compared(change):
    beta = jnp.full(change.get("shape", ()), 0.25, change.get("dtype", float))
    assert identify(Mine(P, beta, "ipo")).exact["beta"] != identify(Mine(P, jnp.asarray(0.25), "ipo")).exact["beta"]


def test_a_method_put_into_a_class_of_the_library_is_compared(monkeypatch):
    one = identify(dyn.IPO(0.3))
    monkeypatch.setattr(dyn.IPO, "loss", lambda self, margin: margin**2)
    assert identify(dyn.IPO(0.3)).digest != one.digest


def test_an_optimizer_hidden_in_a_closure_makes_another_sweep(not_computed, tmp_path):
    loop = lambda rate: dyn.SelfSampling(P, dyn.IPO(0.3), 0.5, 1.0, inner=dyn.Descend(optax.adam(rate), 2))
    swept(loop(0.05), tmp_path / "a")
    swept(loop(0.05), tmp_path / "a")
    with pytest.raises(ValueError, match=r"its process inner\.optimizer is"):
        swept(loop(0.050001), tmp_path / "a")


def measure_of(power):
    class Powered(dyn.diagnostics.Series):
        name: str = eqx.field(static=True, kw_only=True, default="powered")

        def observe(self, snapshot):
            return jnp.max(snapshot.policy) ** power

    return Powered()


def test_a_measure_of_ones_own_is_compared(tmp_path):
    process = Mine(P, jnp.asarray(0.3), "ipo")
    one = swept(process, tmp_path / "a", measure=measure_of(1))
    assert np.abs(one["powered"] - swept(process, measure=measure_of(2))["powered"]).max() > 0.01
    with pytest.raises(ValueError, match=r"its source of .*Powered"):
        swept(process, tmp_path / "a", measure=measure_of(2))


class Random(dyn.RoundMap):
    preference: jax.Array
    beta: jax.Array
    stochastic: ClassVar[bool] = True

    def __call__(self, logits, key=None):
        return self.beta * jax.random.normal(key, logits.shape)


def test_the_generator_of_a_key_is_compared(not_computed, tmp_path):
    process, data = Random(P, jnp.asarray(0.3)), jnp.arange(4, dtype=jnp.uint32)
    swept(process, tmp_path / "a", key=jax.random.wrap_key_data(data, impl="rbg"))
    with pytest.raises(ValueError, match=r'its generator is "rbg", here "unsafe_rbg"'):
        swept(process, tmp_path / "a", key=jax.random.wrap_key_data(data, impl="unsafe_rbg"))


UNPACKED = """
import sys; sys.path.insert(0, sys.argv[2])
import jax; jax.config.update("jax_enable_x64", True)
import json, pickle
from dynamics.sweeps import _store, _stored
with open(sys.argv[1], "rb") as file:
    print(json.dumps(_store.identity(_stored._unpack(pickle.load(file)))))
"""


@pytest.mark.thorough
def test_a_worker_agrees(tmp_path):
    """Also where a class travels by value, as those of a notebook do, and the optimizer's closures with it."""
    cloudpickle = pytest.importorskip("cloudpickle")
    loop = dyn.SelfSampling(P, dyn.IPO(0.3), 0.5, 1.0, inner=dyn.Descend(optax.adam(0.05), 2))
    for i, process in enumerate((loop, Holder(P, jnp.asarray(0.3), method_of(2.0)().run))):
        axes = _axes.axes_of(process, {"alpha" if process is loop else "beta": [0.2, 0.5]})
        work = _grid.Work(process, (dyn.diagnostics.resolve("entropy"), measure_of(2)), 3, jax.random.key(0), START)
        plan = _plan.Plan(work, axes, 2, (2,))
        (tmp_path / "plan").write_bytes(cloudpickle.dumps(_stored._pack(plan)))
        command = [sys.executable, "-c", UNPACKED, str(tmp_path / "plan"), str(Path(__file__).parent)]
        done = subprocess.run(command, cwd=Path(__file__).parents[1], capture_output=True, text=True, check=True)
        assert json.loads(done.stdout) == json.loads(json.dumps(_store.identity(plan))), i


# Code without a readable source and values without a digest are refused by name, and listed in attributes.


@pytest.mark.parametrize("home", [{}, {"__name__": __name__}, {"__name__": "__main__"}])
def test_a_class_without_source_is_refused(home, tmp_path):
    exec(HEAD + MINE.format(round="z * self.beta"), home)
    process = home["Mine"](P, jnp.asarray(0.3))
    with pytest.raises(
        ValueError, match=r"the source of class Mine cannot be read.*put it in a file or a notebook cell"
    ):
        swept(process, tmp_path / "a")
    assert not (tmp_path / "a").exists()
    config = json.loads(swept(process).attrs["config"])
    assert config["not_identified"] == ["the source of class Mine"]
    assert "not_identified" not in json.loads(swept(Mine(P, jnp.asarray(0.3), "ipo")).attrs["config"])


def test_a_cell_of_a_notebook_can_be_read(not_computed, tmp_path, monkeypatch):
    cell, home = HEAD + MINE.format(round="z * self.beta"), {"__name__": "__main__"}
    monkeypatch.setitem(linecache.cache, "/tmp/ipykernel_1/1.py", (len(cell), None, cell.splitlines(True), "1.py"))
    exec(compile(cell, "/tmp/ipykernel_1/1.py", "exec"), home)
    swept(home["Mine"](P, jnp.asarray(0.3)), tmp_path / "a")
    monkeypatch.setitem(linecache.cache, "/tmp/ipykernel_1/2.py", (len(cell), None, cell.splitlines(True), "2.py"))
    exec(compile(cell.replace("z *", "z +"), "/tmp/ipykernel_1/2.py", "exec"), home)
    with pytest.raises(ValueError, match=OTHER):
        swept(home["Mine"](P, jnp.asarray(0.3)), tmp_path / "a")


def test_what_is_not_understood_is_refused(tmp_path):
    process = Holder(P, jnp.asarray(0.3), (1, threading.Lock()))
    with pytest.raises(ValueError, match=r"held is a _thread.lock, which has no digest"):
        swept(process, tmp_path / "a")
    assert "lock" in json.loads(swept(process).attrs["config"])["not_identified"][0]


# What a process is can be read.


def test_a_description_names_every_class():
    flow = dyn.PreferenceFlow(dyn.LogLinear(np.eye(3)[:, :2]), P, dyn.DPO(0.3), dyn.samplers.OnPolicy())
    config = json.loads(json.dumps(describe(flow)))
    assert {k: config[k] for k in ("process", "policy", "objective", "sampler")} == {
        "process": "PreferenceFlow",
        "policy": "LogLinear",
        "objective": "DPO",
        "sampler": "OnPolicy",
    }
    assert config["objective.beta"] == 0.3
    loop = dyn.SelfSampling(P, dyn.IPO(0.3), 0.5, 1.0, inner=dyn.Descend(optax.sgd(0.1), 2, reset_state=False))
    found = identify(loop).described
    assert found["inner"] == "Descend"
    assert found["inner.reset_state"] is False
    assert found["policy"] == "Tabular"
    assert json.loads(json.dumps(found)) == found


SAME = """
import sys; sys.path.insert(0, sys.argv[1])
import jax; jax.config.update("jax_enable_x64", True)
import test_identity as t, jax.numpy as jnp
for kind in t.HELD:
    print(t.identify(t.Holder(t.P, jnp.asarray(0.3), t.HELD[kind](1.0))).digest)
"""


@pytest.mark.thorough
def test_it_is_the_same_in_every_process():
    """No addresses, no order of sets: whatever the seed of hashes."""
    tests = Path(__file__).resolve().parent
    said = []
    for seed in ("1", "2"):
        command = [sys.executable, "-c", SAME, str(tests)]
        env = os.environ | {"PYTHONHASHSEED": seed}
        done = subprocess.run(command, cwd=tests.parent, env=env, capture_output=True, text=True, check=True)
        said.append(done.stdout.split())
    assert len(set(said[0])) > len(HELD) - 3
    assert said[0] == said[1]


# A store outlives what does not enter its numbers.

KEPT = """
import sys
import jax; jax.config.update("jax_enable_x64", True)
import jax.numpy as jnp, dynamics as dyn
assert dyn.__file__.startswith(sys.argv[1])
loop = dyn.SelfSampling(dyn.preferences.cyclic(3, 0.4), dyn.IPO(0.3), 0.5, 1.0)
start = jax.nn.log_softmax(jnp.array([0.3, 0.0, -0.1]))
dyn.sweep(loop, {"beta": [0.2, 0.5]}, measure="final_entropy", rounds=3, initial=start, store=sys.argv[2])
"""


@pytest.mark.thorough
def test_a_store_outlives_edits_that_do_not_enter_its_numbers(tmp_path):
    library, store = tmp_path / "copy" / "dynamics", tmp_path / "store"
    shutil.copytree(Path(dyn.__file__).parent, library, ignore=shutil.ignore_patterns("__pycache__"))

    def run():
        command = [sys.executable, "-c", KEPT, str(tmp_path / "copy"), str(store)]
        env = os.environ | {"PYTHONPATH": str(tmp_path / "copy")}
        return subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)

    done = run()
    assert done.returncode == 0, done.stderr
    # Code that a sweep does not import; then a comment and a docstring in what it does.
    for name, text in (("plot/_style.py", "\nMORE = 1\n"), ("theorems/margins.py", "\nMORE = 1\n")):
        with open(library / name, "a") as file:
            file.write(text)
    path = library / "objectives" / "ipo.py"
    source = path.read_text()
    opening = source.split("\n", 1)[0]
    path.write_text(source.replace(opening, '"""Another docstring."""', 1) + "\n# a comment\n")
    done = run()
    assert done.returncode == 0, done.stderr
    path.write_text(source + "\nMORE = 1\n")
    done = run()
    assert done.returncode == 1
    assert "its code of dynamics.objectives.ipo is" in done.stderr


def test_the_library_edited_under_a_process_is_refused(monkeypatch, not_computed, tmp_path):
    """Its numbers are the old code's, its files the new's."""
    monkeypatch.setattr("dynamics._source_digest._STARTED", 0.0)
    with pytest.raises(ValueError, match=r"dynamics\.\S+ was edited after this process imported it.*restart Python"):
        swept(Mine(P, jnp.asarray(0.3), "ipo"), tmp_path / "a")


def test_code_is_followed_by_name(tmp_path):
    """Through packages that pass names on; into functions that import when they run; past what only type checkers read."""
    found = imported(["dynamics.sweeps._plan"])
    rooms = {name.split(".")[1] for name in found}
    assert {"rounds", "engine", "diagnostics", "sweeps", "_numerics"} <= rooms
    assert not {"plot", "theorems", "ledger", "stability", "cli", "testing", "data"} & rooms
    assert "dynamics" not in found
    assert "dynamics.preferences._hub" not in found


# Whole numbers are parameters.


class Shifted(dyn.RoundMap):
    preference: jax.Array
    shift: jax.Array

    def __call__(self, logits, key=None):
        return jnp.where(jnp.arange(3) == self.shift.astype(int), logits + 1.0, logits)


def test_whole_numbers_can_be_swept(tmp_path):
    process = Shifted(P, jnp.asarray(1, jnp.int8))
    found = swept(process, tmp_path / "a", name="shift", values=[0, 1, 2], measure="top_response")
    assert found["top_response"].values.tolist() == [0, 1, 2]
    assert found["shift"].dtype.kind == "i"
    assert json.loads(found.attrs["config"])["shift"] == 1
    run = dyn.iterate(process, 3, initial=START, measure=["top_response"])
    assert int(run.statistics["top_response"]) == 1
    assert set(parameters(process)) == {"preference", "shift"}
    assert replace(process, {"shift": 2.0}).shift.dtype == jnp.int8
    with pytest.raises(ValueError, match="shift has a value that is not finite"):
        swept(process, name="shift", values=[0, np.nan])
    for bad in (1.5, 300):
        with pytest.raises(ValueError, match=r"shift = .*whole numbers from -128 to 127"):
            swept(process, name="shift", values=[0, bad])


def test_keys_and_truth_values_are_not_parameters():
    class Other(eqx.Module):
        flag: jax.Array
        key: jax.Array
        raw: jax.Array
        count: jax.Array

    known = parameters(Other(jnp.asarray(True), jax.random.key(0), jax.random.PRNGKey(0), jnp.asarray(3)))
    assert list(known) == ["count"]


def test_a_whole_number_is_not_followed_continuously():
    process = Shifted(P, jnp.asarray(1))
    assert int(jax.jit(lambda value: replace(process, {"shift": value}).shift)(2)) == 2
    with pytest.raises(ValueError, match="shift takes whole numbers and cannot vary continuously"):
        jax.jit(lambda value: replace(process, {"shift": value}).shift)(2.0)


def test_an_exact_solver_of_ones_own_belongs_to_the_identity():
    """It stands in no field: before, a store could not have told one from another."""
    digests = []
    for factor in (1.0, 2.0):

        class Mine(dyn.objectives.MarginLoss):
            def loss(self, margin):
                return (margin - 0.5) ** 2

        @dyn.objectives.register(Mine, dyn.feedback.Pairs, free=True)
        def solver(objective, pairs, basis, guess, factor=factor):
            return factor * (pairs.preference - 0.5) @ pairs.mu, jnp.asarray(True)

        loop = dyn.SelfSampling(dyn.preferences.cyclic(3, 0.3), Mine(0.5), 0.5, 1.0)
        digests.append(identify(loop).digest)
        assert bool(jnp.isfinite(loop(jnp.array([0.3, 0.0, -0.3]))).all())
    assert digests[0] != digests[1]


class Named(dict):
    """A dictionary that may have attributes."""


class Hidden:
    __slots__ = ("__rate",)

    def __init__(self, rate):
        self.__rate = rate


def with_attribute(rate):
    made = Named()
    made.rate = rate
    return made


def partial_with_attribute(rate):
    made = functools.partial(print)
    made.rate = rate
    return made


@pytest.mark.parametrize(
    "make",
    [
        with_attribute,
        partial_with_attribute,
        Hidden,
        lambda rate: types.SimpleNamespace(rate=np.array([rate])),
        lambda rate: types.SimpleNamespace(rate=np.append(np.zeros(2000), rate)),
        lambda rate: collections.defaultdict(lambda: rate),
        lambda rate: np.ma.array([1.0, 2.0], mask=[rate > 0.15, False]),
    ],
    ids=["dict", "partial", "slots", "namespace", "long namespace", "defaultdict", "mask"],
)
def test_what_lies_beside_entries_is_a_part_of_the_identity(make):
    one, same, other = (identify(make(rate), "thing").digest for rate in (0.1, 0.1, 0.2))
    assert one == same != other
    if make(0.1).__class__ is not np.ma.MaskedArray:
        assert identify(make(0.1 + 1e-10), "thing").digest != one
