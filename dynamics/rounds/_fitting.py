"""Checks that the parts of rounds fit each other, and the same parts for other preferences."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .._noun import assemble
from .._numerics import centre, concrete
from ..preferences import check_like, check_prompts
from ._own import check_own_parts, seen_at_start

if TYPE_CHECKING:
    from ._rounds import Rounds

Part = TypeVar("Part")
PARTS = ("objective", "sampler", "reference", "feedback", "learner", "policy")


def resized(loop: Rounds, preference: Any) -> Rounds:
    """The same parts for other preferences, which may have another number of responses."""
    P = check_like(preference, loop.preference)
    size = P.shape[-1]
    parts = {name: getattr(loop, name) for name in PARTS}
    if size != loop.num_responses:
        for name in ("policy", "reference", "sampler", "feedback"):
            parts[name] = parts[name].resized(size)
    return assemble(type(loop), preference=P, weights=loop.weights, **parts)


def of_prompt(part: Part, x: int) -> Part:
    """A sampler, reference or feedback of the library for prompt x alone: the first axis of an array by prompt is theirs."""
    return jax.tree.map(lambda leaf: leaf[x] if np.ndim(leaf) > 1 else leaf, part)


def check_of_parts(loop: Rounds, where: str, path: str, values: np.ndarray) -> None:
    """Raises ``ValueError`` where the parameter at ``where`` may not take one of the stacked values; errors name ``path``."""
    part = where.split(".", 1)[0]
    if where == "preference":
        for matrix in values:
            check_prompts(matrix)
    elif where == "weights":
        raise ValueError(
            f"{path} cannot be swept: averages over prompts use the weights of the loop; build a loop for each."
        )
    elif part == "policy":
        raise ValueError(
            f"{path} cannot be swept: the features define the policy class; build a loop for each of them."
        )
    elif part in PARTS:
        holder = getattr(loop, part)
        holder.check_parameter(path, values)
        if part == "reference" and where.rsplit(".", 1)[-1] in loop.reference.anchors():
            for row in values:
                check_anchors(loop, {path: jnp.asarray(row)})


def check_anchors(loop: Rounds, anchors: dict[str, Float[Array, "*contexts K"]]) -> None:
    """Raises ``ValueError`` for a reference outside a linear class, because each round tilts the reference within the class."""
    if loop.policy.basis() is None:
        return
    for name, anchor in anchors.items():
        if concrete(loop.policy, anchor):
            loop.policy.check_member(centre(anchor), name)


def check_parts(loop: Rounds) -> None:
    """Raises ``ValueError`` where the parts do not fit each other, or the objective has no finite optimum."""
    check_agreement(loop)
    if not concrete(loop):
        return
    check_own_parts(loop)
    # Sampled comparisons are smoothed, and steps of an optimizer do not require an optimum.
    if loop.learner.seeks_optimum and loop.feedback.constant and loop.policy.candidates() is None:
        check_optima(loop)


def check_agreement(loop: Rounds) -> None:
    """Raises ``ValueError`` where the parts do not fit each other."""
    loop.sampler.check(loop.shape)
    loop.reference.check(loop.shape)
    loop.feedback.check(loop.shape)
    loop.learner.check(loop.objective, loop.policy)
    if loop.weights is not None and loop.learner.seeks_optimum and loop.policy.basis() is None:
        raise ValueError(
            f"{type(loop.policy).__name__} is not a linear space of logits, which an optimum over several prompts requires; "
            f"pass learner=dyn.Descend(optimizer, steps), dyn.LogLinear(phi) or dyn.Tabular(K)."
        )
    check_anchors(loop, loop.reference.anchors())


def check_optima(loop: Rounds) -> None:
    """Raises ``ValueError`` where the objective has no finite optimum on what is seen at the uniform policy."""
    basis, support = loop.policy.basis(), loop.sampler.support(loop.shape)
    seen = seen_at_start(loop)
    columns = None if basis is None or loop.policy.is_free else np.asarray(basis)
    if loop.weights is None:
        loop.objective.check_optimum(seen, support, columns)
    elif columns is not None:
        loop.objective.check_optimum(seen.weighted(loop.weights), support, columns.reshape(*loop.shape, -1))
    else:
        arrays, rest = eqx.partition(seen, eqx.is_array)
        arrays = jax.tree.map(np.asarray, arrays)
        for x in range(loop.shape[0]):
            one = eqx.combine(jax.tree.map(lambda a, x=x: a[x], arrays), rest)
            try:
                loop.objective.check_optimum(one, support[x], None)
            except ValueError as error:
                raise ValueError(f"prompt {x}: {error}") from None
