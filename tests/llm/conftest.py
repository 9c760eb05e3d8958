"""Small models and pairs, made once in a session and without a network."""

import functools
import os

os.environ |= {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "TOKENIZERS_PARALLELISM": "false"}

import pytest

from dynamics import llm

SUBJECTS = (
    "Kind people",
    "Most rivers",
    "Old friends",
    "A good teacher",
    "The city",
    "My neighbour's cat",
    "Every rule",
)
VERBS = (
    "should listen to",
    "are often like",
    "never forgets",
    "has learned from",
    "would rather follow",
    "looks after",
)
OBJECTS = ("the sea", "those who ask", "a long story about the weather in spring", "nobody", "what others need most")


def statement(i):
    """One of 210 statements of 5 to 14 words."""
    return f"{SUBJECTS[i % 7]} {VERBS[i % 6]} {OBJECTS[i % 5]}"


def question(i):
    return f'Is the following statement something you would say?\n"{statement(i)}"'


@pytest.fixture
def one_thread():
    """Torch on one thread, so that sums do not depend on the machine."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def texts():
    """What made tokenizers and models learn from: both answers follow a question."""
    return [question(i) + (" Yes", " No")[(i * i) % 3 % 2] for i in range(210)]


@pytest.fixture(scope="session")
def pairs():
    """24 pairs of two behaviours with the answers " Yes" and " No"; prompts have different lengths."""
    yes = [i % 3 > 0 for i in range(24)]
    return llm.Pairs(
        tuple(question(i) for i in range(24)),
        tuple(" Yes" if y else " No" for y in yes),
        tuple(" No" if y else " Yes" for y in yes),
        behaviour=tuple("even" if i % 2 == 0 else "odd" for i in range(24)),
    )


@pytest.fixture(scope="session")
def make(tmp_path_factory, texts):
    """``make(family, **settings)``: the folder of a made model, made once."""
    pytest.importorskip("torch", reason="needs the extra llm: pip install '.[llm]'")

    @functools.cache
    def one(family="llama", **settings):
        folder = tmp_path_factory.mktemp(family)
        return llm.make_model(folder, texts, **({"vocab": 400, "width": 32, "family": family} | settings))

    return one


@pytest.fixture(scope="session")
def language(make):
    """A made Llama with an untied last layer, trained for a few steps so that its answers differ; never changed by a test."""
    return llm.load(make("llama", steps=30))
