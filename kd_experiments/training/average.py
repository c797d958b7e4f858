"""A running average of a network's weights (EMA): what a noisy training is on its way to."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from kd_experiments.networks import Network
from kd_experiments.private import move_towards


class Average:
    """The exponential moving average of a network's state, in a network of its own.

    After step t (from 1) it moves by 1 - min(decay, (1 + t) / (10 + t)) towards the network: an average that began with
    untrained weights would need 1 / (1 - decay) steps to forget them. BN statistics are averaged too, counters copied.
    """

    def __init__(self, network: Network, decay: float) -> None:
        self.network = copy.deepcopy(network).requires_grad_(False).eval()
        self._decay = decay
        device = next(network.parameters()).device
        self._steps = torch.zeros((), device=device)  # on the device: a recorded step must count on its own
        theirs, ours = network.state_dict(keep_vars=True), self.network.state_dict(keep_vars=True)
        self._averaged = [(ours[key], theirs[key]) for key in ours if ours[key].is_floating_point()]
        self._copied = [(ours[key], theirs[key]) for key in ours if not ours[key].is_floating_point()]

    @torch.no_grad()
    def update(self) -> None:
        """After a step of the optimiser."""
        self._steps += 1
        weight = 1 - torch.clamp((1 + self._steps) / (10 + self._steps), max=self._decay)
        averages, current = map(list, zip(*self._averaged, strict=True))
        move_towards(averages, current, weight)
        for ours, theirs in self._copied:
            ours.copy_(theirs)

    @torch.no_grad()
    def restart(self) -> None:
        """Begin anew, with the network as it is now."""
        self._steps.zero_()
        for ours, theirs in (*self._averaged, *self._copied):
            ours.copy_(theirs)

    def tensors(self) -> list[Tensor]:
        """Everything that `update` changes."""
        return [self._steps, *self.network.state_dict().values()]

    def state(self) -> dict[str, object]:
        return {"steps": self._steps, "network": self.network.state_dict()}

    def restore(self, state: dict[str, object]) -> None:
        self._steps.copy_(state["steps"])  # type: ignore[arg-type]  # what `state` gave
        self.network.load_state_dict(state["network"])  # type: ignore[arg-type]
