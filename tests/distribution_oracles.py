"""Estimates of a target distribution from comparisons by NumPy/SciPy alone: what the theorems on them bound."""

from __future__ import annotations

import itertools

import numpy as np
import scipy.optimize
import scipy.special
from scipy.stats import binom

from dynamics.theorems.certificate import sampled_wins

RUNS = 400
FALSE_ALARM = 1e-9


def softmax_log(z):
    return (
        z
        - np.log(np.exp(z - np.max(z, axis=-1, keepdims=True)).sum(axis=-1, keepdims=True))
        - np.max(z, axis=-1, keepdims=True)
    )


def kl(log_p, log_q):
    p, q = np.asarray(log_p, np.longdouble), np.asarray(log_q, np.longdouble)
    p, q = p - np.log(np.exp(p).sum()), q - np.log(np.exp(q).sum(axis=-1, keepdims=True))
    return ((np.exp(p) * (p - q)).sum(axis=-1)).astype(float)


def preference(log_pi, gamma):
    return scipy.special.expit(gamma * (log_pi[:, None] - log_pi[None, :]))


def information(x, log_mu):
    """The Fisher information of one comparison, pair by pair."""
    P, mu, K = preference(x["log_target"], x["gamma"]), np.exp(log_mu), len(log_mu)
    L = np.zeros((K, K))
    for a, b in itertools.combinations(range(K), 2):
        e = np.eye(K)[a] - np.eye(K)[b]
        L += 2 * mu[a] * mu[b] * P[a, b] * P[b, a] * np.outer(e, e)
    return L


def weights_of(x, log_mu):
    p = np.exp(x["log_target"])
    sigma = np.diag(p) - np.outer(p, p)
    values = np.linalg.eigvals(np.linalg.pinv(information(x, log_mu), rcond=1e-13) @ sigma).real
    return np.sort(values)[::-1][:-1] / (2 * x["gamma"] ** 2)


def error_law(x):
    w = weights_of(x, x["log_mu"])
    return np.append(w, w.sum())


def samplers(x):
    p = np.exp(x["log_target"])
    root = np.sqrt(p * (1 - p))
    rules = [np.exp(x["log_mu"]), np.exp(x["log_mu"]), root / root.sum(), np.full(len(p), 1 / len(p)), p]
    return np.array([weights_of(x, np.log(mu)).sum() for mu in rules])


def minimum(loss, low, high):
    grid = np.linspace(low, high, 400)
    k = int(np.argmin([loss(t) for t in grid]))
    ends = grid[max(k - 1, 0)], grid[min(k + 1, len(grid) - 1)]
    found = scipy.optimize.minimize_scalar(loss, bounds=ends, method="bounded", options={"xatol": 1e-12})
    return min((found.x, *ends), key=loss)


def rlhf(x):
    loss = lambda k: kl(x["log_target"], softmax_log(x["log_reference"] + k * x["log_target"]))
    far = 1.0
    while loss(2 * far) < loss(far):
        far *= 2
    best = minimum(loss, 0.0, 2 * far)
    return np.array([best, loss(best)])


def tuned(x):
    K, n = len(x["scores"]), x["comparisons"]
    at = {"log_target": np.full(K, -np.log(K)), "gamma": x["gamma"]}
    noise = np.linalg.pinv(information(at, x["log_mu"])) / (n * x["gamma"] ** 2)
    half_variance = lambda shift, size: (np.var(shift) + size**2 * np.trace(noise) / K) / 2
    u, d = x["scores"], x["offsets"]
    reverse = lambda s: half_variance(s * d, 1 - s)
    tilted = lambda t: half_variance(t / (1 - t) * u - d, t / (1 - t))
    return np.array([reverse(minimum(reverse, 0, 1)), tilted(minimum(tilted, 0, 1 - 1e-4))])


def counts(x, runs=RUNS, seed=1):
    """(runs, K, K): how often the first beat the second; pairs of a response with itself are left out."""
    rng, mu = np.random.default_rng(seed), np.exp(x["log_mu"])
    log_target = x["log_target"] if "log_target" in x else x["log_policies"][x["member"]]
    q = np.outer(mu, mu) * preference(log_target, x["gamma"]) * 2
    q[np.diag_indices(len(mu))] = mu**2
    table = rng.multinomial(x["comparisons"], q.ravel() / q.sum(), runs).reshape(runs, *q.shape)
    table[:, np.arange(len(mu)), np.arange(len(mu))] = 0
    return table


def likelihoods(table, policies, gamma):
    return np.stack([(table * np.log(preference(pi, gamma))).sum(axis=(1, 2)) for pi in policies], axis=1)


