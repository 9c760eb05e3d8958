"""Captions as LaTeX source, in ASCII where a letter or sign has a name there."""

from __future__ import annotations

import re
import unicodedata

# Signs that LaTeX reads as commands.
COMMANDS = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": "$<$",
    ">": "$>$",
    "|": "$|$",
}
TEXT = {
    "−": "$-$",
    "–": "--",
    "—": "---",
    "“": "``",
    "”": "''",
    "‘": "`",
    "’": "'",
    "…": r"\ldots{}",
    "\u00a0": "~",
    "½": r"$\frac{1}{2}$",
}
NAMES = (
    "alpha beta gamma delta epsilon zeta eta theta kappa lambda mu nu xi pi rho sigma tau varphi chi psi omega "
    "Gamma Delta Theta Lambda Xi Pi Sigma Phi Psi Omega"
)
GREEK = dict(zip("αβγδεζηθκλμνξπρστφχψωΓΔΘΛΞΠΣΦΨΩ", NAMES.split(), strict=True))
SIGNS = {
    "±": "pm",
    "×": "times",
    "·": "cdot",
    "≤": "le",
    "≥": "ge",
    "≠": "ne",
    "≈": "approx",
    "∝": "propto",
    "∞": "infty",
    "→": "to",
    "←": "gets",
    "∈": "in",
    "‖": "|",
    "⟨": "langle",
    "⟩": "rangle",
    "∂": "partial",
    "∇": "nabla",
}
ACCENTS = {"\u0302": "hat", "\u0304": "bar"}
RAISED = dict(zip("⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺ᵀᵏⁿ", "0123456789-+Tkn", strict=True))
LOWERED = dict(zip("₀₁₂₃₄₅₆₇₈₉ᵢⱼₖₜₓ", "0123456789ijktx", strict=True))


def latex(text: str) -> str:
    """``text`` with everything escaped that LaTeX would read as a command, and signs as mathematics.

    What stands between dollars is mathematics already and stays as it is.

    >>> print(latex("95 % of β² ≥ 1/2, z_j – measured"))
    95 \\% of $\\beta^{2}$ $\\ge$ 1/2, $z_{j}$ -- measured
    """
    parts = re.split(r"(\$[^$]+\$)", unicodedata.normalize("NFD", text))
    plain = "".join(_named(part) if n % 2 else _escaped(part) for n, part in enumerate(parts)).replace("$$", "")
    return unicodedata.normalize("NFC", plain)


def _named(mathematics: str) -> str:
    for sign, name in (GREEK | SIGNS).items():
        mathematics = mathematics.replace(sign, f"{{\\{name}}}")
    return mathematics


def _escaped(text: str) -> str:
    plain = "".join(COMMANDS.get(letter, letter) for letter in text)
    plain = re.sub(r"\b([A-Za-z])\\_(\w{1,2})\b", r"$\1_{\2}$", plain)
    for accent, name in ACCENTS.items():
        plain = re.sub(f"(.){accent}", lambda m, name=name: f"$\\{name}{{{_signs(m[1]).replace('$', '')}}}$", plain)
    root = lambda m: f"$\\sqrt{{{_signs(m[1] or m[2]).replace('$', '')}}}$"
    plain = re.sub(r"√\(((?:[^()]|\([^()]*\))*)\)|√(\d+|\w)", root, plain)
    return _signs(plain)


def _signs(text: str) -> str:
    for signs, form in ((RAISED, "^"), (LOWERED, "_")):
        small = lambda m, s=signs, f=form: f"${f}{{{''.join(s[letter] for letter in m[0])}}}$"
        text = re.sub(f"[{''.join(signs)}]+", small, text)
    for sign, name in (GREEK | SIGNS).items():
        text = text.replace(sign, f"$\\{name}$")
    for sign, name in TEXT.items():
        text = text.replace(sign, name)
    return text
