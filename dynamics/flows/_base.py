"""What a flow is: a state, the velocity of the state, and the rows that a solution shows of it."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from jaxtyping import Array, ArrayLike, PRNGKeyArray

from .._noun import Noun
from ..diagnostics import Variable

State = Any  # a pytree of arrays, of each flow's own making


class Flow(Noun):
    """tau dy/dt = v(y), with tau = 1: what ``gradient_flow`` integrates and ``descend`` takes steps along.

    A subclass writes ``start``, ``velocity``, ``rows`` and ``variables``; for ``descend`` also ``trainable``,
    ``trained_rows`` and ``gradient``.
    """

    @abstractmethod
    def start(self, initial: Any) -> State:
        """The state to start from, from what the caller passed as ``initial`` (None: the reference)."""

    @abstractmethod
    def velocity(self, state: State, prepared: Any = None) -> State:
        """dy/dt, a pytree like the state."""

    @abstractmethod
    def rows(self, state: State) -> dict[str, Array]:
        """What a saved row shows, by name."""

    @abstractmethod
    def variables(self) -> dict[str, Variable]:
        """Dims, unit and meaning of each row."""

    def dim_coordinates(self) -> dict[str, ArrayLike]:
        """Labels along the dims of the rows."""
        return {}

    def prepare(self) -> Any:
        """What ``velocity`` may use besides the state, computed once for a whole solve."""
        return None

    def solve_exactly(self, state: State, times: Array, span: Array) -> tuple[dict[str, Array], State] | None:
        """Rows at ``times`` after ``state``, and the state ``span`` after it, where they are known; None elsewhere."""
        return None

    def check_flow(self) -> None:
        """Raises ``ValueError`` where the flow in continuous time is not defined, or cannot be solved as it stands."""

    def advice(self) -> str:
        """What to try when a solver runs out of steps, as the end of a sentence."""
        return "pass solver=diffrax.Kvaerno5(), looser tolerances or a smaller t1"

    def trainable(self, state: State) -> Any:
        """The weights that an optimizer moves, from a state."""
        raise NotImplementedError(f"{type(self).__name__} defines no trainable, which dyn.descend asks for; write it.")

    def trained_rows(self, weights: Any) -> dict[str, Array]:
        """What a saved row of descent shows, by name."""
        raise NotImplementedError(f"{type(self).__name__} defines no trained_rows, which dyn.descend asks for; write it.")

    def gradient(self, weights: Any, key: PRNGKeyArray | None, batch: int | None) -> Any:
        """The gradient of the mean loss by the weights: exact, or of ``batch`` samples drawn with ``key``."""
        raise NotImplementedError(f"{type(self).__name__} defines no gradient, which dyn.descend asks for; write it.")
