"""The schema: every Dataset of the library keeps to it, and each way of breaking it is found and named."""

import functools

import diffrax
import equinox as eqx
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import xarray as xr
from problems import matrix

import dynamics as dyn
from dynamics import engine, schema
from dynamics.diagnostics import MEASURES, RewardMargin, variables_of

LOOP = dyn.SelfSampling(matrix(3, 0), dyn.IPO(0.5), alpha=0.5, lam=0.7)
ROWS = diffrax.SaveAt(ts=jnp.linspace(0.0, 1.0, 3))


def margin_flow():
    g = np.random.default_rng(0).normal(size=(6, 3))
    return dyn.MarginFlow(
        features=g, chosen=np.array([0, 1, 2, 0, 1, 2]), rejected=np.array([1, 2, 0, 2, 0, 1]), objective=dyn.DPO(0.5)
    )


def preference_flow(*, contexts=False, policy=None):
    P = np.stack([matrix(3, 0), matrix(3, 1)]) if contexts else matrix(3, 0)
    policy = dyn.Tabular(3) if policy is None else policy
    return dyn.PreferenceFlow(preference=P, policy=policy, sampler=dyn.samplers.OnPolicy(), objective=dyn.DPO(0.5))


@functools.cache
def _rounds():
    return dyn.iterate(LOOP, 6, every=2, measure=list(MEASURES)).to_dataset()


def rounds():
    return _rounds().copy(deep=True)


def swept(**options):
    over = {"alpha": [0.2, 0.5], ("lam", "beta"): ([0.1, 0.9], [0.3, 0.4])}
    measures = ["verdict", "reward_margin", "collapse_round", RewardMargin("best", name="best_margin")]
    return dyn.sweep(LOOP, over, measure=measures, rounds=6, progress=False, **options)


class Own(dyn.diagnostics.Series):
    """A user's measure with dims, a unit and a name of its own."""

    name: str = "both"

    def variables(self, num_responses):
        return {self.name: schema.Variable(("end",), "furlongs", "first and last probability")}

    def observe(self, snapshot):
        return snapshot.policy[jnp.array([0, -1])]


DATASETS = {
    "rounds": rounds,
    "one margin": lambda: dyn.iterate(LOOP, 3, measure=RewardMargin("best")).to_dataset(),
    "own measure": lambda: dyn.iterate(LOOP, 3, measure=[Own(), "entropy"]).to_dataset(),
    "failed rounds": lambda: dyn.iterate(
        eqx.tree_at(lambda loop: loop.alpha, LOOP, jnp.array(2.0)),
        3,
        initial=np.log([0.2, 0.3, 0.5]),
        measure=["verdict", "entropy"],
        throw=False,
    ).to_dataset(),
    "sweep": swept,
    "sweep over matrices": lambda: dyn.sweep(
        LOOP, {"preference": [matrix(3, 0), matrix(4, 0)]}, measure="verdict", rounds=3, progress=False
    ),
    "margin flow": lambda: dyn.gradient_flow(margin_flow(), 1.0, saveat=ROWS).to_dataset(),
    "preference flow": lambda: dyn.gradient_flow(preference_flow(), 1.0, saveat=ROWS).to_dataset(),
    "contexts": lambda: dyn.gradient_flow(preference_flow(contexts=True), 1.0, saveat=ROWS).to_dataset(),
    "features": lambda: dyn.gradient_flow(
        preference_flow(policy=dyn.LogLinear(np.eye(3)[:, :2])), 1.0, saveat=ROWS
    ).to_dataset(),
    "descent": lambda: dyn.descend(preference_flow(), optax.sgd(0.1), 3).to_dataset(),
}


@pytest.mark.thorough
@pytest.mark.parametrize("kind", DATASETS)
def test_the_librarys_datasets_keep_to_the_schema(kind):
    ds = DATASETS[kind]()
    assert schema.validate(ds) is None
    assert all(ds[name].attrs["units"] for name in ds.data_vars)


@pytest.mark.thorough
def test_a_stored_sweep_keeps_to_the_schema(tmp_path):
    ds = swept(store=tmp_path / "kept")
    schema.validate(ds)
    xr.testing.assert_identical(ds.drop_attrs(), swept().drop_attrs())
    assert {n: ds[n].attrs for n in ds.data_vars} == {n: v.attrs for n, v in swept().data_vars.items()}


def broken(name, **changes):
    """A Dataset of rounds in which one attribute of ``name`` is replaced (None: removed)."""
    ds = rounds()
    ds[name].attrs = {k: v for k, v in (ds[name].attrs | changes).items() if v is not None}
    return ds


def moved(name, dims, values=None):
    """A Dataset of rounds in which ``name`` has other dims, or other values."""
    ds = rounds()
    attrs, shape = ds[name].attrs, tuple(ds.sizes.get(dim, 2) for dim in dims)
    values = np.zeros(shape, ds[name].dtype) if values is None else np.asarray(values)
    return ds.drop_vars(name).assign({name: (dims, values, attrs)})


