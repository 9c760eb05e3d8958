"""The schema of results: the names, dims, units and flags of a Dataset's variables.

Simulators write it, figures and explorers read it, and neither depends on the other: this module does not import jax. A
Dataset is built by ``dataset`` and checked by ``validate``::

    ds = schema.dataset({"entropy": [1.1, 0.7]}, {"entropy": schema.VARIABLES["entropy"].over("round")})
    schema.validate(ds)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ._labels import check_flags
from ._labels import prompt_labels as prompt_labels
from ._labels import response_labels as response_labels
from ._labels import shared_names as shared_names
from ._labels import words as words

if TYPE_CHECKING:
    import xarray as xr

RESULT_MESSAGES = {
    "successful": "",
    "nonfinite": (
        "a value is not finite; use a larger beta or smaller alpha (in a game a larger tau or smaller eta), or check the map"
    ),
    "unsolved": (
        "the round is not defined there: the objective has no finite optimum on what is seen (P has entries 0 or 1, or "
        "feedback lets a response win always; smooth it, or use IPO), a game's equation was not solved (pass a larger tau), or "
        "alpha, lam, beta, eta tau or P is out of range"
    ),
    "step_limit": "the solver used up its steps before t1; pass another solver, looser tolerances or a smaller t1",
}
"""How a run can end: a message by name. The flags of a Dataset's ``result`` number the names in this order."""
RESULT_NAMES = tuple(RESULT_MESSAGES)

VERDICTS = ("collapsed", "converged", "oscillating", "undecided")
"""The meanings of the flag ``verdict``, in the order in which the rules are tried."""
KINDS = ("constant", "periodic", "quasi-periodic", "not determinable")
"""The meanings of the flag ``period_kind``: how the last policies of a run behave."""

CLOCKS = {
    "round": "rounds of iterated alignment since the start",
    "time": "time of a gradient flow, in units of tau",
    "step": "steps of an optimizer since the start",
}
"""The dims along which a run is saved; a variable has at most one of them."""
ITEMS = {
    "response": "responses, in the order of the preference matrix",
    "pair": "pairs of responses i < j, row by row, labelled i>j",
    "example": "examples of a data set",
    "parameter": "parameters of a policy class",
}
"""The dims of the measured quantity, which come last."""
DIMS = CLOCKS | {"context": "prompts"} | ITEMS
"""All dims by name; any other dim is a swept parameter or a user's own."""
UNITS = {
    "1": "without a unit",
    "nats": "natural logarithms of probabilities",
    "rounds": "rounds of iterated alignment",
    "responses": "responses",
    "tokens": "tokens of an answer",
    "turns per round": "cycles per round",
    "per round": "per round",
    "nats per round": "nats per round",
    "tau": "time constant of a gradient flow",
}
"""The units of the variables below, in words."""


class Variable(NamedTuple):
    """A variable of a Dataset.

    Attributes:
        dims: its dims; of a measure, the trailing ones.
        unit: a key of ``UNITS``, or another word.
        long_name: its meaning.
        flags: the meanings of the flag values 0, 1, …; empty for a number.
    """

    dims: tuple[str, ...] = ()
    unit: str = "1"
    long_name: str = ""
    flags: tuple[str, ...] = ()

    def over(self, *dims: str) -> Variable:
        """The same variable with ``dims`` in front.

        >>> dyn.schema.VARIABLES["log_policy"].over("round").dims
        ('round', 'response')
        """
        return self._replace(dims=(*dims, *self.dims))


