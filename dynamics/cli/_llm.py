"""The command ``dynamics llm``: what a language model is like, small models, GGUF files, and the alarms of a run."""

from __future__ import annotations

import dataclasses
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

if TYPE_CHECKING:
    from ..llm import Card, Pairs

EXTRA = {"peft": "llm-trl", "trl": "llm-trl", "datasets": "llm-trl"}


@dataclasses.dataclass(frozen=True)
class Check:
    """Whether a model's last layer gives its logits, and how it tokenizes answers."""

    model: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")]
    """A folder of safetensors, a .gguf file of Gemma 3, a hub id, or packaged for the packaged Gemma 3 270M."""
    data: Annotated[str | None, tyro.conf.arg(metavar="SOURCE")] = None
    """Pairs to check on it: persona:DIR, hh:FILE, FILE.jsonl or FILE.jsonl.gz."""
    rows: Annotated[int | None, tyro.conf.arg(metavar="N")] = None
    """Only the first rows of each behaviour."""
    skip_bad: bool = False
    """Leave out pairs with an empty answer or equal answers, with a warning that counts them."""
    json: bool = False
    """Print JSON instead of a card."""

    def run(self) -> None:
        from .. import llm
        from . import _tables

        pairs = None if self.data is None else self._pairs(self.data)
        found = llm.check(llm.load(self._source()), pairs)
        if self.json:
            _tables.print_json(found.to_dict())
        else:
            _tables.print_card(_rows(found))
        if found.problems:
            raise RuntimeError(" ".join(found.problems))

    def _source(self) -> str | Path:
        from .. import llm

        if self.model != "packaged":
            return self.model
        folder = llm.packaged()
        if folder is None:
            raise ValueError(str(llm.packaged_reason()))
        return folder

    def _pairs(self, data: str) -> Pairs:
        from .. import llm

        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always", UserWarning)
            pairs = llm.read(data, rows=self.rows, skip_bad=self.skip_bad)
        for warning in told:
            sys.stderr.write(f"dynamics: {warning.message}\n")
        return pairs


@dataclasses.dataclass(frozen=True)
class MakeModel:
    """A small model of random weights and its tokenizer, for tests and first looks."""

    folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="DIR")]
    """Where to save it."""
    texts: Annotated[tuple[Path, ...], tyro.conf.arg(metavar="FILE")]
    """Text files from which the tokenizer, and with --steps the model, learn."""
    family: Annotated[str, tyro.conf.arg(metavar="NAME")] = "llama"
    """Architecture: llama, gpt2, gemma2, …"""
    vocab: Annotated[int, tyro.conf.arg(metavar="V")] = 2048
    """Largest number of tokens, at least 258."""
    width: Annotated[int, tyro.conf.arg(metavar="D")] = 64
    """Number of features, a multiple of 4."""
    layers: Annotated[int, tyro.conf.arg(metavar="L")] = 2
    """Number of layers."""
    steps: Annotated[int, tyro.conf.arg(metavar="N")] = 0
    """Steps of training as a language model."""
    seed: Annotated[int, tyro.conf.arg(metavar="S")] = 0
    """Seed of weights and of training."""

    def run(self) -> None:
        from .. import llm

        texts = [_text(path) for path in self.texts]
        setting = {key: getattr(self, key) for key in ("vocab", "width", "layers", "steps", "family", "seed")}
        print(llm.make_model(self.folder, texts, **setting))


@dataclasses.dataclass(frozen=True)
class Convert:
    """A folder of safetensors made of a Gemma 3 GGUF file."""

    file: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FILE.gguf")]
    """The file."""
    folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="DIR")]
    """A new folder."""

    def run(self) -> None:
        from .. import llm

        print(llm.convert(self.file, self.folder))


@dataclasses.dataclass(frozen=True)
class Alarms:
    """What went wrong in a run: displacement, saturation, collapse, oscillation, a wrong reference."""

    run_path: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN", name="run")]
    """A record, a stored Dataset, or a finished TRL run (its trainer_state.json or folder)."""
    json: bool = False
    """Print JSON instead of a table."""

    def run(self) -> None:
        from .. import llm
        from . import _tables

        if not self.run_path.exists():
            raise ValueError(f"{self.run_path} does not exist; pass the record of a run, or its trainer_state.json.")
        found = llm.alarms(self.run_path)
        if self.json:
            _tables.print_json([dataclasses.asdict(alarm) for alarm in found])
            return
        table = _tables.new_table(("alarm", "raised", "what was found", "what to do"), numbers=set())
        for alarm in found:
            raised = alarm.raised if isinstance(alarm.raised, str) else "yes" if alarm.raised else "no"
            table.add_row(*map(_tables.text, (alarm.name, raised, alarm.says, alarm.do)))
        _tables.print_parts(table)


@dataclasses.dataclass(frozen=True)
class Llm:
    """Language models: check MODEL, make-model DIR, convert FILE.gguf DIR, alarms RUN."""

    command: Annotated[
        Check | MakeModel | Convert | Alarms, tyro.conf.OmitSubcommandPrefixes, tyro.conf.OmitArgPrefixes
    ]

    def run(self) -> None:
        try:
            self.command.run()
        except ImportError as error:
            remedy = f"; pip install '.[{EXTRA.get(str(error.name), 'llm')}]'."
            raise ValueError(str(error) if "pip install" in str(error) else f"{error}{remedy}") from None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not UTF-8 text; pass text files.") from None
    except OSError as error:
        raise ValueError(
            f"{path} cannot be read ({(error.strerror or str(error)).lower()}); pass text files."
        ) from None


def _rows(card: Card) -> list[tuple[str, str]]:
    shape = f"{card.vocabulary:,} tokens × {card.width}" + (", shared with the embedding" if card.tied else "")
    parts = [f"scale {card.scale:g}", "bias" if card.bias else "no bias"]
    parts.append("no soft cap" if card.cap is None else f"soft cap {card.cap:g}")
    rows = [
        ("model", card.name),
        ("SHA-256", card.sha256),
        ("family", f"{card.family}, {card.parameters / 1e6:.1f} M parameters, {card.dtype}"),
        ("last layer", shape),
        ("logits", ", ".join(parts)),
        ("identity", f"<last layer, feature> = logit within {card.identity:.1g} of the largest logit"),
        ("features", "usable" if card.features else "refused"),
        ("prompts", f"padded on the {card.padding}" + (f", context {card.context}" if card.context else "")),
    ]
    if card.pairs:
        rows.append(("pairs", f"{card.pairs}, the longest of {card.longest} tokens"))
        needs = "" if card.one_token == 1 else " (features need every answer to be one token; training does not)"
        rows.append(("answers of one token", f"{card.one_token:.1%}{needs}"))
    for answer in card.answers:
        ids = ", ".join(map(str, answer.ids[:6])) + (", …" if len(answer.ids) > 6 else "")
        rows.append(("answer", f"{answer.text[:40]!r}: {ids}"))
    rows += [("convention", sentence) for sentence in card.conventions]
    return rows