BROKEN = {
    "no unit": (lambda: broken("entropy", units=None), "entropy has units = None"),
    "unit is no word": (lambda: broken("entropy", units=1), "entropy has units = 1"),
    "another unit": (
        lambda: broken("entropy", units="bits"),
        "entropy has units = 'bits'; the schema's unit is 'nats'",
    ),
    "another unit of a last value": (lambda: broken("entropy_final", units="bits"), "entropy_final has units = 'bits'"),
    "unit of the other form": (lambda: broken("reward_margin", units="1"), "reward_margin has units = '1'"),
    "other flags": (
        lambda: broken("verdict", flag_meanings=["a", "b"], flag_values=[0, 1]),
        "verdict has flag_meanings",
    ),
    "no flags": (lambda: broken("verdict", flag_meanings=None, flag_values=None), "verdict has flag_meanings = \\[\\]"),
    "flags where there are none": (lambda: broken("entropy", flag_meanings=["a"]), "entropy has flag_meanings"),
    "other flag values": (lambda: broken("verdict", flag_values=[1, 2, 3, 4]), "verdict has flag_values"),
    "flag values alone": (lambda: broken("switches", flag_values=[0, 1]), "switches has flag_values"),
    "flag beyond the last": (lambda: moved("verdict", (), 4), "verdict holds 4"),
    "flag below -1": (lambda: moved("verdict", (), -2), "verdict holds -2"),
    "flags that are no whole numbers": (lambda: moved("verdict", (), 1.0), "verdict has dtype float64"),
    "two clocks": (
        lambda: moved("entropy", ("round", "time")),
        "entropy has the dims .*along one of round, time, step",
    ),
    "a last value over rounds": (lambda: moved("entropy_final", ("round",)), "entropy_final has the dims"),
    "no responses": (lambda: moved("log_policy", ("round",)), "log_policy has the dims .*must be \\('response',\\)"),
    "responses first": (lambda: moved("log_policy", ("response", "round")), "log_policy has the dims"),
    "a number per response": (lambda: moved("cycle_strength", ("response",)), "cycle_strength has the dims"),
    "pairs first": (lambda: moved("reward_margin", ("pair", "end")), "reward_margin has the dims"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_each_way_to_break_the_schema_is_named(kind):
    make, message = BROKEN[kind]
    with pytest.raises(ValueError, match=f"^{message}"):
        schema.validate(make())


def test_the_first_variable_that_breaks_the_schema_is_named():
    ds = rounds()
    for name in list(ds.data_vars)[2:]:
        ds[name].attrs["units"] = None
    with pytest.raises(ValueError, match=f"^{list(ds.data_vars)[2]} has units"):
        schema.validate(ds)


def test_missing_flags_are_allowed():
    schema.validate(moved("verdict", ("alpha",), [-1, 0, 3]))


def test_dims_before_the_trailing_ones_are_free():
    schema.validate(moved("log_policy", ("alpha", "round", "context", "response")))


def test_measures_and_flows_say_what_the_schema_says():
    measures = engine.as_measures(list(MEASURES))
    for name, variable in variables_of(measures, 3).items():
        assert variable == schema.VARIABLES[name]
    for flow in (margin_flow(), preference_flow(), preference_flow(policy=dyn.LogLinear(np.eye(3)[:, :2]))):
        for name, variable in flow.variables().items():
            forms = (schema.VARIABLES[name], *schema.OTHER_FORMS.get(name, ()))
            assert variable[:2] in {form[:2] for form in forms}


def test_the_table_speaks_known_words():
    forms = [*schema.VARIABLES.values(), *(v for forms in schema.OTHER_FORMS.values() for v in forms)]
    assert {v.unit for v in forms} == set(schema.UNITS)
    assert {dim for v in forms for dim in v.dims} == set(schema.ITEMS)


def test_results_are_those_of_the_schema():
    for code, (name, message) in enumerate(schema.RESULT_MESSAGES.items()):
        member = getattr(engine.RESULTS, name)
        assert engine.RESULTS[member] == message
        assert int(engine.result_code(member)) == code
        assert engine.result_name(member) == name
    assert dyn.solve.RESULT_NAMES == schema.RESULT_NAMES


def test_dataset_wants_a_variable_with_a_dim_for_each_axis():
    variable = schema.Variable((), "1", "x")
    with pytest.raises(ValueError, match=r"^x has no variable"):
        schema.dataset({"x": 1.0}, {"y": variable})
    with pytest.raises(ValueError, match=r"^x has shape \(2,\) and the dims \(\)"):
        schema.dataset({"x": [1.0, 2.0]}, {"x": variable})


def test_dataset_holds_what_it_is_given():
    variables = {
        "word": schema.Variable((), "1", "which", ("no", "yes")),
        "y": schema.Variable(("k",), "nats").over("round"),
    }
    ds = schema.dataset({"word": 1, "y": [[1.0, 2.0]]}, variables, coords={"round": [7]}, attrs={"config": "{}"})
    assert ds.y.dims == ("round", "k")
    assert ds.word.attrs == {"units": "1", "long_name": "which", "flag_values": [0, 1], "flag_meanings": ["no", "yes"]}
    assert (ds.y.attrs, ds.attrs) == ({"units": "nats", "long_name": ""}, {"config": "{}"})
    assert float(ds.y.sel(round=7)[1]) == 2.0


def test_flags_in_words():
    ds = dyn.schema.dataset({"verdict": [2, -1, 1]}, {"verdict": dyn.schema.VARIABLES["verdict"].over("round")})
    told = dyn.schema.words(ds.verdict)
    assert told.values.tolist() == ["oscillating", "", "converged"]
    assert told.dims == ("round",)
    assert "flag_values" not in told.attrs
    with pytest.raises(ValueError, match="no flag_meanings"):
        dyn.schema.words(told)
    with pytest.raises(ValueError, match="other than -1 to 3"):
        dyn.schema.words(ds.verdict.astype(float))
    with pytest.raises(ValueError, match="other than -1 to 3"):
        dyn.schema.words(ds.verdict.copy(data=[4, 0, 0]))
