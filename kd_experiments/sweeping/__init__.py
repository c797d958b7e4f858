"""Sweeps: what the files below `sweeps/` define, how far they are, and what became of each run."""
