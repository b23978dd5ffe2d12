"""The fast Meta-World classes: bit for bit the originals, beside them, and only where verified."""

from __future__ import annotations

import copy
import inspect
import math
import pickle
import sys
import types
import warnings

import mujoco
import numpy as np
import pytest
from metaworld import env_dict, sawyer_xyz_env
from metaworld.utils import reward_utils
from scipy.spatial.transform import Rotation

from mtrl.envs import EnvConfig, load_tasks, make
from mtrl.envs import fast as fast_room
from mtrl.envs.episode_env import all_finite
from mtrl.envs.fast import fast_class, rebind
from mtrl.envs.fast import sawyer as base
from mtrl.envs.fast import scalar as helpers
from mtrl.envs.metaworld import MetaWorldTask, generate_goals
from mtrl.envs.verify import verify

# Two objects, redrawn goals, an own _reset_hand, own caging rewards, physics in reset_model.
OTHERS = ["stick-push-v3", "sweep-into-v3", "faucet-open-v3", "box-close-v3", "coffee-pull-v3"]


@pytest.mark.parametrize("name", [*env_dict.MT10_V3, *OTHERS])
def test_identical_to_the_original(name):
    report = verify([name], 120)

    assert report.identical, report
    assert report.steps == {name: 120}
    assert report.episodes == {name: 8}


@pytest.mark.parametrize("name", ["pick-place-v3", "peg-insert-side-v3", "door-open-v3"])
def test_episodes_that_get_somewhere_are_identical(name):
    """Eight of the scripted policy, each long enough to grasp and move the object."""
    report = verify([name], 8 * 80, modes=("policy",))

    assert report.identical, report
    assert report.episodes == {name: 8}


def test_first_reward_version_is_identical():
    assert verify(["push-v3", "hammer-v3"], 80, reward_version="v1").identical


# ------------------------------------------------------------------- each replacement can be caught


def _wrong_quaternion(matrix):
    quat = _QUATERNION(matrix)
    return None if quat is None else quat * (1 + 2**-50)


def _wrong_tolerance(x, *args, **kwargs):
    return math.nextafter(_TOLERANCE(x, *args, **kwargs), 0.5)


def _wrong_norm(x, *args, **kwargs):
    return np.float64(math.nextafter(_NORM(x, *args, **kwargs), math.inf))


def _norm_of_wrong_type(x, *args, **kwargs):
    return float(_NORM(x, *args, **kwargs))


def _never_touching(self, object_geom_id):
    return False


def _positions_in_clipped_history(self):
    obs = _GET_OBS(self)
    self._prev_obs = np.clip(self._prev_obs, -0.1, 0.1)
    return obs


def _action_in_double(self, action):
    _SET_XYZ(self, np.asarray(action, np.float64))


def _short_settling(self, steps=50):
    _RESET_HAND(self, steps - 1)


def _caging_off_by_a_bit(self, *args, **kwargs):
    return _CAGING(self, *args, **kwargs) * (1 - 2**-53)


def _other_warm_start(self, action):
    result = _STEP(self, action)
    self.data.qacc_warmstart[0] += 2**-40
    return result


def _raising(self, object_geom_id):
    raise ValueError("no such object")


def _other_goal(self):
    self._last_rand_vec = np.nextafter(_RAND_VEC(self), 1)
    return self._last_rand_vec


_QUATERNION, _TOLERANCE, _NORM = helpers.quaternion, helpers.tolerance, helpers.norm
_FAST = base.FastSawyerEnv
_GET_OBS, _SET_XYZ, _STEP = _FAST._get_obs, _FAST.set_xyz_action, _FAST.step
_RESET_HAND, _CAGING = _FAST._reset_hand, _FAST._gripper_caging_reward
_RAND_VEC = _FAST._get_state_rand_vec

