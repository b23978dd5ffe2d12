"""Success rates of several tasks from few episodes, without taking chance for a difference.

A task's rate is the posterior mean of a Beta prior that all tasks share. The prior's mean is the rate
of all episodes together, and its weight in episodes follows from the data: it is large where the
rates differ no more than chance makes them, and small where they do.

Source of the model: the Beta-binomial distribution with its moment estimate (J. C. Kleinman,
"Proportions with extraneous variance", JASA 1973). Using the critical value of a test in place of
the mean is our choice; `mtrl bench omega` shows what it does to PIVRG.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import chdtri

Smoothing = Literal["shared_prior", "none"]

_SIGNIFICANCE = 0.05  # how often tasks of one true rate are taken to differ
_LEAST_PRIOR = 1.0  # episodes


def success_rates(
    successes: ArrayLike, episodes: ArrayLike, smoothing: Smoothing = "shared_prior"
) -> NDArray[np.float64]:
    """The tasks' success rates, `[..., m]`.

    With k_i successes in n_i episodes the rate is `(k_i + nu mu) / (n_i + nu)`, where mu is the common
    rate and nu the weight of the prior in episodes. `1 / (nu + 1)` is the share rho of the variance of
    single episodes that lies between the tasks. It is estimated from
    `Q = sum n_i (k_i / n_i - mu)^2 / (mu (1 - mu))`, which for tasks of one true rate follows
    chi-square with m - 1 degrees: `rho = (Q / c - 1) / (n - 1)`, cut to [0, 1], with c the value that
    chance exceeds in 5 % of cases (the moment estimate has its mean, m - 1). So in about 95 % of
    cases tasks of one true rate get one estimate exactly. nu is at least 1, so a rate is never 0 or 1.

    Args:
        successes: `[..., m]`.
        episodes: `[..., m]`, each at least 1.
        smoothing: `shared_prior`, or `none` for `k_i / n_i`.
    """
    k, n = np.asarray(successes, np.float64), np.asarray(episodes, np.float64)
    if smoothing == "none":
        return k / n
    total = n.sum(-1, keepdims=True)
    common = (k.sum(-1, keepdims=True) + 0.5) / (total + 1.0)  # Jeffreys' prior
    rho = _between(k, n, common, total)
    with np.errstate(divide="ignore"):
        prior = np.maximum(1.0 / rho - 1.0, _LEAST_PRIOR)
    own = n / (n + prior)
    return own * (k / n) + (1.0 - own) * common


def standard_errors(rates: ArrayLike, episodes: ArrayLike) -> NDArray[np.float64]:
    """Standard errors of `k_i / n_i` if `rates` are the true ones, `[..., m]`: the chance in it."""
    p = np.asarray(rates, np.float64)
    return np.sqrt(p * (1.0 - p) / np.asarray(episodes, np.float64))


def _between(
    k: NDArray[np.float64],
    n: NDArray[np.float64],
    common: NDArray[np.float64],
    total: NDArray[np.float64],
) -> NDArray[np.float64]:
    """rho, `[..., 1]`."""
    m = n.shape[-1]
    if m < 2:
        return np.zeros_like(common)
    excess = (n * (k / n - common) ** 2).sum(-1, keepdims=True) / (common * (1.0 - common))
    size = (total - (n**2).sum(-1, keepdims=True) / total) / (m - 1)  # n, for unequal n_i
    critical = chdtri(m - 1, _SIGNIFICANCE)
    rho = (excess / critical - 1.0) / np.maximum(size - 1.0, 1e-9)
    # One episode per task cannot tell a difference between tasks from one within them.
    return np.where(size > 1.0, rho.clip(0.0, 1.0), 0.0)
