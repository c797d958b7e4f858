"""A network that was trained on images normalised in another way than the data set's."""

from __future__ import annotations

from torch import Tensor, nn

from kd_experiments.networks.base import Network, Output


class Renormalised(Network):
    """Takes images with the data set's `mean` and `std`, (C,) each, and shows them to a network with its own."""

    def __init__(self, network: Network, mean: Tensor, std: Tensor, own_mean: Tensor, own_std: Tensor) -> None:
        super().__init__()
        self.network = network
        self.input_shape = network.input_shape
        self.register_buffer("scale", (std / own_std)[:, None, None])
        self.register_buffer("shift", ((mean - own_mean) / own_std)[:, None, None])

    def forward(self, images: Tensor) -> Output:
        return self.network(self._own(images))

    def up_to(self, images: Tensor, stage: int) -> Output:
        return self.network.up_to(self._own(images), stage)

    def _own(self, images: Tensor) -> Tensor:
        return images * self.get_buffer("scale") + self.get_buffer("shift")

    @property
    def classifier(self) -> nn.Linear:
        return self.network.classifier

    def preactivation_norms(self) -> list[nn.BatchNorm2d | None]:
        return self.network.preactivation_norms()
