"""Names of responses travel from preferences to Datasets, reports and plots, and never to other responses."""

import json

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest

import dynamics as dyn

P = dyn.preferences.cyclic(3, 0.4)
START = jnp.log(jnp.array([0.5, 0.3, 0.2]))
NAMES = ("short", "long", "polite")
SET = dyn.preferences.PreferenceSet([P, P], names=[NAMES, ("x", "y", "z")])


def loop(preference=P, **options) -> dyn.SelfSampling:
    return dyn.SelfSampling(preference, dyn.IPO(0.3), alpha=0.5, lam=1.0, **options)


def test_rows_and_pairs_of_a_run_are_named():
    named = loop(names=NAMES)
    sol = dyn.iterate(named, 4, initial=START, measure="reward_margin")
    ds, plain = sol.to_dataset(), dyn.iterate(loop(), 4, initial=START, measure="reward_margin").to_dataset()
    assert ds.response.values.tolist() == list(NAMES)
    assert ds.pair.values.tolist() == ["short>long", "short>polite", "long>polite"]
    assert plain.response.values.tolist() == [0, 1, 2]
    assert plain.pair.values.tolist() == ["0>1", "0>2", "1>2"]
    assert ds.log_policy.values.tobytes() == plain.log_policy.values.tobytes()
    dyn.schema.validate(ds)
    ax = dyn.plot.phase_portrait(named, arrows=4, rounds=5)
    assert set(NAMES) <= {text.get_text() for text in ax.texts}


def test_sweeps_name_responses_unless_they_are_an_axis(tmp_path):
    over, options = {"alpha": [0.0, 0.5]}, {"rounds": 4, "measure": "log_average_policy", "progress": False}
    named = loop(names=NAMES)
    ds = dyn.sweep(named, over, initial=START, store=tmp_path / "a.zarr", **options)
    assert ds.response.values.tolist() == list(NAMES)
    with pytest.raises(ValueError, match="names"):
        dyn.sweep(loop(names=NAMES[::-1]), over, initial=START, store=tmp_path / "a.zarr", **options)
    several = dyn.sweep(named, {"preference": [P, P.T]}, initial=START, **options)
    assert several.response.values.tolist() == [0, 1, 2]


@pytest.mark.thorough
def test_prompts_have_names_of_their_own():
    two = loop(SET)
    assert two.names == SET.names
    ds = dyn.iterate(two, 4, initial=START).to_dataset()
    assert ds.name.dims == ("context", "response")
    assert ds.name.values.tolist() == [list(row) for row in SET.names]
    found = dyn.stability.analyze(two, starts=2, rounds=100, max_rounds=100)
    assert "x: 0.333" in str(found.prompts[1])
    assert "short: 0.333" in found.prompts[0].to_markdown()
    assert json.loads(json.dumps(found.to_dict()))["prompts"][1]["names"] == ["x", "y", "z"]
    assert loop(dyn.preferences.PreferenceSet([P, P], names=[NAMES, None])).names == (NAMES, ("0", "1", "2"))
    assert loop(SET[:1]).names == NAMES
    assert dyn.games.SPPO(SET, eta=1.0).names == SET.names


def test_other_preferences_lose_the_names():
    for named in (loop(names=NAMES), loop(names=NAMES).parts(), dyn.games.SPPO(SET[:1], eta=1.0)):
        assert named.names == NAMES
        assert named.with_preference(named.preference).names is None
        alone = named.prompts()
        assert alone is None or all(one.names is None for one in alone)


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["a", "b"], "names has 2 entries for 3 responses"),
        (["a", "a", "b"], "names has 'a' twice"),
        ("abc", "names is 'abc'"),
        ([["a", "b", "c"]] * 2, "one list for each prompt"),
    ],
)
def test_names_that_do_not_fit_are_refused(names, words):
    with pytest.raises(ValueError, match=words):
        loop(names=names)


def test_a_map_of_ones_own_may_have_names():
    class Mine(dyn.RoundMap):
        preference: jnp.ndarray
        names: tuple = eqx.field(static=True)

        def __call__(self, logits, key=None):
            return 0.5 * logits

    ds = dyn.iterate(Mine(P, NAMES), 3, initial=START).to_dataset()
    assert ds.response.values.tolist() == list(NAMES)
    assert np.isfinite(ds.log_policy).all()