VARIABLES = {
    "log_policy": Variable(("response",), "nats", "log pi"),
    "result": Variable((), "1", "how the run ended; where it failed, floats are NaN and integers -1", RESULT_NAMES),
    # At every round.
    "entropy": Variable((), "nats", "entropy of the policy"),
    "effective_responses": Variable((), "responses", "effective number of responses, exp(entropy)"),
    "kl_to_reference": Variable((), "nats", "KL divergence of the policy from the base reference"),
    "top_response": Variable((), "1", "index of the most likely response"),
    "reward_margin": Variable(("pair",), "nats", "reward margin of i over j, each pair i < j"),
    "duality_gap": Variable((), "1", "what best replies win against the policy, both sides; 0 at a Nash equilibrium"),
    # One value per run.
    "log_average_policy": Variable(("response",), "nats", "log of the average of the policies"),
    "cycle_strength": Variable((), "1", "time-averaged variance of the policy's coordinates"),
    "final_entropy": Variable((), "nats", "entropy of the last policy"),
    "collapse_round": Variable((), "rounds", "first round from which entropy stays below the threshold; -1 = none"),
    "collapse_rate": Variable((), "nats per round", "rate at which the log of the entropy falls"),
    "convergence_rate": Variable((), "per round", "factor by which the steps shrink each round; 0 = at once"),
    "period": Variable((), "rounds", "rounds per turn of the orbit; NaN = none, for the reason that period_kind names"),
    "period_kind": Variable((), "1", "what the window of last policies does", KINDS),
    "rotation_number": Variable((), "turns per round", "frequency of the strongest line; NaN as period_kind explains"),
    "amplitude": Variable((), "1", "half the largest peak-to-peak of a coordinate of the policy in the window"),
    "verdict": Variable((), "1", "what the run does in the end", VERDICTS),
    "tail_entropy": Variable((), "nats", "largest entropy over the last tenth of the rounds"),
    "tail_step": Variable((), "1", "largest change of a probability in a round of the last tenth"),
    "tail_switches": Variable((), "1", "changes of the top response in the last tenth of the rounds"),
    "switches": Variable((), "1", "changes of the top response"),
    # Along a flow.
    "parameters": Variable(("response",), "nats", "logits"),
    "coefficient": Variable(("example",), "tau", "coefficient a_i = w_i ∫ -f'(r_i) dt"),
    "loss": Variable((), "1", "mean loss f(r)"),
    "accuracy": Variable((), "1", "share of examples with a positive margin"),
    "head_change": Variable((), "1", "Frobenius norm of W(t) - W(0)"),
    # Of answers to prompts, along a flow or the training of a language model.
    "reward_chosen": Variable(("example",), "1", "beta (log pi - log ref) of the chosen answer"),
    "reward_rejected": Variable(("example",), "1", "beta (log pi - log ref) of the rejected answer"),
    "log_prob_chosen": Variable(("example",), "nats", "log pi of the chosen answer, summed over its tokens"),
    "log_prob_rejected": Variable(("example",), "nats", "log pi of the rejected answer, summed over its tokens"),
    "log_reference_chosen": Variable(("example",), "nats", "log ref of the chosen answer, summed over its tokens"),
    "log_reference_rejected": Variable(("example",), "nats", "log ref of the rejected answer, summed over its tokens"),
    "length_chosen": Variable(("example",), "tokens", "tokens of the chosen answer"),
    "length_rejected": Variable(("example",), "tokens", "tokens of the rejected answer"),
    "accuracy_raw": Variable((), "1", "share of examples whose chosen answer is more probable than the rejected one"),
    "batch_loss": Variable((), "1", "mean loss f(r) of the batches since the last row"),
    "entropy_error": Variable((), "nats", "standard error of the entropy"),
    "kl_error": Variable((), "nats", "standard error of the KL divergence"),
    "held_out_loss": Variable((), "1", "mean loss f(r) of held-out examples"),
    "held_out_accuracy": Variable((), "1", "share of held-out examples with a positive margin"),
}
"""The known variables by name, without the dims along which a run is saved or swept."""
AVERAGED = (
    "entropy",
    "effective_responses",
    "kl_to_reference",
    "reward_margin",
    "cycle_strength",
    "final_entropy",
    "duality_gap",
)
"""Variables whose weighted mean over prompts is a quantity of its own, under the name that ``MEAN`` begins."""
MEAN, OF_ALL = "mean_", "_of_all"
SEVERITY = (1, 0, 3, 2)
"""How bad each of ``VERDICTS`` is: of several prompts the worst is the verdict of all."""


def mean_of(variable: Variable) -> Variable:
    """The weighted mean of a variable over prompts."""
    return variable._replace(long_name=f"mean over prompts: {variable.long_name}")


BEST_MARGIN = Variable((), "nats", "reward margin of the best response over the second")
VARIABLES |= {f"{MEAN}{name}": mean_of(VARIABLES[name]) for name in AVERAGED if not VARIABLES[name].dims}
VARIABLES |= {
    f"{MEAN}reward_margin": mean_of(BEST_MARGIN),
    f"verdict{OF_ALL}": VARIABLES["verdict"]._replace(long_name="what the worst of all prompts does in the end"),
}
OTHER_FORMS = {
    "reward_margin": (BEST_MARGIN, Variable(("example",), "1", "reward margin r = beta (h_w - h_l)")),
    "parameters": (Variable(("parameter",), "nats", "theta"),),
}
"""Further forms of known variables."""
LAST = "_final"  # suffix of a statistic whose name is taken by rows


