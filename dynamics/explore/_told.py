"""What the page says of a setting: the verdict with its reasons, and the Python that gives its numbers again."""

from __future__ import annotations

import dataclasses
from html import escape
from typing import Literal

import numpy as np

from .. import oracle
from ..plot import PALETTE
from ._map import proven_beta
from ._setting import OBJECTIVES, Constants, Setting, effective
from ._view import Advice, View

CLASSES = {
    "mirror": "MirrorDescent(P, eta=eta, tau=tau)",
    "magnetic": "MirrorDescent(P, eta=eta, tau=tau, proximal=True)",
    "sppo": "SPPO(P, eta=eta)",
    "nash_md": "NashMD(P, eta=eta, tau=tau)",
    "egpo": "Extragradient(P, eta=eta, tau=tau)",
    "mirror_prox": "Extragradient(P, eta=eta, tau=tau, proximal=True)",
    "proximal_point": "ProximalPoint(P, tau=tau)",
}
HIDDEN = "\u200b"
X64 = 'jax.config.update("jax_enable_x64", True)'


@dataclasses.dataclass(frozen=True)
class Claim:
    """A sentence and what it rests on: "measured" on the run, "computed" at the fixed point, or "proven"."""

    kind: Literal["measured", "computed", "proven"]
    text: str


def claims(setting: Setting, found: View) -> tuple[Claim, ...]:
    """The verdict with its reasons.

    >>> setting = dyn.explore.Setting(np.asarray(dyn.preferences.cyclic(3, 0.2)), beta=0.1)
    >>> dyn.explore.claims(setting, dyn.explore.view(setting))[1].text
    'spectral radius 1.258306: the only fixed point of full support is unstable [derived 7.1]'
    """
    measured = Claim("measured", f"{found.verdict} over {setting.rounds} rounds from this start")
    return (measured, *_reasons(setting, found.radius))


def _reasons(setting: Setting, radius: float | None) -> list[Claim]:
    here = effective(setting)
    ipo = here is not None and here.objective == "ipo"
    found = []
    if radius is not None:
        source = ("[derived 7.1]" if ipo else "[derived 2.2]") if here is not None else "[derived section 8]"
        only = here is None or (here.alpha < 1 and (ipo or here.lam == 1))
        which = "the only fixed point of full support" if only else "the fixed point that is followed"
        does = "attracts starts near it" if radius < 1 else "is unstable" if radius > 1 else "is at the edge"
        found.append(Claim("computed", f"spectral radius {radius:.6f}: {which} {does} {source}"))
    elif here is None or here.alpha == 1:
        found.append(Claim("computed", "no fixed point is followed: nothing pulls towards a reference"))
    else:
        found.append(Claim("computed", "the curve of fixed points was lost before this setting"))
    return [*found, Claim("proven", _proof(setting, here, radius))]


def _proof(setting: Setting, here: Constants | None, radius: float | None) -> str:
    """What is proven beyond the fixed point's neighbourhood."""
    if setting.method == "proximal_point" and radius is not None:
        return "every start converges: an equilibrium of full support exists [derived section 8]"
    if setting.method == "nash_md" and setting.eta * setting.tau < 1:
        q = 1 - setting.eta * setting.tau
        return (
            f"of its mixture, which is IPO's policy [derived 8.2]: {_of_ipo(setting.P, q, 1.0, 1 / (setting.eta * q))}"
        )
    if here is None or here.objective == "dpo":
        return "nothing from far away: no theorem here covers it"
    return _of_ipo(setting.P, *here[1:])


def _of_ipo(P: np.ndarray, alpha: float, lam: float, beta: float) -> str:
    if alpha == 1:
        return "at alpha = 1 no beta is safe for every P [derived 2.1, 2.4]"
    if lam == 0:
        return "every start converges: the sampler never changes, and rounds are linear [derived 2.4]"
    if beta > oracle.proven_everywhere(np.array(alpha), np.array(lam)):
        return "every start converges, whatever people prefer [derived 7.15]"
    if beta > proven_beta(P, np.array(alpha), lam):
        return "every start converges, for this matrix [derived 7.2 or 7.15]"
    if beta > oracle.stable_everywhere(np.array(alpha), np.array(lam)):
        return "the fixed point attracts, whatever people prefer [derived 7.14]; from far away nothing is proven"
    return "convergence from far away is not proven at this setting"


