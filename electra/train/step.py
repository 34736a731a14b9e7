"""What the training steps share: compilation, sums over replicas, the numbers they return."""

import tensorflow as tf


class Step:
    """What the steps under a strategy share: compilation, sums over replicas, the numbers.

    Args:
        model: a NamedModel.
        optimizer: AdamW over them.
        num_replicas: of the strategy.
        compile_step: compile with XLA; otherwise the element-wise chains are islands.
    """

    def __init__(self, model, optimizer, num_replicas=1, compile_step=False):
        self.model, self.optimizer = model, optimizer
        self.variables = list(model.variables_by_path().values())
        self.num_replicas, self.compile_step = num_replicas, compile_step
        self._compiled = {}
        self.outputs = {}  # name -> shape of what a step returns, known once it was traced

    def __call__(self, *inputs):
        return self._compile("step", self._step)(*inputs)

    def _step(self, *inputs):
        raise NotImplementedError

    def unpack(self, vector):
        """Splits a vector that a step returned (NumPy) into a dict."""
        values, at = {}, 0
        for name, shape in self.outputs.items():
            size = shape.num_elements()
            values[name] = vector[at : at + size].reshape(shape)
            at += size
        return values

    def _pack(self, sums):
        self.outputs = {name: value.shape for name, value in sums.items()}
        return tf.concat([tf.reshape(value, (-1,)) for value in sums.values()], axis=0)

    def _update(self, gradients, sums, step):
        """Sums over the replicas and updates. Returns the step's numbers as a vector."""
        gradients, sums = self._sum_over_replicas((gradients, sums))
        update = self._compile("update", self.optimizer.apply)
        sums["learning_rate"], sums["grad_norm"] = update(gradients, step)
        return self._pack(sums)

    def _compile(self, name, function):
        """Compiles a part of the step, once for each replica: each has its own variables.

        One replica's whole step is one program. Several replicas' steps are programs between
        the sums over replicas, which XLA does not see.
        """
        if not self.compile_step or (self.num_replicas == 1) != (name == "step"):
            return function
        replica = replica_number()
        key = (name, replica if isinstance(replica, int) else None)
        if key not in self._compiled:
            self._compiled[key] = tf.function(function, jit_compile=True, autograph=False)
        return self._compiled[key]

    def _sum_over_replicas(self, values):
        if self.num_replicas == 1:
            return values
        context = tf.distribute.get_replica_context()
        return context.all_reduce(tf.distribute.ReduceOp.SUM, values)

    def _gradients_of(self, tape, loss):
        # Gradients of gathered tables come as slices; the sum over replicas needs them dense.
        gradients = tape.gradient(loss, [v.value for v in self.variables])
        return [tf.convert_to_tensor(gradient) for gradient in gradients]


def replica_number():
    """This replica's number: an int, or a tensor where one program serves all (TPU)."""
    number = tf.distribute.get_replica_context().replica_id_in_sync_group
    static = tf.get_static_value(number)
    return number if static is None else int(static)
