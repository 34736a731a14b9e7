"""Reading records: literal ids, the order, damage, and records that do not fit the model."""

import os

import numpy as np
import pytest
import tensorflow as tf

from electra.data import frames
from electra.data.frames import index_file, masked_crc32c
from electra.data.order import Order
from electra.data.patterns import escaped, find_files
from electra.data.reader import Records, dataset, eval_batches, unigram_counts
from electra.text.vocab import read_vocab
from tests.data.tiny import encode, write_records, write_vocab
from tests.shared import FIXTURES, needs_fixtures

ROWS = [[2, 5, 6, 3], [2, 7, 3, 0], [2, 8, 3, 0], [2, 9, 10, 3], [2, 11, 3, 0]]


@pytest.fixture
def folder(tmp_path):
    """Two files: records 0 to 2 and 3 to 4 of ROWS."""
    write_records(tmp_path / "a.tfrecord-0-of-2", ROWS[:3])
    write_records(tmp_path / "a.tfrecord-1-of-2", ROWS[3:])
    return tmp_path


def manifest_of(vocab, **changes):
    about = {"max_seq_length": 4, "vocab_sha256": vocab.sha256, "vocab_size": len(vocab)}
    return {**about, "do_lower_case": True, "strip_accents": True, **changes}


def flip(path, place):
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


def test_records_come_as_they_were_written(folder):
    records = Records(f"{folder}/a.tfrecord*")
    assert len(records) == 5
    assert records.max_seq_length == 4
    batch = records.read([3, 1])
    assert batch["input_ids"].tolist() == [[2, 9, 10, 3], [2, 7, 3, 0]]
    assert batch["input_mask"].tolist() == [[1, 1, 1, 1], [1, 1, 1, 0]]
    assert batch["segment_ids"].tolist() == [[0, 0, 0, 0]] * 2
    assert {array.dtype for array in batch.values()} == {np.dtype(np.int32)}


def test_several_patterns_are_taken_by_comma_and_no_file_twice(folder):
    first, second = (f"{folder}/a.tfrecord-{i}-of-2" for i in range(2))
    assert Records(f"{first},{second}").files == [first, second]
    assert Records(f"{first},{folder}/*").files == [first, second]


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="cannot count open files")
def test_few_of_many_files_are_open_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setattr(frames, "_OPEN_FILES", 4)
    for i in range(40):
        write_records(tmp_path / f"a.tfrecord-{i:02}", [[2, 5 + i, 3]])
    before = len(os.listdir("/proc/self/fd"))
    records = Records(f"{tmp_path}/a.*")
    assert records.read(range(40))["input_ids"][:, 1].tolist() == list(range(5, 45))
    assert len(os.listdir("/proc/self/fd")) <= before + 4 + 1  # and the mapped index


@needs_fixtures
def test_official_records_are_read_as_tensorflow_reads_them():
    pattern = str(FIXTURES / "dataset_builder" / "tfrecords" / "pretrain_data.tfrecord*")
    records = Records(pattern)
    batch = records.read(range(len(records)))
    raw = tf.data.TFRecordDataset(sorted(tf.io.gfile.glob(pattern)))
    for i, record in enumerate(raw.as_numpy_iterator()):
        features = tf.train.Example.FromString(record).features.feature
        for name in batch:
            assert batch[name][i].tolist() == list(features[name].int64_list.value)
    assert i + 1 == len(records)


def test_checksums_are_those_that_tensorflow_writes(tmp_path):
    rng = np.random.default_rng(0)
    strings = [rng.integers(0, 256, n, np.uint8).tobytes() for n in (1, 2, 900, 3000, 17)]
    with tf.io.TFRecordWriter(str(tmp_path / "x")) as writer:
        for string in strings:
            writer.write(string)
    data, ends = (tmp_path / "x").read_bytes(), index_file(tmp_path / "x").tolist()
    sizes = np.diff(ends) - 16
    assert sizes.tolist() == [1, 2, 900, 3000, 17]
    stored = [data[end - 4 : end] for end in ends[1:]]
    computed = [masked_crc32c(string).to_bytes(4, "little") for string in strings]
    assert computed == stored


# ---- patterns ----


