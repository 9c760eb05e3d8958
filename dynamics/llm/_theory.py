"""Theory on a real model's features: margins under training of the last layer, and how separable values are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..diagnostics import class_mean_cosine, concentration, distinguishability, priority_matrix, trace
from ..flows import MarginFlow, PairFeatures
from ..objectives import MarginLoss
from ..schema import Variable, dataset

if TYPE_CHECKING:
    import xarray as xr

VARIABLES = {
    "distinguishability": Variable(("behaviour",), "1", "distance of the two answers' mean features"),
    "concentration": Variable(("behaviour",), "1", "larger operator norm of the two answers' covariances"),
    "trace": Variable(("behaviour",), "1", "larger trace of the two answers' covariances"),
    "difference": Variable(("behaviour", "width"), "1", "mean features of one answer minus those of the other, d"),
    "speed": Variable(("behaviour",), "1", "<dbar, d>, to which the first growth of the mean margin is proportional"),
    "priority": Variable(("behaviour", "other"), "1", "how much earlier a behaviour is learned than the other"),
    "similarity": Variable(("cluster", "other_cluster"), "1", "cosine of mean features"),
    "similarity_centred": Variable(("cluster", "other_cluster"), "1", "cosine of mean features less their shared mean"),
    "share_positive": Variable(("behaviour",), "1", "share of pairs whose chosen answer is the first token"),
}


def margin_flow(ds: xr.Dataset, objective: MarginLoss) -> MarginFlow:
    """The gradient flow of the reward margins of a model's pairs while its last layer is trained.

    Args:
        ds: from ``features``.
        objective: ``dyn.DPO(beta)``, ``IPO``, ``SquaredMargin``, ``SLiC`` or your own.

    Source: [paper] ImLi25, Lemma 4.1.

    >>> sol = dyn.gradient_flow(dyn.llm.margin_flow(ds, dyn.DPO(beta=0.1)), t1=100.0)  # doctest: +SKIP
    """
    _need(ds, "feature", "chosen_token", "rejected_token")
    vocabulary = ds.attrs.get("vocabulary")
    pairs = PairFeatures(
        ds.feature.values,
        ds.chosen_token.values,
        ds.rejected_token.values,
        vocabulary=None if vocabulary is None else int(vocabulary),
    )
    return MarginFlow(pairs, objective=objective)


def value_diversity(ds: xr.Dataset) -> xr.Dataset:
    """delta = ||mu_+ - mu_-|| and its companions for each behaviour: how separable a model's features make its values.

    The + answer of a behaviour is the smaller of its two token ids; behaviours that share their tokens share the sign.

    Args:
        ds: from ``features``; each behaviour has two tokens, each chosen at least once.

    Returns:
        A Dataset of the dims behaviour (in order of appearance), other, cluster (behaviour and answer) and other_cluster:
        distinguishability, concentration, trace, difference d, speed <dbar, d>, priority, similarity of class means
        before, and similarity_centred after, the shared mean is removed, share_positive.

    Raises:
        ValueError: a behaviour with more than two tokens, or with one answer that is always chosen.

    Source: [paper] ImLi24 (distinguishability, concentration, priority), ImLi25 (similarity of class means).
    """
    _need(ds, "feature", "chosen_token", "rejected_token", "behaviour")
    g, behaviour = ds.feature.values, ds.behaviour.values
    names = list(dict.fromkeys(behaviour.tolist()))
    sign = np.zeros(len(g), int)
    for name in names:
        mine = behaviour == name
        chosen, rejected = ds.chosen_token.values[mine], ds.rejected_token.values[mine]
        tokens = np.unique(np.concatenate([chosen, rejected]))
        if len(tokens) != 2 or len(np.unique(chosen)) != 2:
            raise ValueError(
                f"behaviour {name!r} has the answers {tokens.tolist()}, of which {np.unique(chosen).tolist()} are chosen; "
                "pass behaviours with two answers, each chosen at least once."
            )
        sign[mine] = np.where(chosen == tokens[0], 1, -1)
    groups = [(g[behaviour == name], sign[behaviour == name]) for name in names]
    difference = np.stack([x[s == 1].mean(axis=0) - x[s == -1].mean(axis=0) for x, s in groups])
    cluster = 2 * np.array([names.index(name) for name in behaviour.tolist()]) + (sign < 0)
    arrays = {
        "distinguishability": [distinguishability(x, s) for x, s in groups],
        "concentration": [concentration(x, s) for x, s in groups],
        "trace": [trace(x, s) for x, s in groups],
        "difference": difference,
        "speed": difference @ difference.mean(axis=0),
        "priority": priority_matrix(difference),
        "similarity": class_mean_cosine(g, cluster),
        "similarity_centred": class_mean_cosine(g, cluster, remove_mean=True),
        "share_positive": [float((s == 1).mean()) for _, s in groups],
    }
    clusters = [f"{name} {answer}" for name in names for answer in "+-"]
    coords = {"behaviour": names, "other": names, "cluster": clusters, "other_cluster": clusters}
    return dataset(arrays, VARIABLES, coords=coords, attrs=dict(ds.attrs))


def _need(ds: xr.Dataset, *names: str) -> None:
    for name in names:
        if name not in ds.variables:
            raise ValueError(f"the Dataset has no {name}; pass one from llm.features.")
