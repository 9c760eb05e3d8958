"""What objectives of alignment as distribution learning share: a reward fitted to the comparisons, and the KL penalty."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from .._checks import check_scalar
from .._numerics import centre, concrete, log_softmax
from ..preferences import Masses, Pairs, Seen, unlinked
from ._base import Objective
from .dpo import DPO, check_finite_odds
from .ipo import IPO
from .win_odds import centre_within

RewardName = Literal["bradley-terry", "win-rate"]
SOLVERS = {"bradley-terry": DPO, "win-rate": IPO}
INSTEAD = "use IPO, a win-rate reward, or PMLE with beta > 0"


class Rewarded(Seen):
    """What is seen, and a reward fitted to it: ``(K,)``, or ``(X, K)`` for X prompts; ``found``: whether it exists."""

    seen: Seen
    reward: Float[Array, "*contexts K"]
    found: Bool[Array, "*contexts"]

    def rates(self) -> Float[Array, "*contexts K K"]:
        return self.seen.rates()

    def weighted(self, weights: Float[Array, " X"]) -> Rewarded:
        return Rewarded(self.seen.weighted(weights), self.reward, self.found)


class _RewardObjective(Objective):
    """An objective whose value rests on Rhat, the reward of ``reward_kind`` that is fitted to everything that is seen."""

    fits_reward: ClassVar[bool] = True

    def reward_kind(self) -> RewardName:
        """Which reward is fitted."""
        return "bradley-terry"

    def prepare(self, seen: Seen) -> Rewarded:
        return seen if isinstance(seen, Rewarded) else Rewarded(seen, *fit_reward(self.reward_kind(), seen))

    def reward_of(self, seen: Seen) -> Float[Array, "*contexts K"]:
        """Rhat; NaN where it does not exist, so that no value is taken for finite."""
        rewarded = self.prepare(seen)
        return jnp.where(rewarded.found[..., None], rewarded.reward, jnp.nan)

    def search(
        self, seen: Seen, log_reference: Array, basis: Array | None, weights: Array | None = None
    ) -> tuple[Float[Array, "*contexts K"], Bool[Array, ""]]:
        rewarded = self.prepare(seen)
        f, found = super().search(rewarded, log_reference, basis, weights)
        return f, found & jnp.all(rewarded.found)

    def check_optimum(self, seen: Seen, support: Bool[np.ndarray, "*contexts K"], basis: np.ndarray | None) -> None:
        check_reward(self.reward_kind(), seen, support, f"{type(self).__name__} has no finite reward")


def check_name(name: Any) -> RewardName:
    """``name`` if it is that of a reward."""
    if name not in SOLVERS:
        raise ValueError(f'reward = {name!r} is unknown; pass "bradley-terry" or "win-rate".')
    return name


def fit_reward(name: RewardName, seen: Seen) -> tuple[Float[Array, "*contexts K"], Bool[Array, "*contexts"]]:
    """Rhat of mean 0 within every group that comparisons link, and whether it exists: f of DPO's or IPO's optimum."""
    if isinstance(seen, Rewarded):
        return seen.reward, seen.found
    if seen.rates().ndim == 3:
        return jax.vmap(lambda one: fit_reward(name, one))(seen)
    size = seen.rates().shape[-1]
    f, found = SOLVERS[name](1.0).solve(seen, jnp.zeros(size))
    return centre(f) if isinstance(seen, Pairs) else f, found


def check_reward(
    name: RewardName, seen: Seen, support: np.ndarray, trouble: str, basis: np.ndarray | None = None
) -> None:
    """Raises ``ValueError`` where the reward, or its best fit within a basis, is infinite, naming a group of responses."""
    if name != "bradley-terry":
        return
    seen = _bare(seen)
    if basis is not None or np.ndim(support) == 1:
        check_finite_odds(seen, support, basis, trouble, INSTEAD)
        return
    for x in range(len(support)):
        try:
            check_finite_odds(jax.tree.map(lambda leaf, x=x: leaf[x], seen), support[x], None, trouble, INSTEAD)
        except ValueError as error:
            raise ValueError(f"prompt {x}: {error}") from None


def check_linked(seen: Seen, trouble: str) -> None:
    """Raises ``ValueError`` where comparisons leave the reward of one group against another undetermined."""
    seen = _bare(seen)
    if not isinstance(seen, Masses):
        return
    wins = np.asarray(seen.compared())
    for x, counts in enumerate(wins.reshape(-1, *wins.shape[-2:])):
        linked = unlinked(counts)
        if len(linked) < len(counts):
            where = f"prompt {x}: " if wins.ndim == 3 else ""
            raise ValueError(
                f"{where}{trouble}: no comparison links responses {linked} to the others, "
                f"so their reward is unknown; add such comparisons, or use DPO, IPO or PMLE, which keep the reference there."
            )


def components(seen: Seen) -> Bool[Array, "K K"]:
    """Whether comparisons link i and j, in any number of steps; everything is linked under the exact law of pairs."""
    seen = _bare(seen)
    if not isinstance(seen, Masses):
        return jnp.ones(seen.rates().shape, bool)
    from ._empirical import reachable  # loads on use

    met = seen.compared() + jnp.swapaxes(seen.compared(), -1, -2)
    return reachable(met > 0)


def _bare(seen: Seen) -> Seen:
    return seen.seen if isinstance(seen, Rewarded) else seen


def smoothed(seen: Seen) -> Seen:
    """The comparisons with the pseudo-wins of ``smoothing`` counted in, without a reward."""
    seen = _bare(seen)
    if not isinstance(seen, Masses):
        return seen
    wins = seen.compared()
    met = (wins + jnp.swapaxes(wins, -1, -2)) > 0
    added = jnp.where(met, seen.smoothing[..., None, None], 0.0)
    return Masses(wins + added, seen.total + jnp.sum(added, axis=(-2, -1)))


def solve_freely(
    objective: Any, seen: Seen, log_reference: Array, linked: Callable[[], Array]
) -> tuple[Float[Array, " K"], Bool[Array, ""]]:
    """log pi/ref of PMLE or distillation over all policies: in closed form at beta = 0, else by the objective's search.

    Where beta = 0, gamma log pi = Rhat within each linked group, and what no comparison determines stays as in the reference.
    """

    def closed() -> tuple[Array, Array]:
        reward, found = fit_reward("bradley-terry", seen)
        groups = linked()
        gap = centre_within(reward, groups) / objective.gamma
        return gap - centre_within(log_softmax(log_reference), groups), found

    def searched() -> tuple[Array, Array]:
        return objective.search(seen, log_reference, None)

    if concrete(objective.beta):
        return searched() if float(objective.beta) > 0 else closed()
    return jax.lax.cond(objective.beta > 0, searched, closed)


def without_penalty(
    objective: Any, log_reference: Float[Array, "*contexts K"]
) -> tuple[DPO, Float[Array, ""], Float[Array, "*contexts K"]] | None:
    """The rounds of PMLE or distillation at beta = 0: those of DPO at beta = gamma with a uniform reference; else None."""
    if not concrete(objective.beta) or float(objective.beta) != 0.0:
        return None
    return DPO(objective.gamma), jnp.asarray(0.0), log_softmax(jnp.zeros_like(log_reference))


def check_gamma_beta(path: str, values: np.ndarray) -> None:
    """Raises ``ValueError`` where gamma or beta may not take one of the values."""
    check_scalar(values, path, 0.0, np.inf, open_low=path.rsplit(".", 1)[-1] == "gamma")


def divergence(log_policy: Float[Array, " K"], log_reference: Float[Array, " K"]) -> Float[Array, ""]:
    """KL(pi||ref), where log ref is given up to a constant."""
    return jnp.sum(jnp.exp(log_policy) * (log_policy - log_softmax(log_reference)))
