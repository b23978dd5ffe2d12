"""Performance-informed weights omega, from PIVRG.

Source: "Revisiting Fairness in Multitask Learning: A Performance-Driven Approach for Variance
Reduction" (PIVRG), CVPR 2025, equation 5 and Proposition 1. `omega = m softmax(drop / tau)`. The drop
of a task is how far it is behind its baseline, in percent. The temperature tau keeps every weight
within its bounds. The paper does not print tau*, and prints only ranges for the bounds of omega,
[0.5, 0.8] and [1.2, 2]. Our defaults are those of the released code for NYUv2 and CelebA.
"""

from __future__ import annotations

import math

from torch import Tensor

from mtrl.balancing.signals import Performance


def performance_weights(
    performance: Performance, *, min_temperature: float = 10.0, bound: float = 2.0
) -> Tensor:
    """omega, `[m]` float64: larger for tasks that are further behind; the sum is m.

    `tau = max((max drop - min drop) / ln(bound), min_temperature)`. So the ratio of the largest to
    the smallest weight is `min(bound, exp(range / min_temperature))`, and each weight lies in
    [1/bound, bound]. A task with unknown performance (NaN) has weight 1 and does not affect the others.

    Args:
        performance: performance of each task.
        min_temperature: tau*, in percentage points.
        bound: s, the largest ratio of two weights; above 1.
    """
    key = ("omega", min_temperature, bound)
    return performance.once(key, lambda: _weights(performance, min_temperature, bound))


def temperature(
    performance: Performance, *, min_temperature: float = 10.0, bound: float = 2.0
) -> Tensor:
    """tau, in percentage points: see :func:`performance_weights`."""
    lowest, highest = _ends(*_drop(performance))
    return _temperature(lowest, highest, min_temperature, bound)


def omega_measures(
    performance: Performance, *, min_temperature: float, bound: float
) -> dict[str, Tensor]:
    """Measures of how far the tasks are apart, from omega with these options (proposition 2).

    Returns:
        `omega_square`: `omega . omega`. `omega_temperature`: tau. `drop_variance`: the population
        variance of the known drops, in percent squared. `drop_variance_estimate`: its first-order
        approximation `tau^2 (omega . omega / m - 1)`.
    """
    omega = performance_weights(performance, min_temperature=min_temperature, bound=bound)
    tau = temperature(performance, min_temperature=min_temperature, bound=bound)
    drop, unknown = _drop(performance)
    count = (~unknown).sum().clamp_min(1)
    mean = drop.masked_fill(unknown, 0.0).sum() / count
    square = omega.square().sum()
    return {
        "omega_square": square,
        "omega_temperature": tau,
        "drop_variance": (drop - mean).square().masked_fill(unknown, 0.0).sum() / count,
        "drop_variance_estimate": tau**2 * (square / len(omega) - 1.0),
    }


def _weights(performance: Performance, min_temperature: float, bound: float) -> Tensor:
    drop, unknown = _drop(performance)
    lowest, highest = _ends(drop, unknown)
    tau = _temperature(lowest, highest, min_temperature, bound)
    share = ((drop - highest) / tau).exp().masked_fill(unknown, 0.0)
    count = len(drop) - unknown.sum()
    return (share * (count / share.sum().clamp_min(1e-300))).masked_fill(unknown, 1.0)


def _drop(performance: Performance) -> tuple[Tensor, Tensor]:
    drop = performance.drop_percent().double()
    return drop, (drop - drop) != 0  # NaN or infinite; one operation fewer than `~is_finite`


def _ends(drop: Tensor, unknown: Tensor) -> tuple[Tensor, Tensor]:
    lowest = drop.masked_fill(unknown, math.inf).amin()
    return lowest, drop.masked_fill(unknown, -math.inf).amax()


def _temperature(lowest: Tensor, highest: Tensor, least: float, bound: float) -> Tensor:
    # If no performance is known, the range is minus infinity, and the clamp gives `least`.
    return ((highest - lowest) / math.log(bound)).clamp_min(least)
