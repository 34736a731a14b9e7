"""Dev splits for tasks without a dev file: some examples of the training file are held out.

Enters: the examples of a training file. Leaves: which of them are the dev split.
"""

import collections

import numpy as np

_SEED = 0  # one split for all trials and runs: their scores are compared


def choose_units(family, examples, fraction):
    """Chooses at random what is held out, the same of equal examples.

    Strata (labels) get their share of it each, but for one that has a single unit: it is left to be
    learnt.

    Args:
        family: Family of the examples, which says what may not be parted and what the strata are.
        examples: list.
        fraction: of the units, above 0 and below 1.
    Returns: set of units, one or more.
    Raises:
        ValueError: there are too few.
    """
    strata = {}
    for example in examples:
        strata.setdefault(family.unit_of(example), family.stratum_of(example))
    sizes = collections.Counter(strata.values())
    units = [unit for unit, stratum in strata.items() if sizes[stratum] > 1]
    count = max(1, round(fraction * len(strata)))
    if count >= len(units):
        raise ValueError(
            f"{len(strata)} different examples are too few to hold {fraction:g} of them out. "
            "Name a dev file, or set dev_fraction lower, or to 0 to score nothing"
        )
    order = np.random.default_rng(_SEED).permutation(len(units))
    units = sorted((units[i] for i in order), key=strata.get)
    places = (np.arange(count) + 0.5) * len(units) / count  # evenly through the strata
    return {units[int(place)] for place in places}