@pytest.mark.parametrize("name", ["a,b", "a[1]", "a[1],b", "[,]", "a*b?", "x,y[2],z"])
def test_a_folder_of_any_name_has_a_pattern(tmp_path, name):
    for each in (name, "a1", "a", "b"):
        (tmp_path / each).mkdir()
        write_records(tmp_path / each / "r.1", ROWS[:1])
    path = f"{tmp_path / name}/r.1"
    pattern = f"{escaped(tmp_path / name)}/r.*"
    assert find_files(pattern) == [path]
    assert find_files(f"{pattern},{tmp_path}/a/*") == sorted([path, f"{tmp_path}/a/r.1"])
    assert find_files(path) == [path]  # a path stands for itself
    about = {"files": [{"name": f"r.{i}", "examples": 1, "tokens": 4} for i in (1, 2)]}
    write_records(path, ROWS[:1], about)
    with pytest.raises(ValueError, match="lacks .*r.2"):
        Records(pattern)


def test_a_comma_that_separates_nothing_is_explained(tmp_path):
    (tmp_path / "a,b").mkdir()
    with pytest.raises(FileNotFoundError, match=r"a,b/r\*; .*\[,\] is one in a name"):
        Records(f"{tmp_path}/a,b/r*")


# ---- the dataset ----


