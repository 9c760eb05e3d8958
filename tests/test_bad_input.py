"""What a user meets: every wrong input is one sentence that names the entry, outside pytest's type checks."""

import json
import re
import subprocess
import sys

import pytest

SETUP = """
import json, sys, warnings
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
    "dyn.iterate(loop, 3, initial=four)": "initial has 4 responses, the process 3",
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
    "dyn.sweep(loop, {'alpha': [0.1]}, measure='entropy', rounds=3, store='x')": "to_zarr",
    "dyn.stability.analyze(Random(P))": "is random",
    "dyn.stability.analyze(loop, rounds=1)": "rounds = 1",
    "dyn.stability.critical(loop, 'betta')": "did you mean",
    "dyn.stability.critical(loop, 'preference')": "not a single number",
    "dyn.stability.critical(loop, 'alpha', bounds=(0.5, 0.1))": "low < high",
    "dyn.stability.critical(loop, 'alpha', bounds=(-1, 0.5))": "alpha = -1 is outside",
    "dyn.stability.jacobian(loop, [0.2, 0.3, 0.5])": "log_policy has total probability",
    "dyn.iterate(loop, 3, measure=3)": "measure is 3",
    "dyn.sweep(loop, ['alpha'], measure='entropy', rounds=3)": "over is a list",
    "dyn.stability.critical(loop, 3)": "parameter 3 is no name",
    "dyn.stability.critical(loop, 'bta')": "did you mean 'objective.beta'",
    "dyn.stability.critical(loop, 'beta', bounds=3)": "bounds = 3",
    "dyn.theorems.contraction.draw(jax.random.key(0), -1)": "n = -1",
    "dyn.nonsense": "no attribute 'nonsense'",
}


@pytest.fixture(scope="module")
def messages() -> dict[str, str]:
    done = subprocess.run(
        [sys.executable, "-c", SETUP], input=json.dumps(list(CASES)), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("code", CASES)
def test_one_sentence_names_the_entry(messages, code):
    message = messages[code]
    assert message.startswith(("ValueError: ", "AttributeError: ")), message
    assert re.search(CASES[code], message), message
    assert "\n" not in message
