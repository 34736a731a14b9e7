"""The example builder: literal ids, the official examples, nothing lost."""

import itertools
import json
import random

import numpy as np
import pytest

from electra.data.examples import ExampleBuilder
from electra.data.reader import Records
from electra.text.vocab import read_vocab
from electra.text.wordpiece import WordPieceTokenizer
from tests.shared import (
    FIXTURES,
    assert_same_frequencies,
    assert_within_standard_error,
    needs_fixtures,
)

BUILDER = FIXTURES / "dataset_builder"
CLS, SEP = 2, 3


class Draws:
    """Gives recorded numbers instead of random ones."""

    def __init__(self, draws):
        self.left = list(draws)

    def random(self):
        return self._next("random")

    def randint(self, low, high):
        value = self._next("randint")
        assert low <= value <= high
        return value

    def _next(self, kind):
        found, value = self.left.pop(0)[:2]
        assert found == kind
        return value


def half(*values):
    """The given draws, then halves: two segments, full length."""
    return Draws([("random", value) for value in values] + [("random", 0.5)] * 100)


def build(lines, draws, length, **options):
    """The examples of one document, laid out, without padding: list of (ids, where B starts)."""
    builder = ExampleBuilder(CLS, SEP, length, draws, **options)
    examples = [example for line in lines for example in builder.add_line(np.array(line, np.int32))]
    return [join(example) for example in examples + builder.flush()]


def join(example):
    pieces, start, length = example
    ids = [int(token) for piece in pieces for token in piece]
    assert len(ids) == length
    return ids, start


# ---- literal ids --------------------------------------------------------------------------------


def test_the_example_of_the_docstring_holds():
    found = build([[5, 6], [7], [8, 9, 10, 11, 12]], half(), 8)
    assert found == [([2, 5, 6, 3, 7, 8, 9, 3], 4), ([2, 10, 11, 12, 3], 5)]


def test_lines_go_to_the_first_segment_while_it_is_short():
    # A's target is (12 - 3) // 2 = 4 tokens: 3 + 2 is over it, and a coin of 0.5 says B.
    assert build([[5, 6, 7], [8, 9], [10, 11]], half(), 12) == [
        ([2, 5, 6, 7, 3, 8, 9, 10, 11, 3], 5)
    ]


def test_a_coin_may_put_one_line_too_many_into_the_first_segment():
    assert build([[5, 6, 7], [8, 9], [10, 11]], half(0.5, 0.49), 12) == [
        ([2, 5, 6, 7, 8, 9, 3, 10, 11, 3], 7)
    ]


def test_one_example_in_ten_has_one_segment():
    assert build([[5, 6, 7], [8, 9]], half(0.09), 12) == [([2, 5, 6, 7, 8, 9, 3], 7)]


def test_kept_from_the_official_code_a_short_line_joins_a_after_a_long_one_left_it():
    assert build([[5], [6, 7, 8, 9], [10]], half(), 13) == [([2, 5, 10, 3, 6, 7, 8, 9, 3], 4)]


def test_what_does_not_fit_goes_on_in_the_next_example():
    line = list(range(5, 20))
    assert build([line], half(), 8) == [
        ([2, 5, 6, 7, 8, 9, 10, 3], 8),
        ([2, 11, 12, 13, 14, 15, 16, 3], 8),
        ([2, 17, 18, 19, 3], 5),
    ]


def test_without_keep_long_lines_it_is_dropped():
    lines = [list(range(5, 20)), [30]]
    assert build(lines, half(), 8, keep_long_lines=False) == [
        ([2, 5, 6, 7, 8, 9, 10, 3], 8),
        ([2, 30, 3], 3),
    ]


def test_a_short_target_holds_for_the_next_example_only():
    # The first example's last draw is below 0.05: two lines of four fill the next, one is left.
    draws = Draws([("random", 0.5), ("random", 0.04), ("randint", 5)])
    draws.left += [("random", 0.5)] * 20
    found = build([[7] * 4] * 6, draws, 10, keep_long_lines=False)
    assert [len(ids) for ids, _ in found] == [10, 10, 6]


def test_lines_without_tokens_change_nothing():
    lines = [[], [5, 6, 7], [], [8, 9], [], []]
    assert build(lines, half(), 9) == build([[5, 6, 7], [8, 9]], half(), 9)
    assert build([[5] * 6, []], half(), 8) == [([2, 5, 5, 5, 5, 5, 5, 3], 8)]
    assert build([[], []], half(), 8) == []


# ---- nothing is lost ----------------------------------------------------------------------------


@pytest.mark.parametrize("length", [5, 8, 16, 64])
def test_every_token_comes_once_and_in_order_within_each_segment(length):
    rng = random.Random(length)
    sizes = [rng.choice([0, 1, 2, 5, 10, 30, 200]) for _ in range(500)]
    borders = np.cumsum([5, *sizes])
    lines = [range(start, stop) for start, stop in itertools.pairwise(borders)]
    found = build(lines, random.Random(1), length)
    segments = []
    for ids, start in found:
        assert len(ids) <= length
        assert ids[0] == CLS
        assert ids[-1] == SEP
        segments += [ids[1 : start - 1]] + ([ids[start:-1]] if start < len(ids) else [])
    for segment in segments:
        assert segment == sorted(segment)
        assert segment
    assert sorted(token for segment in segments for token in segment) == list(range(5, borders[-1]))


def test_a_line_of_a_million_tokens_takes_time_in_proportion():
    found = build([range(5, 1_000_005)], random.Random(0), 128)
    assert sum(len(ids) - 2 for ids, _ in found) == 1_000_000


