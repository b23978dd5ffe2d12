"""The sections of a supervised run's configuration; the names are the keys of a config file."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Annotated, Literal

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
        diagnostics_interval_updates: updates between two with diagnostics (measures of conflict in the
            log, Gramians in `gramians.bin`); 0 is never. The last update of every epoch has them, too.
        checkpoint_interval_epochs: epochs between checkpoints.
        checkpoint_interval_s: seconds of wall time between checkpoints. A checkpoint is written when
            either interval is over; 0 switches this one off.
        keep_checkpoints: number of checkpoints to keep.
    """

    directory: str = "runs"
    name: str = ""
    tensorboard: bool = True
    diagnostics_interval_updates: Annotated[int, Ge(0)] = 50
    checkpoint_interval_epochs: Annotated[int, Ge(1)] = 10
    checkpoint_interval_s: Annotated[float, Ge(0)] = 300.0
    keep_checkpoints: Annotated[int, Ge(1), Le(100)] = 2

    def __post_init__(self) -> None:
        """Refuse a name that cannot be part of a folder's name."""
        check_run_name(self.name)
