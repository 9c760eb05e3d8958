"""What a user meets: every wrong input is one sentence that names the entry, outside pytest's type checks."""

import json
import re
import subprocess
import sys

import pytest

SETUP = """
import json, pathlib, sys, tempfile, warnings
warnings.simplefilter("ignore")
import jax, jax.numpy as jnp, numpy as np
jax.config.update("jax_enable_x64", True)
import dynamics as dyn
P = dyn.preferences.cyclic(3, advantage=0.4)
loop = dyn.SelfSampling(P, dyn.IPO(0.25), 0.5, 1.0)
four = dyn.iterate(dyn.SelfSampling(dyn.preferences.cyclic(4, 0.1), dyn.IPO(1.0), 0.5, 1.0), 1).final
class Random(dyn.RoundMap):
    preference: object
    stochastic = True
    def __call__(self, logits, key=None):
        return logits
thirds = np.log(np.full(3, 1 / 3))
wins = 20 * np.asarray(P) * (1 - np.eye(3))
blind3 = [0.0, -np.inf, -np.inf]
import diffrax, optax
g, w, l = np.random.default_rng(0).normal(size=(4, 3)), np.array([0, 1, 0, 2]), np.array([1, 0, 2, 0])
flow = dyn.MarginFlow(g, w, l, dyn.DPO(1.0))
pol = dyn.PreferenceFlow(dyn.Tabular(3), P, dyn.DPO(1.0), dyn.samplers.OnPolicy())
def margin(features=g, chosen=w, rejected=l, objective=dyn.DPO(1.0), **options):
    return dyn.MarginFlow(features, chosen, rejected, objective, **options)
def policy_flow(policy=dyn.Tabular(3), preference=P, objective=dyn.DPO(1.0), sampler=dyn.samplers.OnPolicy(), **options):
    return dyn.PreferenceFlow(policy, preference, objective, sampler, **options)
trained = dyn.descend(flow, optax.sgd(0.1), steps=2).final
blind = dyn.gradient_flow(flow, 1.0, saveat=diffrax.SaveAt(t1=True, fn=lambda t, y, args: t))
responses = dyn.margins.Responses(np.ones((2, 1, 3)), np.ones((2, 1, 3)), np.zeros((2, 1), int), np.ones((2, 1), int))
ragged, key, two = [[1.0, 2.0], [3.0]], jax.random.key(0), np.stack([P, P])
of = dyn.theorems
bent = {"features": np.arange(8.0).reshape(4, 2), "beta": 0.1, "time": 1.0}
classes = {"mean": [1.0, 0.0], "shift": [1.0], "v": 1.0}
noise = {"pairs": 1, "l_b": 0.1, "noise": np.zeros((2, 2)), "time": 1.0}
def rate(W=np.ones((4, 3)), responses=responses, beta=1.0):
    return dyn.margins.multi_token_rate(W, np.ones((4, 3)), responses, np.ones(3), 0, beta)
def clusters(l_b=0.5, v=0.1, key=key, **options):
    return dyn.data.value_clusters(2, 3, 5, l_b, v, key=key, **options)
def behaviours(differences=np.ones((1, 2)), covariance=1.0, key=key, **options):
    return dyn.data.behaviours(differences, covariance, 3, key=key, **options)
def replies(shape=(2, 1), features=None, tokens=None):
    ids = np.zeros(shape, int) if tokens is None else tokens
    return dyn.margins.Responses(np.ones((*shape, 3)) if features is None else features, np.ones((*shape, 3)), ids, ids)
folder = tempfile.TemporaryDirectory()
def read(text, name="x.jsonl", **options):
    file = pathlib.Path(folder.name) / name
    file.write_text(text)
    return dyn.preferences.read(file, **options)
def scored(rating):
    return '{"prompt": "p", "response": "r", "helpful": ' + rating + '}'
out = {}
for code in json.load(sys.stdin):
    try:
        eval(code)
        out[code] = "no error"
    except Exception as error:
        out[code] = f"{type(error).__name__}: {error}"
print(json.dumps(out))
"""