def plain(name: str, most: int = 60) -> str:
    """A name as one line of text in which a browser finds no mathematics and no markup of its own, cut to ``most`` characters.

    Widgets read text between dollar signs, or after a backslash, as mathematics, for which they would fetch a script; an
    invisible space between them prevents that.

    >>> plain("a\\nb")
    'a b'
    """
    name = " ".join("".join(c if c.isprintable() else " " for c in name).split())
    name = name if len(name) <= most else name[: most - 1].rstrip() + "…"
    return name.replace("$", f"${HIDDEN}").replace("\\", f"\\{HIDDEN}") or "(no name)"


def dash_of(k: int) -> str:
    """The line of response k, which with its colour is no other's."""
    return ("solid", "dashed", "dotted")[(k + k // len(PALETTE)) % 3]


def swatches(setting: Setting) -> str:
    """The colours and lines of the responses, as HTML; names are escaped."""
    rows = [
        f'<span style="white-space:nowrap"><b style="border-top:2px {dash_of(k)} {PALETTE[k % len(PALETTE)]}"></b>'
        f"{escape(plain(name, 24))}</span> "
        for k, name in enumerate(setting.names)
    ]
    return "".join(rows)


def verdict_html(setting: Setting, found: View) -> str:
    """The claims as HTML; response names are escaped."""
    fixed = ""
    if found.fixed is not None:
        shares = ", ".join(f"{escape(plain(n))} {x:.3f}" for n, x in zip(setting.names, found.fixed, strict=True))
        fixed = f'<p class="dim">fixed point: {shares}</p>'
    rows = "".join(f"<tr><th>{c.kind}</th><td>{escape(c.text)}</td></tr>" for c in claims(setting, found))
    return f'<p class="verdict {escape(found.verdict)}">{escape(found.verdict)}</p><table>{rows}</table>{fixed}'


def advice_html(found: Advice) -> str:
    """The advice as HTML."""
    return "<h3>What would make it stable</h3><ul>" + "".join(f"<li>{escape(x)}</li>" for x in found.lines) + "</ul>"


def script(setting: Setting) -> str:
    """Python that prints the view's verdict, spectral radius and last policy.

    >>> print(dyn.explore.script(dyn.explore.Setting(np.eye(2) / 2 + 0.25)).splitlines()[0])
    import numpy as np
    """
    s = setting
    names = ", ".join(map(repr, s.names))
    rows = ",\n    ".join(repr([float(x) for x in row]) for row in s.P)
    lines = [
        "import numpy as np",
        "import dynamics as dyn",
        "",
        f"names = [{names}]",
        f"P = np.array([\n    {rows},\n])",
    ]
    lines.append(f"start = {s.start!r} * np.cos(1.0 + np.arange({len(s.P)}))")
    if s.method in OBJECTIVES:
        shown = (
            "" if s.gamma == 0 else f"gamma = {s.gamma!r}\nalpha, beta = alpha * beta / (beta + gamma), beta + gamma\n"
        )
        lines.append(f"alpha, lam, beta = {s.alpha!r}, {s.lam!r}, {s.beta!r}\n{shown}")
        lines += [
            f'rounds = dyn.oracle.Rounds(P[None], "{s.method}", alpha, lam, beta)',
            f"fate = dyn.oracle.fates(rounds, start[None], {s.rounds})",
            f'found = dyn.oracle.answer(P, "{s.method}", alpha, lam, beta)',
            "print(fate.verdict[0])",
            "print(found.spectral_radius, found.critical_beta)",
            "print(dict(zip(names, np.exp(fate.log_policy[0]).tolist())))",
        ]
        return "\n".join(lines) + "\n"
    lines[1:2] = ["import jax", "import jax.numpy as jnp", "import dynamics as dyn", "", X64]
    at = {"nash_md": "tau=tau / (1 - eta * tau)", "sppo": "tau=0.0", "proximal_point": "tau=0.0"}.get(
        s.method, "tau=tau"
    )
    logits = " / (1 - eta * tau)" if s.method == "nash_md" else ""
    lines += [
        f"eta, tau = {s.eta!r}, {s.tau!r}\n",
        f"game = dyn.games.{CLASSES[s.method]}",
        f'run = dyn.iterate(game, {s.rounds}, initial=jax.nn.log_softmax(start), measure="verdict")',
        f"logits = dyn.games.nash(P, {at}).log_policy{logits}",
        "print(dyn.schema.VERDICTS[int(run.verdict)])",
        "print(float(dyn.stability.spectral_radius(game, jax.nn.log_softmax(jnp.asarray(logits)))))",
        "print(dict(zip(names, np.exp(run.log_policy[-1]).tolist())))",
    ]
    return "\n".join(lines) + "\n"
