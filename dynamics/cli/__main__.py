"""``python -m dynamics.cli``: the same as the command ``dynamics``."""

from . import main

if __name__ == "__main__":
    main()
