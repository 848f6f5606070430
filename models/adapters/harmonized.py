"""The Keras model that trains someone's detector with one loss that sees boxes and classes."""

import keras

from harmonic_tf.layouts import config_of, layout_of
from harmonic_tf.models.adapters.kinds import adapter_of
from harmonic_tf.models.ground_truth import read_sample_weight, unpack_batch
from harmonic_tf.models.joint_training import JointTraining

# Attributes of a detector that users also set.
_SET_LATER = ("preprocessor", "label_encoder", "prediction_decoder")


@keras.saving.register_keras_serializable(package="harmonic_tf")
class Harmonized(JointTraining, keras.Model):
    """Someone's detector, trained with one loss that sees boxes and classes together.

    What `harmonic_tf.harmonize` returns. It holds the detector, weights and all, and hands on to it
    what it is asked for: outputs, detections, whatever attribute it has not itself. Its own are the
    loss, the optimizer and the metrics.

    Args:
        detector: Keras model of a kind that `harmonize` knows.
        loss: the loss that it is compiled with where none is given.
        layout: `harmonic_tf.Layout`, its name or its config, for a model with two outputs.
        name: string. Defaults to the detector's.

    Attributes:
        detector: the user's model.
        adapter: how it learns, an `Adapter`.
        detection_metrics: the metrics that `compile` was given.
    """

    detection_metrics = ()

    def __init__(self, detector, loss=None, layout=None, name=None):
        super().__init__(name=name or detector.name, dtype=detector.dtype_policy, autocast=False)
        self.adapter = adapter_of(detector, layout)
        self.detector = detector
        self.default_loss = loss
        self.layout = layout
        self.supports_jit = detector.supports_jit
        self._make_metrics(others=self.adapter.others)
        self.built = True

    @property
    def loss_settings(self):
        """The arguments of a joint loss that the detector needs."""
        return self.adapter.loss_settings

    def call(self, inputs, training=None):
        return self.detector(inputs, training=training)

    def compile(self, optimizer="rmsprop", loss=None, loss_weights=None, metrics=None, **settings):
        """As Keras's, with one loss that sees boxes and classes together.

        Args:
            optimizer: as Keras's.
            loss: a loss on the contract, such as `HarmonicDetLoss()`, the default, without a
                layout. What it leaves `"auto"` is taken from the detector.
            loss_weights: must be None.
            metrics: metrics of ground truth and of the detections for it, such as KerasCV's
                `BoxCOCOMetrics`.
            **settings: of `keras.Model.compile`.

        Raises:
            ValueError: as for every detector, and for metrics of a model that does not decode.
        """
        if metrics and not self.adapter.decodes:
            raise ValueError(
                f"{self.name} returns no detections for metrics to judge: expected metrics=None. "
                f"Received: metrics={metrics!r}"
            )
        loss = self.default_loss if loss is None else loss
        if getattr(loss, "layout", None) is not None:
            raise ValueError(
                f"`layout` of {type(loss).__name__} must be None in a model that says itself how "
                f"it writes boxes and classes. Received: {loss.get_config()['layout']!r}"
            )
        super().compile(optimizer, loss, loss_weights, **settings)
        # Past Keras, which would keep those of an earlier `compile`, too.
        object.__setattr__(self, "detection_metrics", tuple(metrics or ()))

    @property
    def metrics(self):
        return [*super().metrics, *self.detection_metrics]

    def compute_loss(
        self, x=None, y=None, y_pred=None, sample_weight=None, training=True, **kwargs
    ):
        """The compiled loss on a batch, what the detector learns beside, and the layers' own."""
        lesson, others = self.adapter.lessons(x, y, y_pred, training)
        sample_weight = read_sample_weight(sample_weight)
        total = (
            self._compiled_loss(lesson, sample_weight, self.loss_settings) + self._layer_losses()
        )
        for name, other in others.items():
            settings = self.adapter.others[name]
            total = total + self._other_loss(name, other, settings, sample_weight)
        return total

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        if self.detection_metrics:
            found = self.detector.decode_predictions(y_pred, x)
            for metric in self.detection_metrics:
                metric.update_state(y, found)
        return self.get_metrics_result()

    def predict_step(self, *args):
        images = keras.utils.unpack_x_y_sample_weight(unpack_batch(args[-1]))[0]
        return self.detector.predict_step(*args[:-1], images)

    def fit(self, x=None, y=None, batch_size=None, epochs=1, **settings):
        """As the detector's own; see `keras.Model.fit`."""
        arguments = self.adapter.prepare(x=x, y=y, batch_size=batch_size, **settings)
        return super().fit(epochs=epochs, **arguments)

    def evaluate(self, x=None, y=None, batch_size=None, **settings):
        """As the detector's own; see `keras.Model.evaluate`."""
        return super().evaluate(**self.adapter.prepare(x=x, y=y, batch_size=batch_size, **settings))

    def predict(self, x, batch_size=None, **settings):
        """As the detector's own; see `keras.Model.predict`."""
        return super().predict(**self.adapter.prepare(x=x, batch_size=batch_size, **settings))

    def export(self, *args, **settings):
        """As the detector's own; see `keras.Model.export`."""
        return self.detector.export(*args, **settings)

    def __getattr__(self, name):
        try:
            return super().__getattr__(name)  # that of PyTorch's modules
        except AttributeError:
            if name.startswith("_") or name == "detector":
                message = f"{type(self).__name__!r} object has no attribute {name!r}"
                raise AttributeError(message) from None
        return getattr(self.detector, name)

    def __setattr__(self, name, value):
        if name not in _SET_LATER:
            super().__setattr__(name, value)
            return
        setattr(self.detector, name, value)
        self.train_function = self.test_function = self.predict_function = None

    def get_config(self):
        detector = keras.saving.serialize_keras_object(self.detector)
        detector.pop("compile_config", None)
        loss = self.default_loss
        return {
            "name": self.name,
            "detector": detector,
            "loss": None if loss is None else keras.saving.serialize_keras_object(loss),
            "layout": config_of(layout_of(self.layout)),
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        parts = {
            key: keras.saving.deserialize_keras_object(config[key], custom_objects=custom_objects)
            for key in ("detector", "loss")
        }
        return cls(**{**config, **parts})
