"""The fast version of Meta-World's base class: views instead of look-ups, scalars instead of arrays."""

# pyright: reportAttributeAccessIssue=false
# (mujoco is a compiled module without type stubs)

from __future__ import annotations

import math
from operator import add
from typing import Any

import mujoco
import numpy as np
from metaworld.sawyer_xyz_env import SawyerXYZEnv
from metaworld.utils import reward_utils
from numpy.typing import NDArray

from mtrl.envs.fast.models import load_model
from mtrl.envs.fast.scalar import clip_unit, norm, tolerance, ufunc_clip

_Array = NDArray[Any]
_MOCAP_QUAT = np.array([1.0, 0.0, 1.0, 0.0])
_hamacher_product = reward_utils.hamacher_product


class _Views(dict[str, _Array]):
    """Positions by name: views into the simulator's memory, each looked up once."""

    def __init__(self, ids: Any, rows: _Array) -> None:
        super().__init__()
        self.ids, self.rows = ids, rows

    def __missing__(self, name: str) -> _Array:
        view = self[name] = self.rows[self.ids(name).id]
        return view


class FastSawyerEnv(SawyerXYZEnv):
    """Exact replacements of the methods that every task inherits; see :mod:`mtrl.envs.fast`.

    `settling = False` leaves out the physics of resets. Positions are then those of the model, so only
    values that do not depend on them are valid, such as the goals that a task draws.
    """

    settling = True

    # ---------------------------------------------------------------- the simulator and its views

    def _initialize_simulation(self) -> tuple[Any, Any]:
        model = load_model(self.fullpath)
        model.vis.global_.offwidth = max(model.vis.global_.offwidth, self.width)
        model.vis.global_.offheight = max(model.vis.global_.offheight, self.height)
        data = mujoco.MjData(model)
        self._bind(model, data)
        return model, data

    def _bind(self, model: Any, data: Any) -> None:
        if model.nmocap != 1 or model.nu != 2:
            raise TypeError(f"{self.model_name} should have one mocap body and two actuators.")
        self._bound = data
        self._bodies = _Views(data.body, data.xpos)
        self._sites = _Views(data.site, data.site_xpos)
        self._hand = self._bodies["hand"]
        self._right_claw, self._left_claw = self._bodies["rightclaw"], self._bodies["leftclaw"]
        self._right_pad, self._left_pad = self._bodies["rightpad"], self._bodies["leftpad"]
        self._right_tip = self._sites["rightEndEffector"]
        self._left_tip = self._sites["leftEndEffector"]
        self._pad_geoms = data.geom("leftpad_geom").id, data.geom("rightpad_geom").id
        self._main_geom: int | None = None
        self._mocap_pos, self._mocap_quat = data.mocap_pos[0], data.mocap_quat[0]
        self._ctrl = data.ctrl

    def __getstate__(self) -> Any:
        state = super().__getstate__()
        for name in _VIEW_NAMES:  # a copied view would not show the new simulator's memory
            state["state"].pop(name, None)
        return state

    def get_endeff_pos(self) -> _Array:
        """Position of the hand, `[3]`."""
        return self._hand

    def get_body_com(self, body_name: str) -> _Array:
        """Position of a body's frame, `[3]`."""
        return self._bodies[body_name]

    def _get_site_pos(self, site_name: str) -> _Array:
        return self._sites[site_name].copy()

    @property
    def tcp_center(self) -> _Array:
        """Middle of the two fingertips, `[3]`."""
        (a, b, c), (d, e, f) = self._right_tip.tolist(), self._left_tip.tolist()
        return np.array([(a + d) / 2.0, (b + e) / 2.0, (c + f) / 2.0])

    # ---------------------------------------------------------------------------------------- step

    def step(self, action: Any) -> tuple[_Array, Any, bool, bool, dict[str, Any]]:
        """Advance one control step, like the library's `step`.

        The second forward pass is kept, because it changes the solver's warm start and thereby later
        states. The library also rewrites the target's site; this is left out, because that pass
        overwrites it.
        """
        if not self._set_task_called:
            raise RuntimeError("You must call env.set_task before using env.step")
        if self.data is not self._bound:
            self._bind(self.model, self.data)
        if self._did_see_sim_exception:
            return super().step(action)
        assert len(action) == 4, f"Actions should be size 4, got {len(action)}"
        self.set_xyz_action(action[:3])
        if self.curr_path_length >= self.max_path_length:
            raise ValueError("You must reset the env manually once truncate==True")
        grip = action[-1]
        self._ctrl[0], self._ctrl[1] = grip, -grip
        mujoco.mj_step(self.model, self.data, nstep=self.frame_skip)
        self.curr_path_length += 1
        mujoco.mj_forward(self.model, self.data)

        obs = self._get_obs()
        space = self.sawyer_observation_space
        ufunc_clip(obs, space.low, space.high, obs)
        self._last_stable_obs = obs
        reward, info = self.evaluate_state(obs, action)
        return obs.copy(), reward, False, self.curr_path_length == self.max_path_length, info

    def set_xyz_action(self, action: Any) -> None:
        """Move the mocap body by the action. As in the library, its dtype decides the rounding."""
        delta = (clip_unit(action) * self.action_scale).tolist()
        position = self._mocap_pos
        low, high = self.mocap_low.tolist(), self.mocap_high.tolist()
        for i, moved in enumerate(map(add, position.tolist(), delta)):
            below, above = low[i], high[i]
            position[i] = below if moved < below else above if moved > above else moved
        self._mocap_quat[:] = _MOCAP_QUAT

    def _step_mujoco_simulation(self, ctrl: Any, n_frames: int) -> None:
        self.data.ctrl[:] = ctrl
        mujoco.mj_step(self.model, self.data, nstep=n_frames)

    # --------------------------------------------------------------------------------- observation

    def _get_obs(self) -> _Array:
        goal = self._get_pos_goal()
        current = self._get_curr_obs_combined_no_goal()
        obs = np.empty(39)
        obs[:18] = current
        obs[18:36] = self._prev_obs
        obs[36:] = 0.0 if self._partially_observable else goal
        self._prev_obs = current  # before the clipping, as in the library
        return obs

    def _get_curr_obs_combined_no_goal(self) -> _Array:
        claws = self._right_claw - self._left_claw
        opening = math.sqrt(claws.dot(claws)) / 0.1
        positions, quats = self._get_pos_objects(), self._get_quat_objects()
        current = np.zeros(18)
        current[:3] = self._hand
        current[3] = 0.0 if opening < 0.0 else 1.0 if opening > 1.0 else opening
        sizes = len(positions), len(quats)
        if sizes == (3, 4):
            current[4:7] = positions
            current[7:11] = quats
        elif sizes == (6, 8):
            current[4:7], current[11:14] = positions[:3], positions[3:]
            current[7:11], current[14:18] = quats[:4], quats[4:]
        else:
            return super()._get_curr_obs_combined_no_goal()
        return current

    # ------------------------------------------------------------------------------------- rewards

    @property
    def touching_main_object(self) -> bool:
        """Whether the gripper touches the task's object."""
        geom = self._main_geom
        if geom is None:
            geom = self._get_id_main_object()
            if type(geom) is int:  # some tasks have no such object
                self._main_geom = geom
        return self.touching_object(geom)

    def touching_object(self, object_geom_id: int) -> bool:
        """Whether both pads press on the object.

        Contacts are read as lists, to avoid a Python object for each contact. As in the library, a
        contact outside of the solver has address -1 and so reads the last force.
        """
        left, right = self._pad_geoms
        contact = self.data.contact
        geoms = contact.geom
        touched = geoms.ravel().tolist()
        if left not in touched:
            return False
        lefts, rights = [], []
        for i, pair in enumerate(geoms.tolist()):
            if left in pair and object_geom_id in pair:
                lefts.append(i)
            if right in pair and object_geom_id in pair:
                rights.append(i)
        if not lefts:
            return False
        force, address = self.data.efc_force, contact.efc_address.tolist()
        left_force = sum(force[address[i]] for i in lefts)
        return left_force > 0 and sum(force[address[i]] for i in rights) > 0

    def _gripper_caging_reward(
        self,
        action: Any,
        obj_pos: _Array,
        obj_radius: float,
        pad_success_thresh: float,
        object_reach_radius: float,
        xz_thresh: float,
        desired_gripper_effort: float = 1.0,
        high_density: bool = False,
        medium_density: bool = False,
    ) -> float:
        start, init_tcp = self.obj_init_pos, self.init_tcp
        assert start is not None, "`obj_init_pos` must be initialized before calling this function."
        if high_density and medium_density:
            raise ValueError("Can only be either high_density or medium_density")

        object_y, start_y = float(obj_pos[1]), float(start[1])
        bounds = (obj_radius, pad_success_thresh)
        sides = []
        for pad in (self._left_pad, self._right_pad):
            y = float(pad[1])
            margin = abs(abs(y - start_y) - pad_success_thresh)
            sides.append(tolerance(abs(y - object_y), bounds, margin, "long_tail"))
        caging_y = _hamacher_product(*sides)

        tcp = self.tcp_center
        caging_xz = tolerance(
            _norm_xz(tcp, obj_pos),
            (0, xz_thresh),
            _norm_xz(start, init_tcp) - xz_thresh,
            "long_tail",
        )
        closed = min(max(0, action[-1]), desired_gripper_effort) / desired_gripper_effort
        caging = _hamacher_product(caging_y, float(caging_xz))
        result = _hamacher_product(caging, closed if caging > 0.97 else 0.0)
        if high_density:
            result = (result + caging) / 2
        if medium_density:
            reach_margin = abs(norm(start - init_tcp) - object_reach_radius)
            reach = tolerance(
                norm(obj_pos - tcp), (0, object_reach_radius), reach_margin, "long_tail"
            )
            result = (result + float(reach)) / 2
        return result

    # --------------------------------------------------------------------------------------- reset

    def reset(self, seed: int | None = None, options: Any = None) -> tuple[_Array, dict[str, Any]]:
        """Start an episode, like the library's `reset`.

        The library runs `reset_model` twice and discards the state of the first pass. That pass matters
        only through its random draws and its changes of the model, so its 250 physics steps are left
        out.
        """
        if self.data is not self._bound:
            self._bind(self.model, self.data)
        self.curr_path_length = 0
        settling = self.settling
        self.settling = False
        try:
            self.reset_model()
        finally:
            self.settling = settling
        obs, info = super(SawyerXYZEnv, self).reset()
        self._prev_obs = obs[:18].copy()
        obs[18:36] = self._prev_obs
        return obs, info

    def _reset_hand(self, steps: int = 50) -> None:
        if self.settling:
            self._mocap_pos[:] = self.hand_init_pos
            self._mocap_quat[:] = _MOCAP_QUAT
            self._ctrl[:] = (-1, 1)
            mujoco.mj_step(self.model, self.data, nstep=steps * self.frame_skip)
        else:
            mujoco.mj_kinematics(self.model, self.data)  # tasks read positions next
        self.init_tcp = self.tcp_center


_VIEW_NAMES = (
    *("_bound", "_bodies", "_sites", "_hand", "_right_claw", "_left_claw", "_right_pad"),
    *("_left_pad", "_right_tip", "_left_tip", "_mocap_pos", "_mocap_quat", "_ctrl"),
)


def _norm_xz(a: _Array, b: _Array) -> np.float64:
    return norm(np.array([a[0] - b[0], a[2] - b[2]]))
