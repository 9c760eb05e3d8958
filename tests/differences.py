"""The derivative of one round by central differences, for any state."""

import jax
import jax.numpy as jnp
import numpy as np


def by_differences(process, state, h=1e-6):
    """∂(centred state after a round)/∂(raveled centred state), by central differences with NumPy."""
    leaves, structure = jax.tree.flatten(process.centre(state))
    real = [np.issubdtype(leaf.dtype, np.floating) for leaf in leaves]
    moving = [leaf for leaf, yes in zip(leaves, real, strict=True) if yes]
    ends = np.cumsum([leaf.size for leaf in moving])[:-1]
    raveled = lambda parts: np.concatenate([np.ravel(part) for part in parts])
    advance = jax.jit(lambda s: process.centre(process.advance(s, None)[0]))

    def move(x):
        parts = iter(part.reshape(leaf.shape) for part, leaf in zip(np.split(x, ends), moving, strict=True))
        given = [jnp.asarray(next(parts)) if yes else leaf for leaf, yes in zip(leaves, real, strict=True)]
        out = jax.tree.leaves(advance(jax.tree.unflatten(structure, given)))
        return raveled([leaf for leaf, yes in zip(out, real, strict=True) if yes])

    flat = raveled(moving)
    return np.stack([(move(flat + h * e) - move(flat - h * e)) / (2 * h) for e in np.eye(len(flat))], axis=1)
