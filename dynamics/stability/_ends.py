"""How a search along a parameter can end before the end of its range."""

from __future__ import annotations


class BranchEnd(UserWarning):
    """The curve of fixed points was followed only to a value of the parameter at a path."""

    def __init__(self, path: str, value: float):
        super().__init__(path, value)
        self.path, self.value = path, value

    def __str__(self) -> str:
        return (
            f"the branch of fixed points was followed only to {self.path} = {self.value:.6g}; crossings beyond that value are "
            f"not listed. Pass narrower bounds, or switch on float64."
        )


class NoFixedPoint(RuntimeError):
    """No fixed point that could be followed was found with the parameter at a path between ``low`` and ``high``."""

    def __init__(self, path: str, low: float, high: float):
        super().__init__(path, low, high)
        self.path, self.low, self.high = path, low, high

    def __str__(self) -> str:
        return f"no fixed point was found for {self.path} in [{self.low:g}, {self.high:g}]; pass narrower bounds."
