"""The Dataset of rounds on a model."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
import numpy as np

from .._parameters import describe
from ..diagnostics import entropy, kl_to_reference, reward_margin
from ..rounds import RoundsState
from ..schema import VARIABLES, Variable, dataset, response_labels
from ._probe import versions

if TYPE_CHECKING:
    import xarray as xr

RESPONSES = ("round", "response")
OF_ROUNDS = {
    "log_policy_predicted": Variable(RESPONSES, "nats", "log pi of the simulator's run from the model's start"),
    "log_policy_one_round": Variable(
        RESPONSES, "nats", "log pi that the simulator predicts from the model's last round"
    ),
    "log_reference": Variable(
        RESPONSES, "nats", "log ref that the model was fitted to in this round; NaN at the start"
    ),
    "log_prob": Variable(RESPONSES, "nats", "log pi of the model's answers, summed over their tokens"),
    "total_variation": Variable(("round",), "1", "total variation between the model and the simulator's run"),
    "total_variation_one_round": Variable(
        ("round",), "1", "total variation between the model and the one-round prediction"
    ),
    "evaluations": Variable(("round",), "1", "evaluations of loss and gradient in the round"),
    "gradient": Variable(
        ("round",), "1", "largest entry of the scaled loss's gradient in the candidates' log-probabilities"
    ),
}


def table(run: Any, failure: str | None) -> xr.Dataset:
    """The Dataset of a ``Run``."""
    rows, loop, language = run.rows, run.loop, run.language
    log_policy = np.stack([row.log_policy for row in rows])
    simulated = run.simulated()
    predicted = np.asarray(simulated.log_policy, np.float64)
    one_round = np.stack([row.one_round for row in rows])
    blank = np.full((1, len(run.batch)), math.nan)
    memory = loop.reference.start(jnp.asarray(log_policy[0]))
    baseline = loop.log_baseline(RoundsState(jnp.asarray(log_policy[0]), memory, None))
    values = {
        "log_policy": log_policy,
        "log_policy_predicted": predicted,
        "log_policy_one_round": one_round,
        "log_reference": np.concatenate([blank, *(x[None] for x in run.log_references)]),
        "log_prob": np.stack([row.log_prob for row in rows]),
        "total_variation": apart(log_policy, predicted),
        "total_variation_one_round": apart(log_policy, one_round),
        "evaluations": np.array([row.evaluations for row in rows]),
        "gradient": np.array([row.gradient for row in rows]),
        "entropy": np.asarray(entropy(jnp.asarray(log_policy))),
        "kl_to_reference": np.asarray(kl_to_reference(jnp.asarray(log_policy), baseline)),
    }
    beta = loop.kl_coefficient()
    if beta is not None:
        values["reward_margin"] = np.asarray(reward_margin(jnp.asarray(log_policy), baseline, beta))
    known = {name: VARIABLES[name].over("round") for name in values if name in VARIABLES} | OF_ROUNDS
    used = [known[name] for name in values]
    coords: dict[str, Any] = {"round": np.arange(len(rows))} | response_labels(used, len(run.batch))
    coords["candidate"] = ("response", np.array(run.batch.texts))
    coords["tokens"] = ("response", run.batch.completion.sum(axis=1))
    attrs = {"config": json.dumps(describe(loop)), "result": failure or "successful", "prompt": run.batch.prompt}
    attrs |= {"model": language.name, "sha256": language.sha256, "tokenizer_sha256": language.tokenizer_sha256}
    attrs |= {"dtype": language.dtype, "device": str(language.device), "trainable": run.trainable, "seed": run.seed}
    attrs |= {"trained": sum(p.numel() for p in run.weights), "eos": str(run.batch.eos)}
    attrs |= {
        "inner": json.dumps(vars(run.inner)),
        "attention": str(getattr(language.model.config, "_attn_implementation", "")),
    }
    attrs |= {} if beta is None else {"beta": float(beta)}
    return dataset(values, known, coords=coords, attrs=attrs | versions())


def apart(log_p: np.ndarray, log_q: np.ndarray) -> np.ndarray:
    """Total variation, ½ Σ_k |p_k - q_k|, of rows of log-policies."""
    return 0.5 * np.abs(np.exp(log_p) - np.exp(log_q)).sum(axis=-1)
