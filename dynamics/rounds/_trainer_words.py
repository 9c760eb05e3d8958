"""The words of trainers' configurations: losses, entries that are read, and entries of other trainers."""

from __future__ import annotations

# TRL's losses that are no function of the difference of two log-ratios, or not convex in it, and what is nearest here.
OTHER_LOSSES = {
    "exo_pair": "not convex in the margin",
    "nca_pair": "it rewards each response by itself, not the margin",
    "bco_pair": "it rewards each response by itself, not the margin",
    "aot": "it compares sorted batches, not pairs",
    "aot_unpaired": "it compares sorted batches, not pairs",
    "apo_zero": "it rewards each response by itself, not the margin",
    "apo_down": "it rewards each response by itself, not the margin",
    "discopop": "not convex in the margin",
    "sft": "it has no rejected response",
}
LOSSES = ("sigmoid", "hinge", "ipo", "robust", "sigmoid_norm", "sppo_hard", *OTHER_LOSSES)
BY_TOKEN = ("ipo", "sigmoid_norm")
ONLINE_LOSSES = ("sigmoid", "ipo")
READ_BY_TRL = (
    "beta",
    "loss_type",
    "loss_weights",
    "label_smoothing",
    "f_divergence_type",
    "sync_ref_model",
    "ref_model_mixup_alpha",
    "ref_model_sync_steps",
    "ld_alpha",
    "use_weighting",
    "reward_model_path",
    "missing_eos_penalty",
    "max_new_tokens",
)
READ_BY_OPENRLHF = ("beta", "ipo", "label_smoothing", "nll_loss_coef", "ref_pretrain", "best_of_n")
# Entries that only other trainers have.
FOREIGN = {
    "num_generations": "GRPO or RLOO",
    "epsilon": "GRPO",
    "mixture_coef": "Nash-MD",
    "alpha": "XPO",
    "init_kl_coef": "PPO",
    "kl_coef": "PPO",
    "cliprange": "PPO",
    "advantage_estimator": "reinforcement learning",
    "simpo_gamma": "CPO",
    "cpo_alpha": "CPO",
    "desirable_weight": "KTO",
}
ONLINE_ONLY = ("reward_model_path", "missing_eos_penalty", "max_new_tokens", "judge")
