"""Compares, in float64, a step of two processes with one that sees the whole batch; a program for torchrun to start."""

from __future__ import annotations

import copy

import torch
from torch.nn.functional import cross_entropy

from kd_experiments.networks import build
from kd_experiments.training import parallel

if __name__ == "__main__":
    torch.set_num_threads(1)
    parallel.start("cpu")
    torch.manual_seed(0)
    single = build("resnet8", classes=10, channels=1, size=8).double()
    shared = copy.deepcopy(single)
    replica = parallel.replicated(shared)
    for count in (2, 11, 64, 11, 3):
        images, labels = torch.randn(count, 1, 8, 8).double(), torch.randint(10, (count,))
        expected = cross_entropy(single(images).logits, labels)
        said = replica(images[parallel.share(count)])
        found = cross_entropy(parallel.gathered(said.logits, count), labels)
        for network, loss in ((single, expected), (shared, found)):
            network.zero_grad()
            loss.backward()
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
        for ours, theirs in zip(shared.parameters(), single.parameters(), strict=True):
            torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-9, atol=1e-12)
        for ours, theirs in zip(shared.buffers(), single.buffers(), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
    if parallel.is_main():
        print("equal")
