"""The Transformer encoder with its embeddings: generator and discriminator are made of it.

Enters: input_ids, input_mask, segment_ids (B, L). Leaves: hidden states (B, L, H). Where several
sequences share a row: position_ids and sequence_ids too.
The path of every variable inside the model is its name in the official checkpoints, but the layers'
are stacked: electra/encoder/layers/..., whose parts have the official names (electra/stacked.py).
"""

import dataclasses
import typing

import keras
from keras import ops

from electra import random
from electra.features import RECORD_FEATURES
from electra.model import kernels
from electra.model.config import EncoderConfig
from electra.model.embeddings import Embeddings
from electra.model.layers import Dense, Layer, LayerNorm, float32, stacked, truncated_normal
from electra.model.scan import part_of, scan


class LayerWeights(typing.NamedTuple):
    """Weights of the layers in the types they are computed with, each (groups, ...)."""

    attention: object  # query, key and value side by side, (groups, H, 3H)
    attention_bias: object
    attention_out: object
    attention_out_bias: object
    attention_gamma: object
    attention_beta: object
    inner: object
    inner_bias: object
    out: object
    out_bias: object
    gamma: object
    beta: object


class TransformerLayers(Layer):
    """Post-LayerNorm layers: self-attention and feed-forward, each with dropout and residual.

    A weight is one variable for all layers, (num_layer_groups, ...); layers of a group share it.

    Args:
        config: EncoderConfig.
        scan_layers, recompute_layers: see ElectraEncoder.
    """

    def __init__(self, config, scan_layers="auto", recompute_layers=False, **kwargs):
        super().__init__(**kwargs)
        self.config, self.scan_layers = config, scan_layers
        self.recompute_layers = recompute_layers
        groups, width = config.num_layer_groups, config.hidden_size
        options = {"stack": (groups,), "dtype": self.dtype_policy}
        # Seeded in the order of the official variables: layer by layer, query, key, value, ...
        initializers = [
            [truncated_normal(config.initializer_range) for _ in range(6)] for _ in range(groups)
        ]

        def dense(units, initializers, name="dense"):
            return Dense(units, stacked(list(initializers)), name=name, **options)

        heads = (stacked(layer[:3], axis=1) for layer in initializers)
        self.query_key_value = dense((3, width), heads, "query_key_value")
        self.attention_dense = dense(width, (layer[3] for layer in initializers))
        self.attention_norm = LayerNorm(name="LayerNorm", **options)
        self.intermediate = dense(config.intermediate_size, (layer[4] for layer in initializers))
        self.output_dense = dense(width, (layer[5] for layer in initializers))
        self.output_norm = LayerNorm(name="LayerNorm", **options)

    def build(self, input_shape=None):
        width = (None, self.config.hidden_size)
        with keras.name_scope("attention"):
            with keras.name_scope("self"):
                self.query_key_value.build(width)
            with keras.name_scope("output"):
                self.attention_dense.build(width)
                self.attention_norm.build(width)
        with keras.name_scope("intermediate"):
            self.intermediate.build(width)
        with keras.name_scope("output"):
            self.output_dense.build((None, self.config.intermediate_size))
            self.output_norm.build(width)

    def compute_weights(self):
        """Returns the LayerWeights: kernels in the compute dtype, the others float32."""
        return LayerWeights(
            *self._dense(self.query_key_value),
            *self._dense(self.attention_dense),
            *(float32(self.attention_norm.gamma), float32(self.attention_norm.beta)),
            *self._dense(self.intermediate),
            *self._dense(self.output_dense),
            *(float32(self.output_norm.gamma), float32(self.output_norm.beta)),
        )

    def _dense(self, dense):
        kernel, bias = ops.cast(dense.kernel, self.compute_dtype), float32(dense.bias)
        if dense is self.query_key_value:
            kernel, bias = (ops.reshape(x, (*x.shape[:-2], -1)) for x in (kernel, bias))
        return kernel, bias

    def call(self, x, mask_bias, seed=None, weights=None):
        """Runs all layers.

        Args:
            x: (B, L, H).
            mask_bias: (B, 1, 1 or L, L) float32.
            seed: random.Seed, or None for no dropout.
            weights: LayerWeights, None to make them here.
        Returns: (B, L, H).
        """
        scans = self.scan_layers
        if scans == "auto":
            scans = not kernels.islands_are_used()
        recomputes = self.recompute_layers and seed is not None
        if not scans and not recomputes:
            return list(self.unrolled(x, mask_bias, seed, weights))[-1]
        weights = weights or self.compute_weights()
        words = None if seed is None else self._words(seed)

        def layer(i, x, residual, parts):
            draws = None if words is None else ops.unstack(*part_of([words], i))
            return self._layer(x, residual, mask_bias, LayerWeights(*parts), draws)

        count = self.config.num_hidden_layers
        rows = scan(layer, count, self._group, _rows(x), weights, recomputes)
        return ops.reshape(rows, ops.shape(x))

    def unrolled(self, x, mask_bias, seed=None, weights=None):
        """Yields the output of every layer; see call."""
        weights = weights or self.compute_weights()
        parts = [x if isinstance(x, list) else ops.unstack(x) for x in weights]
        words = [] if seed is None else ops.unstack(self._words(seed))
        rows = residual = _rows(x)
        for i in range(self.config.num_hidden_layers):
            layer = LayerWeights(*(part[self._group(i)] for part in parts))
            draws = ops.unstack(words[i]) if words else None
            rows, residual = self._layer(rows, residual, mask_bias, layer, draws)
            yield ops.reshape(rows, ops.shape(x))

    def _group(self, layer):
        """Returns the number of the weights that a layer uses."""
        if not self.config.shares_layers:
            return layer
        return layer * self.config.num_layer_groups // self.config.num_hidden_layers

    def _words(self, seed):
        """Draws what the layers' dropouts hash, (layers, 3, 2 or 3): see random.noise_words."""
        return random.noise_words(seed.fold("layers"), (self.config.num_hidden_layers, 3))

    def _layer(self, x, residual, mask_bias, weights, draws):
        """Returns the output of a layer, (B * L, H), twice: see kernels.dropout_add_layer_norm."""
        config = self.config
        attention, attention_output, output = draws or (None, None, None)
        shape = ops.shape(mask_bias)
        attended = kernels.attend(  # (B, L, H)
            ops.reshape(ops.matmul(x, weights.attention), (shape[0], shape[-1], -1)),
            weights.attention_bias,
            mask_bias,
            config.num_attention_heads,
            config.attention_probs_dropout_prob,
            attention,
        )
        x, residual = kernels.dropout_add_layer_norm(
            ops.matmul(_rows(attended), weights.attention_out),
            weights.attention_out_bias,
            residual,
            weights.attention_gamma,
            weights.attention_beta,
            config.hidden_dropout_prob,
            attention_output,
        )
        x = kernels.bias_gelu(ops.matmul(x, weights.inner), weights.inner_bias)
        return kernels.dropout_add_layer_norm(
            ops.matmul(x, weights.out),
            weights.out_bias,
            residual,
            weights.gamma,
            weights.beta,
            config.hidden_dropout_prob,
            output,
        )


