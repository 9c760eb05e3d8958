"""Stability: fixed points, spectra, critical values, verdicts and suggestions for deterministic round maps."""

from .._shares import Share, share
from ._analyze import analyze
from ._basis import Basis, evidence
from ._certificate import ContractionRate, contraction_rates
from ._critical import Crossing, critical, first_crossing
from ._ends import BranchEnd, NoFixedPoint
from ._find import find_fixed_points
from ._fixed_points import FixedPoint
from ._local import eigenvalues, jacobian, spectral_radius
from ._many import CriticalBetas, Radii, check_alphas, check_lams, critical_betas, spectral_radii
from ._posterior import Posterior, posterior
from ._probability import VerdictProbability, verdict_probability
from ._report import Report
from ._safe import check_confidence, known_beta, proven_beta, proven_everywhere, safe_beta, stable_everywhere
from ._safe_result import SafeBeta
from ._suggest import Suggestion, suggest

__all__ = [
    "Basis",
    "BranchEnd",
    "ContractionRate",
    "CriticalBetas",
    "Crossing",
    "FixedPoint",
    "NoFixedPoint",
    "Posterior",
    "Radii",
    "Report",
    "SafeBeta",
    "Share",
    "Suggestion",
    "VerdictProbability",
    "analyze",
    "check_alphas",
    "check_confidence",
    "check_lams",
    "contraction_rates",
    "critical",
    "critical_betas",
    "eigenvalues",
    "evidence",
    "find_fixed_points",
    "first_crossing",
    "jacobian",
    "known_beta",
    "posterior",
    "proven_beta",
    "proven_everywhere",
    "safe_beta",
    "share",
    "spectral_radii",
    "spectral_radius",
    "stable_everywhere",
    "suggest",
    "verdict_probability",
]
