"""The command ``dynamics``: classification and stability of a file of preferences, policies from votes, the ledger,
stored sweeps, language models.

Heavy packages are imported inside the commands, so that ``dynamics --help`` answers at once.
"""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import io
import os
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NoReturn, get_args

import tyro

from .. import __version__
from .._options import quick_flags, repeated
from ._advise import Advise
from ._compare import Compare, Methods
from ._explore import Explore
from ._files import Reading, heading, read_file
from ._fit import Fit
from ._llm import Llm
from ._results import Results
from ._safe import Safe
from ._stability import Stability
from ._theorem import Theorem
from ._verify import Verify

DESCRIPTION = "Learning dynamics of preference alignment. `dynamics --version` prints the version."


@dataclasses.dataclass(frozen=True, kw_only=True)
class Classify(Reading):
    """What kind of preferences a file holds: winners, cycles, transitivity, distance from Bradley–Terry."""

    json: bool = False
    """Print JSON instead of tables."""

    def run(self) -> None:
        from .._progress import progress
        from ..preferences import classify
        from . import _prompts_table, _tables

        matrices = read_file(self)
        first, back = matrices.distinct()
        found = []
        with progress("matrices", len(first)) as advance:
            for m in first:
                found.append(classify(matrices[m]))
                advance(1)
        found = [found[k] for k in back]
        if self.json:
            rows = [heading(matrices, m) | dataclasses.asdict(c) for m, c in enumerate(found)]
            _tables.print_json({"source": matrices.source, "matrices": rows})
        elif len(found) == 1:
            _tables.classification_card(matrices, found[0])
        elif len(found) > _prompts_table.MANY:
            _prompts_table.classification_prompts(matrices, found)
        else:
            _tables.classification_table(matrices, found)


Command = Classify | Stability | Advise | Compare | Methods | Safe | Fit | Theorem | Verify | Explore | Results | Llm
COMMANDS = {command.__name__.lower(): command for command in get_args(Command)}
OTHER_NAMES = {"lambda": "lam", "loss": "objective", "loss-type": "objective", "kl-coef": "beta"}  # that others use
OBJECTIVES = ("ipo", "dpo")
OTHER_LOSSES = {"sigmoid": "dpo"}  # TRL's name


@contextlib.contextmanager
def compiled_quickly() -> Iterator[None]:
    """Within it JAX compiles quickly rather than well: the loops of one matrix end sooner than an optimising compiler does.

    Of many matrices, which run for longer than they take to compile, this would make a command slower.
    """
    import jax

    name = "jax_disable_most_optimizations"
    before = jax.config.read(name)
    jax.config.update(name, True)
    try:
        yield
    finally:
        jax.config.update(name, before)


def _prepare(*, quick: bool = False) -> None:
    """Sets float64, a cache and, if ``quick``, a code generator that compiles sooner, none of which the library itself touches.
    The cache is a convenience: without a home folder, or with one that cannot be written to, there is none.
    """
    import jax

    if quick:
        os.environ["XLA_FLAGS"] = quick_flags(os.environ.get("XLA_FLAGS", ""))
    jax.config.update("jax_enable_x64", True)
    if getattr(jax.config, "jax_compilation_cache_dir", None):  # set by the user
        return
    with contextlib.suppress(OSError, RuntimeError):  # RuntimeError: no home folder
        folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "alignment-dynamics" / "xla"
        folder.mkdir(parents=True, exist_ok=True)
        if os.access(folder, os.W_OK | os.X_OK):
            jax.config.update("jax_compilation_cache_dir", str(folder))
            jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


def _fail(message: str, code: int = 2) -> NoReturn:
    print(f"dynamics: {' '.join(message.split())}", file=sys.stderr)
    raise SystemExit(code)


def _parse(args: Sequence[str]) -> Command:
    """The parsed command; tyro's boxed error messages become one sentence."""
    args = _with_objective(args)
    told = io.StringIO()
    try:
        with contextlib.redirect_stderr(told):
            return tyro.cli(
                Command,  # pyright: ignore[reportArgumentType]
                prog="dynamics",
                description=DESCRIPTION,
                args=args,
                config=(tyro.conf.FlagCreatePairsOff,),
            )
    except SystemExit as stop:
        if stop.code == 0:
            raise
        _fail(_misspelt(args) or _sentence(told.getvalue(), args[0] if args and args[0] in COMMANDS else ""))


