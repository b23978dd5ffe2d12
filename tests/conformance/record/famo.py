"""FAMO, the authors' own: three forms of the method."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from golden_inputs import Case
from torch import Tensor

from .feeding import LINEAGE, LOSS_STEPS, fed, loss_weights, made, tensor
from .repository import Load, Numbers, Recording, Repository
from .stand_ins import anything


def recordings() -> Iterator[Recording]:
    """The form for supervised learning, the one to copy, and the one for reinforcement learning."""
    for decay in (1e-3, 1e-2):
        for case in LOSS_STEPS:
            settings = {"gamma": decay, "w_lr": 0.025}
            yield Recording("famo", LINEAGE, "FAMO", settings, case, fed(weights_and_logits))
    case, settings = LOSS_STEPS[1], {"gamma": 0.001, "min_losses": 0.1}
    yield Recording("famo", LINEAGE, "FAMO", settings, case, above_a_floor)
    yield Recording("famo", "famo.py", "FAMO", {"gamma": 0.01}, case, of_the_copy)
    for case in LOSS_STEPS:
        settings = {"gamma": 0.01, "w_lr": 0.01}
        yield Recording("famo", "mtrl_files/famo.py", "Agent", settings, case, of_the_critic)


def weights_and_logits(method: Any, case: Case) -> Numbers:
    """The weights at each step and the last logits."""
    return loss_weights(method, case) | {"logits": [method.w]}


def above_a_floor(load: Load, recording: Recording) -> Numbers:
    """With the least losses set as its trainer sets them."""
    gamma, least = recording.settings["gamma"], recording.settings["min_losses"]
    method = made(load, recording, gamma=gamma)
    method.set_min_losses(torch.full((recording.case.tasks,), least))
    return loss_weights(method, recording.case)


def of_the_copy(load: Load, recording: Recording) -> Numbers:
    """The file that the authors offer to copy calls `backward` on the losses itself."""
    method, weights = made(load, recording, **recording.settings, w_lr=0.025), []
    for losses, after in zip(recording.case.losses(), recording.case.losses_after(), strict=True):
        given = tensor(losses).requires_grad_()
        method.backward(given)
        weights.append(given.grad)
        method.update(tensor(after))
    return {"weights": weights}


def of_the_critic(load: Load, recording: Recording) -> Numbers:
    """What the critic's update weighs the losses with; all but the losses is left out."""
    base, case, settings = load("mtrl_files.famo").Agent, recording.case, recording.settings
    empty: Any = anything("empty")
    weights = []
    for name in ("env_obs", "action", "reward", "not_done"):
        setattr(empty, name, torch.zeros(1))
    for name in ("zero_grad", "step", "log"):
        setattr(empty, name, lambda *_, **__: None)
    empty.compute_grad = False

    class Critic(base):  # type: ignore[misc, valid-type]
        _get_target_V = staticmethod(lambda **_: torch.zeros(1))
        _convert_loss_into_task_loss = staticmethod(lambda **_: next(given))
        get_parameters = staticmethod(lambda _: [])

        def critic(self, **_: Any) -> tuple[Tensor, Tensor]:
            return torch.zeros(1), torch.zeros(1)

        def _compute_gradient(self, loss: Tensor, **_: Any) -> None:
            weights.append(torch.autograd.grad(loss, before)[0])

    Critic.critic.zero_grad = empty.zero_grad  # type: ignore[attr-defined]
    agent: Any = object.__new__(Critic)
    agent.t, agent.discount, agent.loss_reduction = 0, 0.99, "none"
    agent.critic_optimizer, agent._optimizers = empty, {"critic": empty}
    agent.critic_weights = torch.zeros(case.tasks, requires_grad=True)
    agent.critic_weights_opt = torch.optim.Adam(
        [agent.critic_weights], lr=settings["w_lr"], weight_decay=settings["gamma"]
    )
    for losses, after in zip(case.losses(), case.losses_after(), strict=True):
        before = tensor(losses).requires_grad_()
        given = iter((before, tensor(after)))
        agent.update_critic(empty, empty, empty, 0, {"env_metadata": None})
    return {"weights": weights}


REPOSITORY = Repository(
    name="FAMO",
    url="https://github.com/Cranial-XIX/FAMO",
    commit="0a6ad06dbdd55fce73ec01e3a175c2498cd1e5e9",
    paths=("methods", "famo.py", "mtrl_files/famo.py"),
    recordings=recordings,
)
