"""The embeddings: what an encoder's layers are given of a batch."""

from keras import ops

from electra.model import kernels
from electra.model.layers import Layer, LayerNorm, float32, truncated_normal


class Embeddings(Layer):
    """Word, position and segment tables, summed and normalised.

    Args:
        config: EncoderConfig; the tables are embedding_size wide.
    """

    def __init__(self, config, name="embeddings", **kwargs):
        super().__init__(name=name, **kwargs)
        self.config = config
        self.width = config.embedding_size
        self.norm = LayerNorm(name="LayerNorm", dtype=self.dtype_policy)

    def build(self, input_shape=None):
        def table(name, rows):
            initializer = truncated_normal(self.config.initializer_range)
            return self.add_weight(name=name, shape=(rows, self.width), initializer=initializer)

        self.word_embeddings = table("word_embeddings", self.config.vocab_size)
        self.token_type_embeddings = table("token_type_embeddings", self.config.type_vocab_size)
        self.position_embeddings = table("position_embeddings", self.config.max_position_embeddings)
        self.norm.build((None, self.width))

    def call(self, input_ids, segment_ids, position_ids=None, seed=None):
        segments = ops.one_hot(segment_ids, self.config.type_vocab_size, dtype="float32")
        x = ops.take(float32(self.word_embeddings), input_ids, axis=0)  # (B, L, E)
        positions = float32(self.position_embeddings)
        types = ops.matmul(segments, float32(self.token_type_embeddings))
        if position_ids is None:
            x = x + positions[: ops.shape(input_ids)[1]] + types
        else:
            x, shape = x + ops.take(positions, position_ids, axis=0), ops.shape(x)
            # Flat, as of three of one shape TensorFlow may make a sum with a resource, whose name
            # is one in all calls that run side by side: AlreadyExistsError.
            x = ops.reshape(x, (-1, self.width)) + ops.reshape(types, (-1, self.width))
            x = ops.reshape(x, shape)
        x = ops.cast(self.norm(x), self.compute_dtype)
        return kernels.dropout(x, self.config.hidden_dropout_prob, seed and seed.fold("embeddings"))
