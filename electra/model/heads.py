"""The two pre-training heads: masked language model and replaced token detection."""

from keras import ops

from electra.model import kernels
from electra.model.layers import Dense, Layer, LayerNorm, float32, truncated_normal


class LMHead(Layer):
    """dense -> GELU -> LayerNorm -> word table: scores over the vocabulary.

    Args:
        config: EncoderConfig whose initializer_range and vocab_size are used.
        embeddings: the Embeddings whose word table is the output matrix.
        name: "generator_predictions", or "cloze_predictions" (Electric).
    """

    def __init__(self, config, embeddings, name="generator_predictions", **kwargs):
        super().__init__(name=name, **kwargs)
        self.embeddings = embeddings
        self.vocab_size = config.vocab_size
        self.dense = Dense(
            embeddings.width,
            truncated_normal(config.initializer_range),
            name="dense",
            dtype=self.dtype_policy,
        )
        self.norm = LayerNorm(name="LayerNorm", dtype=self.dtype_policy)

    def build(self, input_shape):
        self.dense.build(input_shape)
        self.norm.build((None, self.embeddings.width))
        self.output_bias = self.add_weight(
            name="output_bias", shape=(self.vocab_size,), initializer="zeros"
        )

    def call(self, states):
        """Scores WITHOUT the bias, so that it can be fused into what follows.

        Args:
            states: (M, H) hidden states of the gathered positions.
        Returns: (M, V) in the compute dtype; add `self.bias` for the logits.
        """
        x = self.norm(kernels.bias_gelu(self.dense.project(states), float32(self.dense.bias)))
        table = ops.cast(self.embeddings.word_embeddings, x.dtype)
        return ops.matmul(x, ops.transpose(table))

    @property
    def bias(self):
        return float32(self.output_bias)


class RTDHead(Layer):
    """dense -> GELU -> dense(1): is this token a replacement?"""

    def __init__(self, config, name="discriminator_predictions", **kwargs):
        super().__init__(name=name, **kwargs)
        self.dense = Dense(
            config.hidden_size,
            truncated_normal(config.initializer_range),
            name="dense",
            dtype=self.dtype_policy,
        )
        self.dense_1 = Dense(1, name="dense_1", dtype=self.dtype_policy)

    def build(self, input_shape):
        self.dense.build(input_shape)
        self.dense_1.build(input_shape)

    def call(self, states):
        """states: (B, L, H). Returns: logits, float32 (B, L); positive means replaced."""
        x = kernels.bias_gelu(self.dense.project(states), float32(self.dense.bias))
        logits = ops.cast(self.dense_1.project(x), "float32") + float32(self.dense_1.bias)
        return logits[..., 0]
