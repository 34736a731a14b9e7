"""How long a pipeline let those wait who asked it for a batch."""

import tensorflow as tf


class Waiting:
    """Measures a pipeline's waits, inside it: the device that takes the batches is left alone."""

    def __init__(self):
        with tf.device("CPU:0"):
            self._total = tf.Variable(0.0, trainable=False, dtype=tf.float64)
        self._taken = 0.0

    def measured(self, dataset):
        """Returns the dataset of the same elements, dicts of tensors, that is measured."""
        # One after the other: zip asks for the time, then for the element, then map is called.
        asked = tf.data.Dataset.from_tensors(0).repeat().map(lambda _: tf.timestamp())

        def add(since, element):
            waited = self._total.assign_add(tf.timestamp() - since)
            with tf.control_dependencies([waited]):
                return {name: tf.identity(values) for name, values in element.items()}

        return tf.data.Dataset.zip((asked, dataset)).map(add)

    def take(self):
        """Returns the seconds waited since this was called before."""
        before, self._taken = self._taken, float(self._total.numpy())
        return self._taken - before
