"""One number per loss: the largest beta at which rounds keep moving, of twelve losses, and under label noise."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

import dynamics as dyn
from dynamics.objectives import Link, MarginLoss, SquaredMargin, kappa

from .._framework import Tick, described, require, silent
from .checks import TREATMENTS, check

__all__ = ["Config", "check", "run"]

SIZE = 1e-6  # of the perturbation of the uniform policy whose growth is measured
NEAR = (0.97, 1.0, 1.03)  # betas over the predicted one, between which the growth changes its sign


class Exponential(MarginLoss):
    """f(r) = e^-r."""

    def loss(self, margin: jax.Array) -> jax.Array:
        return jnp.exp(-margin)


class SquaredHinge(MarginLoss):
    """f(r) = max(0, 1 - r)²."""

    def loss(self, margin: jax.Array) -> jax.Array:
        return jnp.maximum(0.0, 1.0 - margin) ** 2


class Robust(MarginLoss):
    """((1 - eps) f(r) - eps f(-r))/(1 - 2 eps), f DPO's loss: unbiased where labels are flipped at rate eps."""

    flip_rate: jax.Array

    def __init__(self, beta: float, flip_rate: float):
        super().__init__(beta)
        self.flip_rate = jnp.asarray(flip_rate)

    def loss(self, margin: jax.Array) -> jax.Array:
        eps = self.flip_rate
        return ((1 - eps) * jax.nn.softplus(-margin) - eps * jax.nn.softplus(margin)) / (1 - 2 * eps)


LOSSES: dict[str, Callable[[Any], MarginLoss]] = {
    "IPO": dyn.IPO,
    "squared margin": SquaredMargin,
    "squared hinge": SquaredHinge,
    "exponential": Exponential,
    "DPO, smoothing .25": lambda beta: Link(beta, label_smoothing=0.25),
    "probit, smoothing .1": lambda beta: Link(beta, "probit", label_smoothing=0.1),
    "probit": lambda beta: Link(beta, "probit"),
    "cauchit": lambda beta: Link(beta, "cauchit"),
    "DPO, smoothing .1": lambda beta: Link(beta, label_smoothing=0.1),
    "DPO": dyn.DPO,
    "robust DPO, .1": lambda beta: Robust(beta, 0.1),
    "robust DPO, .25": lambda beta: Robust(beta, 0.25),
}
TREATED: dict[str, Callable[[Any, Any], MarginLoss]] = {
    "none": lambda beta, rate: Link(beta),
    "smoothing": lambda beta, rate: Link(beta, label_smoothing=rate),
    "robust": Robust,
}


@dataclasses.dataclass(frozen=True)
class Config:
    """Rounds at lam = 1 around the uniform policy on two tournaments P = 1/2 ± advantage."""

    advantage: float = 0.3
    alpha: float = 0.5
    rounds: int = 400
    """T; growth is measured over the second half."""
    losses: int = 12
    """How many of the losses, in the order of their kappa."""
    rates: int = 5
    """Rates of label noise, from 0 to .4."""

    def __post_init__(self) -> None:
        require(self, "advantage", 0, 0.5, open_low=True, open_high=True)
        require(self, "alpha", 0, 1, open_high=True)
        require(self, "rounds", 50, 100_000)
        require(self, "losses", 2, len(LOSSES))
        require(self, "rates", 2, 100)

    @classmethod
    def full(cls) -> Config:
        return cls(rounds=2000, rates=9)


