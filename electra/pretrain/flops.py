"""Floating-point operations of a pre-training step, per example.

Two counts: the matrix products that are really made, which throughput is measured by; and the
official script's, which published compute budgets are stated in.
"""

# The official script's operations per element, beside the matrix products.
_DROPOUT, _LAYER_NORM, _GELU, _SOFTMAX = 4, 5, 8, 5


def training_flops(model, length, num_slots):
    """Counts the matrix products of a training step, a multiplication and an addition as two.

    Table look-ups are not counted. The backward pass makes twice the products of the forward pass.

    Args:
        model: PretrainingModel.
        length: L, tokens of an example; num_slots: N, masked slots of an example.
    Returns: int, FLOPs per example.
    """
    return 3 * _products(model, length, num_slots)


def official_training_flops(model, length, num_slots):
    """Counts as the official flops_computation.py does.

    Kept from source: look-ups are products with one-hot vectors, element-wise operations count,
    and the backward pass takes as many operations as the forward pass.

    Args: see training_flops.
    Returns: int, FLOPs per example.
    """
    extras = sum(_encoder_extras(encoder, length) for encoder in _encoders(model))
    if model.lm_head is not None:
        vocab_size, width = model.encoder_config.vocab_size, model.lm_head.embeddings.width
        per_slot = width * (1 + _GELU + _LAYER_NORM) + vocab_size * (_SOFTMAX + 2)
        extras += (length if model.two_tower_generator else num_slots) * per_slot
    if model.rtd_head is not None:
        extras += length * model.encoder_config.hidden_size * (1 + _GELU)
    return 2 * (_products(model, length, num_slots) + extras)


def _encoders(model):
    return [*model.towers] if model.rtd_head is None else [*model.towers, model.electra]


def _products(model, length, num_slots):
    """Returns the operations of the forward pass's matrix products."""
    forward = sum(_encoder(encoder, length) for encoder in _encoders(model))
    if model.lm_head is not None:
        inputs = sum(tower.config.hidden_size for tower in model.towers)
        positions = length if model.two_tower_generator else num_slots
        width, vocab_size = model.lm_head.embeddings.width, model.encoder_config.vocab_size
        forward += 2 * positions * width * (inputs + vocab_size)
    if model.rtd_head is not None:
        hidden = model.encoder_config.hidden_size
        forward += 2 * length * hidden * (hidden + 1)
    return forward


def _encoder(encoder, length):
    config, width = encoder.config, encoder.embeddings.width
    hidden = config.hidden_size
    layer = 2 * hidden * (4 * hidden + 2 * length + 2 * config.intermediate_size)
    project = 2 * width * hidden if width != hidden else 0
    return length * (config.num_hidden_layers * layer + project)


def _encoder_extras(encoder, length):
    """What the official script adds to an encoder's matrix products."""
    config, width = encoder.config, encoder.embeddings.width
    hidden, inner = config.hidden_size, config.intermediate_size
    attention = length * config.num_attention_heads * (_SOFTMAX + _DROPOUT + 1)
    dense = 3 * hidden + 2 * hidden * (2 + _DROPOUT) + inner * (1 + _GELU)
    norms = _LAYER_NORM * (hidden + 1)  # kept from source: of the first norm one element
    look_up = 2 * width * (config.vocab_size + length + config.type_vocab_size)
    embed = width * (2 + _LAYER_NORM + _DROPOUT) + (hidden if width != hidden else 0)
    return length * (config.num_hidden_layers * (attention + dense + norms) + look_up + embed)
