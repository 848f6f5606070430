import keras

from harmonic_tf.models.layers.dtype_policy import dtype_policy


def test_the_dtype_policy_is_put_back():
    with dtype_policy("mixed_bfloat16"):
        assert keras.layers.Dense(1).compute_dtype == "bfloat16"
    assert keras.layers.Dense(1).compute_dtype == "float32"