def run(config: Config, tick: Tick = silent) -> xr.Dataset:
    """Predicted and measured critical betas of every loss on both matrices, and of DPO under label noise."""
    chosen = dict(list(LOSSES.items())[: config.losses])
    sizes, rates = (3, 5), np.linspace(0.0, 0.4, config.rates)
    kappas = np.array([float(kappa(make(1.0))) for make in chosen.values()])
    # Statement 2.1: alpha² + (kappa w/(K beta))² = 1, w = a cot(pi/2K).
    frequency = np.array([config.advantage / np.tan(np.pi / (2 * K)) / K for K in sizes])
    predicted = kappas[:, None] * frequency / np.sqrt(1 - config.alpha**2)
    measured, growth = np.zeros(predicted.shape), np.zeros((*predicted.shape, len(NEAR)))
    total = len(chosen) * len(sizes) + 1
    for i, (name, make) in enumerate(chosen.items()):
        for k, K in enumerate(sizes):
            tick((len(sizes) * i + k) / total, f"{name}, K = {K}")
            growth[i, k] = _growth(make(1.0), K, config, predicted[i, k] * np.array(NEAR), 0.0)
            measured[i, k] = predicted[i, k] * _root(growth[i, k])
    clean = 4 * frequency[0] / np.sqrt(1 - config.alpha**2)
    noisy, expected = np.zeros((len(TREATMENTS), len(rates))), np.zeros((len(TREATMENTS), len(rates)))
    for t, treatment in enumerate(TREATMENTS):
        tick((total - 1) / total, f"label noise, {treatment}")
        for n, rate in enumerate(rates):
            loss = TREATED[treatment](1.0, rate)
            expected[t, n] = float(kappa(loss)) / 4 * (1 - 2 * rate)
            beta = clean * expected[t, n] * np.array(NEAR)
            noisy[t, n] = expected[t, n] * _root(_growth(loss, 3, config, beta, rate))
    ds = xr.Dataset(
        {
            "kappa": (("loss",), kappas),
            "predicted": (("loss", "responses"), predicted),
            "measured": (("loss", "responses"), measured),
            "growth": (("loss", "responses", "near"), growth),
            "noisy": (("treatment", "rate"), noisy),
            "expected": (("treatment", "rate"), expected),
        },
        {
            "loss": list(chosen),
            "responses": list(sizes),
            "near": list(NEAR),
            "treatment": list(TREATMENTS),
            "rate": rates,
        },
    )
    units = {
        "kappa": ("1", "2|f'(0)|/f''(0)"),
        "predicted": ("1", "critical beta of statements 2.1 and 7.17"),
        "measured": ("1", "beta at which a perturbation of 1e-6 neither grows nor shrinks, simulated"),
        "growth": ("1/round", "growth of that perturbation, of its logarithm, at betas near the predicted one"),
        "near": ("1", "beta over the predicted critical beta"),
        "noisy": ("1", "measured critical beta over that of DPO predicted without noise"),
        "expected": ("1", "kappa/4 (1 - 2 rate), its prediction"),
        "rate": ("1", "rate at which labels are flipped"),
    }
    return described(ds, "losses", config, units)


def _growth(loss: MarginLoss, K: int, config: Config, beta: np.ndarray, rate: float) -> np.ndarray:
    """Per round, of the logarithm of the distance from the uniform policy, at each beta."""
    uniform = np.full(K, -np.log(K))
    loop = dyn.Rounds(
        dyn.preferences.cyclic(K, config.advantage),
        loss,
        sampler=dyn.samplers.OnPolicy(),
        reference=dyn.references.Geometric(config.alpha, uniform),
        feedback=dyn.feedback.Noisy(rate),
    )
    push = SIZE * np.cos(1.0 + np.arange(K))
    half = config.rounds // 2
    found = []
    for value in beta:
        one = eqx.tree_at(lambda loop: loop.objective.beta, loop, jnp.asarray(value))
        sol = dyn.iterate(one, config.rounds, initial=jax.nn.log_softmax(jnp.asarray(push)), every=half)
        away = np.linalg.norm(
            np.asarray(sol.log_policy) - np.asarray(sol.log_policy).mean(axis=1, keepdims=True), axis=1
        )
        found.append(np.log(away[2] / away[1]) / half)
    return np.array(found)


def _root(growth: np.ndarray) -> float:
    """The share of the predicted beta at which growth is 0, on the parabola through three values."""
    x = np.array(NEAR) - 1.0
    roots = np.roots(np.polyfit(x, growth, 2))
    real = roots[np.abs(roots.imag) < 1e-12].real
    return 1.0 + float(real[np.argmin(np.abs(real))]) if len(real) else np.nan
