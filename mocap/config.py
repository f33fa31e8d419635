"""What a retargeting run may be told."""

from __future__ import annotations

from dataclasses import dataclass, field

from omegaconf import MISSING


@dataclass
class RetargetConfig:
    """What a retargeting run may be told. Lengths in metres, times in seconds.

    Attributes:
        fps: output rate [Hz]; the policies' control rate.
        cutoff_hz: bandwidth of the human motion that is kept, trunk and legs; arm_cutoff_hz: arms.
        leg_stretch: longest hip–ankle distance as a fraction of the straight leg; below 1 the knees stay
            bent.
        clearance_m: least height of a swing foot at mid-swing.
        balance: 0 leaves the root where the human had it; 1 moves it so that the zero-moment point is over
            the feet.
        support_margin_m: how far inside the foot's edge the zero-moment point is brought.
        self_collision: whether legs, arms and racket are kept apart.
        self_gap_m: gap that arms and racket are wished to keep from the rest of the body.
        aim_racket: whether the racket wrist is turned toward the stroke.
        aim_window_s: time before and after a strike in which the racket face is aimed.
        shot_yaw: direction in the clip's frame in which balls are hit [rad]; estimated from the strokes if
            not given.
    """

    fps: float = 50.0
    cutoff_hz: float = 6.0
    arm_cutoff_hz: float = 8.0
    leg_stretch: float = 0.99
    clearance_m: float = 0.03
    balance: float = 1.0
    support_margin_m: float = 0.01
    self_collision: bool = True
    self_gap_m: float = 0.015
    aim_racket: bool = True
    aim_window_s: float = 0.15
    shot_yaw: float | None = None


@dataclass
class CutConfig:
    """How strokes are cut and chosen. Times in seconds, speeds in m/s, heights in metres on the robot.

    Attributes:
        output: folder of the set; nothing is cut when not given.
        only: shell patterns of the clips (name without ending) that strokes are taken from; all if empty.
        before_s, after_s: least and most that is kept of the human's motion before and after the strike.
        step_s: how long the step from and to the ready pose takes; step_height_m: how high the feet are
            lifted.
        rest_s: how long the ready pose is held at both ends.
        forehands, backhands: how many of each are chosen.
        speed_m_s: least and greatest racket speed at the strike.
        height_m: least and greatest height of the racket's centre at the strike.
        aim_deg: greatest angle of the racket's way from +x, horizontally.
        licence, attribution: stand in the set's manifest and in every file of it.
        per_clip: at most so many strokes of one clip.
    """

    output: str | None = None
    only: list[str] = field(default_factory=list)
    before_s: tuple[float, float] = (0.5, 1.1)
    after_s: tuple[float, float] = (0.3, 1.0)
    step_s: float = 0.6
    step_height_m: float = 0.03
    rest_s: float = 0.1
    forehands: int = 8
    backhands: int = 8
    speed_m_s: tuple[float, float] = (5.0, 14.0)
    height_m: tuple[float, float] = (0.6, 1.15)
    aim_deg: float = 25.0
    per_clip: int = 2
    licence: str = ""
    attribution: str = ""


@dataclass
class CleanConfig:
    """What is repaired before retargeting.

    Attributes:
        nan_frames: "error" refuses clips with NaN frames, "interpolate" fills them.
        trim_t_pose: cut T-poses and A-poses at both ends.
        repair_glitches: mend jumping markers, lost joints and exchanged limbs.
        mirror: exchange left and right: "no", "yes", or "auto" (when the racket is in the left hand).
    """

    nan_frames: str = "error"
    trim_t_pose: bool = True
    repair_glitches: bool = True
    mirror: str = "no"


@dataclass
class AppConfig:
    """The schema of `rally-retarget`.

    Attributes:
        input: a clip, or a folder that is searched for clips.
        output: folder for motions and report.json.
        fps: frames a second of the input, overriding the file.
        unit_m: metres per unit of the input; guessed when not given.
        up: up axis of the input (y, z, -z …); guessed when not given.
        skeleton: a shipped skeleton's name or a mapping file; found by joint names when not given.
        hand: "right" or "left" racket hand; found when not given.
        progress: show a progress bar.
        workers: processes; all cores when not given. Results do not depend on it.
        resume: keep motions of an earlier run that were made from the same file with the same configuration and
            version of this package; clips whose strokes are cut are always done again.
        library: file that all motions are written to as one library, with a manifest beside it.
        sources: table of where clips come from, for the library: a YAML file, or "recordings" for the shipped.
        report: also write `report.html`, with pictures.
    """

    input: str = MISSING
    output: str = MISSING
    fps: float | None = None
    unit_m: float | None = None
    up: str | None = None
    skeleton: str | None = None
    hand: str | None = None
    progress: bool = True
    workers: int | None = None
    resume: bool = False
    library: str | None = None
    sources: str | None = None
    report: bool = False
    clean: CleanConfig = field(default_factory=CleanConfig)
    retarget: RetargetConfig = field(default_factory=RetargetConfig)
    cut: CutConfig = field(default_factory=CutConfig)
