"""Terms of motion tracking: functions of a `sim.tracking_task.TrackingTask` after its step.

Deviations compare the robot with the reference frame it should have reached. Pelvis-frame vectors do not
depend on where on the court the robot is or faces.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from sim.terms import TermTable

if TYPE_CHECKING:
    from sim.tracking_task import TrackingTask

OBSERVATIONS = TermTable("tracking observation")
REWARDS = TermTable("tracking reward")
TERMINATIONS = TermTable("tracking termination")


def turn_into(quat: Tensor, vector: Tensor) -> Tensor:
    """World vectors (..., 3) in the frame of unit quaternions (..., 4), w first."""
    w, u = quat[..., :1], -quat[..., 1:]
    t = 2.0 * torch.linalg.cross(u, vector)
    return vector + w * t + torch.linalg.cross(u, t)


def rotation_between(quat: Tensor, other: Tensor) -> Tensor:
    """The turn from `quat` to `other`, (..., 4) each, as rotation vector (..., 3), rad, in `quat`'s frame."""
    w0, u0 = quat[..., :1], -quat[..., 1:]
    w1, u1 = other[..., :1], other[..., 1:]
    w = w0 * w1 - (u0 * u1).sum(-1, keepdim=True)
    u = w0 * u1 + w1 * u0 + torch.linalg.cross(u0, u1)
    u = torch.where(w < 0, -u, u)
    sine = torch.linalg.vector_norm(u, dim=-1, keepdim=True)
    angle = 2.0 * torch.atan2(sine, w.abs())
    return u * torch.where(sine > 1e-6, angle / sine.clamp(min=1e-6), torch.full_like(sine, 2.0))


# Observations, (N, k)


@OBSERVATIONS
def joint_pos(state: TrackingTask) -> Tensor:
    """Joint angles from the ready pose, rad, 29."""
    return state.qpos[:, 7:] - state.ready


@OBSERVATIONS
def joint_vel(state: TrackingTask) -> Tensor:
    """Joint velocities, in 10 rad/s, 29."""
    return state.qvel[:, 6:] * 0.1


@OBSERVATIONS
def base_ang_vel(state: TrackingTask) -> Tensor:
    """Angular velocity of the pelvis in its own frame, rad/s, 3."""
    return state.qvel[:, 3:6]


@OBSERVATIONS
def base_lin_vel(state: TrackingTask) -> Tensor:
    """Velocity of the pelvis in its own frame, m/s, 3."""
    return turn_into(state.qpos[:, 3:7], state.qvel[:, :3])


@OBSERVATIONS
def gravity(state: TrackingTask) -> Tensor:
    """Direction of gravity in the pelvis frame, 3."""
    down = torch.zeros(state.num_envs, 3, device=state.device)
    down[:, 2] = -1.0
    return turn_into(state.qpos[:, 3:7], down)


@OBSERVATIONS
def root_pos_error(state: TrackingTask) -> Tensor:
    """From the pelvis to its reference, in the pelvis frame, m, 3."""
    return turn_into(state.qpos[:, 3:7], state.ref_qpos[:, :3] - state.qpos[:, :3])


@OBSERVATIONS
def root_rot_error(state: TrackingTask) -> Tensor:
    """Turn from the pelvis to its reference, rotation vector in the pelvis frame, rad, 3."""
    return rotation_between(state.qpos[:, 3:7], state.ref_qpos[:, 3:7])


@OBSERVATIONS
def ref_joint_pos(state: TrackingTask) -> Tensor:
    """Reference joint angles from the ready pose, rad, 29."""
    return state.ref_qpos[:, 7:] - state.ready


@OBSERVATIONS
def ref_joint_vel(state: TrackingTask) -> Tensor:
    """Reference joint velocities, in 10 rad/s, 29."""
    return state.ref_qvel[:, 6:] * 0.1


@OBSERVATIONS
def last_action(state: TrackingTask) -> Tensor:
    """Action of the last step, zeros at an episode's start, 29."""
    return state.action


@OBSERVATIONS
def phase(state: TrackingTask) -> Tensor:
    """Share of the motion that is over, 0–1, 1."""
    first, last = state.reference.first[state.motion], state.reference.last[state.motion]
    return ((state.frame - first) / (last - first)).unsqueeze(1)


# Rewards, (N,)


@REWARDS
def alive(state: TrackingTask) -> Tensor:
    """1 every step."""
    return torch.ones(state.num_envs, device=state.device)


@REWARDS
def track_joint_pos(state: TrackingTask) -> Tensor:
    """exp(-mean squared joint error / (0.2 rad)²)."""
    error = state.qpos[:, 7:] - state.ref_qpos[:, 7:]
    return torch.exp(-(error**2).mean(1) / 0.04)


@REWARDS
def track_joint_vel(state: TrackingTask) -> Tensor:
    """exp(-mean squared joint velocity error / (2 rad/s)²)."""
    error = state.qvel[:, 6:] - state.ref_qvel[:, 6:]
    return torch.exp(-(error**2).mean(1) / 4.0)


@REWARDS
def track_root_pos(state: TrackingTask) -> Tensor:
    """exp(-squared distance of the pelvis / (0.15 m)²)."""
    error = state.qpos[:, :3] - state.ref_qpos[:, :3]
    return torch.exp(-(error**2).sum(1) / 0.0225)


@REWARDS
def track_root_rot(state: TrackingTask) -> Tensor:
    """exp(-squared angle of the pelvis / (0.3 rad)²)."""
    return torch.exp(-(root_rot_error(state) ** 2).sum(1) / 0.09)


@REWARDS
def track_racket(state: TrackingTask) -> Tensor:
    """exp(-squared distance of the string-bed centre / (0.15 m)²)."""
    error = state.racket_pos - state.ref_racket_pos
    return torch.exp(-(error**2).sum(1) / 0.0225)


@REWARDS
def action_rate(state: TrackingTask) -> Tensor:
    """Mean squared change of the action (a cost)."""
    return ((state.action - state.previous_action) ** 2).mean(1)


@REWARDS
def joint_limits(state: TrackingTask) -> Tensor:
    """Joint angles beyond their limits, summed, rad (a cost)."""
    q = state.qpos[:, 7:]
    return ((q - state.upper).clamp(min=0.0) + (state.lower - q).clamp(min=0.0)).sum(1)


@REWARDS
def saturation(state: TrackingTask) -> Tensor:
    """Share of motors at their torque limit (a cost)."""
    return (state.torque.abs() >= 0.999 * state.effort).float().mean(1)


@REWARDS
def failure(state: TrackingTask) -> Tensor:
    """1 at a step that ends the episode early (a cost)."""
    return state.terminated.float()


# Terminations, (N,) bool


@TERMINATIONS
def fallen(state: TrackingTask) -> Tensor:
    """Pelvis lower than `fall_height`, or leaning by more than `fall_tilt`, or not finite."""
    low = state.qpos[:, 2] < state.config.fall_height
    tilted = -gravity(state)[:, 2] < state.fall_cosine
    return low | tilted | ~torch.isfinite(state.qpos).all(dim=1)


@TERMINATIONS
def root_lost(state: TrackingTask) -> Tensor:
    """Pelvis farther than `root_distance` from its reference."""
    error = state.qpos[:, :3] - state.ref_qpos[:, :3]
    return (error**2).sum(1) > state.config.root_distance**2


@TERMINATIONS
def pose_lost(state: TrackingTask) -> Tensor:
    """Root mean square joint error above `joint_distance`."""
    error = state.qpos[:, 7:] - state.ref_qpos[:, 7:]
    return (error**2).mean(1) > state.config.joint_distance**2
