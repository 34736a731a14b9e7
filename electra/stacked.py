"""Stacked variables: one holds a kind of weight of all layers, (layers, ...).

Enters: variables by path, those of layers under `encoder/layers/`. Leaves: the official names, one
of `encoder/layer_<i>/` for each layer, that checkpoints are written and read by.
"""

import numpy as np

_STACK, _LAYER = "encoder/layers/", "encoder/layer_{}/"


def official_names(path, shape):
    """Returns the official names of a variable's parts along its first axis; of others the path.

    >>> official_names("electra/encoder/layers/output/dense/bias", (2, 256))
    ['electra/encoder/layer_0/output/dense/bias', 'electra/encoder/layer_1/output/dense/bias']
    """
    if _STACK not in path:
        return [path]
    return [path.replace(_STACK, _LAYER.format(i)) for i in range(shape[0])]


def by_official_name(variables):
    """Returns dict official name -> variable, or LayerSlice of a stacked one.

    Args:
        variables: dict path -> variable or tensor.
    """
    return {
        name: LayerSlice(variable, i) if _STACK in path else variable
        for path, variable in variables.items()
        for i, name in enumerate(official_names(path, variable.shape))
    }


class LayerSlice:
    """One layer's part of a stacked variable, read and assigned like a variable.

    Args:
        stack: variable or tensor (layers, ...); index: of the layer.
    """

    def __init__(self, stack, index):
        self.stack, self.index = stack, index
        self.shape, self.dtype = tuple(stack.shape[1:]), stack.dtype

    @property
    def value(self):
        return self.stack[self.index]

    def numpy(self):
        return np.asarray(self.value)

    def __array__(self, dtype=None, copy=None):
        return np.asarray(self.numpy(), dtype)

    def assign(self, value):
        assign({"": self}, lambda _: value)


def assign(variables, read):
    """Assigns to variables; a stacked one is written whole, once.

    Args:
        variables: dict official name -> variable or LayerSlice.
        read: function from a name to its value.
    """
    stacks = {}
    for name, variable in variables.items():
        if isinstance(variable, LayerSlice):
            stacks.setdefault(id(variable.stack), []).append((name, variable))
        else:
            variable.assign(read(name))
    for parts in stacks.values():
        stack = parts[0][1].stack
        whole = np.array(stack[:])
        for name, part in parts:
            whole[part.index] = read(name)
        stack.assign(whole)
