"""The command ``dynamics``, one module for each of its commands. Everything heavy is imported inside them."""

from ._main import main

__all__ = ["main"]
