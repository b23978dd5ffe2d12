"""A problem reduced to one of its tasks, to train single-task baselines."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from mtrl.supervised.problem import Batch, Data, Model, Problem, Split


class SingleTask(Problem):
    """One task of a problem, with the trunk of the whole problem.

    Args:
        problem: the problem.
        task: name of the task to keep.
    """

    def __init__(self, problem: Problem, task: str) -> None:
        self.inner = problem
        self.index = [t.name for t in problem.tasks].index(task)
        self.tasks = (problem.tasks[self.index],)
        self.recipe, self.lower_bound = problem.recipe, problem.lower_bound
        self.copies = problem.copies

    def data(self, split: Split, seed: int) -> Data:
        """The samples of the problem, with the target of this task only."""
        return self.one_target(self.inner.data(split, seed))

    def one_target(self, data: Data) -> Data:
        """Keep only the target of this task."""
        return _OneTarget(data, self.index)

    def model(self, copy: int = 0) -> Model:
        """The model of the problem without the other heads."""
        return _OneHead(self.inner.model(copy), self.index)


class _OneTarget:
    def __init__(self, data: Data, index: int) -> None:
        self.data, self.index = data, index

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, indices: Tensor) -> Batch:
        batch = self.data[indices]
        return Batch(batch.inputs, (batch.targets[self.index],))


class _OneHead(Model):
    def __init__(self, model: Model, index: int) -> None:
        super().__init__()
        self.inner, self.index, self.num_tasks = model, index, 1
        for task in range(model.num_tasks):
            if task != index:
                for parameter in model.head_parameters(task).values():
                    parameter.requires_grad_(False)

    def forward(self, inputs: Tensor) -> Sequence[Tensor]:
        return [self.inner(inputs)[self.index]]

    def head_parameters(self, task: int) -> dict[str, nn.Parameter]:
        return self.inner.head_parameters(self.index)

    def shared_parameters(self) -> dict[str, nn.Parameter]:
        return self.inner.shared_parameters()
