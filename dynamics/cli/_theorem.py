"""``dynamics theorem``: the numbered statements of the theory, and what they say about a file."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from ._files import Reading, choose, read_file
from ._theorem_text import context, described, lines_of, page_of, row_of, split, told
from ._wrapped import wrapped

if TYPE_CHECKING:
    import numpy as np

    from .. import theorems
    from ..ledger import Checked

FROM_OPTIONS = ("alpha", "lam", "beta", "gamma", "objective")
INDICES = ("top", "better", "worse")  # inputs that are a response
FIXED = "the rounds' fixed point"

Asked = Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="[NUMBER [FILE]]")]
Inputs = Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME=VALUE")]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Theorem(Reading):
    """A numbered statement of the theory: what it says, where it is proved, and whether it holds on a file's preferences."""

    file: Annotated[str | None, tyro.conf.Suppress] = None  # pyright: ignore[reportIncompatibleVariableOverride]
    asked: Asked = ()
    """The number of a statement, such as 7.15, or the name of a theorem, and a file of preferences (docs/files.md lists the
    forms) on which it is checked against the simulators; without them, the list of all."""
    alpha: Annotated[float | None, tyro.conf.arg(metavar="A")] = None
    """Share of the policy in the next reference, 0 to 1."""
    lam: Annotated[float | None, tyro.conf.arg(metavar="L")] = None
    """Share of the policy in the next sampler, 0 to 1."""
    beta: Annotated[float | None, tyro.conf.arg(metavar="B")] = None
    """KL coefficient, above 0."""
    gamma: Annotated[float | None, tyro.conf.arg(metavar="G")] = None
    """Weight of the entropy, above 0."""
    objective: Literal["ipo", "dpo"] | None = None
    """What each round minimises."""
    input: Inputs = ()
    """Other inputs of the theorem: rounds=100, log_pi=-1.1,-1.1,-1.1 (rows of a matrix are separated by ;)."""
    index: Annotated[int | None, tyro.conf.arg(metavar="I")] = None
    """The matrix of the file, counted from 0, where it holds several."""
    json: bool = False
    """Print JSON instead of text."""

    def run(self) -> None:
        from ..theorems import statements

        asked = list(self.asked)
        if not asked:
            self._list(statements())
            return
        if len(asked) > 2:
            raise ValueError(f"{asked[2]} comes after the file; pass one number and one file.")
        if len(asked) == 2:
            dataclasses.replace(self, asked=(asked[0],), file=asked[1]).run()
            return
        statement, chosen = _found(asked[0])
        given = self._given(chosen)
        done = _Done()
        if self.file is not None or given:
            if not chosen:
                raise ValueError(
                    f"statement {statement.number} has no theorem to check; read its page, {page_of(statement)}."
                )
            fitting, done.left_out = split(chosen, given, asked[0])
            given = self._completed(given, fitting, done)
            if done.defaults.get("log_pi", "").startswith(FIXED):
                # That of IPO unless the objective is given.
                others = {t.name for t in fitting if t.about == "dpo" and "log_pi" in t.inputs}
                if "objective" not in given and len(others) < len(fitting):
                    done.left_out |= dict.fromkeys(others, "it is about DPO; pass --objective dpo")
                    fitting = tuple(t for t in fitting if t.name not in others)
            done.checked, done.missing = _checked(fitting, given)
            if not done.checked:
                name, left = next(iter(done.missing.items()))
                raise ValueError(f"{name} also needs {', '.join(left)}; {_remedy(left)}")
            unnamed = {n: "the default" for c in done.checked for n in c.inputs if n not in given}
            done.defaults = unnamed | done.defaults
        self._say(statement, chosen, done)
        violated = [c.theorem.name for c in done.checked if c.holds is False]
        if violated:
            raise RuntimeError(f"{', '.join(violated)}: the measured value lies outside the bound.")

    def _list(self, found: Any) -> None:
        from . import _tables

        if self.input:
            raise ValueError("no statement is named; pass its number first, such as 7.15.")
        if self.json:
            _tables.print_json([described(one) for one in found.values()])
            return
        table = _tables.new_table(("number", "statement", "kind", "theorems"), numbers={"number"})
        for one in found.values():
            kind = " ".join(dict.fromkeys(w for w in ("[paper]", "[derived]") if w in one.kind))
            names = ", ".join(t.name for t in one.theorems) or "–"
            table.add_row(*map(_tables.text, (one.number, one.title, kind, names)))
        _tables.print_parts(table, _tables.text("dynamics theorem NUMBER says what it says and where it is proved."))

    def _given(self, chosen: tuple[theorems.Theorem, ...]) -> dict[str, Any]:
        """The inputs on the command line, each of which some chosen theorem takes."""
        given = {name: getattr(self, name) for name in FROM_OPTIONS if getattr(self, name) is not None}
        for words in self.input:
            name, equals, value = words.partition("=")
            if not equals or not name:
                raise ValueError(f"--input {words} has no value; pass NAME=VALUE, such as rounds=100.")
            if name in given:
                raise ValueError(f"{name} is given twice; pass it once.")
            given[name] = value if name in INDICES else _value(name, value)
        known, asked = {name for theorem in chosen for name in theorem.inputs}, "".join(self.asked)
        known |= {"objective"} if any(theorem.about for theorem in chosen) else set()
        if unknown := [name for name in given if name not in known]:
            takes = ", ".join(dict.fromkeys(n for t in chosen for n in t.inputs)) or "no inputs"
            raise ValueError(f"{unknown[0]} is no input of {asked}; it takes {takes}.")
        return given

    def _completed(self, given: dict[str, Any], chosen: tuple[theorems.Theorem, ...], done: _Done) -> dict[str, Any]:
        """With the file's matrix, and defaults for distributions, whose origin goes to ``done``."""
        import numpy as np

        for name in INDICES:
            if name in given and self.file is None:
                given[name] = _value(name, given[name])
        if self.file is None:
            return given
        matrices = read_file(self)
        indices = choose(matrices, self.index, self.file, None)
        if len(indices) > 1:
            raise ValueError(f"{self.file} holds {len(matrices)} matrices; choose one with --index.")
        if not any("P" in theorem.inputs for theorem in chosen):
            asked = "".join(self.asked)
            raise ValueError(f"{asked} is not about a matrix of preferences; leave {self.file} out, pass --input.")
        P = np.asarray(matrices[indices[0]], np.float64)
        done.counted, done.responses = matrices.counts[indices[0]] is not None, matrices.names[indices[0]]
        for name in INDICES:
            if name in given:
                given[name] = _response(name, given[name], matrices.names[indices[0]])
        wanted = {name for theorem in chosen if "P" in theorem.inputs for name in theorem.inputs}
        names = done.defaults
        flat = np.full(len(P), -np.log(len(P)))
        for name in ("log_reference", "log_offline", "log_initial", "log_mu"):
            if name in wanted and name not in given:
                given[name], names[name] = flat, "uniform"
        if "log_pi" in wanted and "log_pi" not in given:
            rounds = {"objective": "dpo", "lam": 1.0} if all(t.about == "dpo" for t in chosen) else {}  # spectrum_dpo
            given["log_pi"], names["log_pi"] = _fixed_point(P, rounds | given, flat)
            # Statement 2.2: there f = beta (1-alpha)(log pi - log ref), up to a constant.
            if names["log_pi"].startswith(FIXED) and "reward" in wanted and "reward" not in given:
                moved = given["log_pi"] - np.asarray(given.get("log_reference", flat))
                given["reward"] = given["beta"] * (1 - given["alpha"]) * moved
                names["reward"] = "beta (1 - alpha)(log_pi - log_reference), which is f at a fixed point"
        return given | {"P": P}

    def _say(self, statement: theorems.Statement, chosen: tuple[theorems.Theorem, ...], done: _Done) -> None:
        if self.json:
            from . import _tables

            _tables.print_json(
                described(statement, chosen)
                | {"checked": [row_of(c) for c in done.checked], "missing": done.missing, "left_out": done.left_out}
                | {"defaults": done.defaults, "responses": done.responses, "exact": done.counted}
            )
            return
        lines = [f"{statement.number} {statement.title}", f"  {told(statement)}", "", f"  {statement.text}"]
        if self.file is not None and (told_once := context(self.file, done.counted, done.responses)):
            lines += ["", *told_once]
        checked = {c.theorem.name: c for c in done.checked}
        for theorem in chosen:
            lines += ["", f"theorem {theorem.name}: {theorem.statement}"]
            lines += [f"  bounds: {theorem.quantity}", f"  inputs: {', '.join(theorem.inputs)}"]
            if theorem.name in checked:
                lines += lines_of(checked[theorem.name], done.defaults)
            elif theorem.name in done.left_out:
                lines.append(f"  not checked: {done.left_out[theorem.name]}")
            elif left := done.missing.get(theorem.name):
                lines.append(f"  not checked: it also needs {', '.join(left)}; {_remedy(left)}")
        print("\n".join(part for line in lines for part in wrapped(line, 2)))


