"""SGD and AdamW whose learning rate is lower for some of the variables."""

import keras


class _Rates:
    """Mixed into an optimizer of Keras, which has one rate, also for its weight decay.

    A slow variable moves, and its kernel decays, as by the same optimizer with the lower rate.
    State and schedule are the optimizer's own. Decay is decoupled, of kernels alone: not of biases
    or normalisation, which are the variables of one dimension.

    Args:
        *args, **kwargs: of the optimizer, without `weight_decay`.
        decay: float. What a kernel loses in a step, times the learning rate.
        slow: sequence of variables.
        factor: float. Their learning rate over that of the others.
    """

    def __init__(self, *args, decay=0.0, slow=(), factor=1.0, **kwargs):
        super().__init__(*args, **kwargs)
        self._decay = decay
        self._slow = {self._var_key(variable) for variable in slow}
        self._factor = factor

    def update_step(self, gradient, variable, learning_rate):
        learning_rate = keras.ops.cast(learning_rate, variable.dtype)
        if self._var_key(variable) in self._slow:
            learning_rate = learning_rate * self._factor
        if len(variable.shape) > 1:
            self.assign_sub(variable, variable * self._decay * learning_rate)
        super().update_step(gradient, variable, learning_rate)


class SGD(_Rates, keras.optimizers.SGD):
    """`keras.optimizers.SGD` with the arguments of `_Rates`."""


class AdamW(_Rates, keras.optimizers.Adam):
    """`keras.optimizers.AdamW` with the arguments of `_Rates`."""
