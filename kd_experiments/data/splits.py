"""Stratified, seeded splits that stay the same on every machine and library version."""

from __future__ import annotations

import torch
from torch import Tensor

from kd_experiments.errors import UserError
from kd_experiments.randomness import derive, ranking


def stratified(labels: Tensor, size: int, seed: int, purpose: str) -> Tensor:
    """Indices of `size` samples with the class proportions of `labels` (N,), sorted ascending.

    Shares are rounded by largest remainder, so that exactly `size` are taken.
    """
    classes, counts = torch.unique(labels, return_counts=True)
    exact = counts.double() * size / max(len(labels), 1)
    take = exact.floor().long()
    missing = size - int(take.sum())
    take[torch.argsort(exact - take, descending=True, stable=True)[:missing]] += 1
    order = ranking(derive(seed, purpose), len(labels))
    ordered = labels[order]
    chosen = [order[ordered == label][:n] for label, n in zip(classes.tolist(), take.tolist(), strict=True)]
    return torch.cat(chosen).sort().values if chosen else torch.empty(0, dtype=torch.long)


def split_train(
    labels: Tensor, *, val_fraction: float | None, train_size: int | None, seed: int
) -> tuple[Tensor, Tensor]:
    """(train, val) indices into the original training set: val is held out first, then train is cut to size.

    Without `val_fraction` val is a tenth, but as many samples as there are classes at least.

    Raises `UserError` when a class would have no sample, or there are fewer than `train_size` left.
    """
    classes = len(torch.unique(labels))
    n_val = max(round(0.1 * len(labels)), classes) if val_fraction is None else round(val_fraction * len(labels))
    val = stratified(labels, n_val, seed, "val")
    rest = torch.ones(len(labels), dtype=torch.bool)
    rest[val] = False
    train = rest.nonzero().flatten()
    if train_size is not None:
        if train_size > len(train):
            raise UserError(
                f"dataset.train_size={train_size}: only {len(train)} training images are left after holding out "
                f"{n_val} for validation; give a smaller train_size or val_fraction"
            )
        train = train[stratified(labels[train], train_size, seed, "train")]
    if len(torch.unique(labels[val])) < classes:
        raise UserError(
            f"dataset.val_fraction={val_fraction}: the validation split leaves a class empty; give a larger fraction"
        )
    if len(torch.unique(labels[train])) < classes:
        raise UserError(
            f"dataset.train_size={train_size}: the training split leaves a class empty; give a larger train_size "
            f"or a smaller dataset.val_fraction"
        )
    return train, val
