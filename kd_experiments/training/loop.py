"""The one training loop: a teacher, a student, or two students that teach each other."""

from __future__ import annotations

import contextlib
import math
import struct
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

import torch
from torch import Tensor

from kd_experiments import stopping
from kd_experiments.data.dataset import Data
from kd_experiments.errors import UserError
from kd_experiments.networks import Network, Output
from kd_experiments.randomness import derive
from kd_experiments.supervision.progress import Progress
from kd_experiments.training import capture, parallel
from kd_experiments.training.average import Average
from kd_experiments.training.devices import autocast
from kd_experiments.training.objective import Batch, Objective
from kd_experiments.training.recipe import Recipe

History = list[dict[str, float]]


class Source(Protocol):
    """A frozen source of supervision."""

    def begin_epoch(self, views: Tensor | None, initialising: bool) -> None:
        """Get ready for an epoch that shows sample i in view `views[i]`, (N,); None where views have no number."""

    def forward(self, batch: Batch) -> Output:
        """The source's output on this process's images of a batch."""

    def forward_images(self, images: Tensor) -> Output:
        """The source's output on images that have no number, (B, C, H, W)."""


@dataclass
class Learner:
    """A network, what it is taught by, and its optimiser. `replica` is the network on each of several processes."""

    name: str
    network: Network
    objective: Objective
    optimizer: torch.optim.Optimizer
    replica: torch.nn.parallel.DistributedDataParallel | None = None
    clip_norm: float | None = None
    average: Average | None = None
    initialising: bool = False  # is this epoch part of the distiller's initialisation, before the recipe's?

    @staticmethod
    def make(name: str, network: Network, objective: Objective, recipe: Recipe) -> Learner:
        replica = parallel.replicated(network) if parallel.processes() > 1 else None
        parameters = [*network.parameters(), *objective.parameters()]
        average = Average(network, recipe.ema_decay) if recipe.ema_decay > 0 else None
        return Learner(name, network, objective, recipe.make_optimizer(parameters), replica, recipe.clip_norm, average)

    @property
    def result(self) -> Network:
        """The network to measure and to keep: the averaged one where weights are averaged."""
        return self.network if self.average is None else self.average.network

    def forward(self, images: Tensor) -> Output:
        """One forward pass over this process's images."""
        output: Output = self.network(images) if self.replica is None else self.replica(images)
        return output

    def begin_epoch(self, epoch: int, lr: float = 0.0, continued: bool = False) -> None:
        """`epoch` counts from the start of the training proper; the epochs of an initialisation are below 0.

        A student that is initialised is in train mode, one that only looks on in eval mode [code]. Afterwards optimiser
        and average know nothing of that stage; `lr` is the epoch's first learning rate.
        """
        distiller = self.objective.distiller
        self.initialising = epoch < 0
        self.network.train(distiller.initialises_student or not self.initialising)
        if epoch == 0 and distiller.initialisation_epochs > 0 and not continued:
            self.forget(lr)

    @torch.no_grad()
    def forget(self, lr: float) -> None:
        """Make optimiser and average fresh ones, in place: every slot starts at 0, but for a few of torch.optim's."""
        starts = {"mu_product": 1.0, "mu": 1.0, "step_size": lr, "eta": lr}  # of NAdam, ASGD, Rprop and ASGD
        for slots in self.optimizer.state.values():
            for name, slot in slots.items():
                slot.fill_(starts.get(name, 0.0))
        if self.average is not None:
            self.average.restart()

    @contextlib.contextmanager
    def averaging(self) -> Iterator[None]:
        """Around forward and backward of a step: the gradients of all processes are averaged.

        While a part is initialised, some parameters have no gradient, which the replica would wait for.
        """
        if self.replica is None:
            yield
        elif self.initialising:
            with self.replica.no_sync():
                yield
            parallel.average_gradients([*self.network.parameters(), *self.objective.parameters()])
        else:
            yield
            parallel.average_gradients(self.objective.parameters())

    def update(self, lr: float | Tensor) -> None:
        """One step of the optimiser. `lr` may be a tensor, () float32, that a recorded step reads anew each time."""
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        if self.clip_norm is not None:
            parameters = [parameter for group in self.optimizer.param_groups for parameter in group["params"]]
            torch.nn.utils.clip_grad_norm_(parameters, self.clip_norm)
        self.optimizer.step()
        if self.average is not None:
            self.average.update()

    def tensors(self) -> list[Tensor]:
        """Everything that a step changes."""
        modules = [*self.network.state_dict().values(), *self.objective.state_dict().values()]
        slots = [slot for slots in self.optimizer.state.values() for slot in slots.values() if isinstance(slot, Tensor)]
        return [*modules, *slots, *([] if self.average is None else self.average.tensors())]

    def state(self) -> dict[str, Any]:
        return {
            "network": self.network.state_dict(),
            "objective": self.objective.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "average": None if self.average is None else self.average.state(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        self.network.load_state_dict(state["network"])
        self.objective.load_state_dict(state["objective"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.average is not None:
            self.average.restore(state["average"])


@dataclass
class Training:
    """A training run between two epochs. `source` is None for plain training and for mutual learning.

    Two learners are each other's source. `selected` (N,) tells which samples the source may teach. With a `recorder`
    steps are replayed, which changes nothing but how long they take. The epochs of a distiller's initialisation come
    before the recipe's, at its first learning rate, and have the numbers below 0: epoch 0 shows every method the same.
    """

    learners: Sequence[Learner]
    data: Data
    recipe: Recipe
    seed: int
    source: Source | None = None
    selected: Tensor | None = None
    recorder: capture.Recorder | None = None
    history: History = field(default_factory=list)

    def __post_init__(self) -> None:
        self.recipe = self.recipe.for_samples(len(self.data.train))
        parallel.check_batches(len(self.data.train), self.recipe.batch_size)
        self._recorded: tuple[tuple[bool, ...], capture.RecordedStep] | None = None
        self._names: list[str] = []  # of what a step returns
        self._begun: dict[str, Any] | None = None  # an epoch that was stopped after some of its steps

    @property
    def epoch(self) -> int:
        """Epochs done, those of an initialisation among them."""
        return len(self.history)

    @property
    def epochs(self) -> int:
        """Epochs in all."""
        return self._stage + self.recipe.epochs

    @property
    def _stage(self) -> int:
        """Epochs of initialisation."""
        return max(learner.objective.distiller.initialisation_epochs for learner in self.learners)

    def state(self) -> dict[str, Any]:
        """Everything a resumed run needs, ready for `torch.save`."""
        learners = [learner.state() for learner in self.learners]
        return {"learners": learners, "history": self.history, "begun": self._begun}

    def restore(self, state: dict[str, Any]) -> None:
        for learner, saved in zip(self.learners, state["learners"], strict=True):
            learner.restore(saved)
        self.history = state["history"]
        self._begun = state["begun"]

    def run(
        self,
        evaluate: Callable[[], dict[str, float]],
        after_epoch: Callable[[dict[str, float]], None],
    ) -> None:
        """Train the epochs that are left; `evaluate` adds figures to an epoch's row of the history."""
        while self.epoch < self.epochs:
            epoch = self.epoch - self._stage
            row = {"epoch": float(epoch), "lr": self._lr(epoch, 0)}
            row |= self.train_epoch(epoch)
            _refuse_divergence(row, self.recipe)
            if epoch >= 0 and self.recipe.evaluates(epoch):
                row |= evaluate()
                _refuse_divergence(row, self.recipe)
            self.history.append(row)
            after_epoch(row)

    @property
    def _steps(self) -> int:
        return self.recipe.steps_per_epoch(len(self.data.train))

    def _lr(self, epoch: int, step: int) -> float:
        return self.recipe.lr if epoch < 0 else self.recipe.lr_at(epoch, step, self._steps)

    def train_epoch(self, epoch: int) -> dict[str, float]:
        """One epoch, one of initialisation below 0; the host waits for the device once, at its end. Raises `Stopped`
        after a step.
        """
        started, done, totals = time.perf_counter(), 0, None
        torch.manual_seed(derive(self.seed, "epoch", epoch))  # dropout and the like
        for learner in self.learners:
            learner.begin_epoch(epoch, _single(self._lr(epoch, 0)), continued=self._begun is not None)
        if self.source is not None:
            self.source.begin_epoch(self.data.epoch_views(self.seed, epoch), self.learners[0].initialising)
        size = self.recipe.batch_size
        order = self.order(epoch)
        if epoch >= 0:
            order = order[: size * self.recipe.steps_of(epoch, self._steps)]
        if self._begun is not None:
            done, totals = self._continue(self._begun)
            started -= self._begun["seconds"]
            self._begun = None
        left = order[size * done :]
        train_step = self._step_of_epoch()
        own = self.data.training_batches(parallel.own_part(left, size), self.seed, epoch, parallel.own_size(size))
        for step, (index, (own_index, images)) in enumerate(zip(left.split(size), own, strict=True), start=done):
            strong = self.data.strong_view(own_index, images, self.seed, epoch) if self._twice else None
            lr = _single(self._lr(epoch, step))
            fraction = max(epoch * self._steps + step, 0) / self.recipe.steps(self._steps)
            values = train_step(index, own_index, images, strong, max(epoch, 0), fraction, lr)
            weighted = values * len(index)
            totals = weighted if totals is None else totals.add_(weighted)
            if stopping.is_asked() and size * (step + 1) < len(order):
                self._begun = self._interrupted(step + 1, totals, time.perf_counter() - started)
                stopping.stop_if_asked()
        assert totals is not None
        means = dict(zip(self._names, (totals / len(order)).tolist(), strict=True))  # the epoch's one synchronisation
        seconds = max(time.perf_counter() - started, 1e-6)  # a coarse clock may not have moved
        return means | {"train_seconds": seconds, "images_per_second": len(order) / seconds}

    def _interrupted(self, steps: int, totals: Tensor, seconds: float) -> dict[str, Any] | None:
        """What it takes to go on after so many steps of an epoch; several processes go on from its beginning."""
        if parallel.processes() > 1:
            return None
        cuda = self.data.device.type == "cuda"
        generators = [torch.get_rng_state(), *([torch.cuda.get_rng_state(self.data.device)] if cuda else [])]
        kept = {"steps": steps, "totals": totals, "names": self._names, "seconds": seconds, "generators": generators}
        return kept

    def _continue(self, begun: dict[str, Any]) -> tuple[int, Tensor]:
        """The steps that are done, and what they have summed up, (columns,)."""
        self._names = begun["names"]
        torch.set_rng_state(begun["generators"][0])
        if self.data.device.type == "cuda":
            torch.cuda.set_rng_state(begun["generators"][1], self.data.device)
        return begun["steps"], begun["totals"].to(self.data.device)

    def order(self, epoch: int) -> Tensor:
        """The order of the samples in one epoch, (N,) int64: a matter of seed and epoch alone."""
        generator = torch.Generator().manual_seed(derive(self.seed, "order", epoch))
        return self.data.order(generator).to(self.data.device)

    @cached_property
    def _taught(self) -> Tensor:
        """Which samples the source may teach, (N,) 0/1 float."""
        everyone = torch.ones(len(self.data.train), device=self.data.device)
        return everyone if self.selected is None else self.selected

    @cached_property
    def _twice(self) -> bool:
        """Does somebody need a second, strong view?"""
        return any(learner.objective.distiller.needs_second_view for learner in self.learners)

    def _step_of_epoch(self) -> Callable[..., Tensor]:
        """`train_step`, recorded once for all epochs in which it does the same."""
        if self.recorder is None or any(learner.objective.distiller.waits for learner in self.learners):
            return self.train_step
        stage = tuple(learner.initialising for learner in self.learners)
        if self._recorded is None or self._recorded[0] != stage:
            step = capture.RecordedStep(self.train_step, self.recorder, self._tensors, self.data.device)
            self._recorded = (stage, step)
        return self._recorded[1]

    def _tensors(self) -> list[Tensor]:
        return [tensor for learner in self.learners for tensor in learner.tensors()]

    def train_step(
        self,
        index: Tensor,
        own_index: Tensor,
        images: Tensor,
        strong_images: Tensor | None,
        epoch: float | Tensor,
        fraction: float | Tensor,
        lr: float | Tensor,
    ) -> Tensor:
        """One step on the samples `index` (B,), of which this process holds `images` (b, C, H, W), those of `own_index`
        (b,). Returns the history's columns, (columns,).

        Both forwards first, then both updates: mutual learners judge each other as they were before the step. A
        recorded step is told `epoch`, `fraction` and `lr` as () tensors, and nothing here may depend on their values.
        """
        train = self.data.train
        batch = Batch(
            index=index,
            own_index=own_index,
            images=images,
            labels=train.labels[index],
            true_labels=train.true_labels[index],
            selected=self._taught[index],
            strong_images=strong_images,
        )
        progress = Progress.at(epoch, self.recipe.epochs, fraction, like=batch.selected)
        for learner in self.learners:
            learner.optimizer.zero_grad(set_to_none=True)
        with contextlib.ExitStack() as stack:
            for learner in self.learners:
                stack.enter_context(learner.averaging())
            losses, values = self._losses(batch, progress)
            torch.stack(losses).sum().backward()
        for learner in self.learners:
            learner.update(lr)
        self._names = list(values)
        return torch.stack([value.float() for value in values.values()])

    def _losses(self, batch: Batch, progress: Progress) -> tuple[list[Tensor], dict[str, Tensor]]:
        """Each learner's loss on the whole batch, and everything worth a column of the history by name."""
        again = batch.strong_images
        with autocast(self.data.device):
            outputs = [learner.forward(batch.images) for learner in self.learners]
            strong = [] if again is None else [learner.forward(again) for learner in self.learners]
        outputs, strong = ([self._of_all(output, batch) for output in each] for each in (outputs, strong))
        losses = []
        values: dict[str, Tensor] = {}
        for place, learner in enumerate(self.learners):
            source, second = self._source(batch, outputs, place), self._second(batch, strong, place)
            terms = learner.objective(batch, outputs[place], source, progress, learner.initialising, second)
            losses.append(terms.loss)
            prefix = "" if place == 0 else f"{learner.name}_"
            values |= {f"{prefix}loss": losses[-1].detach()}
            values |= {f"{prefix}loss_{name}": term.detach() for name, term in terms.terms.items()}
            values |= {f"{prefix}{name}": value for name, value in terms.statistics.items()}
        return losses, values

    def _of_all(self, output: Output, batch: Batch) -> Output:
        """The output on the whole batch, in float32; of several processes' only what is needed."""
        output = _in_float32(output)
        if parallel.processes() == 1:
            return output
        count = len(batch.index)
        needs = {learner.objective.distiller.needs for learner in self.learners}
        if "features" in needs:
            return output.each(lambda part: parallel.gathered(part, count))
        logits = parallel.gathered(output.logits, count)
        return Output(logits, (), (), logits if needs == {"logits"} else parallel.gathered(output.embedding, count))

    def _source(self, batch: Batch, outputs: Sequence[Output], place: int) -> Output | None:
        if len(outputs) == 2:
            return _detached(outputs[1 - place])
        return None if self.source is None else self._of_all(self.source.forward(batch), batch)

    def _second(self, batch: Batch, strong: Sequence[Output], place: int) -> tuple[Output, Output] | None:
        """The outputs of student and source on the strong view, where there is one."""
        if batch.strong_images is None:
            return None
        if len(strong) == 2:
            return strong[place], _detached(strong[1 - place])
        assert self.source is not None, "a distiller that needs a second view has a source"
        return strong[place], self._of_all(self.source.forward_images(batch.strong_images), batch)


def _single(value: float) -> float:
    """Rounded to float32, as which a recorded step reads it."""
    rounded: float = struct.unpack("f", struct.pack("f", value))[0]
    return rounded


class Diverged(UserError):
    """A training whose figures are no numbers any more: a result, and told as one."""


def _refuse_divergence(row: dict[str, float], recipe: Recipe) -> None:
    """Raise `Diverged` if a figure of an epoch is not finite; the last step may spoil what only evaluation sees."""
    for name, value in row.items():
        if not math.isfinite(value):
            raise Diverged(
                f"training diverged in epoch {int(row['epoch']) + 1}: {name} is {value}; "
                f"try a lower recipe.lr than {recipe.lr}"
            )


def _detached(output: Output) -> Output:
    return output.each(Tensor.detach)


def _in_float32(output: Output) -> Output:
    """Losses are computed in float32 where the forward ran in less."""
    return output.each(Tensor.float) if output.logits.dtype in (torch.bfloat16, torch.float16) else output
