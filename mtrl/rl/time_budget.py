"""Where the wall time goes, in one line, and what would help."""

from __future__ import annotations

from collections.abc import Mapping

LEARNER = {
    "waiting": "collection (more workers help)",
    "ingest": "taking in rollouts (longer rollouts help)",
    "sampling": "replay sampling (smaller batches help)",
    "gradients": "task gradients (a GPU, smaller networks or smaller batches help)",
    "replayed": "replayed updates (smaller networks or smaller batches help)",
    "balancing": "the balancing method (larger batches, or a method that needs less, help)",
    "optimiser": "optimisers and target networks (smaller networks help)",
    "publish": "publishing weights (a longer schedule.publish_interval helps)",
    "evaluation": "evaluation (fewer goals or a longer interval help)",
    "checkpoint": "checkpoints (a longer interval or a faster disk help)",
}
"""Parts of the learner's time, and what to do where one is the largest."""
WORKERS = ("simulation", "policy", "reset")


def time_shares(seconds: Mapping[str, float], span: float, num_workers: int) -> dict[str, float]:
    """Shares of a span of wall time.

    Args:
        seconds: spent in each part of the learner's loop; those of workers, summed over all, as
            `worker_...`.
        span: seconds in all.
        num_workers: workers beside the learner.

    Returns:
        The learner's parts as shares of the span, and `worker_...` as shares of one worker's time, with
        `worker_idle` for the rest of it.
    """
    shares = {part: seconds.get(part, 0.0) / span for part in LEARNER}
    for part in WORKERS:
        shares[f"worker_{part}"] = seconds.get(f"worker_{part}", 0.0) / (span * num_workers)
    busy = sum(shares[f"worker_{part}"] for part in WORKERS)
    shares["worker_idle"] = max(0.0, 1.0 - busy)
    return shares


def budget_line(shares: Mapping[str, float]) -> str:
    """The shares in words, largest first, those below one percent left out."""

    def words(prefix: str, parts: Mapping[str, float]) -> str:
        large = sorted(((v, k) for k, v in parts.items() if v >= 0.01), reverse=True)
        return f"{prefix} " + ", ".join(f"{k} {100 * v:.0f} %" for v, k in large)

    workers = {part: shares[f"worker_{part}"] for part in (*WORKERS, "idle")}
    return f"{words('learner', {k: shares[k] for k in LEARNER})}; {words('workers', workers)}"


def bottleneck(shares: Mapping[str, float]) -> str:
    """What limits the run, with a remedy."""
    part = max(LEARNER, key=lambda name: shares[name])
    if part == "waiting" and shares["worker_idle"] > 0.5:
        return "workers wait too (more rollouts in flight, or a higher slack, help)"
    return LEARNER[part]
