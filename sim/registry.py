"""Gymnasium ids of the environments.

Importing this module registers them; Gymnasium can be told to do so in the id:

    gymnasium.make("sim.registry:HumanoidRally/Return-v0", protocol={"level": "rally"})
    gymnasium.make_vec("sim.registry:HumanoidRally/Track-v0", num_envs=512)

| id | what |
| --- | --- |
| HumanoidRally/Track-v0 | motion tracking, see `sim.envs.TrackEnv` |
| HumanoidRally/Track-Play-v0 | whole motions from their first frame |
| HumanoidRally/Return-v0 | ball return, see `sim.envs.ReturnEnv` |
| HumanoidRally/Return-Play-v0 | ball after ball until the robot falls |
"""

from __future__ import annotations

NAMESPACE = "HumanoidRally"
ENDLESS = 1_000_000
"""More balls than anybody watches."""

IDS: dict[str, tuple[str, str, dict]] = {
    f"{NAMESPACE}/Track-v0": ("TrackEnv", "TrackVectorEnv", {}),
    f"{NAMESPACE}/Track-Play-v0": ("TrackPlayEnv", "TrackPlayVectorEnv", {}),
    f"{NAMESPACE}/Return-v0": ("ReturnEnv", "ReturnVectorEnv", {}),
    f"{NAMESPACE}/Return-Play-v0": (
        "ReturnEnv",
        "ReturnVectorEnv",
        {"protocol": {"balls_per_episode": ENDLESS}},
    ),
}
"""Id → class for one robot, class for many, keyword arguments."""


def register_envs() -> None:
    """Register all ids. Imports nothing heavy; may be called again."""
    from gymnasium.envs.registration import register, registry

    for name, (single, vector, kwargs) in IDS.items():
        if name not in registry:
            register(
                name,
                entry_point=f"sim.envs:{single}",
                vector_entry_point=f"sim.envs:{vector}",
                kwargs=kwargs,
            )


register_envs()