def most_likely(x, table):
    return likelihoods(table, x["log_policies"], x["gamma"]).argmax(axis=1)


def best_reward(x, table):
    return likelihoods(table, x["rewards"], 1.0).argmax(axis=1)


def distilled(x, table):
    P = np.stack([preference(r, 1.0) for r in x["rewards"]])[best_reward(x, table)]
    return likelihoods((table + table.transpose(0, 2, 1)) * P, x["log_policies"], x["gamma"]).argmax(axis=1)


def reverse(x, table):
    pi = np.exp(x["log_policies"])
    value = np.array([[p @ r - x["gamma"] * p @ np.log(p) for p in pi] for r in x["rewards"]])
    return value.argmax(axis=1)[best_reward(x, table)]


def quantile(values, failure):
    """A lower confidence limit of the (1 - failure)-quantile; 0 where the runs are too few."""
    least = int(binom.isf(FALSE_ALARM, len(values), failure)) + 1
    return float(np.sort(values)[-least]) if least <= len(values) else 0.0


def divergence(x, picked):
    return np.maximum(kl(x["log_policies"][x["member"]], x["log_policies"]), 0)[picked]


def disagreement(x, picked):
    mu, P = np.exp(x["log_mu"]), [preference(pi, x["gamma"]) for pi in x["log_policies"]]
    return np.array([mu @ (p - P[x["member"]]) ** 2 @ mu for p in P])[picked]


def by_quantile(estimator, size):
    return lambda x: quantile(size(x, estimator(x, counts(x))), x["failure"])


def tail(x):
    levels = np.delete(divergence(x, np.arange(len(x["log_policies"]))), x["member"])
    found = divergence(x, most_likely(x, counts(x)))
    hits = (found[:, None] >= levels * (1 - 1e-9)).sum(axis=0)
    # The largest p whose binomial still exceeds this frequency with probability below 1e-9 is above a tail bound on it.
    return np.array([scipy.stats.beta.ppf(FALSE_ALARM, h, RUNS - h + 1) if h else 0.0 for h in hits])


def fitted(wins):
    loss = lambda R: -(wins * np.log(scipy.special.expit(R[:, None] - R[None, :]))).sum() / wins.sum()

    def slope(R):
        P = scipy.special.expit(R[:, None] - R[None, :])
        return -(wins * (1 - P) - wins.T * P).sum(axis=1) / wins.sum()

    found = scipy.optimize.minimize(loss, np.zeros(len(wins)), jac=slope, method="BFGS", options={"gtol": 1e-11})
    return found.x


def certified(x):
    wins = sampled_wins(**{name: x[name] for name in ("log_target", "log_mu", "gamma", "comparisons", "seed")})
    return kl(x["log_target"], softmax_log(fitted(wins) / x["gamma"]))


def excess(x):
    r = np.longdouble(x["ratio"])
    return float(r - 1 - np.log(r))


MEASURED = {
    "sigmoid_difference": lambda x: float(abs(scipy.special.expit(x["first"]) - scipy.special.expit(x["second"]))),
    "logarithm_above": excess,
    "logarithm_below": excess,
    "reversed_divergence": lambda x: kl(x["log_pi"], x["log_target"]) / kl(x["log_target"], x["log_pi"]),
    "error_constant": error_law,
    "sampler_errors": samplers,
    "rlhf_limit": rlhf,
    "tuned_errors": tuned,
    "preference_error": by_quantile(most_likely, disagreement),
    "likelihood_guarantee": by_quantile(most_likely, divergence),
    "distillation_guarantee": by_quantile(distilled, divergence),
    "reverse_kl_guarantee": by_quantile(reverse, divergence),
    "finite_class_tail": tail,
    "finite_class_error": lambda x: np.array(
        [by_quantile(most_likely, size)(x) for size in (disagreement, divergence)]
    ),
    "certificate": certified,
}
# (rtol, atol): SciPy finds where a function is least to the square root of float64's precision.
TOLERANCE = {
    "rlhf_limit": (1e-5, 1e-6),
    "tuned_errors": (1e-7, 1e-12),
    "error_constant": (1e-8, 1e-9),
    "sampler_errors": (1e-8, 1e-9),
    "reversed_divergence": (1e-8, 0.0),
    "certificate": (1e-6, 1e-9),
}
ATTAINED = {
    "reversed_divergence": [
        {"log_target": np.log(p), "log_pi": np.log(q)}
        for p, q in itertools.permutations([np.array([1e-6, 1 - 1e-6]), np.array([1e-6 * np.e, 1 - 1e-6 * np.e])])
    ]
}
ONE_SIDE = {"logarithm_above": ("upper",), "logarithm_below": ("lower",)}