def test_the_dataset_feeds_replicas_in_turn_and_goes_on_by_position(folder):
    records = Records(f"{folder}/*")
    options = dict(seed=3, global_batch=4, replica_rows=[(0, 2), (2, 4)])
    start = [*dataset(records, start_step=0, **options).take(8).as_numpy_iterator()]
    resumed = [*dataset(records, start_step=3, **options).take(2).as_numpy_iterator()]
    for i, batch in enumerate(start):
        rows = range(2 * (i % 2), 2 * (i % 2) + 2)
        assert batch["row"].tolist() == list(rows)
        expected = records.read(Order(5, seed=3).numbers(i // 2, 4, rows))["input_ids"]
        assert batch["input_ids"].tolist() == expected.tolist()
    for batch, same in zip(resumed, start[6:], strict=True):
        for name, array in batch.items():
            assert array.tolist() == same[name].tolist()


def test_each_process_reads_its_own_rows_and_no_others(folder, monkeypatch):
    records, read, order = Records(f"{folder}/*"), Records.read, Order(5, seed=3)
    for rows in ((0, 2), (2, 4)):
        calls = []

        def spy(self, numbers, calls=calls):
            calls.append(tuple(numbers))
            return read(self, numbers)

        monkeypatch.setattr(Records, "read", spy)
        options = dict(seed=3, global_batch=4, start_step=1, replica_rows=[rows])
        (batch,) = dataset(records, **options).take(1)
        assert batch["row"].numpy().tolist() == list(range(*rows))
        own = order.numbers(np.arange(1, 1 + len(calls[0]) // 2 * 20), 4, range(*rows))
        own = [tuple(part) for part in own.reshape(-1, len(calls[0]))]  # some steps together
        assert own[0] in calls and set(calls) <= set(own)  # some are read ahead


def test_a_dataset_may_begin_in_the_middle_of_the_order(folder):
    """The second batch of two after three examples: the sixth and seventh of the order."""
    records = Records(f"{folder}/*")
    (batch,) = dataset(
        records, seed=3, global_batch=2, start_step=1, replica_rows=[(0, 2)], first_example=3
    ).take(1)
    expected = records.read(Order(5, seed=3).numbers(0, 0, range(5, 7)))["input_ids"]
    assert batch["input_ids"].numpy().tolist() == expected.tolist()
    assert batch["row"].numpy().tolist() == [0, 1]


def test_the_dataset_has_static_shapes(folder):
    spec = dataset(
        Records(f"{folder}/*"), seed=0, global_batch=3, start_step=0, replica_rows=[(0, 3)]
    ).element_spec
    assert {name: tuple(s.shape) for name, s in spec.items()} == {
        "input_ids": (3, 4),
        "input_mask": (3, 4),
        "segment_ids": (3, 4),
        "row": (3,),
    }
    assert {s.dtype for s in spec.values()} == {tf.int32}


def test_evaluation_keeps_the_order_and_fills_up_with_rows_of_zeros(folder):
    batches = list(eval_batches(Records(f"{folder}/*"), batch_size=3, num_batches=10))
    assert [b["input_ids"].tolist() for b in batches] == [ROWS[:3], [*ROWS[3:], [0] * 4]]
    assert batches[1]["input_mask"][2].tolist() == [0] * 4
    assert batches[1]["row"].tolist() == [0, 1, 2]
    assert len(list(eval_batches(Records(f"{folder}/*"), batch_size=2, num_batches=2))) == 2


def test_unigrams_are_counted_without_padding(folder):
    records = Records(f"{folder}/*")
    assert unigram_counts(records, 12, 100).tolist() == [0, 0, 5, 5, 0, 1, 1, 1, 1, 1, 1, 1]
    # Two of five, evenly spread: the first and the last.
    assert unigram_counts(records, 12, 2).tolist() == [0, 0, 2, 2, 0, 1, 1, 0, 0, 0, 0, 1]


# ---- bad input ----


def test_no_file_names_pattern_folder_and_remedy(folder):
    with pytest.raises(FileNotFoundError, match="b.tfrecord.*a.tfrecord-0-of-2.*build_pretrain"):
        Records(f"{folder}/b.tfrecord*")
    with pytest.raises(FileNotFoundError, match="does not exist"):
        Records(f"{folder}/nothing/b*", kind="held-out")


def test_files_without_examples_are_refused(tmp_path):
    (tmp_path / "a").write_bytes(b"")
    with pytest.raises(ValueError, match="held-out records .* hold no example"):
        Records(f"{tmp_path}/a", kind="held-out")


@pytest.mark.parametrize("kept_bytes", [3, 20, -1, -30])
def test_a_file_cut_off_names_file_record_and_byte(folder, kept_bytes):
    path = folder / "a.tfrecord-1-of-2"
    second = int(index_file(path)[1])
    data = path.read_bytes()
    path.write_bytes(data[:kept_bytes] if kept_bytes < 0 else data[: second + kept_bytes])
    with pytest.raises(ValueError, match=f"1-of-2 is cut off in record 1, .* byte {second} of"):
        Records(f"{folder}/*")


def test_a_damaged_length_names_its_record(folder):
    path = folder / "a.tfrecord-0-of-2"
    flip(path, int(index_file(path)[1]))
    with pytest.raises(ValueError, match="0-of-2 is damaged in record 1"):
        Records(f"{folder}/*")


def test_damaged_data_names_its_record(folder):
    path = folder / "a.tfrecord-1-of-2"
    flip(path, int(index_file(path)[2]) - 5)
    with pytest.raises(ValueError, match="1-of-2, record 1 .* is damaged: its checksum"):
        Records(f"{folder}/*")


def test_a_record_of_another_length_names_its_record(folder):
    write_records(folder / "a.tfrecord-1-of-2", [ROWS[3], [2, 5, 3]])
    with pytest.raises(ValueError, match="1-of-2, record 1 .*4 numbers each"):
        Records(f"{folder}/*")


def test_records_without_our_features_are_refused(tmp_path):
    with tf.io.TFRecordWriter(str(tmp_path / "a")) as writer:
        writer.write(tf.train.Example().SerializeToString())
    with pytest.raises(ValueError, match="record 0 .* has no feature input_ids"):
        Records(f"{tmp_path}/a")
    with tf.io.TFRecordWriter(str(tmp_path / "a")) as writer:
        writer.write(b"something else")
    with pytest.raises(ValueError, match="record 0 .* is no tf.train.Example"):
        Records(f"{tmp_path}/a")


@pytest.mark.parametrize("bad_id", [50, -1])
def test_ids_beyond_the_vocabulary_name_record_and_id(folder, bad_id):
    write_records(folder / "a.tfrecord-1-of-2", [ROWS[3], [2, bad_id, 3, 0]])
    vocab = read_vocab(write_vocab(folder))
    with pytest.raises(ValueError, match=f"1-of-2, record 1 .* token id {bad_id} is not in"):
        Records(f"{folder}/a*", vocab=vocab)


@pytest.mark.parametrize(
    ("mask", "segments", "name"), [([2, 1], [0, 0], "input_mask"), ([1, 1], [0, 2], "segment_ids")]
)
def test_masks_and_segments_are_0_or_1(tmp_path, mask, segments, name):
    with tf.io.TFRecordWriter(str(tmp_path / "a")) as writer:
        writer.write(encode([2, 3], mask, segments))
    with pytest.raises(ValueError, match=f"record 0 .* {name} holds 2. Expected: 0 or 1"):
        Records(f"{tmp_path}/a")


@pytest.mark.parametrize("name", ["input_ids", "input_mask", "segment_ids"])
@pytest.mark.parametrize("number", [2**32 + 1, 2**31, -(2**63)])
def test_numbers_beyond_32_bits_are_not_taken_for_small_ones(tmp_path, name, number):
    features = {"input_ids": [2, 3], "input_mask": [1, 1], "segment_ids": [0, 0]}
    features[name] = [number, 1]
    with tf.io.TFRecordWriter(str(tmp_path / "a")) as writer:
        writer.write(encode(*features.values()))
    with pytest.raises(ValueError, match=rf"record 0 .* {number}\b"):
        Records(f"{tmp_path}/a")


def test_an_example_without_tokens_names_its_record(tmp_path):
    with tf.io.TFRecordWriter(str(tmp_path / "a")) as writer:
        writer.write(encode([2, 3], [1, 1], [0, 0]))
        writer.write(encode([2, 3], [0, 0], [0, 0]))
    with pytest.raises(ValueError, match="a, record 1 .* input_mask is 0 throughout"):
        Records(f"{tmp_path}/a")


@pytest.mark.parametrize("place", [1, 2])
def test_an_empty_record_names_its_place(tmp_path, place):
    """Its frame is whole, and its data are an Example without features."""
    rows = [encode(row, [1] * 4, [0] * 4) for row in ROWS[:2]]
    rows.insert(place, b"")
    with tf.io.TFRecordWriter(str(tmp_path / "a")) as writer:
        for row in rows:
            writer.write(row)
    with pytest.raises(ValueError, match=f"record {place} .*cannot be read.*4 numbers each"):
        Records(f"{tmp_path}/a")


@pytest.mark.parametrize("junk", [b"\xff" * 40, b"secret " * 9, b"\0"])
def test_a_record_that_is_no_example_is_named_and_not_quoted(tmp_path, junk):
    with tf.io.TFRecordWriter(str(tmp_path / "a")) as writer:
        writer.write(encode([2, 3], [1, 1], [0, 0]))
        writer.write(junk)
    with pytest.raises(ValueError, match="a, record 1 .*cannot be read.*2 numbers each") as error:
        Records(f"{tmp_path}/a")
    assert "secret" not in str(error.value) and "Op:" not in str(error.value)


@pytest.mark.parametrize("length", [2**19, 2**31, 2**63, 2**64 - 17])
def test_a_length_that_no_example_has_is_refused_before_it_is_read(tmp_path, length):
    head = length.to_bytes(8, "little")
    path = write_records(tmp_path / "a", ROWS[:1])
    header = head + masked_crc32c(head).to_bytes(4, "little")
    path.write_bytes(path.read_bytes() + header + bytes(4))
    with pytest.raises(ValueError, match=f"a is damaged .a length of {length} bytes. in record 1"):
        Records(str(path))


@pytest.mark.parametrize("becomes", ["shorter", "empty", "another"])
def test_a_file_that_changes_while_it_is_read_is_named(folder, becomes):
    """In a map of the file, reading behind its end would be SIGBUS."""
    records, path = Records(f"{folder}/*"), folder / "a.tfrecord-1-of-2"
    if becomes == "another":
        write_records(path, [[2, 300, 3, 0], ROWS[4]])
    else:
        os.truncate(path, 0 if becomes == "empty" else 100)
    message = "its checksum does not fit" if becomes == "another" else "the file became shorter"
    with pytest.raises(ValueError, match=f"1-of-2, record 1 .*{message}"):
        records.read([0, 4])


def test_a_file_that_is_gone_when_it_is_opened_again_is_named(folder, monkeypatch):
    monkeypatch.setattr(frames, "_OPEN_FILES", 1)
    records = Records(f"{folder}/*")
    records.read([0])
    (folder / "a.tfrecord-1-of-2").unlink()
    with pytest.raises(ValueError, match="1-of-2, record 1 .*No such file"):
        records.read([4])


def test_a_file_in_several_chunks_is_indexed_as_in_one(folder, monkeypatch):
    path = folder / "a.tfrecord-0-of-2"
    whole = index_file(path).tolist()
    monkeypatch.setattr(frames, "_CHUNK_BYTES", 100)
    assert index_file(path).tolist() == whole


def test_an_error_while_training_says_what_the_reader_said(tmp_path):
    # The first look takes 256 records: of 600 these are not all.
    bad = 301
    first_look = np.linspace(0, 599, 256).astype(int)
    assert bad not in first_look
    path = tmp_path / "a"
    write_records(path, [[2, 5, 3]] * 600)
    flip(path, int(index_file(path)[bad + 1]) - 5)
    batches = dataset(
        Records(str(path)), seed=0, global_batch=600, start_step=0, replica_rows=[(0, 600)]
    )
    with pytest.raises(tf.errors.OpError, match=rf"ValueError: .*record {bad} .* is damaged"):
        next(iter(batches))


# ---- the manifest ----


def test_records_that_fit_are_taken_with_their_manifest(tmp_path):
    vocab = read_vocab(write_vocab(tmp_path))
    about = manifest_of(vocab, files=[{"name": "a.tfrecord", "examples": 5, "tokens": 16}])
    path = write_records(tmp_path / "a.tfrecord", ROWS, about)
    records = Records(
        str(path), max_seq_length=4, vocab=vocab, do_lower_case=True, strip_accents=True
    )
    assert len(records) == len(ROWS)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"max_seq_length": 128}, "max_seq_length 128, the model has 4"),
        ({"vocab_sha256": "abc"}, "vocab_sha256 'abc', the model has '"),
        ({"do_lower_case": False}, "do_lower_case False, the model has True"),
        ({"strip_accents": False}, "strip_accents False, the model has True"),
        ({"files": [{"name": "a.tfrecord", "examples": 6}]}, "holds 5 examples, .* says 6"),
    ],
)
def test_records_that_do_not_fit_are_refused_with_both_values(tmp_path, changes, message):
    vocab = read_vocab(write_vocab(tmp_path))
    path = write_records(tmp_path / "a.tfrecord", ROWS, manifest_of(vocab, **changes))
    with pytest.raises(ValueError, match=message):
        Records(str(path), max_seq_length=4, vocab=vocab, do_lower_case=True, strip_accents=True)


