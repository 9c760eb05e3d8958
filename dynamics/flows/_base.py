"""The base class of flows: a state, its velocity, and the rows that a solution saves."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from jaxtyping import Array, ArrayLike, PRNGKeyArray

from .._noun import Noun
from ..diagnostics import Variable

State = Any  # a pytree of arrays, defined by each flow


class Flow(Noun):
    """tau dy/dt = v(y), with tau = 1, which ``gradient_flow`` integrates and ``descend`` follows in discrete steps.

    A subclass writes ``start``, ``velocity``, ``rows`` and ``variables``, and for ``descend`` also ``trainable``,
    ``trained_rows`` and ``gradient``.

    >>> class Decay(dyn.flows.Flow):
    ...     def start(self, initial):
    ...         return jnp.asarray(1.0 if initial is None else initial)
    ...
    ...     def velocity(self, state, prepared=None):
    ...         return -state
    ...
    ...     def rows(self, state):
    ...         return {"size": state}
    ...
    ...     def variables(self):
    ...         return {"size": dyn.diagnostics.Variable((), "1", "exp(-t)")}
    >>> flow = Decay()
    >>> flow.velocity(flow.start(None)).item()
    -1.0
    """

    @abstractmethod
    def start(self, initial: Any) -> State:
        """The state at time 0, from the caller's ``initial`` (None: the reference)."""

    @abstractmethod
    def velocity(self, state: State, prepared: Any = None) -> State:
        """dy/dt, a pytree like the state."""

    @abstractmethod
    def rows(self, state: State) -> dict[str, Array]:
        """The values of a saved row, by name."""

    @abstractmethod
    def variables(self) -> dict[str, Variable]:
        """Dims, unit and meaning of each row."""

    def dim_coordinates(self) -> dict[str, ArrayLike]:
        """Labels along the dims of the rows."""
        return {}

    def prepare(self) -> Any:
        """The argument ``prepared`` of ``velocity``, computed once for a whole solve."""
        return None

    def solve_exactly(self, state: State, times: Array, span: Array) -> tuple[dict[str, Array], State] | None:
        """Rows at ``times`` after ``state``, and the state ``span`` after it, in closed form; None without a closed form."""
        return None

    def check_flow(self) -> None:
        """Raises ``ValueError`` where the flow is not defined in continuous time or cannot be solved."""

    def advice(self) -> str:
        """What to try where a solver runs out of steps, as a clause of an error message."""
        return "pass solver=diffrax.Kvaerno5(), looser tolerances or a smaller t1"

    def trainable(self, state: State) -> Any:
        """The weights that an optimizer trains, computed from a state."""
        raise NotImplementedError(f"{type(self).__name__} has no trainable, which dyn.descend needs; define it.")

    def trained_rows(self, weights: Any) -> dict[str, Array]:
        """The values of a saved row of descent, by name."""
        raise NotImplementedError(f"{type(self).__name__} has no trained_rows, which dyn.descend needs; define it.")

    def gradient(self, weights: Any, key: PRNGKeyArray | None, batch: int | None) -> Any:
        """The gradient of the mean loss with respect to the weights: exact, or over ``batch`` samples drawn with ``key``."""
        raise NotImplementedError(f"{type(self).__name__} has no gradient, which dyn.descend needs; define it.")