def _misspelt(args: Sequence[str]) -> str | None:
    """The command or option that was meant, where one is close; None else."""
    if not args or args[0].startswith("-"):
        return None
    if args[0] not in COMMANDS:
        near = difflib.get_close_matches(args[0].lower(), COMMANDS, 1)
        told = f"{args[0]} is no command; did you mean {near[0]}?" if near else None
        return told and f"{told} See dynamics {near[0]} --help."
    known = [field.name.replace("_", "-") for field in dataclasses.fields(COMMANDS[args[0]]) if field.name != "file"]
    for arg in args[1:]:
        name = arg.partition("=")[0].removeprefix("--").replace("_", "-")
        if not re.match(r"--[A-Za-z]", arg) or name in (*known, "help"):
            continue
        meant = [OTHER_NAMES[name]] if OTHER_NAMES.get(name) in known else difflib.get_close_matches(name, known, 1)
        if meant:
            return f"--{name} is no option of dynamics {args[0]}; did you mean --{meant[0]}? See dynamics {args[0]} --help."
    return None


def _with_objective(args: Sequence[str]) -> list[str]:
    """The objective in small letters; another loss ends in one sentence."""
    args = list(args)
    if not args or "objective" not in (field.name for field in dataclasses.fields(COMMANDS.get(args[0], Methods))):
        return args
    for k, arg in enumerate(args):
        name, given, value = arg.partition("=")
        if name != "--objective" or not (given or k + 1 < len(args)):
            continue
        value = value if given else args[k + 1]
        if value.lower() not in OBJECTIVES:
            other = OTHER_LOSSES.get(value.lower())
            meant = f"pass {other}, as that loss is called here" if other else f"pass {' or '.join(OBJECTIVES)}"
            _fail(f"--objective {value} is not known; {meant}; see dynamics {args[0]} --help.")
        args[k : k + (1 if given else 2)] = ["--objective", value.lower()]
        break
    return args


def _sentence(box: str, command: str = "") -> str:
    """The sections of one of tyro's boxes joined, without the title and the repeated help text; ``command`` has the help."""
    sections = [""]
    for line in re.sub(r"\x1b\[[0-9;]*m", "", box).splitlines()[1:]:
        # A terminal without UTF-8 gets the box without sides, and with - for ─.
        inner = re.sub(r"^[│ ] |\s*│?$", "", line)
        if re.fullmatch(r"\W*[-─]{3,}\W*", inner):
            sections.append("")
        elif not inner.startswith(8 * " "):
            sections[-1] += f" {inner.removesuffix('(required)')}"
    kept = [" ".join(s.split()) for s in sections if not re.match(r"\s*(Argument helptext|For full helptext)", s)]
    kept = [(s[0].lower() + s[1:] if n else s).removesuffix(".") for n, s in enumerate(filter(None, kept))]
    return "; ".join([*kept, f"see dynamics {command} --help.".replace("  ", " ")])


def main(args: Sequence[str] | None = None) -> None:
    """Runs the command line; bad input ends in one sentence on stderr and exit code 2, a failed run in 1."""
    args = sys.argv[1:] if args is None else list(args)
    if args[:1] == ["--version"]:
        print(f"dynamics {__version__}")
        return
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without UTF-8 gets "?" for a dash, not an error
    if twice := repeated(args):
        _fail(twice)
    command = _parse(args)
    try:
        if getattr(command, "needs_jax", True):
            _prepare(quick=isinstance(command, Stability))
        command.run()
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader closed the pipe; redirecting stdout keeps the interpreter from failing again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1) from None
    except (ValueError, OSError) as error:
        _fail(str(error))
    except RuntimeError as error:
        _fail(str(error), 1)
    except KeyboardInterrupt:
        _fail("interrupted.", 130)
