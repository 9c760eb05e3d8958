"""``python -m dynamics``: the same as the command ``dynamics``."""

from .cli import main

if __name__ == "__main__":
    main()
