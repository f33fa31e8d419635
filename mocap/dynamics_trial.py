"""Does the grade say what a simulated robot can do? Motions replayed in MuJoCo, and how long the robot stands.

The robot is set down in the motion's state and driven by position servos with feed-forward torques. Balance is
what a policy learns; here a helping hand stands in for it, a spring from the pelvis to its path that gives at
most a fifth of the weight. A motion that a robot can do needs little of it; one that it cannot asks for more
than there is. The linear controller of the ready stance (`humanoid.balance`) can be added; it knows nothing of
steps and makes walks worse. A trial ends when the pelvis sinks, tilts or leaves its path.

    python -m mocap.dynamics_trial OUT --clips 80        folder that rally-retarget wrote
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import mujoco
import numpy as np
from scipy.stats import spearmanr

from humanoid.balance import balance_gain
from humanoid.joints import KD, KP
from humanoid.model import build_model
from humanoid.motion import RobotMotion
from mocap.dynamics_grade import Demand, demand, grade_letter, summarise
from mocap.filters import velocity
from mocap.robot import RobotModel, default_robot
from mocap.rotations import axis_angle_from_matrix, matrix_from_quat

CONTROL_S = 0.02
# The robot is lost when the pelvis sinks so far below its path [m], tilts so far off it [rad] or leaves it so far
# to the side [m].
SUNK_M, TILTED_RAD, AWAY_M = 0.2, 0.7, 0.4
LARGEST_CORRECTION = 0.6
# The helping hand at the pelvis: stiffness and damping over the robot's mass [1/s², 1/s], and of rotations over
# its inertia of about 3 kg m²; at most this part of the weight, with a lever of 0.3 m for the moment.
HELP_STIFF, HELP_DAMP, HELP_INERTIA, HELP_LEVER_M = 100.0, 20.0, 3.0, 0.3
HELP = 0.2


@dataclass(frozen=True)
class Trial:
    """One replay.

    Attributes:
        clip: the motion. start_s: where it began. lasted_s: how long the robot kept to it, at most `asked_s`.
        score: of the frames that were asked for. grade: of the whole motion.
    """

    clip: str
    start_s: float
    lasted_s: float
    asked_s: float
    score: float
    grade: str


class Replayer:
    """A simulated robot that plays motions back."""

    def __init__(self, help: float = HELP, balance: float = 0.0) -> None:
        """Args:
        help: greatest force of the helping hand over the robot's weight.
        balance: part of the ready stance's balance controller that is added.
        """
        self.model = build_model()
        self.gain = balance * balance_gain(CONTROL_S)
        self.help = help

    def last(self, motion: RobotMotion, needs: Demand, first: int, frames: int) -> float:
        """How long [s] the robot keeps to frames `first` … of a motion at 50 Hz, at most `frames`."""
        model, data = self.model, mujoco.MjData(self.model)
        rot = matrix_from_quat(motion.root_quat)
        speed = velocity(motion.joint_pos, motion.fps)
        turn = np.zeros((motion.num_frames, 3))
        turn[1:-1] = axis_angle_from_matrix(np.swapaxes(rot[:-2], 1, 2) @ rot[2:]) * (0.5 * motion.fps)
        qvel = np.concatenate([velocity(motion.root_pos, motion.fps), turn, speed], axis=1)
        qpos = np.concatenate([motion.root_pos, motion.root_quat, motion.joint_pos], axis=1)
        drive = motion.joint_pos + (KD * speed + needs.torque) / KP
        data.qpos[:], data.qvel[:] = qpos[first], qvel[first]
        mujoco.mj_forward(model, data)
        error = np.zeros(model.nv)
        steps = round(CONTROL_S / model.opt.timestep)
        for k in range(frames):
            i = min(first + k, motion.num_frames - 2)
            mujoco.mj_differentiatePos(model, error, 1.0, qpos[i], data.qpos)
            tilt = float(np.linalg.norm(error[3:5]))
            if error[2] < -SUNK_M or tilt > TILTED_RAD or np.linalg.norm(error[:2]) > AWAY_M:
                return k * CONTROL_S
            deviation = np.concatenate([error, data.qvel - qvel[i]])
            # World vectors are turned into the stance's heading, in which the gain is written.
            heading = np.arctan2(rot[i, 1, 0], rot[i, 0, 0])
            c, s = np.cos(heading), np.sin(heading)
            for at in (0, 35):
                x, y = deviation[at], deviation[at + 1]
                deviation[at], deviation[at + 1] = c * x + s * y, -s * x + c * y
            correction = np.clip(self.gain @ deviation, -LARGEST_CORRECTION, LARGEST_CORRECTION)
            data.ctrl[:] = 0.5 * (drive[i] + drive[i + 1]) - correction
            self._help(data, error, data.qvel - qvel[i])
            mujoco.mj_step(model, data, steps)
        return frames * CONTROL_S

    def _help(self, data: mujoco.MjData, error: np.ndarray, slip: np.ndarray) -> None:
        """A weak spring that draws the pelvis to its path; rotations in the pelvis frame."""
        mass = float(self.model.body_subtreemass[1])
        most = self.help * mass * 9.81
        push = -mass * (HELP_STIFF * error[:3] + HELP_DAMP * slip[:3])
        turn = -HELP_INERTIA * (HELP_STIFF * error[3:6] + HELP_DAMP * slip[3:6])
        for value, limit, at in ((push, most, slice(0, 3)), (turn, most * HELP_LEVER_M, slice(3, 6))):
            size = float(np.linalg.norm(value))
            data.qfrc_applied[at] = value * min(1.0, limit / max(size, 1e-9))


def trials(
    motions: list[RobotMotion],
    robot: RobotModel,
    per_motion: int = 4,
    seconds: float = 4.0,
    seed: int = 0,
    help: float = HELP,
) -> list[Trial]:
    """Replays of `seconds` from random moments of motions at 50 Hz."""
    rng = np.random.default_rng(seed)
    replayer, out = Replayer(help), []
    frames = round(seconds / CONTROL_S)
    for motion in motions:
        rot = matrix_from_quat(motion.root_quat)
        needs = demand(motion.root_pos, rot, motion.joint_pos, motion.fps, robot)
        whole = summarise(needs).score
        # A robot that is set down in the air falls whatever comes after.
        standing = np.flatnonzero(needs.contact.any(axis=1))
        standing = standing[standing < motion.num_frames - 25]
        for first in rng.choice(standing, min(per_motion, len(standing)), replace=False):
            span = slice(int(first), min(int(first) + frames, motion.num_frames))
            asked = span.stop - span.start - 1
            lasted = replayer.last(motion, needs, int(first), asked)
            score = summarise(needs, span).score
            out.append(
                Trial(motion.name, first / motion.fps, lasted, asked * CONTROL_S, score, grade_letter(whole))
            )
    return out


def main(arguments: list[str] | None = None) -> None:
    """Replay motions of a folder and print how survival follows the grade."""
    parser = argparse.ArgumentParser(prog="python -m mocap.dynamics_trial", description=__doc__)
    parser.add_argument("folder", type=Path, help="motions (*.npz), as rally-retarget writes them")
    parser.add_argument("--clips", type=int, default=80, help="how many, drawn at random")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    files = sorted(options.folder.rglob("*.npz"))
    chosen = np.random.default_rng(options.seed).permutation(len(files))[: options.clips]
    done = trials([RobotMotion.load(files[i]) for i in sorted(chosen)], default_robot(), seed=options.seed)
    for letter in "ABCD":
        mine = [t for t in done if grade_letter(t.score) == letter]
        if mine:
            lasted = np.array([t.lasted_s for t in mine])
            whole = np.mean([t.lasted_s >= t.asked_s for t in mine])
            print(
                f"{letter}: {len(mine):4d} replays, median {np.median(lasted):.2f} s, mean {lasted.mean():.2f} s, "
                f"to the end {100 * whole:.0f} %"
            )
    share = np.array([t.lasted_s / t.asked_s for t in done])
    score = np.array([t.score for t in done])
    _, clip = np.unique([t.clip for t in done], return_inverse=True)
    count = np.bincount(clip)
    of_clips = spearmanr(np.bincount(clip, score) / count, np.bincount(clip, share) / count)
    for what, rank in ((f"{len(done)} replays", spearmanr(score, share)), (f"{len(count)} clips", of_clips)):
        correlation, chance = rank
        print(f"{what}: Spearman {correlation:.2f} (p = {chance:.0e}) of score and part survived")


if __name__ == "__main__":
    main()