CASES = {
    "dyn.preferences.from_ratings('x', key=None)": "ratings has dtype",
    "dyn.preferences.from_ratings(ragged, key=None)": "ratings has rows of different lengths",
    "dyn.preferences.from_ratings(g, key=3)": "key is 3; pass one key",
    "dyn.preferences.from_ratings(g, key=None, scale='x')": "scale is 'x'; pass numbers",
    "dyn.preferences.from_ratings(g, key=None, scale=[1.0, 2.0])": r"scale has shape \(2,\); pass one number",
    "dyn.preferences.from_ratings(g, key=None, scale=-1)": "scale = -1 is outside",
    "dyn.preferences.from_ratings(g, key=None, missing='drop')": "missing = 'drop' .* pass missing=0.5",
    "dyn.preferences.read('x.soc', missing='dropped')": "missing = 'dropped' .* missing=0.5 or 'drop'",
    "dyn.preferences.read('x.soc', missing=g)": "missing = .* pass missing=",
    "read('3', 'x.soc')": "ends after 0 of 3 alternatives",
    "read('', 'x.toi')": "x.toi: it is empty; pass a PrefLib file",
    "read(scored('4') + chr(10) + scored('null'))": "line 1 and line 2 answer one prompt.*--missing drop.*--missing 0.5",
    "read(scored('4') + chr(10) + scored('true'))": "line 2 has 'helpful' = True.*--skip-bad",
    "read(scored('4') + chr(10) + scored('3'), key=0)": "key is 0; pass one key",
    "read(scored('4') + chr(10) + scored('3'), scale=0)": "scale = 0 is outside",
    "read('winner,loser', 'x.csv', ties='lots')": "ties = 'lots'; pass 'half' .* or 'drop'",
    "read('winner,loser', 'x.csv', ties=None)": "ties = None; pass 'half'",
    "read('winner,loser', 'x.csv', smoothing=-1)": "smoothing = -1 is outside",
    "read('winner,loser', 'x.csv', smoothing='x')": "smoothing is 'x'; pass numbers",
    "read('winner,loser', 'x.csv', smoothing=[1, 2])": r"smoothing has shape \(2,\); pass one number",
    "read('winner,loser', 'x.csv', skip_bad=1)": "skip_bad = 1; pass True or False",
    "read('winner,loser', 'x.csv', attributes='a')": r"attributes = 'a' is one text; pass a sequence of names",
    "read('winner,loser', 'x.csv', attributes=[])": r"attributes = \[\]; pass the names",
    "read('winner,loser', 'x.csv', attributes=[1])": r"attributes = \[1\]; pass the names",
    "read('winner,loser', 'x.csv', attributes=['a', 'A'])": "attributes holds 'a' twice",
    "read(scored('4') + chr(10) + scored('3'), scale={'x': 1})": "scale names 'x', but its attributes are helpful",
    "read(scored('4') + chr(10) + scored('3'), scale={'helpful': 'x'})": r"scale\['helpful'\] is 'x'; pass numbers",
    "read(scored('4') + chr(10) + scored('3'), scale='x')": "scale is 'x'; pass numbers",
    "dyn.preferences.survey([], [])": "0 labels and 0 badnesses",
    "dyn.preferences.survey(['a'], [np.nan])": r"badness\[0\] is nan",
    "dyn.preferences.read('datasets:')": "names no data set; pass datasets:NAME",
    "dyn.stability.verdict_probability([[0, 3, 2], [0, 0, 4], [0, 0, 0]], dyn.IPO(1), 0.5, 1.0, key=key)": "one direction",
    "dyn.stability.verdict_probability([[0, 0, 0], [3, 0, 0], [2, 4, 0]], dyn.IPO(1), 0.5, 1.0, key=key)": "one direction",
    "dyn.stability.verdict_probability([[0, -3], [2, 0]], dyn.IPO(1), 0.5, 1.0, key=key)": r"counts\[0, 1\] = -3",
    "dyn.stability.verdict_probability([[0, np.nan], [2, 0]], dyn.IPO(1), 0.5, 1.0, key=key)": r"counts\[0, 1\] = nan",
    "dyn.stability.verdict_probability([[1, 3], [2, 0]], dyn.IPO(1), 0.5, 1.0, key=key)": r"counts\[0, 0\] = 1 is on the",
    "dyn.stability.verdict_probability([[0, 3, 1], [2, 0, 1]], dyn.IPO(1), 0.5, 1.0, key=key)": "counts has shape",
    "dyn.stability.verdict_probability(wins, dyn.IPO(1), 0.5, 1.0, key=None)": "pass key=",
    "dyn.stability.verdict_probability(wins, dyn.IPO(1), 0.5, 1.0, key=3.5)": "key is 3.5",
    "dyn.stability.verdict_probability(wins, dyn.IPO(1), 0.5, 1.0, key=key, prior=0)": "prior = 0",
    "dyn.stability.verdict_probability(wins, dyn.IPO(1), 0.5, 1.0, key=key, draws=0)": "draws = 0",
    "dyn.stability.verdict_probability(wins, dyn.IPO(1), 0.5, 1.0, key=key, rounds=5)": "rounds = 5",
    "dyn.stability.verdict_probability(wins, dyn.IPO(1), 1.5, 1.0, key=key)": "alpha = 1.5",
    "dyn.stability.verdict_probability(wins, dyn.SLiC(1), 0.5, 1.0, key=key)": "pass dyn.IPO or dyn.DPO",
    "dyn.stability.verdict_probability(wins, dyn.IPO(1), 0.5, 1.0, key=key, log_offline=blind3)": "full support",
    "dyn.stability.safe_beta(wins, dyn.IPO(1), 0.5, 1.0, key=key)": "pass dyn.IPO or dyn.DPO",
    "dyn.stability.safe_beta(wins, dyn.IPO, 1.0, 1.0, key=key)": "alpha = 1 has no fixed point",
    "dyn.stability.safe_beta(wins, dyn.IPO, [], 1.0, key=key)": "alpha has shape",
    "dyn.stability.safe_beta(wins, dyn.IPO, 0.5, [0.5, np.nan], key=key)": "lam = nan is outside",
    "dyn.stability.safe_beta(wins, dyn.IPO, 0.5, 1.0, key=key, confidence=1.0)": "confidence = 1 is certainty",
    "dyn.stability.safe_beta(wins, dyn.IPO, 0.5, 1.0, key=key, floor=0)": "floor = 0",
    "dyn.stability.spectral_radii(P, dyn.IPO(1), 0.5, 1.0)": "preferences has shape",
    "dyn.stability.spectral_radii(two, 'ipo', 0.5, 1.0)": "pass dyn.IPO or dyn.DPO",
    "dyn.stability.spectral_radii(two, dyn.IPO(1), [0.5], 1.0)": "alpha has shape",
    "dyn.stability.spectral_radii(two + 1, dyn.IPO(1), 0.5, 1.0)": "outside",
    "dyn.stability.critical_betas(ragged, dyn.IPO, 0.5, 1.0)": "preferences",
    "dyn.stability.proven_beta(P, 0.5, 1.0)": "preferences has shape",
    "dyn.preferences.PreferenceSet([P]).wins(0)": "has no counts",
    "dyn.plot.advice([])": "found is empty",
    "dyn.IPO([0.1, 0.2])": "beta has shape",
    "dyn.DPO(0)": "beta = 0 is outside",
    "dyn.DPO('x')": "beta is 'x'; pass numbers",
    "dyn.SelfSampling(P, 'ipo', 0.5, 1.0)": "objective is 'ipo'",
    "dyn.SelfSampling([[0.5]], dyn.IPO(1), 0.5, 1.0)": "K ≥ 2",
    "dyn.SelfSampling([[0.5, 0.7], [0.4, 0.5]], dyn.IPO(1), 0.5, 1.0)": r"\[0, 1\]|\[1, 0\]|P\[",
    "dyn.SelfSampling([[0.5, float('nan')], [0.4, 0.5]], dyn.IPO(1), 0.5, 1.0)": "nan|finite",
    "dyn.SelfSampling(P, dyn.IPO(1), 1.5, 1.0)": "alpha = 1.5 is outside",
    "dyn.SelfSampling(P, dyn.IPO(1), 0.5, -0.1)": "lam = -0.1 is outside",
    "dyn.SelfSampling(P, dyn.IPO(1), 0.5, 1.0, np.log([0.5, 0.5]))": "log_reference has shape",
    "dyn.SelfSampling(P, dyn.IPO(1), 0.5, 1.0, [0.2, 0.3, 0.5])": "log_reference has total probability",
    "dyn.SelfSampling(P, dyn.IPO(1), 0.5, 1.0, [0.0, -np.inf, -np.inf])": r"log_reference\[1\] is -inf",
    "dyn.DPO(1).implicit_reward(P, np.zeros(2))": "log_mu has shape",
    "dyn.DPO(1).tilt(np.zeros(3), np.zeros(2))": "f has shape",
    "dyn.IPO(1).tilt([0, np.nan, 0], thirds)": "f has a non-finite entry",
    "dyn.iterate(loop, 2.5)": "rounds = 2.5",
    "dyn.iterate(loop, True)": "rounds = True",
    "dyn.iterate(loop, -1)": "rounds = -1",
    "dyn.iterate(loop, 3, every=0)": "every = 0",
    "dyn.iterate(loop, 3, measure='entropi')": "did you mean 'entropy'",
    "dyn.iterate(loop, 3, measure=['entropy', 'entropy'])": "'entropy' twice",
    "dyn.iterate(loop, 3, initial=[0.5, 0.5])": "initial has shape",
    "dyn.iterate(loop, 3, initial=[0.0, -np.inf, -np.inf])": "-inf",
    "dyn.iterate(loop, 3, initial=four)": r"initial has logits of shape \(4,\), the process has \(3,\)",
    "dyn.iterate('loop', 3)": "process is a str",
    "dyn.iterate(Random(P), 3)": r"pass key=jax.random.key",
    "dyn.sweep(loop, {}, measure='entropy', rounds=3)": "over is empty",
    "dyn.sweep(loop, {'alfa': [1]}, measure='entropy', rounds=3)": "did you mean 'alpha'",
    "dyn.sweep(loop, {'alpha': [0.5, 1.5]}, measure='entropy', rounds=3)": "alpha = 1.5 is outside",
    "dyn.sweep(loop, {'beta': [0.5, -1]}, measure='entropy', rounds=3)": "objective.beta = -1 is outside",
    "dyn.sweep(loop, {'alpha': []}, measure='entropy', rounds=3)": "'alpha'.* is empty",
    "dyn.sweep(loop, {'alpha': [[0.1]]}, measure='entropy', rounds=3)": "1-d sequence",
    "dyn.sweep(loop, {('alpha', 'lam'): ([0.1], [0.1, 0.2])}, measure='entropy', rounds=3)": r"lengths \[1, 2\]",
    "dyn.sweep(loop, {'alpha': [0.1], ('alpha', 'lam'): ([0.1], [0.1])}, measure='entropy', rounds=3)": "two axes",
    "dyn.sweep(loop, {'preference': P}, measure='entropy', rounds=3)": "stack",
    "dyn.sweep(loop, {'preference': [P + 0.1]}, measure='entropy', rounds=3)": "P",
    "dyn.sweep(loop, {'alpha': [0.1]}, measure=[], rounds=3)": "measure is empty",
    "dyn.sweep(loop, {'alpha': [0.1]}, measure='entropy')": "pass rounds=",
    "dyn.sweep(loop, {'alpha': [0.1]}, measure='entropy', rounds=3, store='/dev/null')": "not the store of a sweep",
    "dyn.sweep(loop, {'alpha': [0.1]}, measure='entropy', rounds=3, client=1)": "client= needs a store; pass store=",
    "dyn.sweeps.use_machine(0)": "cores = 0; pass a whole number",
    "dyn.stability.analyze(Random(P))": "is random",
    "dyn.stability.analyze(loop, rounds=1)": "rounds = 1",
    "dyn.stability.critical(loop, 'betta')": "did you mean",
    "dyn.stability.critical(loop, 'preference')": "not a single number",
    "dyn.stability.critical(loop, 'alpha', bounds=(0.5, 0.1))": "low < high",
    "dyn.stability.critical(loop, 'alpha', bounds=(-1, 0.5))": "alpha = -1 is outside",
    "dyn.stability.jacobian(loop, [0.2, 0.3, 0.5])": "log_policy has total probability",
    "dyn.iterate(loop, 3, measure=3)": "measure is 3",
    "dyn.sweep(loop, ['alpha'], measure='entropy', rounds=3)": "over is a list",
    "dyn.stability.critical(loop, 3)": "parameter 3 is not a name",
    "dyn.stability.critical(loop, 'bta')": "did you mean 'objective.beta'",
    "dyn.stability.critical(loop, 'beta', bounds=3)": "bounds = 3",
    "dyn.theorems.contraction.draw(jax.random.key(0), -1)": "n = -1",
    "dyn.nonsense": "no attribute 'nonsense'",
    "margin(chosen=l)": r"chosen\[0\] and rejected\[0\] are both token 1",
    "margin(chosen=w + 0.0)": "chosen has dtype float64",
    "margin(rejected=l - 1)": r"rejected\[1\] = -1 is not a token id",
    "margin(vocabulary=2)": r"chosen\[3\] = 2 is not a token id; pass ids in 0 … 1",
    "margin(chosen=w[:3])": r"chosen has shape \(3,\)",
    "margin(features=g[0])": r"features have shape \(3,\)",
    "margin(features=np.where(g == g[2, 1], np.nan, g))": r"features\[2\] has an entry that is not finite",
    "margin(features='x')": "features is 'x'; pass numbers",
    "margin(features=None)": "features is None; pass numbers",
    "margin(features=ragged)": r"features is \[\[1.0, 2.0\], \[3.0\]\]; pass rows of numbers of equal length",
    "margin(features=g + 1j)": "features has complex entries; pass real numbers",
    "margin(weights='uniform')": "weights is 'uniform'; pass numbers",
    "margin(chosen=[0, [1], 0, 2])": "chosen is .*; pass rows of token ids",
    "margin(vocabulary=2.5)": "vocabulary = 2.5; pass the number of tokens",
    "margin(vocabulary='x')": "vocabulary = 'x'; pass",
    "margin(vocabulary=-1)": "vocabulary = -1; pass",
    "margin(objective='dpo')": "objective is 'dpo'",
    "margin(weights=[1, 1, -1, 1])": "weights hold a negative",
    "margin(weights=[1, 1])": "weights have shape",
    "margin(form='both')": "form = 'both'",
    "margin(np.zeros((40000, 1)), np.zeros(40000, int), np.ones(40000, int), form='dual')": "GiB.*form='primal'",
    "dyn.gradient_flow(flow, 0.0)": "t1 = 0 is not after t0 = 0",
    "dyn.gradient_flow(flow, 1.0, t0=2.0)": "t1 = 1 is not after t0 = 2",
    "dyn.gradient_flow(flow, np.nan)": "t1 = nan",
    "dyn.gradient_flow(flow, 1.0, rtol=0)": "rtol = 0; pass a tolerance above 0",
    "dyn.gradient_flow(flow, 1.0, atol=-1)": "atol = -1",
    "dyn.gradient_flow(flow, 1.0, saveat=[0.0, 1.0])": "saveat is a list",
    "dyn.gradient_flow(flow, 1.0, saveat=diffrax.SaveAt(ts=[0.0, 2.0]))": "times outside",
    "dyn.gradient_flow(flow, 1.0, saveat=diffrax.SaveAt())": "saves nothing",
    "dyn.gradient_flow(flow, 1.0, saveat=diffrax.SaveAt(ts=np.zeros((2, 3))))": r"times of shape \(2, 3\)",
    "dyn.gradient_flow(flow, None)": "t1 = None; pass one finite number",
    "dyn.gradient_flow(flow, 1.0, solver=diffrax.Tsit5)": "pass an instance",
    "dyn.gradient_flow(flow, 1.0, solver=diffrax.Euler())": "does not estimate its error",
    "dyn.gradient_flow(flow, 1.0, event=lambda t, y, args, **rest: False)": "event is a function",
    "dyn.gradient_flow(flow, 1.0, initial=dyn.descend(flow, optax.sgd(0.1), 1).final)": "initial is a DescentState",
    "dyn.gradient_flow(policy_flow(), 1.0, initial=flow.start(None))": "initial is a MarginState",
    "dyn.gradient_flow(flow, 1.0, initial='x')": "initial is 'x'; pass numbers",
    "dyn.gradient_flow(loop, 1.0)": "flow is a SelfSampling",
    "dyn.gradient_flow(flow, 1.0, initial=np.zeros(3))": r"initial has shape \(3,\)",
    "dyn.gradient_flow(policy_flow(objective=dyn.SLiC(1.0)), 1.0)": "use dyn.descend",
    "flow.predict(blind, g, w, l)": "SaveAt without fn=",
    "flow.predict(dyn.gradient_flow(flow, 1.0), g[:, :2], w, l)": "features have 2 columns, those of training 3",
    "flow.predict(dyn.gradient_flow(flow, 1.0), g, w, w)": "are both token 0",
    "flow.response_rewards(dyn.gradient_flow(flow, 1.0), np.zeros((2, 3)))": "V > 2, the largest id",
    "flow.response_rewards(dyn.gradient_flow(flow, 1.0), np.zeros((9, 3)), g)": "pass all three or none",
    "dyn.descend(flow, 'sgd', 3)": "optimizer is 'sgd'",
    "dyn.descend(flow, optax.sgd(0.1), 3, batch=2)": "pass key=",
    "dyn.descend(flow, optax.sgd(0.1), 3, initial=trained)": "reset_state=True to start it anew, or False",
    "dyn.descend(flow, optax.adam(0.1), 3, initial=trained, reset_state=False)": "another optimizer",
    "dyn.descend(flow, optax.sgd(0.1), 3, reset_state=True)": "reset_state is for going on",
    "dyn.descend(flow, optax.sgd(0.1), -3)": "steps = -3",
    "dyn.descend(flow, optax.lbfgs(), 3)": "optimizer needs more than gradients",
    "dyn.descend(flow, optax.sgd(0.1), 3, batch=2, key=jnp.zeros(3))": "key is .*; pass one key, key=jax.random.key",
    "dyn.descend(flow, optax.sgd(0.1), 3, batch=2, key=jax.random.split(key))": "pass one key",
    "dyn.gradient_flow(pol, 1.0, initial='x')": "initial is 'x'; pass numbers",
    "flow.response_rewards(dyn.gradient_flow(flow, 1.0), 'x')": "head is 'x'; pass numbers",
    "policy_flow(dyn.LogLinear(np.eye(4)))": "pass shapes that match",
    "policy_flow(policy=P)": "policy is a ArrayImpl|policy is a ndarray",
    "policy_flow(sampler=thirds)": "sampler is a ndarray",
    "policy_flow(sampler=dyn.samplers.Fixed(np.log([0.5, 0.5])))": r"log_mu has shape \(2,\), the policy \(3,\)",
    "policy_flow(log_reference=[0.2, 0.3, 0.5])": "log_reference has total probability",
    "policy_flow(preference=np.zeros((0, 3, 3)))": r"preference has shape \(0, 3, 3\); pass a matrix for each prompt",
    "policy_flow(preference=np.stack([P, P + 1]))": r"preference\[1\] as P: P\[0, 0\] = 1.5 is outside",
    "policy_flow(preference='x')": "preference is 'x'; pass numbers",
    "policy_flow(preference=[P, [[0.5]]])": "preference is .*; pass rows of numbers",
    "policy_flow(preference=two, weights='x')": "weights is 'x'; pass numbers",
    "policy_flow(preference=two, log_reference=ragged)": "log_reference is .*; pass rows of numbers",
    "dyn.samplers.Fixed(ragged)": "log_mu is .*; pass rows of numbers",
    "dyn.samplers.Fixed([])": r"log_mu has shape \(0,\)",
    "dyn.samplers.Mixture(1.5, thirds)": "lam = 1.5 is outside",
    "dyn.samplers.fitted(P, 'condorcet')": r"no Condorcet winner; pass target='smith', whose Smith set is \{0, 1, 2\}",
    "dyn.samplers.fitted(P, 'order')": "not transitive, so it is not an order; pass target='smith'",
    "dyn.samplers.fitted(P, 'top')": "target = 'top' is unknown; pass one of 'condorcet', 'smith', 'order'",
    "dyn.samplers.fitted(P, ['order'])": r"target = \['order'\] is unknown",
    "dyn.samplers.fitted(P, 'smith', floor=0.4)": "floor = 0.4 is more than 1/K = 0.333333 for each of 3 responses",
    "dyn.samplers.fitted(P, 'smith', floor=-0.1)": "floor = -0.1 is outside",
    "dyn.RLHF(0.1, reward='elo')": "reward = 'elo' is unknown; pass",
    "dyn.fit(0.5, wins, log_reference=thirds)": "objective is 0.5; pass an objective",
    "dyn.fit(dyn.DPO(1.0), wins, log_reference='x')": "log_reference is 'x'; pass numbers",
    "dyn.PreferenceModel('x', 0.5, log_sampler=thirds)": "log_target is 'x'; pass numbers",
    "dyn.certify('x', gamma=0.5, delta=0.05, scale=1.0)": "wins is 'x'; pass numbers",
    "dyn.samplers.design(0.5)": "model is a float; pass a PreferenceModel",
    "dyn.samplers.fitted(P, 'smith', floor='x')": "floor is 'x'; pass numbers",
    "dyn.samplers.fitted(P + 1, 'smith')": r"P\[0, 0\] = 1.5 is outside",
    "jax.jit(lambda P: dyn.samplers.fitted(P, 'smith').margin)(P)": "P is traced",
    "dyn.samplers.skew(thirds, [0, 1], 1.0)": "order is .*; pass each of the 3 responses",
    "dyn.samplers.skew(thirds, [0, 1, 1], 1.0)": "order is .*; pass each of the 3 responses 0 … 2 once, best first",
    "dyn.samplers.skew(thirds, 'abc', 1.0)": "order is 'abc'",
    "dyn.samplers.skew(thirds, [0, 1, 2], -1.0)": "amount = -1 is outside",
    "dyn.samplers.skew(thirds, [0, 1, 2], [1.0, 2.0])": "amount has shape",
    "dyn.samplers.skew([0.2, 0.8], [0, 1], 1.0)": "log_mu has total probability",
    "of.finite_samples(P=P, alpha=0.1, lam=0.1, beta=1.0, rounds=3, comparisons=0, failure=0.1)": "comparisons = 0",
    "of.finite_samples(P=P, alpha=0.1, lam=0.1, beta=1.0, rounds=3, comparisons=9, failure=0)": "failure = 0 is outside",
    "of.fitted_sampler(P=P, target='top')": "target = 'top' is unknown",
    "of.lost_order.witness(3, 0.1)": "pass K ≥ 4",
    "of.lost_order.witness(4, 0.2)": "an advantage of at most 1/10",
    "of.three_responses.witness(P)": "P has no majority order",
    "dyn.LogLinear([1.0, 2.0])": r"phi has shape \(2,\)",
    "dyn.LogLinear('x')": "phi is 'x'; pass numbers",
    "dyn.LogLinear(None)": "phi is None; pass numbers",
    "dyn.LogLinear(ragged)": "phi is .*; pass rows of numbers",
    "dyn.LogLinear(g + 1j)": "phi has complex entries",
    "dyn.Tabular(2.5)": "K = 2.5",
    "dyn.SelfSampling(P, dyn.SLiC(1.0), 0.5, 1.0)": "SLiC has a kink.*dyn.Descend",
    "dyn.SelfSampling(P, dyn.IPO(1.0), 0.5, 1.0, policy='tabular')": "policy is 'tabular'",
    "dyn.margins.multi_token_rate(np.ones((4, 3)), np.ones((4, 3)), responses, np.ones(2), 0, 1.0)": "shapes do not fit",
    "rate(beta=[0.1, 0.2])": r"beta has shape \(2,\); pass one number",
    "rate(responses=None)": r"responses is a NoneType; pass dyn.margins.Responses",
    "rate(W='x')": "W is 'x'; pass numbers",
    "replies((0, 1))": r"chosen_features have shape \(0, 1, 3\); pass at least one example",
    "replies(features='x')": "chosen_features is 'x'; pass numbers",
    "replies(tokens='x')": "chosen_tokens has dtype <U1; pass whole numbers, one per token",
    "clusters(v=np.linspace(0, 1, 5))": r"v has shape \(5,\); pass one number",
    "clusters(l_b=[0.5, 0.1])": r"l_b has shape \(2,\); pass one number",
    "clusters(delta='x')": "delta is 'x'; pass numbers",
    "clusters(key=0)": "key is 0; pass one key",
    "clusters().fresh(3, key=0)": "key is 0; pass one key",
    "behaviours('x')": "differences is 'x'; pass numbers",
    "behaviours(covariance='x')": "covariance is 'x'; pass numbers",
    "behaviours(covariance=np.nan)": "covariance .* is not finite",
    "behaviours(shared='x')": "shared is 'x'; pass numbers",
    "behaviours(key=0)": "key is 0; pass one key",
    "of.head_change(**bent, answer=[1])": "answer has length 1, features 4; pass an answer for each example",
    "of.head_change(**bent, answer=[1, -1])": "answer has length 2, features 4",
    "of.distinguishable_head_change(**bent, answer=[1, -1])": "answer has length 2, features 4",
    "of.head_change(**{**bent, 'features': 'x'}, answer=[1])": "features is 'x'; pass numbers",
    "of.head_change(**{**bent, 'features': None}, answer=[1])": "features is None",
    "of.head_change(**{**bent, 'features': ragged}, answer=[1])": "features is .*; pass rows of numbers",
    "of.gaussian_accuracy(**classes, beta=1.0, time=1.0)": "shift has length 1, mean 2; pass two vectors of one length",
    "of.initial_accuracy(**classes)": "shift has length 1, mean 2",
    "of.mean_field_bounds(rate=1e308, time=10.0)": r"rate \* time = .*; pass a smaller rate or time",
    "of.mean_field(rate=1e308, time=1e308, beta=1.0)": r"rate \* time = .*; pass a smaller rate or time",
    "of.noisy_margins(**noise, beta=1e200)": "out of float64's range .*; pass numbers nearer to 1",
    "dyn.diagnostics.cycle_strength(np.zeros(3))": "log_policy has shape",
    "dyn.diagnostics.distinguishability('x', [1, -1])": "features is 'x'; pass numbers",
    "dyn.diagnostics.distinguishability(np.ones((3, 2)), [1, -1])": "features have shape",
    "dyn.diagnostics.displacement([0.0], [0.0])": "pass two arrays",
}


@pytest.fixture(scope="module")
def messages() -> dict[str, str]:
    done = subprocess.run(
        [sys.executable, "-c", SETUP], input=json.dumps(list(CASES)), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.thorough
@pytest.mark.parametrize("code", CASES)
def test_one_sentence_names_the_entry(messages, code):
    message = messages[code]
    assert message.startswith(("ValueError: ", "AttributeError: ")), message
    assert re.search(CASES[code], message), message
    assert "\n" not in message