WRONG = {
    "quaternion": (helpers, "quaternion", _wrong_quaternion, "obs["),
    "tolerance": (helpers.fast_reward_utils, "tolerance", _wrong_tolerance, "reward"),
    "norm": (helpers.fast_numpy.linalg, "norm", _wrong_norm, ""),
    "touching": (_FAST, "touching_object", _never_touching, "info.grasp_success"),
    "exception": (_FAST, "touching_object", _raising, "exception"),
    "history": (_FAST, "_get_obs", _positions_in_clipped_history, "obs["),
    "action": (_FAST, "set_xyz_action", _action_in_double, ""),
    "settling": (_FAST, "_reset_hand", _short_settling, ""),
    "caging": (_FAST, "_gripper_caging_reward", _caging_off_by_a_bit, ""),
    "warm start": (_FAST, "step", _other_warm_start, "qacc_warmstart["),
    "goal": (_FAST, "_get_state_rand_vec", _other_goal, "goals["),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_replacement_is_found(what, monkeypatch):
    owner, name, wrong, field = WRONG[what]
    monkeypatch.setattr(owner, name, wrong)

    task = (
        "push-v3" if what == "caging" else "pick-place-v3"
    )  # which has a caging reward of its own
    # Long enough for the scripted policy to lift the object; stops at the first difference.
    report = verify([task], 960, modes=("policy", "random"))

    assert not report.identical
    difference = report.differences[0]
    assert difference.task == task
    assert difference.field.startswith(field), difference
    assert difference.field in str(report)


def test_an_exception_of_both_is_counted(monkeypatch):
    kind = env_dict.ALL_V3_ENVIRONMENTS["push-v3"]
    for owner in (kind, fast_class("push-v3")):
        monkeypatch.setattr(owner, "touching_object", _raising, raising=False)

    report = verify(["push-v3"], 8)

    assert report.identical
    assert report.exceptions == {"push-v3": 8}


def test_a_wrong_type_is_found(monkeypatch):
    monkeypatch.setattr(helpers.fast_numpy.linalg, "norm", _norm_of_wrong_type)

    report = verify(["drawer-close-v3"], 8)

    assert any("float64" in difference.original for difference in report.differences)


# --------------------------------------------------- what no episode that we know of tells apart


class _Contacts(list):
    """MuJoCo's contacts: a sequence of objects, and the same as arrays."""

    def __init__(self, pairs, addresses):
        super().__init__(
            types.SimpleNamespace(geom1=a, geom2=b, efc_address=address)
            for (a, b), address in zip(pairs, addresses, strict=True)
        )
        self.geom = np.array(pairs, np.int32).reshape(-1, 2)
        self.efc_address = np.array(addresses, np.int32)


def test_touching_asks_both_pads():
    """Random contacts between two pads (0, 1), the object (2) and another body (3)."""
    rng = np.random.default_rng(0)
    seen = []
    for _ in range(600):
        contacts = int(rng.integers(0, 5))
        pairs = [rng.choice(4, 2, replace=False).tolist() for _ in range(contacts)]
        data = types.SimpleNamespace(
            geom=lambda name: types.SimpleNamespace(
                id=["leftpad_geom", "rightpad_geom"].index(name)
            ),
            contact=_Contacts(pairs, rng.integers(-1, 6, contacts).tolist()),
            efc_force=rng.choice([-1.0, 0.0, 1.0, 2.0], 6),
        )
        sim = types.SimpleNamespace(data=data, _pad_geoms=(0, 1))
        expected = sawyer_xyz_env.SawyerXYZEnv.touching_object(sim, 2)
        assert base.FastSawyerEnv.touching_object(sim, 2) == expected, (pairs, data.efc_force)
        touched = [any({pad, 2} == set(pair) for pair in pairs) for pad in (0, 1)]
        seen.append((*touched, bool(expected)))
    both = (True, True)
    assert set(seen) == {(*both, True), (*both, False), (True, False, False)} | {
        (False, True, False),
        (False, False, False),
    }


def test_history_is_stacked_before_the_clipping():
    """With the library's bounds, the same for both frames, clipping twice would not show."""
    observations = []
    for fast in (False, True):
        task = MetaWorldTask("reach-v3", fast=fast, any_version=True)
        task.reset(generate_goals("reach-v3", 1, np.random.SeedSequence(0))[0])
        space = task.sim.sawyer_observation_space
        space.low[:3], space.high[:3] = -0.01, 0.01
        observations.append([task.step(np.ones(4, np.float32))[0] for _ in range(3)])
    original, fast = np.array(observations)
    assert (abs(original[:, :3]) <= 0.01).all()
    assert (abs(original[:, 18:21]) > 0.01).any()
    assert fast.tobytes() == original.tobytes()


# ----------------------------------------------------------------------------- the library is whole


def test_library_is_untouched():
    modules = [sawyer_xyz_env, reward_utils, np.linalg, np, sys.modules[Rotation.__module__]]
    kinds = list(env_dict.ALL_V3_ENVIRONMENTS.values())
    modules += [sys.modules[kind.__module__] for kind in kinds]
    owners = [*modules, sawyer_xyz_env.SawyerXYZEnv, sawyer_xyz_env.SawyerMocapBase, *kinds]
    before = [dict(vars(owner)) for owner in owners]
    rebind.fast_subclass.cache_clear()
    fast_class.cache_clear()

    for name in env_dict.ALL_V3_ENVIRONMENTS:
        fast_class(name)
    task = MetaWorldTask("push-v3")
    task.reset(generate_goals("push-v3", 1, np.random.SeedSequence(0))[0])
    task.step(np.zeros(4, np.float32))

    for owner, members in zip(owners, before, strict=True):
        now = dict(vars(owner))
        assert now.keys() == members.keys(), owner
        assert all(now[key] is members[key] for key in members), owner


@pytest.mark.parametrize("name", env_dict.ALL_V3_ENVIRONMENTS)
def test_every_task_gets_a_class_of_its_own_code(name):
    original, kind = env_dict.ALL_V3_ENVIRONMENTS[name], fast_class(name)

    assert kind is fast_class(name)
    assert issubclass(kind, original) and issubclass(kind, base.FastSawyerEnv)
    assert kind.__name__ == original.__name__
    codes = {f.__code__ for f in vars(original).values() if inspect.isfunction(f)}
    own = {k: f for k, f in vars(kind).items() if k != "__reduce__"}  # for pickle: not the task's
    rebound = [f for f in own.values() if inspect.isfunction(f)]
    assert rebound
    for function in rebound:
        assert function.__globals__["np"] is helpers.fast_numpy
        assert function.__code__ in codes or function.__name__ == "evaluate_state"


def test_step_still_asks_for_a_task():
    sim = fast_class("reach-v3")()

    with pytest.raises(RuntimeError, match="set_task"):
        sim.step(np.zeros(4))


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda sim: pickle.loads(pickle.dumps(sim))])
def test_a_copy_steps_its_own_simulator(clone):
    task = MetaWorldTask("push-v3")
    task.reset(generate_goals("push-v3", 1, np.random.SeedSequence(0))[0])

    other = clone(task.sim)
    obs = other.step(np.ones(4, np.float32))[0]

    assert type(other) is type(task.sim)
    assert obs[:3].tobytes() == other.data.body("hand").xpos.tobytes()
    assert other.data.body("hand").xpos.tobytes() != task.sim.data.body("hand").xpos.tobytes()


