"""Alarms from the log of a finished TRL run, which holds means of batches only."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from ._alarm_rules import MOVED, NOT_ZERO, SATURATED, UNKNOWN, Alarm

RECORD = "Add callbacks=[llm.Recorder('run.zarr', probe=pairs[:64])] to the trainer."
LOG_2 = math.log(2.0)


def of_trainer_state(path: Path) -> tuple[Alarm, ...]:
    """The five alarms, as far as means of batches can tell.

    Args:
        path: a ``trainer_state.json``.

    Raises:
        ValueError: not JSON, or without ``log_history`` or rewards in it.
    """
    rows = _log(path)
    return (
        _displacement(rows),
        _saturation(rows),
        Alarm(
            "entropy_collapse", UNKNOWN, _last(rows, "entropy"),
            "TRL's entropy is that of the given answers, token by token, not of what the model samples.", RECORD,
        ),
        Alarm("oscillation", UNKNOWN, {}, "this is one fit, and only rounds can go in circles."),
        _wrong_reference(rows),
    )  # fmt: skip


def _log(path: Path) -> list[dict[str, Any]]:
    try:
        history = json.loads(path.read_text())["log_history"]
    except (ValueError, KeyError, TypeError):
        raise ValueError(
            f"{path} is not a trainer_state.json with a log_history; pass that of a finished run."
        ) from None
    rows = [row for row in history if "rewards/margins" in row]
    if not rows:
        raise ValueError(f"{path} logs no rewards/margins; pass the state of a DPOTrainer.")
    return rows


def _last(rows: list[dict[str, Any]], *names: str) -> dict[str, float]:
    return {name: float(rows[-1][name]) for name in names if name in rows[-1]}


def _displacement(rows: list[dict[str, Any]]) -> Alarm:
    numbers = _last(rows, "rewards/chosen", "rewards/rejected")
    note = "The share of examples and where the mass went cannot be known from means of batches."
    if len(numbers) < 2:
        return Alarm(
            "displacement", UNKNOWN, numbers, f"rewards of chosen and rejected answers are not logged. {note}", RECORD
        )
    if all(reward < -MOVED for reward in numbers.values()):
        return Alarm(
            "displacement",
            True,
            numbers,
            f"chosen and rejected answers both lost probability on average. {note}",
            RECORD,
        )
    return Alarm("displacement", False, numbers, f"they did not both fall on average. {note}")


def _saturation(rows: list[dict[str, Any]]) -> Alarm:
    numbers = _last(rows, "rewards/margins")
    if numbers["rewards/margins"] <= SATURATED:
        return Alarm("saturation", False, numbers, f"the mean margin is below {SATURATED:g}.")
    says = f"the mean margin is above {SATURATED:g}, but the KL divergence of what the model samples is not logged."
    return Alarm("saturation", UNKNOWN, numbers, says, RECORD)


def _wrong_reference(rows: list[dict[str, Any]]) -> Alarm:
    largest = 0.0
    for row in rows:
        step, margin, loss = row.get("step", math.nan), abs(row["rewards/margins"]), row.get("loss")
        both = max(abs(row.get("rewards/chosen", margin)), abs(row.get("rewards/rejected", margin)))
        if max(margin, both) < 1e-7 and largest > NOT_ZERO:
            numbers = {"step": float(step)} | ({} if loss is None else {"loss": float(loss), "log 2": LOG_2})
            return Alarm(
                "wrong_reference", True, numbers,
                f"all rewards return to 0 at step {step}: the model of that moment became the reference (a run resumed "
                "from a checkpoint with ref_model=None).",
                "Load the model that the run began with as ref_model.",
            )  # fmt: skip
        largest = max(largest, margin)
    numbers = {"first_margin": float(rows[0]["rewards/margins"]), "first_step": float(rows[0].get("step", math.nan))}
    if rows[0].get("step") == 1 and abs(numbers["first_margin"]) > NOT_ZERO:
        says = "the margin of the first step is not 0, so the reference is not the model that the run began with."
        return Alarm("wrong_reference", True, numbers, says, "Pass the model that the run begins with as ref_model.")
    if rows[0].get("step") == 1:
        return Alarm("wrong_reference", False, numbers, "margins start at 0 and do not return to it.")
    says = "the first step was not logged, so whether margins start at 0 cannot be known."
    return Alarm("wrong_reference", UNKNOWN, numbers, says, "Log every step (logging_steps=1), or use llm.Recorder.")
