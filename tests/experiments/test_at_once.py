"""Experiments at once: results keep their order, and what goes wrong in a process is said by the parent."""

import os
import time

import pytest

from experiments._at_once import run
from experiments._store import UserError


def work(job, tick, say):
    if job == "wrong":
        raise UserError("size = 0 is outside [1, 2]; pass a value inside.")
    if job == "broken":
        raise ZeroDivisionError("by zero")
    if job == "left":
        raise SystemExit(3)
    if job == "gone":
        os._exit(1)
    time.sleep(job)
    tick(0.5, "half")
    say(f"slept {job}")
    return os.getpid()


def together(jobs, at_once=2):
    ticks, said = [], []
    found = run(work, jobs, at_once, lambda share, what: ticks.append((share, what)), said.append)
    return found, ticks, said


@pytest.mark.thorough
def test_results_come_in_the_given_order_from_other_processes():
    found, ticks, said = together([("slow", 0.3), ("quick", 0.0), ("quicker", 0.0)])
    assert list(found) == ["slow", "quick", "quicker"]
    assert os.getpid() not in found.values()
    assert len(set(found.values())) <= 2
    assert sorted(said) == ["slept 0.0", "slept 0.0", "slept 0.3"]
    assert {what for _, what in ticks} == {"slow: half", "quick: half", "quicker: half"}
    assert max(share for share, _ in ticks) <= 3


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("job", "error", "told"),
    [
        ("wrong", UserError, "size = 0 is outside"),
        ("broken", RuntimeError, "broken failed:(.|\n)*ZeroDivisionError: by zero"),
        ("left", RuntimeError, "left failed:(.|\n)*SystemExit: 3"),
        ("gone", UserError, "gone: its process ended"),
    ],
)
def test_what_goes_wrong_is_said(job, error, told):
    with pytest.raises(error, match=told):
        together([("fine", 0.0), (job, job)])
