"""Independent NumPy/SciPy versions of last-layer training and of policy flows, from the formulas alone."""

from __future__ import annotations

import numpy as np
import scipy.integrate
import scipy.linalg
from scipy.special import expit, log_expit, log_softmax, ndtr, softmax


def loss_slope(kind, r, beta):
    """f'(r)."""
    return {
        "DPO": lambda: -expit(-r),
        "SquaredMargin": lambda: 2 * (r - 1),
        "IPO": lambda: 2 * (r - 0.5) / beta**2,
        "SLiC": lambda: -(r < 1).astype(float),
    }[kind]()


def loss(kind, r, beta):
    """f(r)."""
    return {
        "DPO": lambda: -log_expit(r),
        "SquaredMargin": lambda: (r - 1) ** 2,
        "IPO": lambda: (r - 0.5) ** 2 / beta**2,
        "SLiC": lambda: np.maximum(0, 1 - r),
    }[kind]()


def one_hot(tokens, V):
    return np.eye(V)[tokens]


def dense_steps(g, chosen, rejected, W0, beta, kind, rate, steps, weights=None):
    """Full-batch gradient descent of a dense d × V head with dense V-wide labels, through log-softmax; W after each step.

    grad_W = Σ w_i f'(r_i) beta [(y_w - p) - (y_l - p)] g_iᵀ, with r read off the log-probabilities themselves.
    """
    V = len(W0)
    y_w, y_l = one_hot(chosen, V), one_hot(rejected, V)
    share = np.full(len(g), 1 / len(g)) if weights is None else weights
    base = log_softmax(g @ W0.T, axis=1)
    W, out = W0.copy(), [W0.copy()]
    for _ in range(steps):
        z = g @ W.T
        log_p = log_softmax(z, axis=1)
        r = beta * (((log_p - base) * y_w).sum(1) - ((log_p - base) * y_l).sum(1))
        p = softmax(z, axis=1)
        push = (share * loss_slope(kind, r, beta) * beta)[:, None] * ((y_w - p) - (y_l - p))
        W = W - rate * push.T @ g
        out.append(W.copy())
    return np.array(out)


def dense_rewards(W, W0, g, token, beta):
    """beta (log p - log p_0) of one token per example."""
    at = np.arange(len(g))
    return beta * (log_softmax(g @ W.T, axis=1)[at, token] - log_softmax(g @ W0.T, axis=1)[at, token])


def gram(g, chosen, rejected):
    """C_ij with explicit one-hot labels."""
    V = max(chosen.max(), rejected.max()) + 1
    y = one_hot(chosen, V) - one_hot(rejected, V)
    return (y @ y.T) * (g @ g.T)


def margin_flow(g, chosen, rejected, beta, kind, ts, weights=None, rtol=1e-11, atol=1e-13):
    """Margins at ``ts`` by SciPy's integrator."""
    C = gram(g, chosen, rejected)
    share = np.full(len(g), 1 / len(g)) if weights is None else weights
    rhs = lambda t, r: -(beta**2) * C @ (share * loss_slope(kind, r, beta))
    out = scipy.integrate.solve_ivp(rhs, (0, ts[-1]), np.zeros(len(g)), "DOP853", ts, rtol=rtol, atol=atol)
    return out.y.T


def policy_force(kind, P, h, mu, beta):
    """-∂/∂h_i of the mean loss over pairs i, j ~ mu and labels from P, by loops."""
    K = len(P)
    force = np.zeros(K)
    for i in range(K):
        for j in range(K):
            slope = loss_slope(kind, np.array(beta * (h[i] - h[j])), beta)
            push = 2 * mu[i] * mu[j] * P[i, j] * beta * slope
            force[i] -= push
            force[j] += push
    return force


def flow_of_margins(g, chosen, rejected, beta, kind, time):
    """Margins and coefficients at ``time`` by an implicit-explicit SciPy integrator, from a = r = 0."""
    C, N = gram(g, chosen, rejected), len(g)

    def rhs(_, y):
        da = -loss_slope(kind, y[:N], beta) / N
        return np.concatenate([beta**2 * C @ da, da])

    if time == 0:
        return np.zeros(N), np.zeros(N)
    out = scipy.integrate.solve_ivp(rhs, (0, time), np.zeros(2 * N), "LSODA", rtol=1e-11, atol=1e-14)
    return out.y[:N, -1], out.y[N:, -1]


KINDS = {"dpo": "DPO", "squared": "SquaredMargin", "ipo": "IPO"}


def scalar_margin(x):
    beta = x.get("beta", 1.0)
    g = np.array([[np.sqrt(x["rate"] / 2) / beta]])
    return flow_of_margins(g, np.array([0]), np.array([1]), beta, KINDS[x.get("loss", "dpo")], x["time"])[0][0]


def change_of_head(x):
    """||W(t) - W(0)||_F with W itself: beta Σ a_i (e_w - e_l) g_i."""
    chosen = (x["answer"] < 0).astype(int)
    _, a = flow_of_margins(x["features"], chosen, 1 - chosen, x["beta"], "DPO", x["time"])
    y = one_hot(chosen, 2) - one_hot(1 - chosen, 2)
    return np.linalg.norm(x["beta"] * (y * a[:, None]).T @ x["features"])


