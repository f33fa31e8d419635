"""Planner, networks, training, evaluation and export."""
