"""Data sets as tensors, their splits, label noise and views."""
