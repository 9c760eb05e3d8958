"""Nash learning from preferences: round maps on the win-rate game of P, and its equilibria."""

from ..diagnostics import duality_gap
from ._maps import Extragradient, OnlineGradient, OptimisticMirrorDescent
from ._mirror import SPPO, MirrorDescent, NashMD
from ._nash import Nash, nash
from ._proximal import ProximalPoint

__all__ = [
    "SPPO",
    "Extragradient",
    "MirrorDescent",
    "Nash",
    "NashMD",
    "OnlineGradient",
    "OptimisticMirrorDescent",
    "ProximalPoint",
    "duality_gap",
    "nash",
]
