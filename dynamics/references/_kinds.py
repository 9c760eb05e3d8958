"""References: fixed, mixed with the last policy, and a moving average of all policies."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Bool, Float

from .._checks import Numbers, check_scalar
from .._noun import Noun, assemble
from .._numerics import centre, log_softmax
from .._parts import check_fits, check_rows, distributions, is_share, of_any_size, other_size, share_of, uniform
from .._vectors import ravel


class Reference(Noun):
    """log ref_t from the policies so far. What a round may use of the past beyond the last policy is its ``memory``.

    A subclass writes ``log_at``. One with a memory also writes ``start``, ``follow`` and ``centre``, which removes constants
    added to logits, and sets ``keeps_state = True``.

    >>> class Half(dyn.references.Reference):
    ...     def log_at(self, logits, memory):
    ...         return 0.5 * logits
    >>> Half().log_at(jnp.array([2.0, 0.0]), None).tolist()
    [1.0, 0.0]
    """

    @abstractmethod
    def log_at(self, logits: Float[Array, "*contexts K"], memory: Any) -> Float[Array, "*contexts K"]:
        """log ref_t up to a constant, from the logits of pi_t and the memory, ``(K,)``."""

    @property
    def keeps_state(self) -> bool:
        """Whether log ref_t depends on more of the past than pi_t."""
        return False

    def start(self, logits: Float[Array, "*contexts K"]) -> Any:
        """The memory at round 0 of a run that starts from ``logits``."""
        return None

    def follow(self, logits: Float[Array, "*contexts K"], memory: Any) -> Any:
        """The memory of the next round, from the logits of pi_{t+1}."""
        return memory

    def centre(self, memory: Any) -> Any:
        """What of the memory matters to later rounds, without constants added to logits, a linear function of it."""
        return memory if self.keeps_state else None

    def memory_basis(self, memory: Any, basis: Float[Array, "K m"]) -> Float[Array, "n l"]:
        """Orthonormal columns that span the centred memories, raveled, where ``basis`` spans the policies' logits."""
        return jnp.eye(len(ravel(memory)))

    def log_baseline(self, size: int, memory: Any = None) -> Float[Array, "*contexts K"]:
        """log ref that rewards and divergences of a run are measured from, ``(K,)``; uniform unless overridden."""
        return uniform(size)

    def anchors(self) -> dict[str, Float[Array, "*contexts K"]]:
        """By name the log-policies that a policy class has to contain for rounds to stay in it."""
        return {}

    def check(self, shape: tuple[int, ...]) -> None:
        """Raises ``ValueError`` unless this reference fits logits of ``shape``."""

    def resized(self, size: int) -> Reference:
        """The same reference for another number of responses; ``ValueError`` where it fits one number only."""
        return of_any_size(self)


class _Given(Reference):
    """A reference that rests on a given log ref."""

    log_reference: eqx.AbstractVar[Float[Array, "*contexts K"]]

    def log_baseline(self, size: int, memory: Any = None) -> Float[Array, "*contexts K"]:
        return self.log_reference

    def anchors(self) -> dict[str, Float[Array, "*contexts K"]]:
        return {"log_reference": self.log_reference}

    def check(self, shape: tuple[int, ...]) -> None:
        check_fits(self.log_reference, shape, "log_reference")


class Fixed(_Given):
    """ref_t = ref, whatever the policy is.

    Args:
        log_reference: log ref, ``(K,)``, finite, in nats.
    """

    log_reference: Float[Array, "*contexts K"]

    def __init__(self, log_reference: Numbers):
        self.log_reference = distributions(log_reference, "log_reference")

    def log_at(self, logits: Float[Array, "*contexts K"], memory: Any = None) -> Float[Array, "*contexts K"]:
        return self.log_reference

    def resized(self, size: int) -> Fixed:
        return assemble(Fixed, log_reference=other_size(self.log_reference, size, "log_reference"))

    def check_parameter(self, path: str, values: np.ndarray) -> None:
        check_rows(values, path)


