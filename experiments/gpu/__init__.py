"""One prepared run on a machine with a GPU: packed on one machine, run in stages on another, collected on the first.

``python -m experiments.gpu.prepare``, ``python -m experiments.gpu.stages`` and ``python -m experiments.gpu.collect``; see
docs/llm.md.
"""