def test_views_follow_a_replaced_simulator():
    task = MetaWorldTask("reach-v3")
    goal = generate_goals("reach-v3", 1, np.random.SeedSequence(0))[0]
    task.reset(goal)

    task.sim.data = mujoco.MjData(task.sim.model)
    obs = task.reset(goal)

    assert obs[:3].tobytes() == task.sim.data.body("hand").xpos.tobytes()


def test_models_are_compiled_once_and_not_shared():
    one, two = (MetaWorldTask("drawer-open-v3").sim.model for _ in range(2))

    one.body("drawer").pos = np.ones(3)

    assert one.body("drawer").pos[0] != two.body("drawer").pos[0]


# ---------------------------------------------------------------------------------------- helpers


def test_quaternions_are_scipys():
    rng = np.random.default_rng(0)
    random = Rotation.random(2000, rng=rng).as_matrix()
    turns = Rotation.from_euler("xyz", rng.integers(0, 4, (200, 3)) * 90, degrees=True).as_matrix()
    for matrix in [*random, *turns, *np.round(turns), np.eye(3)]:
        expected = Rotation.from_matrix(matrix).as_quat()
        assert helpers.FastRotation.from_matrix(matrix).as_quat().tobytes() == expected.tobytes()


def test_a_matrix_that_is_no_rotation_goes_to_scipy():
    stretched = np.diag([1.0, 1.0, 1.1])

    assert helpers.quaternion(stretched) is None
    assert isinstance(helpers.FastRotation.from_matrix(stretched), Rotation)


def test_tolerance_is_the_librarys():
    rng = np.random.default_rng(0)
    warnings.simplefilter("ignore", RuntimeWarning)  # far out, hyperbolic overflows
    for sigmoid in ("long_tail", "gaussian", "hyperbolic"):
        for x, margin, upper in rng.uniform(0, 1, (1000, 3)) ** 4:
            for value in (float(x), np.float64(x), np.float32(x), np.array([x])):
                for edge in (margin, np.float64(margin), 0.0):
                    args = (value, (0, upper / 2), edge, sigmoid)
                    expected, found = reward_utils.tolerance(*args), helpers.tolerance(*args)
                    assert type(found) is type(expected)
                    assert np.asarray(found).tobytes() == np.asarray(expected).tobytes()


