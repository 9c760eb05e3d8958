"""Alarms: each is raised by a simulator run and by a made model, and silent on a healthy one of each."""

import json
import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import optax
import pytest
import xarray as xr

import dynamics as dyn
from dynamics import llm

UNKNOWN = "cannot be known"
CYCLE = np.array([[0.5, 0.9, 0.1], [0.1, 0.5, 0.9], [0.9, 0.1, 0.5]])
ORDER = np.array([[0.5, 0.8, 0.9], [0.2, 0.5, 0.8], [0.1, 0.2, 0.5]])
START = jnp.log(jnp.array([0.5, 0.3, 0.2]))
MEASURES = ["entropy", "kl_to_reference", "reward_margin"]


def found(source):
    return {alarm.name: alarm for alarm in llm.alarms(source)}


def rounds(P, beta, count, alpha=0.5, **options):
    loop = dyn.SelfSampling(P, dyn.IPO(beta), alpha=alpha, lam=1.0)
    return dyn.iterate(loop, count, initial=START, measure=MEASURES, **options).to_dataset()


def flow(beta=1.0, objective=dyn.DPO):
    g = np.array([[1.0, 0.2], [0.4, 1.0], [0.9, -0.3]])
    return dyn.MarginFlow(g, np.array([0, 1, 0]), np.array([1, 2, 2]), objective(beta))


def with_rewards(head_scale, t1=4.0):
    """A flow's Dataset with the rewards of each response, W(0) being ``head_scale`` times a fixed matrix."""
    f = flow()
    sol = dyn.gradient_flow(f, t1=t1)
    W = head_scale * np.random.default_rng(0).normal(size=(5, 2))
    rewards = f.response_rewards(sol, W)
    ds = sol.to_dataset()
    pick = lambda name, x: ds.__setitem__(name, (("time", "example"), np.asarray(x)))
    pick("reward_chosen", rewards.chosen)
    pick("reward_rejected", rewards.rejected)
    return ds, rewards


def test_a_healthy_loop_is_silent():
    alarms = found(rounds(CYCLE, 0.35, 200))
    assert {name: alarm.raised for name, alarm in alarms.items()} == {
        "displacement": UNKNOWN,
        "saturation": False,
        "entropy_collapse": False,
        "oscillation": False,
        "wrong_reference": UNKNOWN,
    }


def test_a_healthy_flow_is_silent():
    ds, rewards = with_rewards(0.1, t1=1.0)
    assert np.asarray(rewards.chosen)[-1].mean() > 0
    alarms = found(ds)
    assert [alarms[n].raised for n in ("displacement", "saturation", "wrong_reference")] == [False, False, False]
    assert [alarms[n].raised for n in ("entropy_collapse", "oscillation")] == [UNKNOWN, UNKNOWN]


@pytest.mark.parametrize("count", [12, 24, 200])
def test_rounds_that_go_in_circles_raise_oscillation(count):
    alarm = found(rounds(CYCLE, 0.2, count))["oscillation"]
    assert alarm.raised is True
    assert alarm.numbers["switches"] >= 3
    assert "safe_beta" in alarm.do


def test_a_few_rounds_that_settle_are_not_an_oscillation():
    for count in (6, 12, 24):
        assert found(rounds(CYCLE, 0.35, count))["oscillation"].raised is not True


def test_a_collapse_is_raised_and_dated():
    ds = rounds(ORDER, 0.3, 40, alpha=1.0)
    alarm = found(ds)["entropy_collapse"]
    assert alarm.raised is True
    low = ds.entropy.values < 0.1 * ds.entropy.values[0]
    assert alarm.numbers["round"] == ds["round"].values[np.flatnonzero(~low)[-1] + 1]
    assert found(ds.drop_vars("entropy"))["entropy_collapse"].numbers["round"] == alarm.numbers["round"]


def test_an_uncertain_entropy_is_no_collapse():
    ds = rounds(ORDER, 0.3, 40, alpha=1.0)
    noisy = ds.assign(entropy_error=ds.entropy * 0 + 0.5)
    assert found(noisy)["entropy_collapse"].raised is False