# ---- the official examples ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def tokenizer():
    return WordPieceTokenizer(read_vocab(FIXTURES / "tokenizer" / "vocab.txt"))


def official_lines(path, blanks_separate_docs):
    """(index, line) of what the official builder is fed, and the empty line at the end."""
    with open(path, encoding="utf-8") as file:
        lines = [line.strip() for line in file]
    kept = [(i, line) for i, line in enumerate(lines) if line or blanks_separate_docs]
    return [*kept, (len(lines), "")]


def official_builder(tokenizer, length, rng):
    vocab = tokenizer.vocab
    return ExampleBuilder(vocab.cls_id, vocab.sep_id, length, rng, keep_long_lines=False)


def feed(tokenizer, builder, path, blanks_separate_docs):
    """Builds as the official code did. Returns its fields, list of dicts."""
    found = []
    for index, line in official_lines(path, blanks_separate_docs):
        target = builder.target_length
        examples = builder.add_line(tokenizer.encode(line)) if line else builder.flush()
        for example in examples:
            ids, start = join(example)
            found.append(
                {
                    "after_line": index,
                    "target_length": target,
                    "input_ids": ids,
                    "second_segment_starts_at": start if start < len(ids) else None,
                }
            )
            target = builder.target_length
    return found


@needs_fixtures
@pytest.mark.parametrize("source", ["seed", "draws"])
def test_examples_equal_the_official_ones(tokenizer, source):
    cases = json.loads((BUILDER / "examples.json").read_text())
    assert cases
    for case in cases:
        expected = case["examples"]
        rng = random.Random(case["python_random_seed"])
        if source == "draws":
            rng = Draws([draw for example in expected for draw in example["draws"]])
        found = feed(
            tokenizer,
            official_builder(tokenizer, case["max_seq_length"], rng),
            BUILDER / "corpus" / case["file"],
            case["blanks_separate_docs"],
        )
        assert found == [{key: example[key] for key in found[0]} for example in expected]
        assert source == "seed" or not rng.left


@needs_fixtures
def test_records_equal_the_official_ones(tokenizer):
    """One builder for all files; the examples go to the output files in turn."""
    folder = BUILDER / "tfrecords"
    about = json.loads((folder / "about.json").read_text())
    length, num_files = about["max_seq_length"], about["num_out_files"]
    tokenizer = WordPieceTokenizer(tokenizer.vocab, about["do_lower_case"], about["strip_accents"])
    builder = official_builder(tokenizer, length, random.Random(about["python_random_seed"]))
    expected = []
    for name in about["files_in_order"]:
        path = BUILDER / "corpus" / name
        expected += feed(tokenizer, builder, path, about["blanks_separate_docs"])
    assert len(expected) == about["n_written"]
    for i in range(num_files):
        records = Records(str(folder / f"*.tfrecord-{i}-of-{num_files}"))
        found = records.read(range(len(records)))
        assert len(records) == len(expected[i::num_files])
        for row, example in enumerate(expected[i::num_files]):
            size = len(example["input_ids"])
            start = example["second_segment_starts_at"] or size
            assert found["input_ids"][row].tolist() == example["input_ids"] + [0] * (length - size)
            assert found["input_mask"][row].tolist() == [1] * size + [0] * (length - size)
            segments = [0] * start + [1] * (size - start) + [0] * (length - size)
            assert found["segment_ids"][row].tolist() == segments


@needs_fixtures
def test_statistics_of_runs_are_those_of_the_official_code(tokenizer):
    lines = official_lines(BUILDER / "larger_text.txt", True)
    ids = [tokenizer.encode(line) for _, line in lines]
    for case in json.loads((BUILDER / "statistics.json").read_text()):
        length, n = case["max_seq_length"], case["runs"]
        # Seeds that the official runs, whose seeds are not recorded, hardly had: two samples.
        builders = [official_builder(tokenizer, length, random.Random(1000 + i)) for i in range(n)]
        runs, histograms = zip(*(run_statistics(each, ids) for each in builders), strict=True)
        for name, mean in case["mean"].items():
            ours = np.array([run[name] for run in runs])
            deviations = np.array([ours.std(ddof=1), case["std_between_runs"][name]])
            assert_within_standard_error(ours.mean(), mean, *deviations / np.sqrt(n), name=name)
            if deviations.any():  # the logarithm of a deviation has this standard error
                error = 1 / np.sqrt(2 * (n - 1))
                assert_within_standard_error(*np.log(deviations), error, error, name=name)
        for name in histograms[0]:
            values = [each for run in histograms for each in run[name]]
            counts = np.bincount(values, minlength=length + 1)
            assert_same_frequencies(counts, case[name], name)


def run_statistics(builder, lines):
    """Returns the statistics of a run, and the values that its histograms count."""
    length, targets, found = builder.target_length, [], []
    for ids in lines:
        target = builder.target_length
        examples = builder.add_line(ids) if ids else builder.flush()
        targets += [target] * len(examples)
        found += [join(example) for example in examples]
    lengths = np.array([len(ids) for ids, _ in found])
    starts = np.array([start for _, start in found])
    statistics = {
        "n_examples": len(found),
        "single_segment": np.mean(starts == lengths),
        "mean_fill": np.mean(lengths / length),
        "full_length": np.mean(lengths == length),
        "shortened_target": np.mean(np.array(targets) < length),
        "mean_first_segment": starts.mean(),  # without B it is all of the example
        "total_tokens": lengths.sum(),
    }
    return statistics, {
        "histogram_of_lengths": lengths,
        "histogram_of_target_lengths": targets,
        "histogram_of_first_segment_lengths": starts,
    }