@pytest.mark.parametrize("sigmoid", ["long_tail", "gaussian", "hyperbolic"])
@pytest.mark.parametrize("margin", [0.0, 0.1])
def test_tolerance_is_closed_at_its_bounds(sigmoid, margin):
    lower, upper = 0.25, 0.5
    below, above = math.nextafter(lower, 0), math.nextafter(upper, 1)
    for x in (lower, upper, below, above, math.nextafter(lower, 1), math.nextafter(upper, 0)):
        args = (x, (lower, upper), margin, sigmoid)
        expected, found = reward_utils.tolerance(*args), helpers.tolerance(*args)
        assert (type(found), float(found)) == (type(expected), float(expected)), x
    assert helpers.tolerance(lower, (lower, upper), margin, sigmoid) == 1.0
    assert helpers.tolerance(upper, (upper, upper), margin, sigmoid) == 1.0


def test_tolerance_keeps_the_librarys_errors_and_limits():
    for args in ((0.5, (1, 0), 0.1), (0.5, (0, 1), -0.1)):
        with pytest.raises(ValueError):
            helpers.tolerance(*args, "long_tail")
    warnings.simplefilter("ignore", RuntimeWarning)
    assert helpers.tolerance(1e300, (0, 1), 1e-9, "long_tail") == 0.0
    assert math.isnan(helpers.tolerance(math.nan, (0, 1), 0.1, "long_tail"))


@pytest.mark.parametrize(
    "x",
    [
        np.array([1.0, 2.0, 3.0]),
        np.arange(6.0)[::2],
        np.float64(-3.0),
        np.array([[1.0, 2.0]]),
        [3, 4],
        np.ones(3, np.float32),
    ],
    ids=["vector", "strided", "scalar", "matrix", "list", "float32"],
)
def test_norm_is_numpys(x):
    expected, found = np.linalg.norm(x), helpers.norm(x)

    assert type(found) is type(expected)
    assert found == expected
    assert helpers.norm(np.array([3.0, -4.0]), ord=1) == 7.0


@pytest.mark.parametrize("action", [[0.5, -2, 1.5], [1, 0, -1], [0.1, 0.2, math.nan]])
def test_clip_is_numpys(action):
    for kind in (np.float32, np.float64):
        x = np.array(action, kind)
        expected = np.clip(x, -1, 1)
        assert helpers.clip_unit(x).tobytes() == helpers.clip(x, -1, 1).tobytes()
        assert helpers.clip(x, -1, 1).tobytes() == expected.tobytes()
    assert helpers.clip(2.5, 0, 1) == 1.0


# ----------------------------------------------------------------------------- choosing the version


def test_fast_is_an_option_and_the_default(tmp_path):
    config = EnvConfig(tasks=["reach-v3"], num_goals=2)
    fast = load_tasks(config, cache=tmp_path / "fast")
    slow = load_tasks(
        EnvConfig(tasks=["reach-v3"], num_goals=2, fast=False), cache=tmp_path / "slow"
    )

    assert fast.fast and not slow.fast
    assert fast.goals[0].tobytes() == slow.goals[0].tobytes()
    # One key: goals do not depend on the version, so the cache is shared.
    names = [[path.name for path in (tmp_path / v).iterdir()] for v in ("fast", "slow")]
    assert names[0] == names[1]
    assert isinstance(fast.build(0).task.sim, base.FastSawyerEnv)
    assert not isinstance(slow.build(0).task.sim, base.FastSawyerEnv)


def test_make_takes_either(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    envs = [make("reach-v3", fast=fast, num_goals=2, seed=0) for fast in (True, False)]

    observations = [env.reset(options={"goal": 1})[0] for env in envs]

    assert observations[0].tobytes() == observations[1].tobytes()
    kinds = [isinstance(env.task.sim, base.FastSawyerEnv) for env in envs]
    assert kinds == [True, False]


def test_an_unverified_version_falls_back_with_one_warning(monkeypatch):
    monkeypatch.setattr(fast_room, "installed_versions", lambda: ("3.1.1", "3.99.0"))
    fast_room.supported.cache_clear()
    try:
        with pytest.warns(RuntimeWarning, match=r"mujoco 3\.99\.0") as caught:
            tasks = [MetaWorldTask("reach-v3") for _ in range(2)]
        assert len(caught) == 1
        assert not any(isinstance(task.sim, base.FastSawyerEnv) for task in tasks)
        # Verifying another version must not compare the original with itself.
        checked = MetaWorldTask("reach-v3", any_version=True)
        assert isinstance(checked.sim, base.FastSawyerEnv)
    finally:
        fast_room.supported.cache_clear()


def test_finite_means_every_entry():
    assert all_finite(np.array([1.0, -2.0]))
    assert all_finite(np.array([1e308, 1e308]))  # their sum is not
    assert not all_finite(np.array([1.0, math.nan]))
    assert not all_finite(np.array([-math.inf, math.inf]))


def test_fake_tasks_cannot_be_verified():
    with pytest.raises(ValueError, match="fake-0"):
        verify("fake2", 10)
