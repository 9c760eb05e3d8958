"""Independent NumPy/SciPy versions of what the simulators compute; nothing here imports `dynamics`.

Shapes: P (..., K, K), distributions in logs (..., K); leading axes broadcast, so a batch is one call.
Sums that cancel are carried in 80-bit long doubles where the platform has them.
"""

from __future__ import annotations

import itertools

import numpy as np
import scipy.optimize
from scipy.special import expit

LONG = np.longdouble


def centre(z):
    """C z = z - mean(z): the representative of the logits whose entries sum to 0."""
    z = np.asarray(z)
    return z - z.mean(-1, keepdims=True)


def log_softmax(z):
    """log p_i = z_i - log Σ_k exp z_k, the largest entry as -log1p(Σ of the others' ratios)."""
    z = np.asarray(z)
    top = np.argmax(z, -1, keepdims=True)
    shifted = z - np.take_along_axis(z, top, -1)
    ratios = np.exp(shifted)
    np.put_along_axis(ratios, top, np.zeros_like(np.take_along_axis(ratios, top, -1)), -1)
    return shifted - np.log1p(ratios.sum(-1, keepdims=True))


def entropy(log_p):
    """H(p) = -Σ p log p in nats, 0 log 0 = 0."""
    log_p = np.asarray(log_p)
    return -np.sum(np.exp(log_p) * np.where(np.isneginf(log_p), 0.0, log_p), -1)


def kl_divergence(log_p, log_q):
    """KL(p‖q) = Σ p (log p - log q) in nats, each term with q - p added so that none is negative."""
    log_p, log_q = np.asarray(log_p, LONG), np.asarray(log_q, LONG)
    d = np.where(np.isneginf(log_p), 0, log_p - np.where(np.isneginf(log_p), 0, log_q))
    p, q = np.exp(log_p), np.exp(log_q)
    near = np.abs(d) < 1
    term = np.where(near, p * d - q * np.expm1(np.where(near, d, 0)), p * d - p + q)
    return np.sum(np.where(np.isneginf(log_p), np.exp(log_q), term), -1).astype(float)


def log_mixture(lam, log_pi, log_offline):
    """log(lam pi + (1-lam) pi_0)."""
    lam = np.asarray(lam)[..., None]
    with np.errstate(divide="ignore"):
        return np.logaddexp(np.log(lam) + log_pi, np.log1p(-lam) + log_offline)


def ipo_reward(P, log_mu):
    """C P mu: IPO's optimum is ref · exp(P mu / beta) (statement 1.1)."""
    return centre(np.einsum("...ij,...j->...i", np.asarray(P), np.exp(np.asarray(log_mu))))


def ipo_optimum(P, log_mu, log_reference, beta):
    """log(ref · exp(P mu / beta)) + const (statement 1.1)."""
    return log_softmax(np.asarray(log_reference) + ipo_reward(P, log_mu) / np.asarray(beta)[..., None])


def dpo_residual(P, log_mu, f):
    """R_i = Σ_{j≠i} mu_j (sigma(f_i - f_j) - P_ij), each difference taken in the smaller of the two tails."""
    P, f, mu = np.asarray(P, LONG), np.asarray(f, LONG), np.exp(np.asarray(log_mu, LONG))
    x = f[..., :, None] - f[..., None, :]
    flip = P > 0.5
    tail = _sigma(np.where(flip, -x, x)) - np.where(flip, np.swapaxes(P, -1, -2), P)
    tail = np.where(flip, -tail, tail) * (1 - np.eye(P.shape[-1]))
    return np.einsum("...ij,...j->...i", tail, mu)


def _sigma(x):
    e = np.exp(-np.abs(x))
    return np.where(x >= 0, 1, e) / (1 + e)


def _pinned_laplacian(f, mu, top):
    """Rows i ≠ top of diag(V mu) - V diag(mu), V = sigma'(f_i - f_j), with the row of `top` replaced by f_top = 0."""
    x = f[..., :, None] - f[..., None, :]
    V = _sigma(x) * _sigma(-x) * (1 - np.eye(f.shape[-1]))
    lap = -V * mu[..., None, :]
    diagonal = np.einsum("...ij,...j->...i", V, mu)
    lap = lap + diagonal[..., None] * np.eye(f.shape[-1])
    pinned = np.arange(f.shape[-1]) == top
    return np.where(pinned[..., :, None], np.eye(f.shape[-1]), lap), pinned