def initial_speeds(x):
    """Behaviours' mean margin speeds at t = 0 of the dense head: beta (dW/dt)_(yes - no)·d_i/2, W from a finite step."""
    d, beta, step = x["differences"], x["beta"], 1e-3
    g = np.concatenate([d, -d]) / 2
    chosen = np.repeat([0, 1], len(d))
    W = dense_steps(g, chosen, 1 - chosen, np.zeros((2, d.shape[1])), beta, "DPO", step, 1)[1]
    r = beta * (W[0] - W[1]) @ g.T * np.repeat([1, -1], len(d)) / step
    return (r[: len(d)] + r[len(d) :]) / 2


def margins_of_clusters(x):
    g, chosen, rejected, _ = noisy_clusters(x)
    return flow_of_margins(g, chosen, rejected, x["beta"], "DPO", x["time"])[0]


def population_velocity(x, u):
    """beta E[s sigma(-2 beta s u·g) g] of the two classes, by Stein's identity and a rule along u alone."""
    m, b, v, beta = x["mean"], x["shift"], x["v"], x.get("beta", 1.0)
    nodes, weights = np.polynomial.hermite_e.hermegauss(120)
    out = np.zeros(len(m))
    for s in (1, -1):
        push = expit(-2 * beta * (u @ m + s * (u @ b) + v * np.linalg.norm(u) * nodes))
        mean, curve = weights @ push, weights @ (push * (1 - push))
        out += beta / 2 * (mean * (m + s * b) - 2 * beta * v**2 * curve * u) / weights.sum()
    return out


def accuracy_of(x, u):
    m, b = x["mean"] @ u, x["shift"] @ u
    size = x["v"] * np.linalg.norm(u)
    return (ndtr((m + b) / size) + ndtr((m - b) / size)) / 2


def population_accuracy(x):
    out = scipy.integrate.solve_ivp(
        lambda _, u: population_velocity(x, u),
        (0, x["time"]),
        np.zeros(len(x["mean"])),
        "LSODA",
        rtol=1e-11,
        atol=1e-14,
    )
    return accuracy_of(x, out.y[:, -1])


def first_accuracy(x):
    return accuracy_of(x, population_velocity(x, np.zeros(len(x["mean"]))))


def errors_of_clusters(g, chosen, rejected, a, means, answers, v):
    """Pr of a negative margin at N(mean, v² I) with the given answers: mean and size of Σ a_i y·y_i g_i."""
    out = []
    for mean, (w, l) in zip(means, answers, strict=True):
        agree = (w == chosen).astype(int) - (w == rejected) - (l == chosen) + (l == rejected)
        pull = (a * agree) @ g
        out.append(ndtr(-(pull @ mean) / (v * np.linalg.norm(pull))))
    return np.array(out)


def cluster_test_errors(x, g, chosen, rejected, time, c):
    _, a = flow_of_margins(g, chosen, rejected, x["beta"], "DPO", time)
    K, d = x["pairs"], g.shape[1]
    b = x["l_b"] * np.eye(d)[K]
    means = [s * c[k] + b for k in range(K) for s in (1, -1)]
    answers = [(2 * k, 2 * k + 1) if s > 0 else (2 * k + 1, 2 * k) for k in range(K) for s in (1, -1)]
    return errors_of_clusters(g, chosen, rejected, a, means, answers, x["v"])


def noisy_clusters(x, c=None):
    """Samples of the value clusters one by one."""
    noise, K = x["noise"], x["pairs"]
    N, d = noise.shape
    c = np.eye(K, d) if c is None else np.pad(c, [(0, 0), (0, d - K)])
    g, chosen, rejected = noise.copy(), np.zeros(N, int), np.zeros(N, int)
    for i in range(N):
        k, place = divmod(i, N // K)
        s = 1 if place < N // (2 * K) else -1
        g[i] += s * c[k]
        g[i, K] += x["l_b"]
        chosen[i], rejected[i] = (2 * k, 2 * k + 1) if s > 0 else (2 * k + 1, 2 * k)
    return g, chosen, rejected, c


def published_clusters(x):
    shape = (2 * x["pairs"] * x["Q"], x["d"])
    noise = x["v"] * np.random.default_rng(x["seed"]).standard_normal(shape)
    K, delta = x["pairs"], x.get("delta", 0.0)
    gram_of_centres = np.full((K, K), -delta) + (1 + delta) * np.eye(K)
    return noisy_clusters({**x, "noise": noise}, np.real(scipy.linalg.sqrtm(gram_of_centres)))


def errors_with_noise(x):
    g, chosen, rejected, c = noisy_clusters(x)
    return cluster_test_errors(x, g, chosen, rejected, x["time"], c)


def until(x):
    return x.get("time", x["pairs"] * np.log(3) / 5 / x["beta"] ** 2)


def published_margins(x):
    g, chosen, rejected, _ = published_clusters(x)
    return flow_of_margins(g, chosen, rejected, x["beta"], "DPO", until(x))[0]


def published_error(x):
    g, chosen, rejected, c = published_clusters(x)
    return cluster_test_errors(x, g, chosen, rejected, until(x), c).mean()


MEASURED = {
    "mean_field": scalar_margin,
    "mean_field_bounds": scalar_margin,
    "head_change": change_of_head,
    "distinguishable_head_change": change_of_head,
    "priority": initial_speeds,
    "noisy_margins": margins_of_clusters,
    "gaussian_accuracy": population_accuracy,
    "initial_accuracy": first_accuracy,
    "noisy_error": errors_with_noise,
    "value_margins": published_margins,
    "value_error": published_error,
    "nearly_orthogonal_margins": published_margins,
}
UNCERTAIN = {"value_margins", "value_error", "nearly_orthogonal_margins"}
