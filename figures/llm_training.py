"""Training a whole language model: margins by step, against the last layer's flow, log-probabilities, features."""

from __future__ import annotations

import json

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from dynamics import plot

from ._common import INK, PALE, caption, letter, styled
from ._page import Page

SPLITS = {"train": "training", "held_out": "held out"}


@styled
def draw(ds: xr.Dataset) -> Page:
    """Above: margins by step and against the flow; below: log-probabilities and distinguishability."""
    config = json.loads(ds.attrs["config"])
    figure = Page(5.2)
    panels = figure.subplot_mosaic([list("ab"), list("cd")])
    for mark, say, title in (
        ("a", _margins, "margins by step"),
        ("b", _against, "model against last-layer flow"),
        ("c", _log_probs, "log-probabilities of training answers"),
        ("d", _features, "distinguishability"),
    ):
        say(ds, panels[mark])
        letter(panels[mark], mark, title)
    model = "a small made model" if ds.attrs["made_model"] else ds.attrs["model"]
    data = "made statements" if ds.attrs["made_data"] else "persona statements"
    weights = f"a LoRA adapter of rank {config['rank']}" if config["train"] == "lora" else "all weights"
    caption(
        figure,
        f"DPO on {weights} of {model} by AdamW, {config['steps']} steps of {config['batch']} pairs, {data} of "
        f"{ds.sizes['trained']} behaviours (measured). a: mean, and band of the middle nine tenths, of the margins. b: each "
        "statement's margin in the model against that of the gradient flow of the last layer on the features before training "
        "(theory), where both have the same mean training margin. c: change from the reference, means. d: distance of the two "
        "answers' mean features, before and after training.",
    )
    return figure


def _margins(ds: xr.Dataset, ax: Axes) -> None:
    step = ds.step.values
    for n, (split, label) in enumerate(SPLITS.items()):
        r = ds.reward_margin.transpose("step", "example").values[:, (ds.split == split).values]
        low, high = np.quantile(r, (0.05, 0.95), axis=1)
        ax.fill_between(step, low, high, color=plot.PALETTE[n], alpha=0.2, linewidth=0)
        ax.plot(
            step,
            r.mean(axis=1),
            color=plot.PALETTE[n],
            linestyle=plot.DASHES[n],
            marker="os"[n],
            markersize=3,
            label=label,
        )
    ax.axhline(0, color=INK, linewidth=0.5, linestyle="-", zorder=0)
    ax.set_xlim(0, step[-1])
    ax.set_xlabel("step")
    ax.set_ylabel("reward margin")
    ax.legend(loc="upper left", borderaxespad=0.1)


def _against(ds: xr.Dataset, ax: Axes) -> None:
    theory = ds.flow_margin.isel(time=int(ds.matched_time)).values
    practice = ds.reward_margin.isel(step=int(ds.matched_step)).values
    ends = [min(theory.min(), practice.min()), max(theory.max(), practice.max())]
    ax.plot(ends, ends, color=PALE, linestyle="-", linewidth=0.8, zorder=0)
    for n, (split, label) in enumerate(SPLITS.items()):
        own = (ds.split == split).values
        style = {"color": plot.PALETTE[n], "marker": "os"[n], "markersize": 3, "linestyle": "", "alpha": 0.7}
        ax.plot(theory[own], practice[own], label=label, **style)
    ax.set_xlabel("margin, flow of the last layer")
    ax.set_ylabel(f"margin, model at step {int(ds.step[int(ds.matched_step)])}")
    ax.legend(loc="upper left", borderaxespad=0.1)


def _log_probs(ds: xr.Dataset, ax: Axes) -> None:
    train = (ds.split == "train").values
    for n, name in enumerate(("chosen", "rejected")):
        moved = ds[f"log_prob_{name}"].transpose("step", "example").values[:, train]
        moved = moved - moved[:1]
        low, high = np.quantile(moved, (0.05, 0.95), axis=1)
        colour = plot.PALETTE[n + 2]
        ax.fill_between(ds.step.values, low, high, color=colour, alpha=0.2, linewidth=0)
        ax.plot(
            ds.step.values,
            moved.mean(axis=1),
            color=colour,
            linestyle=plot.DASHES[n],
            marker="os"[n],
            markersize=3,
            label=name,
        )
    ax.axhline(0, color=INK, linewidth=0.5, linestyle="-", zorder=0)
    ax.set_xlim(0, ds.step.values[-1])
    ax.set_xlabel("step")
    ax.set_ylabel("log π − log π at step 0, nats")
    ax.legend(loc="lower left", borderaxespad=0.1)


def _features(ds: xr.Dataset, ax: Axes) -> None:
    names = [str(name) for name in ds.trained.values]
    at = np.arange(len(names))
    ax.plot(ds.delta_before, at, color=INK, marker="o", markersize=4, linestyle="", label="before")
    ax.plot(ds.delta_after, at, color=plot.PALETTE[1], marker="s", markersize=4, linestyle="", label="after")
    ax.hlines(at, ds.delta_before, ds.delta_after, color=PALE, linewidth=0.9, linestyle="-", zorder=0)
    short = [name if len(name) <= 24 else name[:22] + "…" for name in names]
    ax.set_yticks(at, short)
    ax.set_ylim(len(names) - 0.3, -0.7)
    ax.set_xlim(0, 1.08 * float(max(ds.delta_before.max(), ds.delta_after.max())))
    ax.set_xlabel("δ")
    ax.legend(loc="lower center", ncols=2, borderaxespad=0.1)
