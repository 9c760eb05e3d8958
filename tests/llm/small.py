"""A made model of two layers and a few pairs, shared by the tests of training."""

import functools
import os
import signal
import tempfile

from dynamics import llm

TEXTS = [
    "The cat sat on the mat and the dog lay by the door.",
    "Is two even? Yes. Is three even? No. Is four even? Yes, it is.",
    "Yes, it is true that water is wet. No, it is not true that stones float.",
] * 4
LIVING = ["cat", "dog", "tree", "bird", "fish", "horse", "cow", "fox"]
DEAD = ["mat", "door", "stone", "sun", "moon", "sea", "hill", "two"]
NOUNS = [*LIVING, *DEAD]


@functools.cache
def folder(seed=0, steps=0):
    return llm.make_model(tempfile.mkdtemp(), TEXTS, vocab=300, width=32, steps=steps, seed=seed)


def language(seed=0, steps=0, **options):
    """A fresh copy each time: training changes it."""
    return llm.load(folder(seed, steps), **options)


def sentences(count=16):
    """Answers of several tokens and of different lengths."""
    prompts = [f"Is the {NOUNS[i % 16]} {'even' if i < 16 else 'wet'}?" for i in range(count)]
    chosen = [" Yes, it is." if i % 2 else " No." for i in range(count)]
    rejected = [" No, it is not true." if i % 2 else " Yes, it is true." for i in range(count)]
    return llm.Pairs(tuple(prompts), tuple(chosen), tuple(rejected))


def words(count=12):
    """Answers of one token each."""
    prompts = tuple(f"Is the {NOUNS[i]} even?" for i in range(count))
    chosen = tuple(" Yes" if i % 3 else " No" for i in range(count))
    return llm.Pairs(prompts, chosen, tuple(" No" if c == " Yes" else " Yes" for c in chosen))


def mortal(parameters, lr):
    """AdamW, which kills the process in the step that the environment names."""
    import torch

    class Mortal(torch.optim.AdamW):
        taken = 0

        def step(self, *args, **options):
            self.taken += 1
            if str(self.taken) == os.environ.get("DIE_IN_STEP"):
                os.kill(os.getpid(), signal.SIGKILL)
            return super().step(*args, **options)

    return Mortal(parameters, lr=lr)
