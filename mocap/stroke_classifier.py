"""Tell strokes from other swings, and one kind of stroke from another: a logistic model as plain numbers."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from humanoid.files import atomic_write
from mocap.rotations import Array

CLASSES = ("none", "forehand", "backhand", "forehand volley", "backhand volley", "serve", "smash")
SHIPPED = Path(__file__).parent / "stroke_classifier.json"


@dataclass(frozen=True)
class StrokeClassifier:
    """Multinomial logistic regression: softmax of a linear map of the standardised figures.

    Attributes:
        mean, scale: (F,) of the figures (`mocap.swings.measure`) that it was fitted on.
        weights: (F + 1, C) with the constants last; columns in the order of `CLASSES`.
    """

    mean: Array
    scale: Array
    weights: Array

    def probabilities(self, figures: Array) -> Array:
        """(N, C) for figures (N, F). Each figure counts at most four of its usual spreads."""
        z = np.clip((figures - self.mean) / self.scale, -4.0, 4.0)
        score = z @ self.weights[:-1] + self.weights[-1]
        p = np.exp(score - score.max(axis=1, keepdims=True))
        return p / p.sum(axis=1, keepdims=True)

    @staticmethod
    def fit(
        figures: Array, labels: np.ndarray, ridge: float = 40.0, iterations: int = 100
    ) -> StrokeClassifier:
        """Fit by maximum likelihood with a ridge.

        Args:
            figures: (N, F).
            labels: (N,) indices into `CLASSES`.
            ridge: weight of the squared weights.
            iterations: of L-BFGS.
        """
        from scipy.optimize import minimize

        mean, scale = figures.mean(axis=0), figures.std(axis=0) + 1e-6
        z = np.clip((figures - mean) / scale, -4.0, 4.0)
        z = np.hstack([z, np.ones((len(z), 1))]).astype(np.float32)
        hot = np.eye(len(CLASSES), dtype=np.float32)[labels]
        shape = (z.shape[1], len(CLASSES))

        def loss(flat: Array) -> tuple[float, Array]:
            w = flat.reshape(shape)
            score = z @ w.astype(np.float32)
            score -= score.max(axis=1, keepdims=True)
            p = np.exp(score)
            total = p.sum(axis=1, keepdims=True)
            fitted = -float(np.sum(hot * (score - np.log(total)), dtype=np.float64))
            pull = np.vstack([w[:-1], np.zeros((1, shape[1]))])
            slope = (z.T @ (p / total - hot)).astype(float) + ridge * pull
            return fitted + 0.5 * ridge * float(np.sum(pull**2)), slope.ravel()

        start = np.zeros(shape[0] * shape[1])
        result = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": iterations})
        return StrokeClassifier(mean, scale, result.x.reshape(shape))

    def save(self, path: Path, about: dict[str, object]) -> None:
        """Write the numbers, to five significant digits, with `about` (data, licence, how they were fitted)."""

        def short(x: Array) -> list:
            return [float(f"{v:.5g}") for v in x] if x.ndim == 1 else [short(row) for row in x]

        data = {
            "about": about,
            "classes": list(CLASSES),
            "mean": short(self.mean),
            "scale": short(self.scale),
            "weights": short(self.weights),
        }
        with atomic_write(path, "w") as file:
            json.dump(data, file, ensure_ascii=False)
            file.write("\n")

    @staticmethod
    def load(path: Path) -> StrokeClassifier:
        """Read the numbers.

        Raises:
            ValueError: another set of classes or figures than this version's.
        """
        data = json.loads(path.read_text(encoding="utf-8"))
        model = StrokeClassifier(
            np.array(data["mean"], float), np.array(data["scale"], float), np.array(data["weights"], float)
        )
        if tuple(data["classes"]) != CLASSES or model.weights.shape != (len(model.mean) + 1, len(CLASSES)):
            raise ValueError(
                f"{path}: not a stroke classifier of this version; fit it again with "
                "python -m mocap.train_strokes"
            )
        return model


@cache
def shipped_classifier() -> StrokeClassifier:
    """The classifier that comes with the package."""
    return StrokeClassifier.load(SHIPPED)
