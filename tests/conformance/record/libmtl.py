"""LibMTL, a well-known library of copies."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from golden_inputs import Case
from torch import Tensor

from .feeding import GRADIENT_STEPS, LOSS_STEPS, ONE_STEP, tensor
from .repository import Load, Numbers, Recording, Repository
from .stand_ins import replaced, shuffle_by


def recordings() -> Iterator[Recording]:
    """Methods on gradients for one step and for six, methods on losses for twelve."""

    def record(
        ours: str, name: str, case: Case, compute: Callable[..., Numbers], **options: Any
    ) -> Recording:
        return Recording(ours, f"LibMTL/weighting/{name}.py", name, options, case, compute)

    directions, weights = kept("directions"), kept("weights")
    both = kept("directions", "weights")
    for case in ONE_STEP:
        for normalise in ("none", "l2", "loss", "loss+"):
            yield record("mgda", "MGDA", case, directions, mgda_gn=normalise)
        for rescale in (0, 1, 2):
            yield record("cagrad", "CAGrad", case, directions, calpha=0.5, rescale=rescale)
        yield record("fairgrad", "FairGrad", case, weights, FairGrad_alpha=2.0)
        settings = {"update_weights_every": 1, "optim_niter": 20, "max_norm": 0.0}
        yield record("nash_mtl", "Nash_MTL", case, weights, **settings)
        yield record("aligned_mtl", "Aligned_MTL", case, both)
        settings = {"UPGrad_norm_eps": 1e-4, "UPGrad_reg_eps": 1e-9}
        yield record("upgrad", "UPGrad", case, directions, **settings)
        yield record("pcgrad", "PCGrad", case, in_order(both))
    for case in GRADIENT_STEPS:
        for beta in (0.5, 0.01):
            settings = {"GradVac_beta": beta, "GradVac_group_type": 0}
            yield record("gradvac", "GradVac", case, in_order(directions), **settings)
        settings = {"MoCo_beta": 0.5, "MoCo_beta_sigma": 0.5, "MoCo_gamma": 0.1}
        settings |= {"MoCo_gamma_sigma": 0.5, "MoCo_rho": 0.1}
        yield record("moco", "MoCo", case, both, **settings)
        yield record("imtl", "IMTL", case, kept("directions", "learned", optimise=True))
        yield record("gradnorm", "GradNorm", case, kept("weights", "gradients"), alpha=1.5)
    for case in LOSS_STEPS:
        yield record("dwa", "DWA", case, weights, T=2.0)
        yield record("uw", "UW", case, kept("weights", optimise=True))
        yield record("rlw", "RLW", case, weights_by_normals)
        yield record("rlw", "RLW", case, moments, draws=20_000, torch_seed=0)
        settings = {"FAMO_w_lr": 0.025, "FAMO_w_gamma": 1e-3}
        yield record("famo", "FAMO", case, directions, **settings)


def held(load: Load, recording: Recording) -> Any:
    """A weighting as LibMTL's trainer would hold it, on one vector of parameters."""
    base = getattr(load(f"LibMTL.weighting.{recording.name}"), recording.name)
    case = recording.case

    class Held(base):  # type: ignore[misc, valid-type]
        def get_share_params(self) -> list[Tensor]:
            return [self.theta]

        def zero_grad_share_params(self) -> None:
            self.theta.grad = torch.zeros_like(self.theta)

    method: Any = Held()
    method.theta = torch.nn.Parameter(torch.zeros(case.parameters))
    method.task_num, method.device, method.rep_grad = case.tasks, "cpu", False
    method.zero_grad_share_params()
    method.init_param()
    return method


def kept(*keys: str, optimise: bool = False) -> Callable[[Load, Recording], Numbers]:
    """Computes a recording and keeps these of its numbers, step by step.

    `directions` are left in `.grad`, `weights` returned, `learned` the method's own parameters before
    the step and `gradients` theirs. With `optimise` they learn by Adam.
    """

    def compute(load: Load, recording: Recording) -> Numbers:
        method, case = held(load, recording), recording.case
        learned = [p for key, p in method.named_parameters() if key != "theta"]
        optimiser = torch.optim.Adam(learned, lr=0.025) if optimise else None
        numbers: Numbers = {"directions": [], "weights": [], "learned": [], "gradients": []}
        buffer = np.concatenate([case.losses(), case.losses()[-1:]]).T
        for step, (rows, losses) in enumerate(zip(case.jacobians(), case.losses(), strict=True)):
            method.epoch, method.train_loss_buffer = step, buffer
            method.theta.data.zero_()
            method.zero_grad_share_params()
            total = tensor(rows) @ method.theta + tensor(losses)
            if learned:
                numbers["learned"].append(learned[0].detach().clone())
                learned[0].grad = None
            weights = method.backward(total, **recording.settings)
            numbers["directions"].append(method.theta.grad.clone())
            if weights is not None:
                numbers["weights"].append(np.array(weights))
            if learned and learned[0].grad is not None:
                numbers["gradients"].append(learned[0].grad.clone())
            if optimiser is not None:
                optimiser.step()
            if hasattr(method, "update_w"):
                method.update_w(tensor(case.losses_after()[step]))
        if missing := [key for key in keys if not numbers[key]]:
            raise ValueError(f"Expected {keys} of {recording.name}, found no {missing}.")
        return {key: numbers[key] for key in keys}

    return compute


def in_order(
    compute: Callable[[Load, Recording], Numbers],
) -> Callable[[Load, Recording], Numbers]:
    """The same for a method that shuffles the tasks for each of them."""

    def shuffled(load: Load, recording: Recording) -> Numbers:
        orders = recording.case.orders().reshape(-1, recording.case.tasks)
        with replaced(random, "shuffle", shuffle_by(orders)):
            return compute(load, recording)

    return shuffled


def weights_by_normals(load: Load, recording: Recording) -> Numbers:
    """Random weights from our draws."""
    draws = iter(recording.case.normals())
    with replaced(torch, "randn", lambda *_: tensor(next(draws))):
        return kept("weights")(load, recording)


def moments(load: Load, recording: Recording) -> Numbers:
    """Mean and variance of random weights from torch's own draws."""
    settings = recording.settings
    torch.manual_seed(settings["torch_seed"])
    method, losses = held(load, recording), torch.ones(recording.case.tasks, requires_grad=True)
    sample = np.stack([method.backward(losses) for _ in range(settings["draws"])])
    return {"mean": [sample.mean(0)], "variance": [sample.var(0)]}


REPOSITORY = Repository(
    name="LibMTL",
    url="https://github.com/median-research-group/LibMTL",
    commit="4336804847eaa5e0b924b743d76beec7ac3fdc97",
    paths=("LibMTL/weighting",),
    recordings=recordings,
    hollow=("LibMTL", "LibMTL.weighting"),
)
