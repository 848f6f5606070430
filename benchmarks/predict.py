"""Time from images to boxes: our RetinaNet beside KerasCV's and KerasHub's, same network.

    python benchmarks/predict.py [--quick] [--group NAME ...] [--repetitions 15]

What is timed is what `predict` does with a batch: the network, decoding and NMS, each library with
its default decoder: ours keeps scores above 0.05 and suppresses class by class, the others keep
scores above 0.5 and suppress across classes. The floor is the network alone. The cases:

- sparse: every anchor scores 0.01, as with a new RetinaNet or on an empty image;
- crowded: one anchor in nine, in all places, scores 0.7 for one class. KerasCV's best case: its
  NMS looks at all boxes unless it finds 100 detections in every image.

The groups `resnet18` and `resnet50` and the turns are those of `benchmarks/train_step.py`.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import side_by_side
from side_by_side import KERAS_CV, OURS

NETWORK = "network alone"
CASES = {"sparse": 0.01, "crowded": 0.7}


def set_scores(model, score):
    """Makes the first anchor of each place score `score` for class 0, all others 0.01.

    Only the biases are left of the last layers, so that in every library the boxes are the anchors.
    """
    scores = np.full(model.classification_head.prediction_layer.bias.shape, 0.01)
    scores[0] = score
    biases = {model.classification_head: np.log(scores / (1 - scores)), model.box_head: 0.0}
    for head, bias in biases.items():
        kernel, old = head.prediction_layer.get_weights()
        head.prediction_layer.set_weights([np.zeros_like(kernel), np.zeros_like(old) + bias])


def prediction(model, images):
    """A function that predicts and waits for the result, which it returns."""
    model.make_predict_function()
    return lambda: keras.tree.map_structure(np.asarray, model.predict_function([images]))


def main():
    parser = side_by_side.parser(__doc__, repetitions=15)
    groups = list(side_by_side.BACKBONES)
    parser.add_argument("--group", nargs="+", choices=groups, default=groups)
    options = side_by_side.parse(parser)
    shape = (options.batch, options.size, options.size, 3)
    images = keras.ops.convert_to_tensor(np.random.default_rng(0).uniform(0, 255, shape), "float32")
    for group in options.group:
        detectors = {
            library: side_by_side.retinanet(library, group, options.size, options.classes)
            for library in options.libraries
        }
        calls = {name: prediction(model, images) for name, model in detectors.items()}
        network = keras.Model(detectors[OURS].inputs, detectors[OURS].outputs)
        calls[NETWORK] = prediction(network, images)
        for case, score in CASES.items():
            for model in detectors.values():
                set_scores(model, score)
            found = {name: calls[name]()["num_detections"].mean() for name in detectors}
            turns = side_by_side.take_turns(calls, options.repetitions)
            heading = f"{group}, {options.size} x {options.size} px, {case}"
            print("", side_by_side.table(heading, turns, (KERAS_CV, NETWORK)), sep="\n")
            numbers = ", ".join(f"{name} {count:.0f}" for name, count in found.items())
            print(f"\nDetections an image: {numbers}.", flush=True)


if __name__ == "__main__":
    main()
