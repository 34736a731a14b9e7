"""Layer-wise learning rates: the lower a layer, the smaller its share of the rate.

Enters: variable names. Leaves: a factor for each.
"""

import re

_LAYER = re.compile(r"encoder/layer_(\d+)/")


def layer_wise_multipliers(names, *, decay, num_layers):
    """Returns the factor of the learning rate for each variable: decay^(n + 2 - depth).

    Args:
        names: iterable of official variable names.
        decay: factor from a layer to the one below, in (0, 1].
        num_layers: n, layers of the encoder, or its groups where layers share weights.
    Returns: dict name -> float. Depth 0 for embeddings and embeddings_project, i + 1 for layer i,
        n + 2 for `task_specific/`. Kept from the official code: the top layer has decay^2.
    Raises:
        ValueError: decay outside (0, 1], or a name that belongs to none of these.
    Source: _get_layer_lrs in model/optimization.py of the official code.

    >>> layer_wise_multipliers(["electra/encoder/layer_1/output/bias"], decay=0.5, num_layers=2)
    {'electra/encoder/layer_1/output/bias': 0.25}
    """
    if not 0.0 < decay <= 1.0:
        raise ValueError(f"layer-wise decay must be above 0 and at most 1. Received: {decay!r}")
    return {name: decay ** (num_layers + 2 - _depth(name, num_layers)) for name in names}


def _depth(name, num_layers):
    layer = _LAYER.search(name)
    if "task_specific/" in name:
        return num_layers + 2
    if layer and int(layer[1]) < num_layers:
        return int(layer[1]) + 1
    if "/embeddings/" in name or "/embeddings_project/" in name:
        return 0
    raise ValueError(
        f"Variable {name!r} has no layer-wise rate. Expected: embeddings, embeddings_project, "
        f"encoder/layer_0 to layer_{num_layers - 1}, or task_specific"
    )
