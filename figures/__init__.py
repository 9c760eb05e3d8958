"""One file per figure: ``draw(ds)`` → matplotlib Figure, from the Dataset of the experiment of the same name alone."""
