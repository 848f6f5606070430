"""What a loss must know of the other replicas."""

import keras


def global_sum(value):
    """Sums `value` over all replicas of a `tf.distribute` strategy; elsewhere returns it.

    Keras adds the gradients of the replicas, so a loss that divides by the positives of its own
    replica counts every image too often. The sum carries no gradient.
    """
    if keras.backend.backend() != "tensorflow":
        return value
    import tensorflow as tf

    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return value
    return context.all_reduce(tf.distribute.ReduceOp.SUM, tf.stop_gradient(value))


def replica_count():
    """Returns the number of replicas whose gradients are added: 1 outside `tf.distribute`."""
    if keras.backend.backend() != "tensorflow":
        return 1
    import tensorflow as tf

    return tf.distribute.get_strategy().num_replicas_in_sync
