"""Sweeping: one process over many parameters."""

from ._sweep import sweep

__all__ = ["sweep"]
