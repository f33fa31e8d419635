"""The robot: a Unitree G1 (29 DoF) with a racket. Knows nothing of tennis, torch or training."""
