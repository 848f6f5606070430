"""Run as a program, on whichever backend: `fit` reads what it is given, and refuses what is wrong.

With one class, so that the ones that Keras first tries a step on are no class.
"""

import keras
import numpy as np

from harmonic_tf.losses import HarmonicDetLoss

# Of targets and predictions, by layout.
COLUMNS = {None: (5, 6), "ssd_keras": (14, 14), "ssd_tf2": (7, 6)}


def targets_of(layout):
    """A row of background and one of the class, with boxes of zeros."""
    y_true = np.zeros((2, 2, COLUMNS[layout][0]), "float32")
    if layout is None:
        y_true[..., 4] = [-1, 0]
    else:
        start = 0 if layout == "ssd_keras" else 4
        y_true[..., start : start + 2] = np.eye(2)
        if layout == "ssd_tf2":
            y_true[:, 1, -1] = 1
    return y_true


def main():
    for layout, (_, columns) in COLUMNS.items():
        rows = np.random.default_rng(0).uniform(0.2, 0.8, (2, 2, columns)).astype("float32")
        inputs = keras.Input(rows.shape[1:])
        model = keras.Model(inputs, keras.layers.Rescaling(1.0)(inputs))
        loss = HarmonicDetLoss(layout=layout)
        model.compile("sgd", loss=loss)
        y_true = targets_of(layout)
        received = model.fit(rows, y_true, verbose=0).history["loss"]
        np.testing.assert_allclose(received, [float(loss(y_true, rows))], rtol=1e-5)
        wrong = np.full_like(y_true, 0.5)  # no class, or a one-hot row of two
        try:
            model.fit(rows, wrong, verbose=0)
        except Exception as error:
            assert "Class indices must be whole numbers below 1" in str(error), error
        else:
            raise AssertionError(f"{layout} was fitted to what is no class")


if __name__ == "__main__":
    main()