@dataclasses.dataclass
class _Done:
    """What was checked, why the rest was not, and where inputs that were not given come from."""

    checked: list[Checked] = dataclasses.field(default_factory=list)
    missing: dict[str, list[str]] = dataclasses.field(default_factory=dict)
    left_out: dict[str, str] = dataclasses.field(default_factory=dict)
    defaults: dict[str, str] = dataclasses.field(default_factory=dict)
    counted: bool = False
    responses: tuple[str, ...] | None = None


def _found(asked: str) -> tuple[theorems.Statement, tuple[theorems.Theorem, ...]]:
    """The statement of a number with its theorems, or of one theorem's name with it alone."""
    import difflib

    from .. import theorems

    found, known = theorems.statements(), theorems.all()
    if asked in found:
        return found[asked], found[asked].theorems
    if asked in known:
        return found[known[asked].number], (known[asked],)
    close = difflib.get_close_matches(asked, [*found, *known], 1)
    meant = f"did you mean {close[0]}? " if close else ""
    raise ValueError(f"there is no statement {asked!r}; {meant}`dynamics theorem` lists them.")


def _value(name: str, words: str) -> Any:
    """A number, (n,) numbers between commas, (m, n) with rows between semicolons, or a word."""
    rows = [row.split(",") for row in words.split(";")]
    try:
        numbers = [[float(cell) for cell in row] for row in rows]
    except ValueError:
        if len(rows) == len(rows[0]) == 1:
            return words
        raise ValueError(f"{name} = {words} is not a list of numbers; pass them like -1,-2,-3.") from None
    if len({len(row) for row in numbers}) > 1:
        raise ValueError(f"{name} = {words} has rows of different lengths; pass as many numbers in each.")
    if len(numbers) > 1:
        return numbers
    return numbers[0] if len(numbers[0]) > 1 else numbers[0][0]