def test_margins_of_responses_that_are_never_sampled_raise_saturation():
    P = np.array([[0.5, 0.5, 0.5], [0.5, 0.5, 1 - 1e-7], [0.5, 1e-7, 0.5]])
    log_ref = jnp.log(jnp.array([1 - 2e-9, 1e-9, 1e-9]))
    loop = dyn.SelfSampling(
        P,
        dyn.DPO(1.0),
        alpha=0.0,
        lam=0.0,
        log_reference=log_ref,
        log_offline=jnp.log(jnp.array([1e-6, 0.5, 0.5 - 1e-6])),
    )
    ds = dyn.iterate(loop, 5, measure=MEASURES).to_dataset()
    alarm = found(ds)["saturation"]
    assert alarm.raised is True, alarm
    assert alarm.numbers["margin"] > 10
    assert alarm.numbers["kl_to_reference"] < 0.1
    assert "off-policy" in alarm.do
    assert found(ds.drop_vars("kl_to_reference"))["saturation"].raised == UNKNOWN
    moved = ds.assign(kl_to_reference=ds.kl_to_reference + 1.0)
    assert found(moved)["saturation"].raised is False


def test_likelihood_displacement_of_a_flow_is_raised():
    rng = np.random.default_rng(273)  # every margin grows, and three of four examples lose both answers
    g = rng.normal(size=(4, 3))
    tokens = np.array([rng.permutation(3)[:2] for _ in range(4)])
    W = 3 * rng.normal(size=(4, 3))
    f = dyn.MarginFlow(g, tokens[:, 0], tokens[:, 1], dyn.DPO(1.0))
    sol = dyn.gradient_flow(f, t1=8.0)
    assert (np.asarray(sol.reward_margin)[-1] > 0).all()
    rewards = f.response_rewards(sol, W)
    ds = sol.to_dataset()
    assert found(ds)["displacement"].raised == UNKNOWN  # without W(0)
    assert "response_rewards" in found(ds)["displacement"].do
    ds["reward_chosen"] = (("time", "example"), np.asarray(rewards.chosen))
    ds["reward_rejected"] = (("time", "example"), np.asarray(rewards.rejected))
    alarm = found(ds)["displacement"]
    assert alarm.raised is True
    assert alarm.numbers["share_both_fell"] == 0.75
    np.testing.assert_allclose(alarm.numbers["chosen"], np.asarray(rewards.chosen)[-1].mean())


def test_both_falling_is_displacement_and_says_where_the_mass_went():
    log_p = lambda *rows: (("step", "example"), np.log(np.array(rows)))
    ds = xr.Dataset(
        {
            "log_prob_chosen": log_p([0.4, 0.4], [0.1, 0.2]),
            "log_prob_rejected": log_p([0.4, 0.4], [0.01, 0.02]),
            "log_reference_chosen": ("example", np.log([0.4, 0.4])),
            "log_reference_rejected": ("example", np.log([0.4, 0.4])),
            "entropy": ("step", [1.0, 0.8]),
        },
        {"step": [0, 10]},
    )
    alarm = found(ds)["displacement"]
    assert alarm.raised is True
    np.testing.assert_allclose(alarm.numbers["mass_to_other_answers"], np.mean([0.8 - 0.11, 0.8 - 0.22]))
    assert "gathered on few" in alarm.says
    up = ds.assign(log_prob_chosen=log_p([0.4, 0.4], [0.6, 0.6]))
    assert found(up)["displacement"].raised is False
    half = ds.assign(log_prob_chosen=log_p([0.4, 0.4], [0.6, 0.2]))
    assert found(half)["displacement"].raised is False  # one example of two


def test_a_flow_that_does_not_start_at_its_reference_raises_wrong_reference():
    f = flow()
    half = dyn.gradient_flow(f, t1=1.0)
    alarm = found(dyn.gradient_flow(f, t1=1.0, initial=half.coefficient[-1]).to_dataset())["wrong_reference"]
    assert alarm.raised is True
    np.testing.assert_allclose(alarm.numbers["first_margin"], np.abs(half.reward_margin[-1]).max(), rtol=1e-6)


def test_margins_that_return_to_zero_raise_wrong_reference():
    ds = dyn.gradient_flow(flow(), t1=1.0).to_dataset()
    assert found(ds)["wrong_reference"].raised is False
    again = xr.concat([ds, ds.assign_coords(time=ds.time + 2.0)], dim="time", join="outer")
    alarm = found(again)["wrong_reference"]
    assert alarm.raised is True
    assert alarm.numbers["time"] == 2.0
    late = ds.isel(time=slice(5, None))
    assert found(late)["wrong_reference"].raised == UNKNOWN


