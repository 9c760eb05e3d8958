"""Configurations of trainers, read without importing the trainers: TRL, OpenRLHF, verl.

Names and meanings are those of TRL 1.16 (``DPOConfig``, ``OnlineDPOConfig``; the YAML recipes of the alignment handbook hold
the same names), OpenRLHF's ``train_dpo`` and verl's recipes ``spin`` and ``sppo``, as of 2026.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from jaxtyping import ArrayLike

from .._parameters import nearest
from ..objectives import DPO, IPO, Link, Objective, SLiC
from ._config import entries_set, fields_of, flag, is_of, number, of_training, section, whole
from ._setup import Setup
from ._trainer_words import (
    BY_TOKEN,
    FOREIGN,
    LOSSES,
    ONLINE_LOSSES,
    ONLINE_ONLY,
    OTHER_LOSSES,
    READ_BY_OPENRLHF,
    READ_BY_TRL,
)


def from_trl(
    config: Any,
    *,
    tokens: ArrayLike | None = None,
    alpha: ArrayLike | None = None,
    lam: ArrayLike | None = None,
) -> Setup:
    """The rounds that a ``DPOConfig`` or ``OnlineDPOConfig`` of TRL, or a YAML of the alignment handbook, amounts to.

    ``DPOConfig`` alone is one fit to a fixed dataset: a fixed reference (alpha = 0) and fixed pairs (lam = 0). An iterated
    recipe passes ``alpha=1`` where each run takes the last checkpoint as its reference (TRL's default where no ref_model is
    given) and ``lam=1`` where it labels new pairs from it. ``OnlineDPOConfig`` has a fixed reference and its own pairs (alpha =
    0, lam = 1).

    ========================= =====================================================================================
    loss_type sigmoid         ``DPO(beta)``; hinge ``SLiC(beta)``; sppo_hard about ``IPO(beta)``
    loss_type ipo             ``IPO(beta/tokens)``: ``DPOTrainer`` divides log-probabilities by the number of tokens; online
                              DPO sums them, and is ``IPO(beta)``
    loss_type sigmoid_norm    ``DPO(beta/tokens)``, for the same reason
    loss_type robust          ``DPO(beta)`` on (P - e)/(1 - 2e), e = label_smoothing; this is not label smoothing
    sync_ref_model            ``references.Ema(ref_model_mixup_alpha)`` with a round of ref_model_sync_steps steps
    ========================= =====================================================================================

    Args:
        config: a mapping, the path of a JSON or YAML file, or the trainer's own object.
        tokens: length of a typical response, > 0; needed for losses by token.
        alpha: share of the policy in the next reference, in [0, 1].
        lam: share of the policy in the next sampler, in [0, 1].

    Returns:
        Setup, with ``.rounds(P)``, ``.says`` and ``.unmatched``.

    Raises:
        ValueError: an unknown loss (the nearest is named), one that is no loss of a margin, several losses, another divergence
            than reverse KL, or a value out of range.

    Source: TRL 1.16; robust as a change of P, and SPPO as IPO's rounds, [derived] statements 7.17, 8.1.

    >>> setup = dyn.rounds.from_trl({"loss_type": "ipo", "beta": 0.1}, tokens=200, alpha=1.0, lam=1.0)
    >>> print(setup)
    TRL DPO: IPO(0.0005), reference alpha 1, lam 1
      loss_type ipo divides log-probabilities by the number of tokens: beta 0.1 acts like 0.0005 on 200 tokens
      reference: the last checkpoint (alpha = 1)
      pairs: new ones from the policy (lam = 1)
    """
    fields = fields_of(config, READ_BY_TRL, FOREIGN, ("DPOConfig", "OnlineDPOConfig"))
    online = any(name in fields for name in ONLINE_ONLY) or is_of(config, ("OnlineDPOConfig",))
    trainer = "TRL online DPO" if online else "TRL DPO"
    loss = _one_loss(fields)
    if online and loss not in ONLINE_LOSSES:
        raise ValueError(f"loss_type = {loss!r} is not one of TRL's online DPO; pass {' or '.join(ONLINE_LOSSES)}.")
    beta = _beta(fields)
    says: list[str] = []
    noise = number(fields, "label_smoothing", 0.0, 0.0, 0.5, open_high=True)
    if loss in BY_TOKEN and not online:  # online, TRL sums over tokens
        beta = _by_token(loss, beta, tokens, says)
    objective, noise = _objective(loss, beta, noise, says)
    if flag(fields, "sync_ref_model"):
        if alpha is not None:
            raise ValueError(
                "alpha is given, but sync_ref_model makes the reference a moving average; leave alpha out."
            )
        rate = number(fields, "ref_model_mixup_alpha", 0.6, 0.0, 1.0)
        steps = whole(fields, "ref_model_sync_steps", 512, 1)
        share = None
        says.append(
            f"reference: a moving average at rate {rate:g}, updated every {steps} steps (of weights in the trainer, of"
        )
        says.append("log-policies here); pass optimizer= to rounds(), else a round goes to the optimum")
    else:
        rate, steps, share = None, None, _share("alpha", alpha, 0.0)
        says.append(_of_reference(share))
    own = _share("lam", lam, 1.0 if online else 0.0)
    says.append(_of_pairs(own))
    says += of_training(fields) if isinstance(config, Mapping | str) else []
    return Setup(trainer, objective, share, own, rate, steps, noise, tuple(says), _unmatched(fields, online))


def from_openrlhf(config: Any, *, alpha: ArrayLike | None = None, lam: ArrayLike | None = None) -> Setup:
    """The rounds that the arguments of OpenRLHF's ``train_dpo`` amount to.

    beta and label_smoothing as in ``Link``; ipo is ``IPO(beta)`` on the log-probabilities of whole responses. The reference is
    ``ref_pretrain``, by default the model that training starts from, and pairs are a fixed dataset; iterated recipes pass
    ``alpha=1`` and ``lam=1`` as for ``from_trl``. best_of_n, of the script that generates a round's responses, is ``BestOfN``.

    Args:
        config: a mapping, the path of a JSON or YAML file, or an ``argparse.Namespace``.
        alpha, lam: shares of the policy in the next reference and sampler, in [0, 1]; 0 unless given.

    Raises:
        ValueError: a value out of range.

    Source: OpenRLHF, ``openrlhf/cli/train_dpo.py``.

    >>> print(dyn.rounds.from_openrlhf({"beta": 0.1, "label_smoothing": 0.1}, alpha=1.0, lam=1.0))
    OpenRLHF DPO: Link(0.1), reference alpha 1, lam 1
      label_smoothing 0.1: f(r) becomes (1 - 0.1) f(r) + 0.1 f(-r)
      reference: the last checkpoint (alpha = 1)
      pairs: new ones from the policy (lam = 1)
    """
    fields, says = fields_of(config, READ_BY_OPENRLHF, FOREIGN), []
    beta, noise = _beta(fields), number(fields, "label_smoothing", 0.0, 0.0, 0.5, open_high=True)
    objective: Objective = DPO(beta)
    if flag(fields, "ipo"):
        objective = IPO(beta)
        says += [f"label_smoothing {noise:g} is not used with ipo"] if noise else []
    elif noise:
        objective = Link(beta, label_smoothing=noise)
        says.append(f"label_smoothing {noise:g}: f(r) becomes (1 - {noise:g}) f(r) + {noise:g} f(-r)")
    share, own = _share("alpha", alpha, 0.0), _share("lam", lam, 0.0)
    says += [_of_reference(share), _of_pairs(own)]
    best = whole(fields, "best_of_n", 1, 1)
    says += [f"best_of_n {best}: of {best} responses the best is preferred to the worst"] if best > 1 else []
    lost = entries_set(fields, {"nll_loss_coef": 0, "l2": 0, "aux_loss_coef": 0})
    pairs = best if best > 1 else None
    return Setup("OpenRLHF DPO", objective, share, own, best_of=pairs, says=tuple(says), unmatched=lost)


def from_verl(config: Any) -> Setup:
    """The rounds that a configuration of verl's recipes ``spin`` (online DPO) or ``sppo`` amounts to.

    ``spin``: ``algorithm.dpo_beta`` and ``algorithm.dpo_loss_type`` ("sigmoid" or "ipo") on the policy's own pairs (lam = 1);
    the reference is the last policy where ``trainer.ref_update_freq`` > 0 (alpha = 1), else the first model (alpha = 0).
    ``sppo``: ``algorithm.sppo_eta`` (or ``actor_rollout_ref.actor.sppo_eta``) is the step eta of ``games.SPPO``.

    Args:
        config: a nested mapping, or the path of a JSON or YAML file.

    Raises:
        ValueError: neither recipe's entries, an unknown loss, or a value out of range.

    Source: verl, ``recipe/spin`` and ``recipe/sppo``.

    >>> print(dyn.rounds.from_verl({"algorithm": {"dpo_beta": 0.1}, "trainer": {"ref_update_freq": 1}}))
    verl spin: DPO(0.1), reference alpha 1, lam 1
      reference: the last checkpoint (alpha = 1)
      pairs: new ones from the policy (lam = 1)
    """
    fields = fields_of(config)
    algorithm, trainer = (section(fields, name) for name in ("algorithm", "trainer"))
    actor = section(section(fields, "actor_rollout_ref"), "actor")
    eta = algorithm.get("sppo_eta", actor.get("sppo_eta"))
    if eta is not None:
        step = number({"sppo_eta": eta}, "sppo_eta", 1.0, 0.0, np.inf, open_low=True)
        says = (
            f"sppo_eta {step:g} is the step of SPPO: IPO's rounds at alpha = lam = 1, beta = 1/eta (statement 8.1);",
            "the trainer's loss has a constant in place of log Z, so its optimum is only near that (nearer at a smaller eta)",
        )
        lost = entries_set(actor, {"use_kl_loss": False, "entropy_coeff": 0})
        return Setup("verl sppo", IPO(1 / step), 1.0, 1.0, says=says, unmatched=lost)
    if "dpo_beta" not in algorithm:
        raise ValueError(
            "algorithm has neither dpo_beta (spin) nor sppo_eta (sppo); pass a configuration of one of verl's recipes."
        )
    beta = number(algorithm, "dpo_beta", 0.1, 0.0, np.inf, open_low=True)
    loss = algorithm.get("dpo_loss_type", "sigmoid")
    if loss not in ("sigmoid", "ipo"):
        raise ValueError(f"dpo_loss_type = {loss!r} is unknown; pass sigmoid or ipo.")
    updates = number(trainer, "ref_update_freq", -1.0, -np.inf, np.inf)
    share = 1.0 if updates > 0 else 0.0
    says = [_of_reference(share), _of_pairs(1.0)]
    if updates > 1:
        says.append(f"ref_update_freq {updates:g}: a round here is that many steps of the trainer")
    objective = DPO(beta) if loss == "sigmoid" else IPO(beta)
    return Setup("verl spin", objective, share, 1.0, says=tuple(says))


def _share(name: str, value: ArrayLike | None, default: float) -> float:
    return number({name: value}, name, default, 0.0, 1.0)


def _beta(fields: Mapping[str, Any]) -> float:
    given = fields.get("beta")
    if isinstance(given, list | tuple):
        if len(given) != 1:
            raise ValueError(
                f"beta = {given!r} changes from epoch to epoch; pass one number, and read each epoch by itself."
            )
        fields = {"beta": given[0]}
    return number(fields, "beta", 0.1, 0.0, np.inf, open_low=True)


def _one_loss(fields: Mapping[str, Any]) -> str:
    given = fields.get("loss_type")
    given = "sigmoid" if given is None else given
    losses = list(given) if isinstance(given, list | tuple) else [given]
    if not losses or not all(isinstance(loss, str) for loss in losses):
        raise ValueError(f"loss_type = {given!r} names no loss; pass one of {', '.join(LOSSES)}.")
    weights = fields.get("loss_weights") or [1.0] * len(losses)
    if len(weights) != len(losses):
        raise ValueError(f"loss_weights has {len(weights)} values for {len(losses)} losses; pass one for each.")
    kept = [loss for loss, weight in zip(losses, weights, strict=True) if weight != 0]
    if len(kept) != 1:
        raise ValueError(f"loss_type = {given!r} combines losses, which has no counterpart here; pass one.")
    (loss,) = kept
    if loss not in LOSSES:
        raise ValueError(f"loss_type = {loss!r} is unknown; {nearest(str(loss), list(LOSSES))}")
    if loss in OTHER_LOSSES:
        raise ValueError(
            f"loss_type = {loss!r} has no counterpart here: {OTHER_LOSSES[loss]}; those that have one are "
            f"{', '.join(x for x in LOSSES if x not in OTHER_LOSSES)}."
        )
    divergence = fields.get("f_divergence_type") or "reverse_kl"
    if getattr(divergence, "value", divergence) != "reverse_kl":
        raise ValueError(f"f_divergence_type = {divergence!r} has no counterpart here; only reverse_kl has.")
    return loss


def _by_token(loss: str, beta: float, tokens: ArrayLike | None, says: list[str]) -> float:
    if tokens is None:
        raise ValueError(
            f"loss_type = {loss!r} divides log-probabilities by the number of tokens; pass tokens=, a typical length: "
            "beta acts like beta/tokens on whole responses."
        )
    length = number({"tokens": tokens}, "tokens", 1.0, 0.0, np.inf, open_low=True)
    says.append(
        f"loss_type {loss} divides log-probabilities by the number of tokens: beta {beta:g} acts like {beta / length:.3g} on "
        f"{length:g} tokens"
    )
    return beta / length


def _objective(loss: str, beta: float, noise: float, says: list[str]) -> tuple[Objective, float]:
    if loss == "robust" and noise:
        says.append(
            f"robust: DPO on (P - {noise:g})/(1 - {2 * noise:g}), which undoes labels flipped at that rate; no label smoothing"
        )
    elif noise:
        says.append(
            f"label_smoothing {noise:g} is not used by loss_type {loss} in TRL 1.16; a version that smooths labels there has "
        )
        says.append(f"the loss dyn.objectives.Link({beta:g}, label_smoothing={noise:g})")
    if loss == "sppo_hard":
        says.append(
            "sppo_hard pulls each log-ratio to ±1/(2 beta); log-ratios that need not belong to a policy would end at those of "
        )
        says.append(f"IPO({beta:g}), a policy's only near them (nearer at a larger beta); the rounds here are IPO's")
    makers: dict[str, Callable[[float], Objective]] = {"ipo": IPO, "sppo_hard": IPO, "hinge": SLiC}
    if loss == "hinge":
        says.append("hinge has no unique optimum: pass optimizer= to rounds()")
    return makers.get(loss, DPO)(beta), noise if loss == "robust" else 0.0


def _of_reference(alpha: float) -> str:
    if alpha in (0.0, 1.0):
        return f"reference: the {'last checkpoint' if alpha else 'first model, kept'} (alpha = {alpha:g})"
    return f"reference: a geometric mixture of the last checkpoint and the first model (alpha = {alpha:g})"


def _of_pairs(lam: float) -> str:
    if lam in (0.0, 1.0):
        return f"pairs: {'new ones from the policy' if lam else 'a fixed dataset'} (lam = {lam:g})"
    return f"pairs: a share {lam:g} from the policy, the rest a fixed dataset (lam = {lam:g})"


def _unmatched(fields: Mapping[str, Any], online: bool) -> tuple[str, ...]:
    plain = {"ld_alpha": None, "use_weighting": False, "rpo_alpha": None, "reference_free": False}
    if online:
        plain |= {
            "temperature": 1.0,
            "top_p": 1.0,
            "top_k": 0,
            "min_p": None,
            "missing_eos_penalty": None,
            "repetition_penalty": 1.0,
        }
        fields = {"temperature": 0.9} | dict(fields)
    return entries_set(fields, plain)
