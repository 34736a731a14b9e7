"""Noise of a part of a batch is that of the whole batch."""

import numpy as np
import pytest

from electra import random


@pytest.mark.parametrize("parts", [2, 4])
def test_the_noise_of_parts_is_that_of_the_whole(parts):
    seed = random.Seed(3, 5).fold("dropout")
    shape = (8, 3, 4)
    whole = random.hashed(random.noise_words(seed), shape).numpy()
    own = (shape[0] // parts, *shape[1:])
    drawn = [random.hashed(random.noise_words(seed.of_part(i)), own).numpy() for i in range(parts)]
    np.testing.assert_array_equal(np.concatenate(drawn), whole)
    assert len(np.unique(whole)) == whole.size
    layers = random.noise_words(seed.of_part(1), (2, 3)).numpy()
    assert layers.shape == (2, 3, 3) and (layers[..., 2] == 1).all()


def test_the_part_stays_with_a_seed():
    seed = random.Seed(3).of_part(2)
    assert [seed.part, seed.fold("a").part, seed.at(7).part] == [2, 2, 2]
