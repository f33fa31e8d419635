import json

import numpy as np
import pytest

from mocap.stroke_classifier import CLASSES, SHIPPED, StrokeClassifier, shipped_classifier
from mocap.swings import figure_count


@pytest.fixture(scope="module")
def clouds() -> tuple[np.ndarray, np.ndarray]:
    """Seven clouds of points in five dimensions."""
    rng = np.random.default_rng(0)
    centres = 3.0 * rng.standard_normal((len(CLASSES), 5))
    labels = rng.integers(len(CLASSES), size=400)
    return centres[labels] + 0.3 * rng.standard_normal((400, 5)), labels


def test_clouds_that_can_be_told_apart_are(clouds):
    x, y = clouds
    model = StrokeClassifier.fit(x, y, ridge=0.1)
    assert (model.probabilities(x).argmax(axis=1) == y).mean() > 0.98


def test_probabilities_sum_to_one_far_from_everything(clouds):
    model = StrokeClassifier.fit(*clouds)
    p = model.probabilities(np.array([[1e9, -1e9, 0.0, 0.0, 1e9]]))
    assert p.sum() == pytest.approx(1.0)


def test_the_ridge_holds_the_weights_down(clouds):
    weights = [np.abs(StrokeClassifier.fit(*clouds, ridge=r).weights[:-1]).sum() for r in (0.1, 10.0, 1000.0)]
    assert weights[0] > weights[1] > weights[2]


def test_what_is_saved_is_read_back(tmp_path, clouds):
    model = StrokeClassifier.fit(*clouds)
    model.save(tmp_path / "model.json", {"data": "clouds"})
    back = StrokeClassifier.load(tmp_path / "model.json")
    np.testing.assert_allclose(back.probabilities(clouds[0]), model.probabilities(clouds[0]), atol=1e-3)


def test_a_classifier_of_other_classes_is_refused(tmp_path):
    data = json.loads(SHIPPED.read_text()) | {"classes": ["none", "lob"]}
    (tmp_path / "model.json").write_text(json.dumps(data))
    with pytest.raises(ValueError, match=r"model\.json: not a stroke classifier of this version"):
        StrokeClassifier.load(tmp_path / "model.json")


def test_the_shipped_classifier_fits_the_figures():
    model = shipped_classifier()
    assert model.weights.shape == (figure_count() + 1, len(CLASSES))
    assert np.isfinite(model.weights).all()
    assert (model.scale > 0.0).all()
