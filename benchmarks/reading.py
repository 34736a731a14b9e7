"""How many examples of 128 tokens a process reads from disk, beside tf.data's own TFRecords.

    python benchmarks/reading.py

Both sides read the same 4 files of random tokens into batches of 128, checked by their checksums,
with 4 threads. Ours takes them in the order of training, which is one over all records and goes on
at any step; the peer as the official code does: the files interleaved, a buffer of 100 shuffled.
"""

import atexit
import glob
import tempfile
import time

import input_pipeline
from side_by_side import measure_sides, parser_of, positive, record, spread

LENGTH, BATCH, FILES, BUFFER = 128, 128, 4, 100


def main():
    sides = {"ours": ours, "tf.data": peer}
    parser = parser_of(__doc__, sides, rounds=7)
    parser.add_argument("--records", type=positive, default=200_000)
    parser.add_argument("--batches", type=positive, default=500, help="in a measurement")
    _, sides = measure_sides(parser, sides)
    mine, theirs = sides["ours"].values, sides["tf.data"].values
    ratios = [a / b for a, b in zip(mine, theirs, strict=True)]
    record(
        f"{spread(ratios)} times tf.data: {spread(mine, 0)} and {spread(theirs, 0)} examples/s "
        f"of {LENGTH} tokens"
    )


def ours(args):
    """Returns a function that reads batches and returns examples/s."""
    from electra.data import reader

    folder = _folder_of_records(args)
    records = reader.Records(f"{folder}/*.tfrecord*", max_seq_length=LENGTH)
    order = {"seed": 0, "global_batch": BATCH, "start_step": 0, "replica_rows": [(0, BATCH)]}
    return _rate(reader.dataset(records, **order), args)


def peer(args):
    """Returns a function that reads batches and returns examples/s."""
    import tensorflow as tf

    from electra.features import RECORD_FEATURES

    spec = {name: tf.io.FixedLenFeature([LENGTH], tf.int64) for name in RECORD_FEATURES}

    def parse(data):
        parsed = tf.io.parse_example(data, spec)
        return {name: tf.cast(values, tf.int32) for name, values in parsed.items()}

    files = sorted(glob.glob(f"{_folder_of_records(args)}/*.tfrecord*"))
    records = tf.data.Dataset.from_tensor_slices(files).repeat().shuffle(FILES)
    records = records.interleave(
        tf.data.TFRecordDataset, cycle_length=FILES, num_parallel_calls=4, deterministic=False
    )
    batches = records.shuffle(BUFFER).batch(BATCH, drop_remainder=True)
    return _rate(batches.map(parse, num_parallel_calls=4).prefetch(2), args)


def _folder_of_records(args):
    folder = tempfile.TemporaryDirectory()
    atexit.register(folder.cleanup)
    input_pipeline.write_records(folder.name, args.records, LENGTH, FILES)
    return folder.name


def _rate(dataset, args):
    batches = iter(dataset)

    def measure():
        started = time.perf_counter()
        for _ in range(args.batches):
            next(batches)
        return args.batches * BATCH / (time.perf_counter() - started)

    return measure


if __name__ == "__main__":
    main()
