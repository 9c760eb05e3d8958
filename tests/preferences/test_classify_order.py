"""What `classify` says about order: tiers, ties and cycles, with names."""

import itertools

import numpy as np
import pytest

import dynamics as dyn

NAMES = "ABCDEF"


def _matrix(size, wins, ties=()):
    """P with .8 for the pairs in ``wins`` (as "AB": A beats B), .5 for ``ties``; earlier letters beat later ones elsewhere."""
    P = np.full((size, size), 0.5)
    for i, j in itertools.combinations(range(size), 2):
        P[i, j] = 0.7
    for pair in wins:
        i, j = map(NAMES.index, pair)
        P[min(i, j), max(i, j)] = 0.8 if i < j else 0.2
    for pair in ties:
        i, j = sorted(map(NAMES.index, pair))
        P[i, j] = 0.5
    lower = np.tril_indices(size, -1)
    P[lower] = 1 - P.T[lower]
    return P


@pytest.mark.parametrize(
    ("P", "told"),
    [
        (_matrix(3, []), "A > B > C"),
        (_matrix(3, ["CA"]), "none (cycle A > B > C > A)"),
        (_matrix(3, [], ["AB", "AC", "BC"]), "A = B = C"),
        (_matrix(4, [], ["BC"]), "A > B = C > D"),
        (_matrix(4, ["DB"]), "A > (cycle B > C > D > B)"),
        (_matrix(3, [], ["AC"]), "none (no order of A, B, C)"),
        (_matrix(5, ["CA", "ED"], ["DE"]), "(cycle A > B > C > A) > D = E"),
        (_matrix(2, []), "A > B"),
    ],
)
def test_the_order_says_what_is_really_ordered(P, told):
    found = dyn.preferences.classify(P)
    assert found.ranking(NAMES.__getitem__) == told
    assert sorted(k for tier in found.tiers for k in tier.members) == list(range(len(P)))


@pytest.mark.parametrize("seed", range(20))
def test_cycles_are_cycles_of_the_stated_margin_and_tiers_beat_later_ones(seed):
    rng = np.random.default_rng(seed)
    P = np.triu(rng.choice([0.2, 0.4, 0.5, 0.6, 0.9], (6, 6)), 1)
    P = P + np.tril(1 - P.T, -1) + 0.5 * np.eye(6)
    found = dyn.preferences.classify(P)
    for before, after in itertools.combinations(found.tiers, 2):
        assert (P[np.ix_(before.members, after.members)] > 0.5).all()
    margins = []
    for tier in found.tiers:
        within = P[np.ix_(tier.members, tier.members)]
        assert (tier.kind in ("single", "tied")) == (within == 0.5).all()
        if tier.cycle is not None:
            assert set(tier.cycle) <= set(tier.members)
            margins.append(min(P[i, j] for i, j in itertools.pairwise((*tier.cycle, tier.cycle[0]))) - 0.5)
            assert margins[-1] > 0
    assert found.has_cycle == bool(margins)
    assert max(margins, default=0.0) == pytest.approx(found.cycle_margin)
