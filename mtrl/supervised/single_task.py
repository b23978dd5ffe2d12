"""A problem with all but one of its tasks left out: where single-task baselines come from."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from mtrl.supervised.problem import Batch, Data, Model, Problem, Split


class SingleTask(Problem):
    """One task of a problem, with the trunk that all of them would share.

    Args:
        problem: the benchmark.
        task: name of the task that stays.
    """

    def __init__(self, problem: Problem, task: str) -> None:
        self.inner = problem
        self.index = [t.name for t in problem.tasks].index(task)
        self.tasks = (problem.tasks[self.index],)
        self.recipe, self.lower_bound = problem.recipe, problem.lower_bound
        self.copies = problem.copies

    def data(self, split: Split, seed: int) -> Data:
        """The same samples with one target."""
        return self.one_target(self.inner.data(split, seed))

    def one_target(self, data: Data) -> Data:
        """Samples of the problem with this task's target alone."""
        return _OneTarget(data, self.index)

    def model(self, copy: int = 0) -> Model:
        """The same model; the other heads are left out."""
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
