"""Reference values and real corpora: where they lie, marks of tests that need them, tolerances.

A user's machine has neither: those tests skip there. ELECTRA_FIXTURES and ELECTRA_DATA name other
folders of the same layout; what the files of a folder hold (sizes, rates, steps, labels, names of
cases) is read from them, never repeated in a test.
"""

import os
from pathlib import Path

import numpy as np
import pytest
import scipy.stats

ROOT = Path(__file__).resolve().parents[1]
FIXTURES = Path(os.environ.get("ELECTRA_FIXTURES", ROOT.parent / "shared" / "fixtures")).absolute()
DATA = Path(os.environ.get("ELECTRA_DATA", ROOT.parent / "shared" / "data")).absolute()

# Relative tolerances, as the values' README states them: of the largest element of a tensor of a
# forward pass, of a loss, of the largest element after updates with real gradients, of a metric.
TENSOR, LOSS, TRAJECTORY, METRIC = 5e-5, 2e-5, 1e-4, 1e-5
# Some ten roundings of float32 (6e-8) of numbers of order one: a value below that is noise.
NEAR_ZERO = 1e-6
# Rates and squares of gradients mean something below that.
TINY = 1e-12
# Standard errors between two samples. Chance exceeds it once in 16,000 comparisons, and the seeds
# on our side are fixed: a folder of values passes always or never.
SIGMAS = 4


def _needs(path, what):
    def mark(test):
        skip = pytest.mark.skipif(not path.exists(), reason=f"{what} not found at {path}")
        return pytest.mark.shared(skip(test))

    return mark


needs_fixtures = _needs(FIXTURES, "reference values of the official code")
needs_data = _needs(DATA, "real corpora")


def assert_close(ours, expected, rtol, *, atol=NEAR_ZERO, each=False, name=""):
    """Compares with reference values: |ours - expected| <= rtol * size + atol.

    Args:
        ours, expected: arrays of one shape, or dicts of numbers with the same keys.
        each: whether the size is each element's own (losses, metrics, rates) instead of that of
            the largest element (tensors, whose small elements are sums of large terms).
    """
    if isinstance(expected, dict):
        assert ours.keys() == expected.keys(), name
        ours, name = [ours[key] for key in expected], f"{name} {list(expected)}"
        expected = list(expected.values())
    ours, expected = np.asarray(ours, np.float64), np.asarray(expected, np.float64)
    assert ours.shape == expected.shape, name
    if not each:
        rtol, atol = 0, atol + rtol * np.abs(expected).max(initial=0)
    np.testing.assert_allclose(ours, expected, rtol=rtol, atol=atol, err_msg=name)


def assert_within_standard_error(ours, expected, *standard_errors, name=""):
    """Compares two statistics of samples by the standard error of their difference."""
    error = np.linalg.norm(standard_errors)
    assert abs(ours - expected) <= SIGMAS * error, f"{name}: {ours}, {expected}, error {error}"


def assert_same_frequencies(ours, expected=None, name=""):
    """Compares counts with those of another sample, or with equal shares, by chi-square.

    Categories with fewer than 10 counts in both samples together are taken as one.
    """
    counts = np.array([ours] if expected is None else [ours, expected])
    rare = counts.sum(0) < 10
    counts = np.column_stack([counts[:, ~rare], counts[:, rare].sum(1)])
    counts = counts[:, counts.sum(0) > 0]
    test = scipy.stats.chisquare if expected is None else scipy.stats.chi2_contingency
    p_value = test(counts[0] if expected is None else counts).pvalue
    assert p_value > 2 * scipy.stats.norm.sf(SIGMAS), f"{name}: p {p_value}"
