"""The Transformer encoder with its embeddings: generator and discriminator are made of it.

Enters: input_ids, input_mask, segment_ids (B, L). Leaves: hidden states (B, L, H).
The path of every variable inside the model is its name in the official checkpoints, e.g.
electra/encoder/layer_0/attention/self/query/kernel.
"""

import keras
from keras import ops

from electra.model import kernels
from electra.model.layers import Dense, Layer, LayerNorm, float32, truncated_normal


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

    def call(self, input_ids, segment_ids, seed=None):
        length = input_ids.shape[1]
        segments = ops.one_hot(segment_ids, self.config.type_vocab_size, dtype="float32")
        x = ops.take(float32(self.word_embeddings), input_ids, axis=0)  # (B, L, E)
        x = x + float32(self.position_embeddings)[:length]
        x = x + ops.matmul(segments, float32(self.token_type_embeddings))
        x = ops.cast(self.norm(x), self.compute_dtype)
        return kernels.dropout(x, self.config.hidden_dropout_prob, seed and seed.fold("embeddings"))


class TransformerLayer(Layer):
    """One post-LayerNorm layer: self-attention and feed-forward, each with dropout and residual."""

    def __init__(self, config, **kwargs):
        super().__init__(**kwargs)
        self.config = config
        policy, normal = self.dtype_policy, truncated_normal
        width, scale = config.hidden_size, config.initializer_range

        def dense(units, name):
            return Dense(units, initializer=normal(scale), name=name, dtype=policy)

        self.query, self.key, self.value = (dense(width, n) for n in ("query", "key", "value"))
        self.attention_dense = dense(width, "dense")
        self.attention_norm = LayerNorm(name="LayerNorm", dtype=policy)
        self.intermediate = dense(config.intermediate_size, "dense")
        self.output_dense = dense(width, "dense")
        self.output_norm = LayerNorm(name="LayerNorm", dtype=policy)

    def build(self, input_shape=None):
        width = (None, self.config.hidden_size)
        with keras.name_scope("attention"):
            with keras.name_scope("self"):
                for layer in (self.query, self.key, self.value):
                    layer.build(width)
            with keras.name_scope("output"):
                self.attention_dense.build(width)
                self.attention_norm.build(width)
        with keras.name_scope("intermediate"):
            self.intermediate.build(width)
        with keras.name_scope("output"):
            self.output_dense.build((None, self.config.intermediate_size))
            self.output_norm.build(width)

    def call(self, x, mask_bias, seed=None, residual=None):
        """x: (B, L, H); mask_bias: (B, 1, 1 or L, L) float32; seed: random.Seed or None;
        residual: x again. Returns: (B, L, H) twice, see kernels.dropout_add_layer_norm.
        """
        x, residual = self._add_norm(
            self._attend(x, mask_bias, seed and seed.fold("attention")),
            x if residual is None else residual,
            self.attention_dense, self.attention_norm, seed and seed.fold("attention_output"),
        )  # fmt: skip
        inner = kernels.bias_gelu(self.intermediate.project(x), float32(self.intermediate.bias))
        return self._add_norm(
            inner, residual, self.output_dense, self.output_norm, seed and seed.fold("output")
        )

    def _add_norm(self, x, residual, dense, norm, seed):
        return kernels.dropout_add_layer_norm(
            dense.project(x), float32(dense.bias), residual,
            float32(norm.gamma), float32(norm.beta), self.config.hidden_dropout_prob, seed,
        )  # (B, L, H)

    def _attend(self, x, mask_bias, seed):
        # One matrix product for all three, though the checkpoint keeps them apart.
        kernel = ops.concatenate([d.kernel for d in (self.query, self.key, self.value)], axis=1)
        bias = ops.concatenate([d.bias for d in (self.query, self.key, self.value)], axis=0)
        return kernels.attend(
            ops.matmul(x, ops.cast(kernel, x.dtype)), bias, mask_bias,
            self.config.num_attention_heads, self.config.attention_probs_dropout_prob, seed,
        )  # (B, L, H)


class ElectraEncoder(Layer):
    """Embeddings, their projection to the hidden size (where the sizes differ), and the layers.

    Args:
        config: EncoderConfig.
        embeddings: an Embeddings layer to share (the generator uses the discriminator's); None
            makes an own one, of width config.embedding_size.
        direction: None, or "ltr" / "rtl": a position attends to itself and what lies before /
            after it (the towers of Electric).
        name: scope of the variables; "electra" for the discriminator, as in the official code.
        dtype: "float32" or "mixed_bfloat16".

    >>> encoder = ElectraEncoder(encoder_config("small", vocab_size=30522))
    >>> hidden_states = encoder({"input_ids": ids, "input_mask": mask, "segment_ids": segments})
    """

    def __init__(self, config, embeddings=None, direction=None, name="electra", **kwargs):
        super().__init__(name=name, **kwargs)
        self.config, self.direction = config, direction
        self.shares_embeddings = embeddings is not None
        self.embeddings = embeddings or Embeddings(self.config, dtype=self.dtype_policy)
        self.embeddings_project = None
        if self.embeddings.width != self.config.hidden_size:
            self.embeddings_project = Dense(
                self.config.hidden_size, name="embeddings_project", dtype=self.dtype_policy
            )
        self.layers = [
            TransformerLayer(self.config, name=f"layer_{i}", dtype=self.dtype_policy)
            for i in range(self.config.num_hidden_layers)
        ]

    def build(self, input_shape=None):
        if not self.shares_embeddings:
            self.embeddings.build()
        if self.embeddings_project is not None:
            self.embeddings_project.build((None, self.embeddings.width))
        with keras.name_scope("encoder"):
            for layer in self.layers:
                layer.build()

    def embed(self, inputs, seed=None):
        """Returns the input of the first layer, (B, L, H)."""
        x = self.embeddings(inputs["input_ids"], inputs["segment_ids"], seed=seed)
        return x if self.embeddings_project is None else self.embeddings_project(x)

    def encode(self, x, input_mask, seed=None):
        """Returns the output of every layer, a list of (B, L, H)."""
        mask_bias = self._mask_bias(input_mask)
        outputs, residual = [], x
        for i, layer in enumerate(self.layers):
            x, residual = layer(x, mask_bias, seed=seed and seed.fold(i), residual=residual)
            outputs.append(x)
        return outputs

    def call(self, inputs, seed=None):
        """Encodes a batch.

        Args:
            inputs: dict of int32 (B, L) input_ids, input_mask, segment_ids.
            seed: random.Seed of the dropout; None for none.
        Returns: (B, L, H) in the compute dtype.
        """
        return self.encode(self.embed(inputs, seed), inputs["input_mask"], seed)[-1]

    def _mask_bias(self, input_mask):
        seen = ops.cast(input_mask, "float32")[:, None, None, :]  # (B, 1, 1, L)
        length = input_mask.shape[1]
        if self.direction == "ltr":
            seen = seen * ops.tril(ops.ones((length, length)))
        elif self.direction == "rtl":
            seen = seen * ops.triu(ops.ones((length, length)))
        return (1.0 - seen) * kernels.MASKED_SCORE
