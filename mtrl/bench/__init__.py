"""`mtrl bench NAME`: benches that measure speed, the page that shows them, and peers to compare with.

A bench is a module with three parts: a dataclass `Options`, `measure(options)`, which returns what one
run found as a dictionary for JSON, and `show(result)`, which writes that as a table.
"""

from __future__ import annotations

from typing import NamedTuple


class Bench(NamedTuple):
    """Where a bench is defined, and what it measures in one line."""

    module: str
    text: str


BENCHES = {
    name: Bench(f"mtrl.bench.{module}", text)
    for name, module, text in (
        ("env", "benches.env_steps", "steps of the fast environments against the library's own"),
        (
            "reset",
            "benches.env_resets",
            "resets of the fast environments against the library's own",
        ),
        ("rollout", "benches.worker_loop", "a worker's loop against bare steps"),
        ("ray", "benches.ray_overhead", "what Ray adds to a worker"),
        ("scaling", "benches.worker_scaling", "several workers against AsyncVectorEnv"),
        ("learner", "benches.critic_gradients", "gradients of all tasks against the plain sum's"),
        ("update", "benches.whole_update", "a whole update of each method against the plain sum's"),
        ("solver", "benches.weight_solver", "the weight solver against least squares"),
        ("train", "benches.training_rate", "steps and updates per second of a training"),
        ("ingest", "benches.learner_intake", "transitions per second that one learner takes in"),
        ("gpu", "benches.gpu_update", "an update on a GPU, with and without CUDA graphs"),
        ("omega", "benches.omega_chance", "how much of PIVRG's omega is chance (a simulation)"),
        ("peers", "peers.side_by_side", "mtrl beside metaworld-algorithms"),
    )
}
"""Name -> bench; a module is imported when its bench runs."""

ALL = "all"
"""The name that runs every bench on the page on speed (:mod:`mtrl.bench.measure_all`)."""
