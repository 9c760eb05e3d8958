"""The command ``dynamics``, with one module for each subcommand, which imports heavy packages only when it runs."""

from ._main import main

__all__ = ["main"]
