"""Time the gradients of all tasks against the plain sum's, and against m backward passes.

Twin critics do a forward and a backward pass on one thread. Five calls take turns on the same batch:

- `plain sum`: one backward pass of the summed losses.
- `task gradients`: ours, one backward pass that gives a gradient per task.
- `combined`: ours with the Gramian and a weighted sum of the rows, which every method needs.
- `own rows`: a forward and a backward pass per task over its own b rows; as many operations as the sum.
- `m backward`: a backward pass per task over the joint graph, as published code does; each pass
  multiplies all m b rows.

The last two stack their rows, so that all but the first return the same. The figures are 25 % quantiles
of CPU time and medians of the ratios within a round.

    mtrl bench learner
    mtrl bench learner --width 1024 --layer-norm --rounds 6
    mtrl bench learner --fresh-memory     with the C library's own handling of freed memory
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor

from mtrl.balancing.gradients import task_gradients
from mtrl.bench.bench_options import LearnerOnCPU, option
from mtrl.bench.fixtures import ACTION, OBS, like_a_training
from mtrl.bench.text_table import text_table
from mtrl.bench.timing import interleave, lower_quartile, paired_ratio
from mtrl.networks.multi_head import MultiHead
from mtrl.rl.learning.losses import critic_losses

OBS_AND_ACTION = OBS + ACTION


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(LearnerOnCPU):
    """Options of `mtrl bench learner`."""

    dtype: Literal["float32", "float64"] = option("float32", "of parameters and batch")


def measure(options: Options) -> dict[str, Any]:
    """Milliseconds, ratios and the largest difference of one configuration."""
    like_a_training(options)
    critics = Critics(options)
    calls = {
        "plain sum": critics.plain_sum,
        "task gradients": critics.task_gradients,
        "combined": critics.combined,
        "own rows": critics.own_rows,
        "m backward": lambda: critics.task_gradients("loop"),
    }
    times = interleave(calls, options.rounds)
    plain, ours = times["plain sum"], times["task gradients"]
    return {
        "ms": {name: 1e3 * lower_quartile(values) for name, values in times.items()},
        "task gradients/plain sum": paired_ratio(ours, plain),
        "combined/plain sum": paired_ratio(times["combined"], plain),
        "own rows/task gradients": paired_ratio(times["own rows"], ours),
        "m backward/task gradients": paired_ratio(times["m backward"], ours),
        "largest relative difference": critics.largest_difference(),
    }


def show(result: dict[str, Any]) -> str:
    """A table of times and one of ratios."""
    ratios = [{"ratio": k, "median": v} for k, v in result.items() if "/" in k]
    times = [{"ms": name, "CPU time": value} for name, value in result["ms"].items()]
    difference = result["largest relative difference"]
    tables = text_table(times), text_table(ratios)
    return "\n".join([*tables, f"largest relative difference {difference:.1e}"])


class Critics:
    """Twin critics on a random batch, with the calls to time."""

    def __init__(self, options: Options) -> None:
        torch.manual_seed(options.seed)
        m, b = options.tasks, options.batch
        self.num_tasks = m
        self.network = MultiHead(
            m, OBS_AND_ACTION, 1, options.widths, members=2, layer_norm=options.layer_norm
        )
        self.rows = torch.randn(m, b, OBS_AND_ACTION)
        self.target = torch.randn(m, b)
        if options.dtype == "float64":
            self.network.double()
            self.rows, self.target = self.rows.double(), self.target.double()
        self.shared = self.network.shared_parameters()
        self.heads = list(self.network.head_parameters().values())
        one_hot = torch.eye(m, dtype=self.rows.dtype)[:, None].expand(-1, b, -1)
        self.inputs = torch.cat([self.rows, one_hot], dim=-1)  # what the trunk takes, `own rows`

    def losses(self, shared: Mapping[str, Tensor]) -> tuple[Tensor, None]:
        """Of the critics, `[m]`."""
        return critic_losses(self.network(self.rows, shared).squeeze(-1), self.target), None

    def plain_sum(self) -> tuple[Tensor, ...]:
        """Gradients of the summed losses for each shared and head parameter."""
        losses, _ = self.losses(self.shared)
        return torch.autograd.grad(losses.sum(), [*self.shared.values(), *self.heads])

    def task_gradients(self, mode: Any = "views") -> list[Tensor]:
        """A block `[m, ...]` for each shared parameter."""
        _, _, gradients, _ = task_gradients(
            self.losses, self.shared, self.heads, self.num_tasks, mode=mode
        )
        return gradients.blocks

    def own_rows(self) -> list[Tensor]:
        """The same blocks by a forward and a backward pass per task, each over that task's rows."""
        rows = []
        for task, inputs in enumerate(self.inputs):
            weight, bias = (head[:, task].detach().requires_grad_() for head in self.heads)
            features = self.network.trunk(inputs.expand(self.network.members, -1, -1))
            q = torch.baddbmm(bias, features, weight).squeeze(-1)
            loss = critic_losses(q[:, None], self.target[task, None])
            grads = torch.autograd.grad(loss, [*self.shared.values(), weight, bias])
            rows.append(grads[: len(self.shared)])
        return [torch.stack(column) for column in zip(*rows, strict=True)]

    def combined(self) -> list[Tensor]:
        """The sum of the task gradients, after their Gramian."""
        _, _, gradients, _ = task_gradients(self.losses, self.shared, self.heads, self.num_tasks)
        gradients.gramian()
        return gradients.combine_blocks(torch.ones(self.num_tasks))

    def largest_difference(self) -> float:
        """Largest deviation of the task gradients from both kinds of m passes.

        It is relative to the largest entry of each parameter's gradients.
        """
        references = (self.task_gradients("loop"), self.own_rows())
        return max(
            float((ours - reference).abs().max() / reference.abs().max())
            for blocks in references
            for ours, reference in zip(self.task_gradients(), blocks, strict=True)
        )