def test_every_folder_of_records_has_its_own_manifest(tmp_path):
    vocab = read_vocab(write_vocab(tmp_path))
    for name, changes in (("one", {}), ("two", {"vocab_sha256": "abc"})):
        (tmp_path / name).mkdir()
        write_records(tmp_path / name / "a", ROWS, manifest_of(vocab, **changes))
    with pytest.raises(ValueError, match="two were built with vocab_sha256 'abc'"):
        Records(f"{tmp_path}/one/a,{tmp_path}/two/a", vocab=vocab)


def test_records_without_a_manifest_train_with_a_warning(folder, caplog):
    with caplog.at_level("WARNING"):
        Records(f"{folder}/*")
    assert "No manifest in" in caplog.text


def test_another_length_is_refused_without_a_manifest_too(folder):
    with pytest.raises(ValueError, match="examples of 4 tokens, the model's max_seq_length is 8"):
        Records(f"{folder}/*", max_seq_length=8)


def test_a_file_that_the_manifest_names_must_be_there(tmp_path):
    names = [f"pretrain_data.tfrecord-{i}-of-2" for i in range(2)]
    about = {"files": [{"name": name, "examples": 1, "tokens": 3} for name in names]}
    write_records(tmp_path / names[0], [[2, 5, 3]], about)
    with pytest.raises(ValueError, match=f"lacks .*{names[1]}"):
        Records(f"{tmp_path}/pretrain_data*")
    assert len(Records(f"{tmp_path}/{names[0]}")) == 1  # asked for by name