def _rows(x):
    """(B, L, H) -> (B * L, H)."""
    return ops.reshape(x, (-1, x.shape[-1]))


@keras.saving.register_keras_serializable("electra")
class ElectraEncoder(Layer):
    """Embeddings, their projection to the hidden size (where the sizes differ), and the layers.

    Args:
        config: EncoderConfig.
        embeddings: an Embeddings layer to share (the generator uses the discriminator's); None
            makes an own one, of width config.embedding_size.
        direction: None, or "ltr" / "rtl": a position attends to itself and what lies before /
            after it (the towers of Electric).
        scan_layers: whether a loop runs the layers, which makes a small program, or one after
            another is written out; "auto": the loop but where islands are used. The numbers are
            the same.
        recompute_layers: whether training keeps the layers' inputs only and computes each layer
            anew in the backward pass, in a loop: less memory, a third more products.
        name: scope of the variables; "electra" for the discriminator, as in the official code.
        dtype: "float32" or "mixed_bfloat16".
    Raises:
        ValueError: an unknown direction.

    >>> encoder = ElectraEncoder(encoder_config("small", vocab_size=30522))
    >>> hidden_states = encoder({"input_ids": ids, "input_mask": mask, "segment_ids": segments})
    """

    def __init__(
        self,
        config,
        embeddings=None,
        direction=None,
        scan_layers="auto",
        recompute_layers=False,
        name="electra",
        **kwargs,
    ):
        super().__init__(name=name, **kwargs)
        if direction not in (None, "ltr", "rtl"):
            raise ValueError(f"direction must be None, 'ltr' or 'rtl'. Received: {direction!r}")
        self.config, self.direction = config, direction
        self.shares_embeddings = embeddings is not None
        self.embeddings = embeddings or Embeddings(self.config, dtype=self.dtype_policy)
        self.embeddings_project = None
        if self.embeddings.width != self.config.hidden_size:
            self.embeddings_project = Dense(
                self.config.hidden_size, name="embeddings_project", dtype=self.dtype_policy
            )
        self.layers = TransformerLayers(
            config, scan_layers, recompute_layers, name="layers", dtype=self.dtype_policy
        )

    def build(self, input_shape=None):
        if not self.shares_embeddings:
            self.embeddings.build()
        if self.embeddings_project is not None:
            self.embeddings_project.build((None, self.embeddings.width))
        with keras.name_scope("encoder"):
            self.layers.build()

    def embed(self, inputs, seed=None):
        """Returns the input of the first layer, (B, L, H)."""
        names = ("input_ids", "segment_ids", "position_ids")
        x = self.embeddings(*[inputs.get(name) for name in names], seed=seed)
        return x if self.embeddings_project is None else self.embeddings_project(x)

    def compute_weights(self):
        """Returns the layers' LayerWeights, for many calls with equal weights."""
        return self.layers.compute_weights()

    def encode(self, x, inputs, seed=None, weights=None):
        """Returns the output of every layer, a list of (B, L, H)."""
        return list(self.layers.unrolled(x, self._mask_bias(inputs), seed, weights))

    def call(self, inputs, seed=None, weights=None):
        """Encodes a batch.

        Args:
            inputs: dict of int32 (B, L) input_ids, input_mask, segment_ids. Where sequences share
                rows also position_ids, each token's place in its sequence, and sequence_ids: a
                token attends to those of equal id.
            seed: random.Seed of the dropout; None for none.
            weights: what compute_weights returned; None to make them here.
        Returns: (B, L, H) in the compute dtype.

        Where `inputs` has data/batches.packed's "packed" and "unpacked" too, the sequences share
        rows while they are encoded, and what is returned has no meaning at padding.
        """
        if "packed" in inputs:
            return self._call_packed(inputs, seed, weights)
        x, mask_bias = self.embed(inputs, seed), self._mask_bias(inputs)
        return self.layers(x, mask_bias, seed=seed, weights=weights)

    def _call_packed(self, inputs, seed, weights):
        packed, length = inputs["packed"], ops.shape(inputs["input_ids"])[1]  # (R, P)
        places = ops.maximum(packed, 0)
        rows = {k: ops.take(ops.reshape(inputs[k], (-1,)), places) for k in RECORD_FEATURES}
        rows |= {"position_ids": places % length, "sequence_ids": packed // length}
        states = self(rows, seed, weights)  # (R, P, H)
        states = ops.reshape(states, (-1, self.config.hidden_size))
        return ops.take(states, inputs["unpacked"], axis=0)

    def get_config(self):
        """Returns what from_config makes an equal encoder of, with tables of its own."""
        sizes = dataclasses.asdict(self.config)
        options = {name: getattr(self.layers, name) for name in ("scan_layers", "recompute_layers")}
        options["direction"] = self.direction
        return {**super().get_config(), "config": sizes, **options}

    @classmethod
    def from_config(cls, config):
        return super().from_config({**config, "config": EncoderConfig(**config["config"])})

    def _mask_bias(self, inputs):
        seen = ops.cast(inputs["input_mask"], "float32")[:, None, None, :]  # (B, 1, 1, L)
        if "sequence_ids" in inputs:
            ids = inputs["sequence_ids"][:, None]  # (B, 1, L)
            seen = seen * ops.cast(ids[..., None] == ids[..., None, :], "float32")  # (B, 1, L, L)
        length = ops.shape(inputs["input_ids"])[1]
        if self.direction == "ltr":
            seen = seen * ops.tril(ops.ones((length, length)))
        elif self.direction == "rtl":
            seen = seen * ops.triu(ops.ones((length, length)))
        return (1.0 - seen) * kernels.MASKED_SCORE
