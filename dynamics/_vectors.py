"""States as vectors: the floating-point leaves of a pytree, one after the other."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def ravel(tree: Any) -> Float[Array, " n"]:
    """The entries of all floating-point leaves as a vector."""
    leaves = [jnp.ravel(x) for x in jax.tree.leaves(tree) if eqx.is_inexact_array(x)]
    return jnp.concatenate(leaves) if leaves else jnp.zeros(0)


def unravel(vector: Float[Array, " n"], template: Any) -> Any:
    """The template with its floating-point leaves replaced by the entries of a vector."""
    leaves, structure = jax.tree.flatten(template)
    out, used = [], 0
    for leaf in leaves:
        if eqx.is_inexact_array(leaf):
            out.append(vector[used : used + leaf.size].reshape(leaf.shape))
            used += leaf.size
        else:
            out.append(leaf)
    return jax.tree.unflatten(structure, out)


def project(basis: Float[Array, "n m"], x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """The nearest array whose entries are in the span of orthonormal columns."""
    return (basis @ (basis.T @ x.ravel())).reshape(x.shape)


def block_diagonal(blocks: list[Array]) -> Float[Array, "n m"]:
    """Matrices along the diagonal, zeros elsewhere; one alone is itself."""
    return blocks[0] if len(blocks) == 1 else jax.scipy.linalg.block_diag(*blocks)
