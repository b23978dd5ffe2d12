"""Options of a supervised run; the names are the keys of a config file."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from annotated_types import Ge, Gt, Le, Lt

from mtrl.runs.naming import check_run_name

if TYPE_CHECKING:  # the module imports torch, which is slow
    from mtrl.supervised.problem import Recipe

Beta = Annotated[float, Ge(0), Lt(1)]


@dataclass(frozen=True)
class RecipeConfig:
    """Changes to a problem's recipe; null changes nothing. See `Recipe`."""

    epochs: Annotated[int, Ge(1)] | None = None
    batch_size: Annotated[int, Ge(1)] | None = None
    learning_rate: Annotated[float, Gt(0)] | None = None
    weight_decay: Annotated[float, Ge(0)] | None = None
    betas: tuple[Beta, Beta] | None = None
    halve_every: Annotated[int, Ge(0)] | None = None
    cosine: bool | None = None
    select: Literal["delta_m", "loss", "last"] | None = None
    feedback: Literal["train", "val"] | None = None

    def apply_to(self, recipe: Recipe) -> Recipe:
        """`recipe` with these changes."""
        return replace(recipe, **{k: v for k, v in asdict(self).items() if v is not None})


@dataclass(frozen=True)
class BalanceConfig:
    """Options of balancing besides the method.

    Attributes:
        clip: clip the gradients of trunk and heads separately, or jointly.
        max_grad_norm: bound on the gradient norm after aggregation; 0 is no bound.
        head_scaling: factor of the gradient of a task's head: 1 (`unit`), the task's weight (`weights`),
            or `auto`: the weight for methods that weigh losses, 1 for methods on gradients.
        gradients: compute task gradients as batched vector-Jacobian products, or in a loop of backward
            passes.
    """

    clip: Literal["separate", "joint"] = "separate"
    max_grad_norm: Annotated[float, Ge(0)] = 0.0
    head_scaling: Literal["auto", "unit", "weights"] = "auto"
    gradients: Literal["batched", "loop"] = "batched"


@dataclass(frozen=True)
class RunConfig:
    """Run directory and intervals.

    Attributes:
        directory: folder of all runs.
        name: first part of the run's name, before method, seed and time; empty takes the problem's.
        tensorboard: write event files.
        record_interval_updates: updates between two that measure conflict and record the Gramian; 0 is
            never. The last update of every epoch does so, too.
        checkpoint_interval_epochs: epochs between checkpoints.
        checkpoint_interval_s: seconds of wall time between checkpoints. A checkpoint is written when
            either interval is over; 0 switches this one off.
        keep_checkpoints: number of checkpoints to keep.
    """

    directory: str = "runs"
    name: str = ""
    tensorboard: bool = True
    record_interval_updates: Annotated[int, Ge(0)] = 50
    checkpoint_interval_epochs: Annotated[int, Ge(1)] = 10
    checkpoint_interval_s: Annotated[float, Ge(0)] = 300.0
    keep_checkpoints: Annotated[int, Ge(1), Le(100)] = 2

    def __post_init__(self) -> None:
        """Refuse a name that cannot be part of a folder's name."""
        check_run_name(self.name)


@dataclass(frozen=True)
class SupervisedConfig:
    """All options of `mtrl supervised`.

    Attributes:
        problem: name of a problem, or `FILE.py:Class`.
        problem_options: options of the problem.
        data_root: folder of the problem's data, if it reads files.
        method: a balancing method; `stl` trains single tasks, `all` trains every method in turn.
        method_options: options of the method. `fixed` accepts `log`, the `metrics.jsonl` of a run, in
            place of `weights`. It takes the last exponential moving average of `key`
            (`balance/weight`) with `decay` (0.9).
        task: with `stl`, the task to train; `all` trains each.
        grid: key -> list of values; every combination is trained, in turn. `cases` is a list of
            settings, each of which sets several keys together.
        baseline: files of single-task results to compare with, averaged; empty takes the problem's.
        seed: seed of data order, initialisation and the method.
        device: `auto` takes a GPU if there is one.
        threads: number of CPU threads; 0 is torch's choice.
    """

    example: ClassVar[str] = "supervised/digits"

    problem: str
    problem_options: dict[str, Any] = field(default_factory=dict)
    data_root: str = ""
    method: str = "ls"
    method_options: dict[str, Any] = field(default_factory=dict)
    task: str = "all"
    grid: dict[str, Any] = field(default_factory=dict)
    baseline: list[str] = field(default_factory=list)
    seed: Annotated[int, Ge(0)] = 0
    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: Annotated[int, Ge(0)] = 0
    recipe: RecipeConfig = field(default_factory=RecipeConfig)
    balancing: BalanceConfig = field(default_factory=BalanceConfig)
    run: RunConfig = field(default_factory=RunConfig)

    def __post_init__(self) -> None:
        """Refuse a list of methods.

        Raises:
            ValueError: `method` names several methods; the message says how to train them.
        """
        if "," in self.method:
            raise ValueError(
                f"`method` is one name, or all. Found {self.method!r}. Train several with"
                f" 'grid.method=[{self.method}]'."
            )
