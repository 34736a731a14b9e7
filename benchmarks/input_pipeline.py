"""What reading records costs: the pre-training step on real records and on one batch in memory.

    python benchmarks/input_pipeline.py

The records are written first, from random tokens; the step is that of ELECTRA-small. Measurements
alternate within one process. Also printed: the time that reading a batch takes by itself.
"""

import statistics
import tempfile
import time

import pretraining_step
from side_by_side import parser_of, positive, record, spread


def main():
    parser = parser_of(__doc__, rounds=7)
    parser.add_argument("--records", type=positive, default=100_000)
    parser.add_argument("--steps", type=positive, default=20, help="in a measurement")
    args, sizes = parser.parse_args(), pretraining_step.options().parse_args([])
    with tempfile.TemporaryDirectory() as folder:
        pattern = write_records(folder, args.records, sizes.max_seq_length)
        loop = pretraining_step.build_loop(sizes, pretraining_step.one_batch(sizes))
        memory, batches = loop.steps.iterator, real_batches(pattern, sizes, loop.placement)
        alone = []
        for _ in range(200):
            started = time.perf_counter()
            next(batches)
            alone.append(time.perf_counter() - started)
        ratios = []
        for i in range(args.rounds + 1):
            seconds = {}
            for name in ("memory", "records") if i % 2 else ("records", "memory"):
                loop.steps.iterator = batches if name == "records" else memory
                seconds[name] = loop.run(0, args.steps).seconds
            if i:  # the first compiles
                ratios.append(seconds["records"] / seconds["memory"])
                print(f"round {i}: {ratios[-1]:.4f}", flush=True)
    record(
        f"{spread(ratios, 3)} times the step on one batch in memory; a batch by itself takes "
        f"{statistics.median(alone) * 1e3:.2f} ms"
    )


def write_records(folder, count, length, files=1):
    """Writes records of random tokens. Returns: the pattern of the files."""
    import numpy as np
    import tensorflow as tf

    from electra.data.records import BATCH, encode_examples

    rng = np.random.default_rng(0)
    for i in range(files):
        with tf.io.TFRecordWriter(f"{folder}/pretrain_data.tfrecord-{i}-of-{files}") as writer:
            for start in range(0, count // files, BATCH):
                shape = (min(BATCH, count // files - start), length)
                ids = rng.integers(pretraining_step.FIRST_WORD, pretraining_step.VOCAB_SIZE, shape)
                examples = [([row], length // 2, length) for row in ids]
                for record in encode_examples(examples, length)[0]:
                    writer.write(record)
    return f"{folder}/pretrain_data.tfrecord*"


def real_batches(pattern, sizes, placement):
    """Returns an iterator over the batches that training on these records would see."""
    from electra.data import reader

    vocab, size = range(pretraining_step.VOCAB_SIZE), sizes.batch_size
    records = reader.Records(pattern, max_seq_length=sizes.max_seq_length, vocab=vocab)
    order = {"seed": 0, "global_batch": size, "start_step": 0, "replica_rows": [(0, size)]}
    return pretraining_step.batches_of(reader.dataset(records, **order), placement)


if __name__ == "__main__":
    main()
