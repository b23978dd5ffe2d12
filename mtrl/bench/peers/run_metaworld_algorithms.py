"""Run metaworld-algorithms for `mtrl bench peers`, a turn at a time.

The peer's Python executes this file, so it imports nothing of mtrl. It needs the peer's package
(github.com/rainx0r/metaworld-algorithms) on the path, and that package's requirements. Each line of
standard input is a request in JSON, and one line of JSON answers it. Between two requests the process
waits. What libraries print goes to standard error.

    {"do": "about"}                    commit, versions, sizes of the networks
    {"do": "update", "method": "pcgrad", "updates": 2}    whole updates: {"cpu": s, "wall": s}
    {"do": "collect", "steps": 500}    steps of each of ten environments: {"cpu": s, "wall": s}

Agents are configured as in its examples `mtmhsac_mt10.py` and `pcgrad_mt10.py`. This file uses the
peer's configurations, agents and environments. It does not use `Run.start`, which needs an accelerator.
"""

# pyright: reportMissingImports=false
# The packages of the peer are installed beside the peer only.

from __future__ import annotations

import argparse
import functools
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

TASKS = 10
VERSIONS = (
    "jax",
    "jaxlib",
    "flax",
    "optax",
    "distrax",
    "numpy",
    "gymnasium",
    "metaworld",
    "mujoco",
)


def main() -> None:
    """Answer requests until the input ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cores", required=True, help="to run on, separated by commas")
    parser.add_argument("--width", type=int, required=True)
    parser.add_argument("--depth", type=int, required=True)
    parser.add_argument("--batch", type=int, required=True, help="transitions per task")
    parser.add_argument("--seed", type=int, required=True)
    args = parser.parse_args()

    # Before JAX is imported, which sizes its thread pool by the cores it may use.
    os.sched_setaffinity(0, {int(core) for core in args.cores.split(",")})
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever prints to standard output must not get between the answers

    peer = MetaworldAlgorithms(args)
    for line in sys.stdin:
        request = json.loads(line)
        answer = getattr(peer, request.pop("do"))(**request)
        print(json.dumps(answer), file=answers, flush=True)


class MetaworldAlgorithms:
    """The peer's agents and environments. Each is built when a request first needs it."""

    def __init__(self, args: argparse.Namespace) -> None:
        from metaworld_algorithms.envs import MetaworldConfig

        self.args = args
        self.env_config = MetaworldConfig(env_id=f"MT{TASKS}", terminate_on_success=False)
        self.learners: dict[str, Any] = {}
        self.batch: Any = None
        self.envs: Any = None
        self.obs: Any = None

    def about(self) -> dict[str, Any]:
        """Commit, versions and sizes, which are stored beside the figures."""
        import metaworld_algorithms

        source = Path(str(metaworld_algorithms.__file__)).parent
        return {
            "name": "metaworld-algorithms",
            "commit": _git(source, "rev-parse", "HEAD"),
            "modified": bool(_git(source, "status", "--porcelain", "--", ".")),
            "python": platform.python_version(),
            **{package: importlib.metadata.version(package) for package in VERSIONS},
            "parameters": self._learner("ls").get_num_params(),
            "xla_flags": os.environ.get("XLA_FLAGS", ""),
        }

    def update(self, method: str, updates: int) -> dict[str, float]:
        """Whole updates of the critics, the actor, the temperatures and the targets."""
        import jax

        fresh = method not in self.learners
        agent, batch = self._learner(method), self._batch()

        def run(count: int) -> None:
            nonlocal agent
            for _ in range(count):
                agent, logs = agent.update(batch)
                jax.block_until_ready((agent, logs))

        if fresh:
            run(2)  # compiles twice: PCGrad's count of conflicts starts as an integer
        spent = _clocked(functools.partial(run, updates))
        self.learners[method] = agent
        return spent

    def collect(self, steps: int) -> dict[str, float]:
        """The peer's collection loop without its replay: the policy samples, the environments step."""
        if self.envs is None:
            # Environments first, as in its `Run.start`: they fork.
            self.envs = self.env_config.spawn(seed=self.args.seed)
            self.obs, _ = self.envs.reset()
        agent, obs = self._learner("ls"), self.obs

        def run() -> None:
            nonlocal agent, obs
            for _ in range(steps):
                agent, actions = agent.sample_action(obs)
                obs, *_ = self.envs.step(actions)

        spent = _clocked(run)
        self.learners["ls"], self.obs = agent, obs
        return spent

    def _learner(self, method: str) -> Any:
        """The agent of a method, as its last turn left it."""
        if method not in self.learners:
            config = self._config(method)
            self.learners[method] = config.spawn(self.env_config, self.args.seed)
        return self.learners[method]

    def _config(self, method: str) -> Any:
        """The configuration of the peer's example of this method, with the sizes given."""
        from metaworld_algorithms.config.networks import (
            ContinuousActionPolicyConfig,
            QValueFunctionConfig,
        )
        from metaworld_algorithms.config.nn import MultiHeadConfig
        from metaworld_algorithms.config.optim import OptimizerConfig, PCGradConfig
        from metaworld_algorithms.rl.algorithms import MTSACConfig

        optimizers = {
            "ls": functools.partial(OptimizerConfig, max_grad_norm=1.0),
            "pcgrad": functools.partial(PCGradConfig, num_tasks=TASKS, max_grad_norm=1.0),
        }
        network = MultiHeadConfig(
            num_tasks=TASKS,
            width=self.args.width,
            depth=self.args.depth,
            optimizer=optimizers[method](),
        )
        return MTSACConfig(
            num_tasks=TASKS,
            gamma=0.99,
            actor_config=ContinuousActionPolicyConfig(network_config=network),
            critic_config=QValueFunctionConfig(network_config=network),
            num_critics=2,
        )

    def _batch(self) -> Any:
        """Random transitions in NumPy, in the order in which its replay returns them."""
        if self.batch is None:
            import numpy as np
            from metaworld_algorithms.types import ReplayBufferSamples

            rng = np.random.default_rng(self.args.seed)
            rows = TASKS * self.args.batch
            obs_dim = self.env_config.observation_space.shape[0] - TASKS
            one_hot = np.tile(np.eye(TASKS), (self.args.batch, 1))

            def observations() -> Any:
                return np.hstack([rng.standard_normal((rows, obs_dim)), one_hot])

            columns = ReplayBufferSamples(
                observations=observations(),
                actions=rng.uniform(-1, 1, (rows, 4)),
                next_observations=observations(),
                dones=np.zeros((rows, 1)),
                rewards=rng.uniform(0, 1, (rows, 1)),
            )
            self.batch = ReplayBufferSamples(*(c.astype(np.float32) for c in columns))
        return self.batch


def _clocked(call: Callable[[], None]) -> dict[str, float]:
    """Seconds of a call: `cpu`, of all threads of this process, and `wall`."""
    wall, cpu = time.perf_counter(), time.process_time()
    call()
    return {"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall}


def _git(folder: Path, *command: str) -> str:
    """The output of git; empty where the folder is not in a checkout."""
    result = subprocess.run(["git", *command], cwd=folder, capture_output=True, text=True)
    return result.stdout.strip()


if __name__ == "__main__":
    main()
