"""One model, its balancer and its optimiser."""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from mtrl.balancing import Balancer, Performance, Step, build
from mtrl.runs.nan_guard import guarded_step
from mtrl.supervised.config import BalanceConfig
from mtrl.supervised.problem import Batch, Data, Problem, Recipe
from mtrl.supervised.task_metrics import Scores, Statistics


class ModelLearner:
    """Trains one copy of a problem's model.

    Args:
        problem: what is learned.
        recipe: how to train it.
        method: name of the balancing method.
        options: of the method.
        config: what surrounds it.
        seed: of initialisation, of noise in the model (dropout) and of the method.
        device: where everything lives.
        copy: which of the problem's copies.
    """

    def __init__(
        self,
        problem: Problem,
        recipe: Recipe,
        method: str,
        options: Mapping[str, object],
        *,
        config: BalanceConfig,
        seed: int,
        device: torch.device,
        copy: int = 0,
    ) -> None:
        self.problem = problem
        self.recipe = recipe
        self.seed = seed
        self.device = device
        m = len(problem.tasks)
        with _seeded(seed, torch.device("cpu")):
            self.model = problem.model(copy).to(device)
        shared = self.model.shared_parameters()
        heads = [self.model.head_parameters(task) for task in range(m)]
        balancing = build(
            method, m, sum(p.numel() for p in shared.values()), seed=seed, **options
        ).to(device)
        self.balancer = Balancer(
            balancing,
            shared,
            {f"{task}.{name}": p for task, head in enumerate(heads) for name, p in head.items()},
            max_norm=config.max_grad_norm or None,
            clip=config.clip,
            head_scaling=config.head_scaling,
            head_tasks=[task for task, head in enumerate(heads) for _ in head],
            mode=config.gradients,
        )
        self._shift = -problem.lower_bound if balancing.positive_losses else 0.0
        self.optimizer = torch.optim.Adam(
            self.model.parameters(),
            recipe.learning_rate,
            betas=recipe.betas,
            weight_decay=recipe.weight_decay,
            fused=True,
        )

    def begin_epoch(self, epoch: int) -> None:
        """Set the learning rate of an epoch, counted from 0."""
        factor = 1.0
        if self.recipe.halve_every:
            factor *= 0.5 ** (epoch // self.recipe.halve_every)
        if self.recipe.cosine:
            factor *= 0.5 * (1.0 + math.cos(math.pi * epoch / self.recipe.epochs))
        for group in self.optimizer.param_groups:
            group["lr"] = self.recipe.learning_rate * factor

    def step(
        self,
        batch: Batch,
        update: int,
        statistics: Statistics,
        behind: Sequence[float],
        *,
        diagnose: bool,
    ) -> Step:
        """One update. Losses that are not finite change nothing; `finite` of the result tells.

        Args:
            batch: on the device.
            update: counts updates; with the seed it decides the noise in the model, which is the same
                wherever a method looks at the batch again.
            statistics: take the predictions before the step.
            behind: `[m]`, each task's mean percentage behind its baseline; NaN where unknown.
            diagnose: also measure conflict and form the Gramian.
        """
        self.model.train()
        first: list[Sequence[Tensor]] = []
        buffers = list(self.model.buffers())  # running statistics
        before, counted = [buffer.clone() for buffer in buffers], []

        def losses(shared: Mapping[str, Tensor]) -> tuple[Tensor, None]:
            del shared  # all tasks read one input through the model's own parameters
            with _seeded(self.seed + 1_000_003 * (update + 1), self.device):
                predictions = self.model(batch.inputs)
            if not first:
                counted.extend(buffer.clone() for buffer in buffers)
            first.append(predictions)
            return self._losses(predictions, batch) + self._shift, None

        # Relative performance, of which 1 is the baseline's: the drop in percent comes out exactly.
        percent = torch.tensor(behind, dtype=torch.float64, device=self.device)
        performance = Performance(1.0 - percent / 100.0)
        step = self.balancer.backward(losses, performance, diagnose=diagnose)
        step = dataclasses.replace(step, losses=step.losses - self._shift)
        statistics.add(first[0], batch.targets, step.losses)
        guarded_step(self.optimizer, (~step.finite).float())
        self.balancer.after_step()
        # A method's second look at the batch does not count it twice, and a bad batch leaves no trace.
        with torch.no_grad():
            for buffer, new, old in zip(buffers, counted, before, strict=True):
                buffer.copy_(torch.where(step.finite, new, old))
        return step

    @torch.no_grad()
    def evaluate(self, data: Data) -> Scores:
        """Losses and metrics on a split."""
        self.model.eval()
        statistics = Statistics(self.problem.tasks)
        for indices in torch.arange(len(data)).split(self.recipe.batch_size):
            batch = data[indices].to(self.device)
            predictions = self.model(batch.inputs)
            statistics.add(predictions, batch.targets, self._losses(predictions, batch))
        return statistics.scores()

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next update depends on."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "balancer": self.balancer.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore :meth:`state_dict`; strict."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.balancer.load_state_dict(state["balancer"])

    def _losses(self, predictions: Sequence[Tensor], batch: Batch) -> Tensor:
        rows = zip(self.problem.tasks, predictions, batch.targets, strict=True)
        return torch.stack([task.loss(prediction, target) for task, prediction, target in rows])


@contextlib.contextmanager
def _seeded(seed: int, device: torch.device) -> Iterator[None]:
    """The device's generator starts from a seed inside, and goes on as it was after."""
    # Not `torch.manual_seed`, which formats a stack trace at each call and takes milliseconds.
    generator = torch.default_generator
    if device.type == "cuda":
        generator = torch.cuda.default_generators[device.index or 0]
    before = generator.get_state()
    generator.manual_seed(seed)
    try:
        yield
    finally:
        generator.set_state(before)