def dpo_reward(P, log_mu, *, guess=None, iterations=1500, dtype=float):
    """Centred f with Σ_j mu_j sigma(f_i - f_j) = (P mu)_i for all i (1.2), right to rounding; NaN if none found.

    Damped Newton on the equations i ≠ top (the heaviest response): Σ mu_i R_i = 0 makes top's equation redundant, and
    without it the matrix is a diagonally dominant M-matrix at every mu, vertices included. Then long-double refinement.
    """
    P, log_mu = np.asarray(P, float), np.asarray(log_mu)
    shape = np.broadcast_shapes(P.shape[:-2], log_mu.shape[:-1])
    K = P.shape[-1]
    P = np.broadcast_to(P, (*shape, K, K)).reshape(-1, K, K)
    log_mu = np.broadcast_to(log_mu, (*shape, K)).reshape(-1, K)
    f = (
        np.zeros_like(log_mu, LONG)
        if guess is None
        else np.broadcast_to(guess, (*shape, K)).reshape(-1, K).astype(LONG)
    )
    mu, top = np.exp(log_mu.astype(LONG)), np.argmax(log_mu, -1)[:, None]
    f = f - np.take_along_axis(f, top, -1)
    out, live, moving = np.full(log_mu.shape, np.nan, LONG), np.arange(len(f)), np.full(len(f), np.inf)
    for _ in range(iterations):
        if not len(live):
            break
        f_l, P_l, mu_l, log_l, top_l = f[live], P[live], mu[live], log_mu[live], top[live]
        step, size = _newton_step(P_l, log_l, mu_l, f_l, top_l)
        t = np.ones(len(live))
        for _ in range(60):
            new = np.abs(_pinned_residual(P_l, log_l, f_l + t[:, None] * step, top_l)).max(-1)
            worse = ~(new <= size) & (size > 1e-17)
            if not worse.any():
                break
            t = np.where(worse, t / 2, t)
        f[live] = f_l + t[:, None] * step
        moved = moving[live] = np.abs(step).max(-1).astype(float)
        done = (moved <= 1e-17 * (1 + np.abs(f[live]).max(-1))) | ((size <= 1e-19) & (moved < 1e-13))
        out[live[done]] = f[live[done]]
        live = live[~done & np.isfinite(moved) & (moved < 1e6)]
    # A last step that dithers is the rounding of the equations (long double, 1e-19) over sigma': 2,000 times less than
    # what the rounding of P to double moves f by. One of order 1 runs to infinity: no optimum (a 0/1 entry).
    dither = (np.abs(_pinned_residual(P, log_mu, f, top)).max(-1) <= 1e-17) & (moving < 1e-9)
    out[dither] = f[dither]
    return centre(out).reshape(*shape, K).astype(dtype)


def _pinned_residual(P, log_mu, f, top):
    R = dpo_residual(P, log_mu, f)
    np.put_along_axis(R, top, LONG(0), -1)
    return R


def _newton_step(P, log_mu, mu, f, top):
    lap, pinned = _pinned_laplacian(f, mu, top)
    R = np.where(pinned, 0, dpo_residual(P, log_mu, f))
    # Rows are scaled before rounding to double: far from the solution sigma' underflows towards 1e-300.
    scale = np.abs(lap).max(-1)
    with np.errstate(all="ignore"):
        matrix = np.nan_to_num((lap / scale[..., None]).astype(float), nan=0.0)
        right = np.nan_to_num((-R / scale).astype(float), nan=0.0, posinf=50.0, neginf=-50.0)
    matrix = matrix + 1e-290 * np.eye(f.shape[-1])
    try:
        step = np.linalg.solve(matrix, np.clip(right, -1e12, 1e12)[..., None])[..., 0]
    except np.linalg.LinAlgError:
        step = np.stack([np.linalg.lstsq(m, r, rcond=None)[0] for m, r in zip(matrix, right, strict=True)])
    # A step longer than 20 comes from saturated sigmas; shortened, it keeps its direction.
    longest = np.abs(step).max(-1, keepdims=True)
    step = step * np.minimum(1.0, 20.0 / np.maximum(longest, 1e-300))
    return step, np.abs(R).max(-1)


def dpo_optimum(P, log_mu, log_reference, beta):
    """log(ref · exp(f / beta)) + const, f = dpo_reward(P, mu) (statement 1.2)."""
    return log_softmax(np.asarray(log_reference) + dpo_reward(P, log_mu) / np.asarray(beta)[..., None])


def dpo_population_loss(P, log_mu, f):
    """E_{i,j~mu}[-P_ij log sigma(f_i - f_j) - P_ji log sigma(f_j - f_i)], the loss that 1.2 minimises."""
    x = f[..., :, None] - f[..., None, :]
    mu = np.exp(log_mu)
    return 2 * np.einsum("...ij,...i,...j->...", P * np.logaddexp(0, -x), mu, mu)


