"""Finite classes: many policies over few rewards, and what each method chooses."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import xarray as xr

import dynamics as dyn

CHOOSERS = ("PMLE", "distillation", "reverse KL")
HALF = 4  # responses that are always sampled, and as many that may be rare
WIDTH = 0.4  # standard deviation of log pi/pi* where a member of a class differs


def finite_classes(config: Any, rng: np.random.Generator) -> xr.Dataset:
    """Errors of three methods by size of the class and the sampler's mass on rare responses, with coverage."""
    K, M, gamma = 2 * HALF, config.sizes[0], config.gamma
    log_target = np.log(np.full(K, 1 / K)) + 0.5 * rng.normal(size=K)
    log_target -= np.logaddexp.reduce(log_target)
    # Rewards differ where every sampler looks; the policies beyond those of rewards differ where it may look rarely.
    few = _members(log_target, M, slice(0, HALF), rng)
    many = _members(log_target, config.sizes[-1] - M + 1, slice(HALF, K), rng)[1:]
    policies, rewards = np.concatenate([few, many]), gamma * few
    shape = (len(CHOOSERS), len(config.sizes), len(config.rare))
    mean, deviation = np.zeros(shape), np.zeros(shape)
    covered, of_rewards = np.zeros(shape[1:]), np.zeros(shape[2:])
    keys = jax.random.split(jax.random.key(config.seed + 1), len(config.rare))
    for r, (rare, key) in enumerate(zip(config.rare, keys, strict=True)):
        log_mu = np.log(np.where(np.arange(K) < HALF, (1 - rare) / HALF, rare / HALF))
        model = dyn.PreferenceModel(log_target, gamma, log_sampler=log_mu)
        wins = np.asarray(model.sample(config.comparisons, key=key, data_sets=config.draws).wins)
        for s, size in enumerate(config.sizes):
            chosen = choose(wins, policies[:size], rewards, gamma, np.exp(log_mu))
            errors = np.sum(np.exp(log_target) * (log_target - policies[chosen]), axis=-1)
            mean[:, s, r] = errors.mean(1)
            deviation[:, s, r] = errors.std(1, ddof=1) / np.sqrt(config.draws)
            found = dyn.theorems.coverage(
                log_target=log_target, log_sampler=log_mu, gamma=gamma, log_policies=policies[:size], rewards=rewards
            )
            covered[s, r] = found.policies
            of_rewards[r] = np.nan if found.rewards is None else found.rewards
    return xr.Dataset(
        {
            "list_error": (("chooser", "size", "rare"), mean),
            "list_deviation": (("chooser", "size", "rare"), deviation),
            "list_coverage": (("size", "rare"), covered),
            "reward_coverage": (("rare",), of_rewards),
        },
        coords={"chooser": list(CHOOSERS), "size": list(config.sizes), "rare": list(config.rare)},
    )


def choose(wins: np.ndarray, policies: np.ndarray, rewards: np.ndarray, gamma: float, mu: np.ndarray) -> np.ndarray:
    """The index of the policy that each method takes in each data set, ``(method, data set)``."""
    scores = lambda logs: np.einsum("nij,mij->nm", wins, _log_wins(logs), optimize=True)
    likely = scores(gamma * policies).argmax(1)
    reward = rewards[scores(rewards).argmax(1)]
    asked = mu[:, None] * mu[None, :] / (1 + np.exp(-(reward[:, :, None] - reward[:, None, :])))
    distilled = np.einsum("nij,mij->nm", asked, _log_wins(gamma * policies), optimize=True).argmax(1)
    pi = np.exp(policies)
    reverse = (gamma * np.sum(pi * policies, axis=-1) - reward @ pi.T).argmin(1)
    return np.stack([likely, distilled, reverse])


def _log_wins(scores: np.ndarray) -> np.ndarray:
    """log sigma of all gaps, ``(…, K, K)``, 0 for pairs of equals."""
    K = scores.shape[-1]
    return -np.logaddexp(0.0, scores[..., None, :] - scores[..., :, None]) * (1 - np.eye(K))


def _members(log_target: np.ndarray, count: int, where: slice, rng: np.random.Generator) -> np.ndarray:
    """pi* and count - 1 policies that differ from it on some responses, whose total stays."""
    logs = np.broadcast_to(log_target, (count, len(log_target))).copy()
    part = logs[1:, where] + WIDTH * rng.normal(size=logs[1:, where].shape)
    total = np.logaddexp.reduce(log_target[where])
    logs[1:, where] = part - np.logaddexp.reduce(part, axis=-1, keepdims=True) + total
    return logs