def test_descents_are_read_like_flows():
    f = flow(objective=dyn.IPO)
    sol = dyn.descend(f, optax.sgd(0.1), 20)
    values = {name: sol.values[name] for name in ("reward_margin", "loss", "accuracy")}
    variables = {name: f.variables()[name].over("step") for name in values}
    ds = dyn.schema.dataset(values, variables, coords={"step": np.asarray(sol.coordinate)})
    assert found(ds)["wrong_reference"].raised is False
    assert found(ds)["saturation"].raised is False


def test_rows_after_a_failure_do_not_count():
    ds = rounds(CYCLE, 0.35, 30)
    broken = ds.copy(deep=True)
    broken.log_policy[-5:] = np.nan
    broken.reward_margin[-5:] = np.nan
    assert found(broken)["saturation"].numbers == found(ds.isel(round=slice(0, -5)))["saturation"].numbers
    with pytest.raises(ValueError, match="every row"):
        found(ds.assign(reward_margin=ds.reward_margin * np.nan))


def test_what_is_no_single_run_is_named():
    with pytest.raises(ValueError, match="round, time, step"):
        llm.alarms(xr.Dataset({"loss": ("batch", [1.0])}))
    loop = dyn.SelfSampling(CYCLE, dyn.IPO(0.3), alpha=0.5, lam=1.0)
    runs = [dyn.iterate(loop, 5, initial=START).to_dataset() for _ in range(2)]
    with pytest.raises(ValueError, match=r"runs along alpha; .*ds.isel\(alpha=0\)"):
        llm.alarms(xr.concat(runs, dim="alpha"))
    with pytest.raises(ValueError, match="holds no record"):
        llm.alarms("no/such/run.zarr")


def state(tmp_path, rows):
    path = tmp_path / "trainer_state.json"
    path.write_text(json.dumps({"log_history": rows}))
    return path


def log(step, chosen, rejected, loss=0.6, **more):
    names = {"rewards/chosen": chosen, "rewards/rejected": rejected, "rewards/margins": chosen - rejected}
    return {"step": step, "loss": loss} | names | more


def test_a_trainers_log_tells_what_means_can_tell(tmp_path):
    healthy = found(state(tmp_path, [log(1, 0.0, 0.0), log(2, 0.2, -0.1), log(3, 0.4, -0.2)]))
    assert {n: a.raised for n, a in healthy.items()} == {
        "displacement": False,
        "saturation": False,
        "entropy_collapse": UNKNOWN,
        "oscillation": UNKNOWN,
        "wrong_reference": False,
    }
    assert "Recorder" in healthy["entropy_collapse"].do
    fallen = found(tmp_path / state(tmp_path, [log(10, -1.0, -14.0)]).parent)  # the folder does as well
    assert fallen["displacement"].raised is True
    assert fallen["saturation"].raised == UNKNOWN
    assert fallen["wrong_reference"].raised == UNKNOWN


def test_a_trainers_log_whose_rewards_return_to_zero_has_a_wrong_reference(tmp_path):
    rows = [log(1, 0.0, 0.0), log(2, 0.2, -0.1), log(3, 0.0, 0.0, loss=float(np.log(2))), log(4, 0.1, 0.0)]
    alarm = found(state(tmp_path, rows))["wrong_reference"]
    assert alarm.raised is True
    assert alarm.numbers["step"] == 3
    assert found(state(tmp_path, [log(1, 0.5, 0.0)]))["wrong_reference"].raised is True


def test_what_is_no_trainers_log_is_named(tmp_path):
    with pytest.raises(ValueError, match="no rewards/margins"):
        llm.alarms(state(tmp_path, [{"step": 1, "loss": 2.0}]))
    (tmp_path / "trainer_state.json").write_text("{}")
    with pytest.raises(ValueError, match="log_history"):
        llm.alarms(tmp_path)


def test_alarms_need_no_torch(tmp_path):
    path = state(tmp_path, [log(1, 0.0, 0.0)])
    code = f"import sys\nfrom dynamics import llm\nllm.alarms({str(path)!r})\nprint('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split() == [
        "False"
    ]