def _response(name: str, words: str, names: Any) -> int:
    """The index of a response, by its name or by its number."""
    labels = [] if names is None else list(map(str, names))
    if words in labels:
        return labels.index(words)
    if words.lstrip("-").isdigit():
        return int(words)
    raise ValueError(f"{name} = {words} is no response of the file; pass one of {', '.join(labels) or 'its indices'}.")


def _fixed_point(P: np.ndarray, given: dict[str, Any], flat: np.ndarray) -> tuple[np.ndarray, str]:
    """A fixed point of the rounds, if the options determine one, else uniform; and which of these it is."""
    from ..objectives import DPO, IPO
    from ..rounds import SelfSampling
    from ..stability import find_fixed_points

    if not all(name in given for name in ("alpha", "lam", "beta")) or given["alpha"] == 1:
        return flat, "uniform"
    objective = (DPO if given.get("objective") == "dpo" else IPO)(given["beta"])
    logs = (given.get("log_reference", flat), given.get("log_offline", flat))
    found = find_fixed_points(SelfSampling(P, objective, given["alpha"], given["lam"], *logs))
    if not found:
        return flat, "uniform, since no fixed point was found"
    import numpy as np

    words = FIXED if len(found) == 1 else f"{FIXED}, the first of {len(found)}"
    return np.asarray(found[0].log_policy, np.float64), words


def _checked(chosen: tuple[theorems.Theorem, ...], given: dict[str, Any]) -> tuple[list[Checked], dict[str, list[str]]]:
    import inspect

    from ..ledger import check

    checked, missing = [], {}
    for theorem in chosen:
        parameters = inspect.signature(theorem.claim).parameters.values()
        left = [p.name for p in parameters if p.default is p.empty and p.name not in given]
        if left:
            missing[theorem.name] = left
        else:
            checked.append(check(theorem, **{name: given[name] for name in theorem.inputs if name in given}))
    return checked, missing


def _remedy(left: list[str]) -> str:
    parts = [f"--{name}" for name in left if name in FROM_OPTIONS]
    parts += ["a FILE"] * ("P" in left)
    parts += [f"--input {name}=…" for name in left if name not in (*FROM_OPTIONS, "P")]
    return f"pass {' and '.join(parts)}."
