"""What a trainer's configuration amounts to as rounds of this laboratory."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np

from .._checks import Numbers, host_array
from .._parts import uniform
from ..feedback import BestOfN, Population
from ..learners import Descend, Optimum
from ..objectives import Objective, SLiC
from ..preferences import PreferenceSet, check_prompts, response_names
from ..references import Ema, Fixed, Geometric
from ..samplers import Mixture
from ._rounds import Rounds


@dataclasses.dataclass(frozen=True)
class Setup:
    """What a configuration amounts to; ``rounds(P)`` adds preferences, ``print`` tells it.

    Attributes:
        trainer: whose configuration it is.
        objective: the loss; its beta is the KL coefficient of a whole response.
        alpha: share of the policy in the next reference; None where the reference is a moving average.
        lam: share of the policy in the next sampler.
        rate: share of the newest policy in the moving average of references, or None.
        sync_steps: optimizer steps between two updates of that average, or None.
        label_noise: rate of flipped labels that the loss undoes ("robust"), in [0, 1/2).
        says: what each entry means here, in words.
        unmatched: entries that have no counterpart here and change what a run does.
        best_of: n where the best of n responses is preferred to the worst; None where every pair is compared.
    """

    trainer: str
    objective: Objective
    alpha: float | None
    lam: float
    rate: float | None = None
    sync_steps: int | None = None
    label_noise: float = 0.0
    says: tuple[str, ...] = ()
    unmatched: tuple[str, ...] = ()
    best_of: int | None = None

    def rounds(
        self,
        preference: Numbers | PreferenceSet,
        *,
        log_reference: Numbers | None = None,
        log_offline: Numbers | None = None,
        optimizer: Any = None,
    ) -> Rounds:
        """The rounds with P.

        Args:
            preference: P, ``(K, K)``, or ``(X, K, K)`` or a ``PreferenceSet`` for X prompts.
            log_reference: log ref, ``(K,)``, in nats: the first model; uniform unless given.
            log_offline: log pi_0, ``(K,)``, of what wrote the dataset; the first model unless given.
            optimizer: an optax transformation on logits. With a moving average of references, ``sync_steps`` steps of it are a
                round, else one, and its state is kept. None: every round goes to the optimum.

        Raises:
            ValueError: a bad entry, a P that a loss for flipped labels maps outside [0, 1], or no optimizer for a loss
                without a unique optimum.
        """
        if isinstance(self.objective, SLiC) and optimizer is None:
            raise ValueError("the hinge loss has no unique optimum; pass optimizer=, such as optax.sgd(0.1).")
        P = check_prompts(preference)
        first = uniform(P.shape[-1]) if log_reference is None else jnp.asarray(log_reference)
        if self.rate is not None:
            reference = Ema(self.rate, first)
        else:
            reference = Geometric(self.alpha, first) if self.alpha else Fixed(first)
        return Rounds(
            _cleaned(np.asarray(P), self.label_noise),
            self.objective,
            sampler=Mixture(self.lam, first if log_offline is None else log_offline),
            reference=reference,
            feedback=Population() if self.best_of is None else BestOfN(self.best_of),
            learner=Optimum() if optimizer is None else Descend(optimizer, self.sync_steps or 1, reset_state=False),
            names=response_names(None, preference, P.shape[:-1]),
        )

    def __str__(self) -> str:
        alpha = f"a moving average at rate {self.rate:g}" if self.alpha is None else f"alpha {self.alpha:g}"
        name, beta = type(self.objective).__name__, float(self.objective.beta)  # pyright: ignore[reportAttributeAccessIssue]
        lines = [f"{self.trainer}: {name}({beta:g}), reference {alpha}, lam {self.lam:g}"]
        lines += [f"  {line}" for line in self.says]
        if self.unmatched:
            lines.append("without a counterpart here:")
            lines += [f"  {line}" for line in self.unmatched]
        return "\n".join(lines)


def _cleaned(P: np.ndarray, noise: float) -> np.ndarray:
    """(P - noise)/(1 - 2 noise): the loss for flipped labels is DPO's on these, since DPO's is affine in P."""
    if noise == 0:
        return P
    cleaned = (host_array(P, "preference") - noise) / (1 - 2 * noise)
    if cleaned.min() < 0:
        at = tuple(int(i) for i in np.unravel_index(cleaned.argmin(), cleaned.shape))
        raise ValueError(
            f"preference{list(at)} = {P[at]:g} is below label_smoothing = {noise:g}: flipped labels alone would give "
            "more, so the robust loss has no finite optimum; pass a smaller label_smoothing, or P as the noisy labels show it."
        )
    return cleaned