def ipo_population_loss(P, log_mu, h, beta):
    """E_{i,j~mu, I=±1 by P}[(h_i - h_j - I/(2 beta))²], the loss that 1.1 minimises."""
    x = h[..., :, None] - h[..., None, :]
    mu = np.exp(log_mu)
    pair = P * (x - 0.5 / beta) ** 2 + np.swapaxes(P, -1, -2) * (x + 0.5 / beta) ** 2
    return np.einsum("...ij,...i,...j->...", pair, mu, mu)


def reward(P, log_mu, objective, *, guess=None, dtype=float):
    """C P mu for "ipo", f(mu) for "dpo"."""
    if objective == "ipo":
        return ipo_reward(np.asarray(P, dtype), np.asarray(log_mu, dtype))
    return dpo_reward(P, log_mu, guess=guess, dtype=dtype)


def mrs_round(P, log_pi, alpha, lam, beta, log_reference, log_offline, objective="ipo", *, dtype=float):
    """log pi_{t+1} = alpha log pi_t + (1-alpha) log ref + r(mu_t)/beta + const, mu_t = lam pi_t + (1-lam) pi_0."""
    log_pi, log_reference, log_offline = (np.asarray(a, dtype) for a in (log_pi, log_reference, log_offline))
    alpha, lam, beta = (np.asarray(a, dtype) for a in (alpha, lam, beta))
    r = reward(P, log_mixture(lam, log_pi, log_offline), objective, dtype=dtype)
    alpha, beta = alpha[..., None], beta[..., None]
    # 0 · log pi is 0 also where pi is out of range, so alpha = 0 forgets the start.
    return log_softmax(alpha * log_pi + (1 - alpha) * log_reference + r / beta)


def mrs_run(P, log_pi, alpha, lam, beta, log_reference, log_offline, objective="ipo", rounds=1):
    """The policies pi_0 … pi_rounds of repeated `mrs_round`, stacked along a new first axis."""
    path = [np.asarray(log_pi, float)]
    for _ in range(rounds):
        path.append(mrs_round(P, path[-1], alpha, lam, beta, log_reference, log_offline, objective))
    return np.stack(np.broadcast_arrays(*path))


def covariance(log_pi):
    """Sigma = diag(pi) - pi piᵀ."""
    p = np.exp(log_pi)
    return p[..., :, None] * np.eye(p.shape[-1]) - p[..., :, None] * p[..., None, :]


def reward_derivative(P, log_mu, objective="ipo"):
    """∂r/∂mu: C P for "ipo"; for "dpo" C df/dmu with Lap df = -(S - P) dmu, S = sigma(f_i - f_j), at mu (1.2)."""
    P, log_mu = np.broadcast_arrays(np.asarray(P, float), np.asarray(log_mu, float)[..., None, :])
    log_mu, K = log_mu[..., 0, :], P.shape[-1]
    if objective == "ipo":
        return P - P.mean(-2, keepdims=True)
    f, mu = dpo_reward(P, log_mu), np.exp(log_mu)
    lap, pinned = _pinned_laplacian(f, mu, np.argmax(log_mu, -1)[..., None])
    right = np.where(pinned[..., :, None], 0.0, P - expit(f[..., :, None] - f[..., None, :]))
    df = np.linalg.solve(lap, right * np.ones((K, K)))
    return df - df.mean(-2, keepdims=True)


def jacobian_analytic(P, log_pi, alpha, lam, beta, log_offline, objective="ipo"):
    """C (alpha I + (lam/beta) (∂r/∂mu) Sigma) C in centred logits (statement 2.2); at any pi, not only a fixed one."""
    log_pi = np.asarray(log_pi, float)
    K = log_pi.shape[-1]
    C = np.eye(K) - 1.0 / K
    D = reward_derivative(P, log_mixture(lam, log_pi, np.asarray(log_offline)), objective)
    alpha, lam, beta = (np.asarray(a, float)[..., None, None] for a in (alpha, lam, beta))
    return C @ (alpha * np.eye(K) + lam / beta * D @ covariance(log_pi)) @ C


def jacobian_fd(P, log_pi, alpha, lam, beta, log_reference, log_offline, objective="ipo", h=1e-4):
    """Central differences of the round in centred logits, Richardson (4 D(h/2) - D(h))/3, long doubles."""
    z = np.asarray(centre(np.asarray(log_pi, LONG)), LONG)
    K = z.shape[-1]
    C = np.eye(K, dtype=LONG) - LONG(1) / K

    def difference(step):
        points = np.concatenate([z + step * C, z - step * C])
        image = mrs_round(P, log_softmax(points), alpha, lam, beta, log_reference, log_offline, objective, dtype=LONG)
        image = centre(image)
        return ((image[:K] - image[K:]) / (2 * step)).T

    h = LONG(h)
    return ((4 * difference(h / 2) - difference(h)) / 3).astype(float)