def attrs_of(variable: Variable) -> dict[str, Any]:
    """CF-style attributes of a variable."""
    attrs: dict[str, Any] = {"units": variable.unit, "long_name": variable.long_name}
    if variable.flags:
        attrs |= {"flag_values": list(range(len(variable.flags))), "flag_meanings": list(variable.flags)}
    return attrs


def dataset(
    arrays: Mapping[str, Any],
    variables: Mapping[str, Variable],
    *,
    coords: Mapping[str, Any] | None = None,
    attrs: Mapping[str, Any] | None = None,
) -> xr.Dataset:
    """The ``xarray.Dataset`` of named arrays, each with the dims, unit, meaning and flags of its variable.

    Args:
        arrays: values by name.
        variables: by name, with all dims; may include others.
        coords: labels along the dims, as xarray takes them.
        attrs: attributes of the Dataset: configuration, seed, versions.

    Raises:
        ValueError: an array without a variable, or with another number of dims.

    >>> ds = dyn.schema.dataset({"entropy": [1.1, 0.7]}, {"entropy": dyn.schema.VARIABLES["entropy"].over("round")})
    >>> ds.entropy.dims, ds.entropy.units
    (('round',), 'nats')
    """
    import xarray as xr

    data = {}
    for name, values in arrays.items():
        if name not in variables:
            raise ValueError(f"{name} has no variable; pass its dims and unit, schema.Variable(dims, unit, long_name).")
        variable, shape = variables[name], np.shape(values)
        if len(shape) != len(variable.dims):
            raise ValueError(f"{name} has shape {shape} and the dims {variable.dims}; pass one dim for each axis.")
        data[name] = (variable.dims, np.asarray(values), attrs_of(variable))
    return xr.Dataset(data, coords, attrs)


def validate(ds: xr.Dataset) -> None:
    """Raises ``ValueError`` unless every data variable follows the schema.

    Every variable has a unit and at most one clock (``round``, ``time`` or ``step``). A variable of the schema has its
    trailing dims, its unit and its flags; the dims before may be a clock, ``context`` and swept parameters. Flag values
    count from 0, and -1 marks a missing value.

    Args:
        ds: from ``dyn.sweep``, ``Solution.to_dataset`` or your own code; not changed.

    Raises:
        ValueError: the first variable that breaks the schema, and how.
    """
    for name in ds.data_vars:
        _validate(str(name), ds[name])


def _validate(name: str, array: xr.DataArray) -> None:
    dims, unit = tuple(map(str, array.dims)), array.attrs.get("units")
    flags = tuple(map(str, np.atleast_1d(array.attrs.get("flag_meanings", ()))))
    clocks = [dim for dim in dims if dim in CLOCKS]
    if len(clocks) > 1:
        raise ValueError(f"{name} has the dims {dims}; a variable runs along one of {', '.join(CLOCKS)} at most.")
    if not isinstance(unit, str):
        raise ValueError(f"{name} has units = {unit!r}; name the unit in attrs['units'], or '1'.")
    base = name.removesuffix(LAST)
    if base in VARIABLES:
        if base != name and clocks:
            raise ValueError(f"{name} has the dims {dims}; a last value has no dim {clocks[0]}.")
        _compare(name, (VARIABLES[base], *OTHER_FORMS.get(base, ())), dims, unit, flags)
    if flags or "flag_values" in array.attrs:
        check_flags(name, array, flags)


def _compare(name: str, forms: tuple[Variable, ...], dims: tuple[str, ...], unit: str, flags: tuple[str, ...]) -> None:
    fitting = [form for form in forms if _ends_in(dims, form.dims)]
    if not fitting:
        known = " or ".join(str(form.dims) for form in forms)
        raise ValueError(f"{name} has the dims {dims}; the last must be {known}, after a clock or swept parameters.")
    if unit not in {form.unit for form in fitting}:
        raise ValueError(f"{name} has units = {unit!r}; the schema's unit is {fitting[0].unit!r}.")
    if flags not in {form.flags for form in fitting}:
        raise ValueError(f"{name} has flag_meanings = {list(flags)}; the schema's are {list(fitting[0].flags)}.")


def _ends_in(dims: tuple[str, ...], trailing: tuple[str, ...]) -> bool:
    before = len(dims) - len(trailing)
    return before >= 0 and dims[before:] == trailing and not any(dim in ITEMS for dim in dims[:before])