class Geometric(_Given):
    """ref_t ∝ pi_t^alpha · ref^(1-alpha).

    Args:
        alpha: alpha, scalar in [0, 1], share of the policy in the next reference.
        log_reference: log ref, ``(K,)``, finite, in nats.

    Source: [paper] Chen26.
    """

    alpha: Float[Array, ""]
    log_reference: Float[Array, "*contexts K"]

    def __init__(self, alpha: ArrayLike, log_reference: Numbers):
        self.alpha = share_of(alpha, "alpha")
        self.log_reference = distributions(log_reference, "log_reference")

    def log_at(self, logits: Float[Array, "*contexts K"], memory: Any = None) -> Float[Array, "*contexts K"]:
        log_reference = jnp.broadcast_to(self.log_reference, logits.shape)
        return self.alpha * logits + (1 - self.alpha) * log_reference

    def resized(self, size: int) -> Geometric:
        return assemble(
            Geometric, alpha=self.alpha, log_reference=other_size(self.log_reference, size, "log_reference")
        )

    def check_parameter(self, path: str, values: np.ndarray) -> None:
        if path.endswith("alpha"):
            check_scalar(values, path, 0.0, 1.0)
        else:
            check_rows(values, path)

    def in_range(self) -> Bool[Array, ""]:
        return is_share(self.alpha)


class Ema(Reference):
    """log ref_{t+1} = rate log pi_{t+1} + (1-rate) log ref_t, up to a constant: a geometric moving average of the policies.

    TRL's ``ref_model_mixup_alpha`` is this rate, not alpha: there weights are averaged, here log-policies.

    Args:
        rate: scalar in [0, 1], share of the newest policy; at 1 the reference is the last policy.
        log_start: log ref_0, ``(K,)``, finite, in nats; the first policy of the run unless given.

    Source: [derived].
    """

    rate: Float[Array, ""]
    log_start: Float[Array, "*contexts K"] | None

    def __init__(self, rate: ArrayLike, log_start: Numbers | None = None):
        self.rate = share_of(rate, "rate")
        self.log_start = None if log_start is None else distributions(log_start, "log_start")

    @property
    def keeps_state(self) -> bool:
        return True

    def log_at(self, logits: Float[Array, "*contexts K"], memory: Any) -> Float[Array, "*contexts K"]:
        return memory[0]

    def start(
        self, logits: Float[Array, "*contexts K"]
    ) -> tuple[Float[Array, "*contexts K"], Float[Array, "*contexts K"]]:
        """log ref_0, and once more what divergences are measured from."""
        first = centre(logits if self.log_start is None else jnp.broadcast_to(self.log_start, logits.shape))
        return first, log_softmax(first)

    def follow(self, logits: Float[Array, "*contexts K"], memory: Any) -> Any:
        log_reference, first = memory
        first = log_softmax(log_reference) if first is None else first
        return centre(self.rate * logits + (1 - self.rate) * log_reference), first

    def centre(self, memory: Any) -> Any:
        return centre(memory[0]), None

    def memory_basis(self, memory: Any, basis: Float[Array, "K m"]) -> Float[Array, "K m"]:
        return basis

    def log_baseline(self, size: int, memory: Any = None) -> Float[Array, "*contexts K"]:
        if memory is None:
            return uniform(size) if self.log_start is None else self.log_start
        return memory[1]

    def anchors(self) -> dict[str, Float[Array, "*contexts K"]]:
        return {} if self.log_start is None else {"log_start": self.log_start}

    def check(self, shape: tuple[int, ...]) -> None:
        if self.log_start is not None:
            check_fits(self.log_start, shape, "log_start")

    def resized(self, size: int) -> Ema:
        first = None if self.log_start is None else other_size(self.log_start, size, "log_start")
        return assemble(Ema, rate=self.rate, log_start=first)

    def check_parameter(self, path: str, values: np.ndarray) -> None:
        if path.endswith("rate"):
            check_scalar(values, path, 0.0, 1.0)
        else:
            check_rows(values, path)

    def in_range(self) -> Bool[Array, ""]:
        return is_share(self.rate)
