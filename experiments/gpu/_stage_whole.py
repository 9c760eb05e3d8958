"""s3: 1 to 16 behaviours with every weight trained, in float32 and with bf16 autocast."""

from __future__ import annotations

from ._context import Context, OutOfTime
from ._training import Kind, Learners, scaling

KINDS = (
    Kind("all weights", whole=True, precision="float32", lr=5e-6),
    Kind("all weights, bf16 autocast", whole=True, precision="bf16", lr=5e-6),
)


def run(context: Context) -> None:
    """One precision after the other; each has its share of the time that is left."""
    learners = Learners(context.load())
    for i, kind in enumerate(KINDS):
        try:
            scaling(context, kind, learners, (context.left() - 3) / (len(KINDS) - i))
        except OutOfTime as error:
            context.say(f"    {error}")
            context.kept.note(str(error))
