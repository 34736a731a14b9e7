"""Stacked variables: one holds a kind of weight of all layers, (layers, ...).

Enters: variables by path, those of layers under `encoder/layers/`, where query, key and value are
one. Leaves: the official names, that checkpoints are written and read by: each a part of one.
"""

import numpy as np

_LAYERS, _HEADS = "encoder/layers/", "self/query_key_value/"


def parts_of(path, num_layers):
    """Returns dict official name -> index of that part in the variable of a path.

    >>> parts_of("electra/encoder/layers/output/dense/bias", 2)
    {'electra/encoder/layer_0/output/dense/bias': (0,),
     'electra/encoder/layer_1/output/dense/bias': (1,)}
    """
    if _LAYERS not in path:
        return {path: ()}
    parts = {}
    for i in range(num_layers):
        name = path.replace(_LAYERS, f"encoder/layer_{i}/")
        if _HEADS in name:  # (layers, H, 3, H) or (layers, 3, H)
            for k, head in enumerate(("query", "key", "value")):
                parts[name.replace(_HEADS, f"self/{head}/")] = (i, ..., k, slice(None))
        else:
            parts[name] = (i,)
    return parts


def by_official_name(variables):
    """Returns dict official name -> variable, or Part of a stacked one.

    Args:
        variables: dict path -> variable or tensor.
    """
    return {
        name: Part(variable, index) if index else variable
        for path, variable in variables.items()
        for name, index in parts_of(path, *variable.shape[:1]).items()
    }


class Part:
    """One layer's part of a stacked variable, read and assigned like a variable.

    Args:
        stack: variable or tensor; index: of the part.
    """

    def __init__(self, stack, index):
        self.stack, self.index = stack, index
        self.dtype = stack.dtype
        self.shape = np.broadcast_to(0, stack.shape)[index].shape  # a view: needs no memory

    @property
    def value(self):
        return self.stack[self.index]

    def numpy(self):
        return np.array(self.value)

    def __array__(self, dtype=None, copy=None):
        return np.asarray(self.numpy(), dtype)

    def assign(self, value):
        assign({"": self}, lambda _: value)


def assign(variables, read):
    """Assigns to variables; a stacked one is written whole, once.

    Args:
        variables: dict official name -> variable or Part.
        read: function from a name to its value.
    """
    stacks = {}
    for name, variable in variables.items():
        if isinstance(variable, Part):
            stacks.setdefault(id(variable.stack), []).append((name, variable))
        else:
            variable.assign(read(name))
    for parts in stacks.values():
        stack = parts[0][1].stack
        whole = np.array(stack[:])
        for name, part in parts:
            whole[part.index] = read(name)
        stack.assign(whole)
