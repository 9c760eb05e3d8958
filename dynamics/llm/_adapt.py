"""LoRA adapters, which train few parameters."""

from __future__ import annotations

import copy
import dataclasses
import warnings

from ._models import Language, need


def adapt(language: Language, rank: int = 8, targets: str | list[str] = "all-linear", seed: int = 0) -> Language:
    """The model with a LoRA adapter B A of each target layer, B = 0 at the start: the same function, few parameters to train.

    The adapted model shares the base model's weights in memory, and ``language`` itself stays without an adapter.

    Args:
        language: the base model.
        rank: of the adapter, int ≥ 1.
        targets: names of layers, or "all-linear", which leaves out the last layer.
        seed: of A.
    """
    need("torch")
    need("peft", extra="llm-trl")
    import peft
    import torch

    shared = {id(p): torch.nn.Parameter(p.detach(), requires_grad=False) for p in language.model.parameters()}
    # GPT-2 stores its weights transposed.
    transposed = any(type(module).__name__ == "Conv1D" for module in language.model.modules())
    config = peft.LoraConfig(
        r=rank,
        lora_alpha=2 * rank,
        lora_dropout=0.0,
        fan_in_fan_out=transposed,
        target_modules=targets,
        bias="none",
        task_type="CAUSAL_LM",
    )
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        # peft 0.21 asks transformers 5.24 under a name that is going away.
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
        torch.manual_seed(seed)
        model = peft.get_peft_model(copy.deepcopy(language.model, shared), config)
    return dataclasses.replace(language, model=model.eval())