def eigenvalues(matrix):
    """Eigenvalues, largest modulus first."""
    values = np.linalg.eigvals(np.asarray(matrix))
    return np.take_along_axis(values, np.argsort(-np.abs(values), -1), -1)


def spectral_radius(matrix):
    """max |eigenvalue|."""
    return np.abs(np.linalg.eigvals(np.asarray(matrix))).max(-1)


def fixed_point(P, alpha, lam, beta, log_reference, log_offline, objective="ipo", start=None):
    """(log pi, residual) of one pi with round(pi) = pi, by `scipy.optimize.root` on z - C round(z), then Newton."""
    z = centre(np.asarray(log_reference if start is None else start, float))
    args = (alpha, lam, beta, log_reference, log_offline, objective)

    def gap(z):
        return z - centre(mrs_round(P, log_softmax(z), *args))

    def slope(z):
        return np.eye(len(z)) - jacobian_analytic(P, log_softmax(z), alpha, lam, beta, log_offline, objective)

    z = centre(scipy.optimize.root(gap, z, jac=slope, method="hybr", options={"xtol": 1e-15}).x)
    for _ in range(4):
        candidate = centre(z - np.linalg.solve(slope(z), gap(z)))
        if np.abs(gap(candidate)).max() >= np.abs(gap(z)).max():
            break
        z = candidate
    return log_softmax(z), float(np.abs(gap(z)).max())


def fixed_points(P, alpha, lam, beta, log_reference, log_offline, objective="ipo", starts=30, seed=0, scale=5.0):
    """All distinct fixed points that `fixed_point` finds from `starts` Gaussian logits, stacked; residuals ≤ 1e-9."""
    rng, found = np.random.default_rng(seed), []
    for k in range(starts):
        start = np.asarray(log_reference, float) if k == 0 else scale * rng.standard_normal(len(log_reference))
        log_pi, residual = fixed_point(P, alpha, lam, beta, log_reference, log_offline, objective, start)
        if residual <= 1e-9 and all(np.abs(np.exp(log_pi) - np.exp(other)).max() > 1e-6 for other in found):
            found.append(log_pi)
    return np.stack(found) if found else np.empty((0, len(log_reference)))


def spectrum_at_uniform(P, alpha, lam, beta, objective="ipo"):
    """Eigenvalues on Σ z = 0 at uniform pi = pi_0 with A1 = 0: alpha + kappa lam eig(A)/(K beta) (2.1)."""
    P = np.asarray(P, float)
    K = P.shape[-1]
    kappa = {"ipo": 1.0, "dpo": 4.0}[objective]
    basis = np.linalg.svd(np.ones((1, K)))[2][1:].T
    return alpha + kappa * lam / (K * beta) * np.linalg.eigvals(basis.T @ (P - 0.5) @ basis)


def skew_frequencies(P, log_pi):
    """w_k of statement 7.1: singular values of Sigma^½ A Sigma^½, as |Im| of the eigenvalues of A Sigma."""
    values = np.linalg.eigvals((np.asarray(P) - 0.5) @ covariance(log_pi))
    return -np.sort(-np.abs(values.imag), -1)


def condorcet_winner(P):
    """The i with P_ij > 1/2 for every j ≠ i, or None."""
    P = np.asarray(P)
    wins = [i for i in range(len(P)) if all(P[i, j] > 0.5 for j in range(len(P)) if j != i)]
    return wins[0] if wins else None


def smith_set(P):
    """Smallest non-empty S with P_ij > 1/2 for all i in S, j outside, by trying every subset."""
    P = np.asarray(P)
    K = len(P)
    for size in range(1, K + 1):
        for members in itertools.combinations(range(K), size):
            outside = [j for j in range(K) if j not in members]
            if all(P[i, j] > 0.5 for i in members for j in outside):
                return set(members)
    raise AssertionError("the whole set always dominates")


def row_dominant(P):
    """P_ij ≥ 1/2 ⇒ P_ik ≥ P_jk for every k: strong stochastic transitivity (statement 1.6)."""
    P = np.asarray(P)
    K = len(P)
    return all((P[i] >= P[j]).all() for i in range(K) for j in range(K) if i != j and P[i, j] >= 0.5)


def triple_defect(P):
    """max over triples |logit P_ij + logit P_jk + logit P_ki|, 0 iff Bradley–Terry (statement 1.3)."""
    P = np.asarray(P, float)
    L = np.log(P) - np.log(np.swapaxes(P, -1, -2))
    cycle = L[..., :, :, None] + L[..., None, :, :] + np.swapaxes(L, -1, -2)[..., :, None, :]
    return np.abs(cycle).max((-1, -2, -3))
