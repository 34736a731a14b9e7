"""How fast records are built, beside the same work in plain Python.

    python benchmarks/build_dataset.py --corpus_dir C --vocab_file V --repeat 10

Without C and V those of the quickstart are taken.

Rounds alternate between three ways: the reference tokenizer with tf.train.Example and
TFRecordWriter on a part of the corpus, the build with one process and one TensorFlow thread, the
build with two. Time runs from the first line read to the manifest; start-up (imports, the
tokenizer, the workers' too) is printed apart. Prints medians with their range as MB of text a
second, and the median and range of the ratios within each round.
"""

import argparse
import itertools
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from side_by_side import record, spread

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
WAYS = {"reference": 0, "one process": 1, "two processes": 2}
STAMPS = "ELECTRA_BENCHMARK_STAMPS"  # environment: a folder
REFERENCE_BYTES = 300_000  # of each file


def parse(argv):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--corpus_dir", default=f"{ROOT}/quickstart_data/corpus")
    parser.add_argument("--vocab_file", default=f"{ROOT}/quickstart_data/vocab.txt")
    parser.add_argument("--repeat", type=int, default=10, help="times that the corpus is read")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--max_seq_length", type=int, default=128)
    parser.add_argument("--way", choices=WAYS, help="one measurement, in this process")
    args = parser.parse_args(argv)
    for path in (args.corpus_dir, args.vocab_file):
        if not os.path.exists(path):
            parser.error(f"{path} does not exist. Run make quickstart first, or name your own")
    return args


def main(argv=None):
    args = parse(argv)
    if args.way:
        measure = measure_reference if args.way == "reference" else measure_build
        print(json.dumps(measure(args)))
        return
    with tempfile.TemporaryDirectory() as folder:
        corpus = os.path.join(folder, "corpus")
        repeat_corpus(args.corpus_dir, corpus, args.repeat)
        rounds = []
        for i in range(args.rounds):
            order = list(WAYS) if i % 2 == 0 else list(WAYS)[::-1]
            rounds.append({way: in_a_new_process(way, corpus, args) for way in order})
            shown = ", ".join(f"{way} {rounds[-1][way]['rate']:.2f} MB/s" for way in WAYS)
            print(f"round {i + 1}: {shown}", flush=True)
    report(rounds)


def repeat_corpus(source, target, repeat):
    """Links each file of a corpus `repeat` times."""
    from electra.data.corpus import find_files

    os.makedirs(target)
    files = find_files(source)
    for i, (copy, path) in enumerate(itertools.product(range(repeat), files)):
        os.symlink(os.path.realpath(path), f"{target}/{copy:03}-{i:05}-{os.path.basename(path)}")


def in_a_new_process(way, corpus, args):
    done = subprocess.run(
        [sys.executable, os.path.abspath(__file__), "--way", way, "--corpus_dir", corpus,
         "--vocab_file", args.vocab_file, "--max_seq_length", str(args.max_seq_length)],
        stdout=subprocess.PIPE, check=True, text=True,
        env={**os.environ, "PYTHONPATH": ROOT, "TF_CPP_MIN_LOG_LEVEL": "2",
             "CUDA_VISIBLE_DEVICES": "-1"},
    )  # fmt: skip
    return json.loads(done.stdout.splitlines()[-1])


def measure_build(args):
    """Builds the corpus. Returns rate (MB/s) and startup (seconds)."""
    begin = time.time()
    from electra.data import build, corpus

    if WAYS[args.way] == 1:
        build.use_one_thread()
    megabytes = sum(os.path.getsize(path) for path in corpus.find_files(args.corpus_dir)) / 1e6
    with tempfile.TemporaryDirectory() as folder:
        stamps = os.environ[STAMPS] = os.path.join(folder, "stamps")
        os.mkdir(stamps)
        original, build.build_unit = build.build_unit, stamped_unit
        stamped_unit.original = original
        build.build(args.corpus_dir, args.vocab_file, os.path.join(folder, "out"),
                    num_processes=WAYS[args.way], max_seq_length=args.max_seq_length)  # fmt: skip
        end = time.time()
        first_line = min(float(stamp.read_text()) for stamp in Path(stamps).iterdir())
    return {"rate": megabytes / (end - first_line), "startup": first_line - begin}


def stamped_unit(job):
    """build_unit that notes when a process reads its first line; runs in the workers too."""
    from electra.data import build

    build_unit = getattr(stamped_unit, "original", build.build_unit)
    stamp = os.path.join(os.environ[STAMPS], str(os.getpid()))
    if not os.path.exists(stamp):
        build.tokenizer_of(job[-1])[1].encode_lines(["a"])
        with open(stamp, "w") as file:
            file.write(str(time.time()))
    return build_unit(job)


def measure_reference(args):
    """Does the same work in plain Python on the first lines of each file."""
    begin = time.time()
    import tensorflow as tf

    from electra.data import corpus
    from electra.data.examples import ExampleBuilder
    from electra.text.vocab import read_vocab
    from electra.text.wordpiece import WordPieceTokenizer

    vocab = read_vocab(args.vocab_file)
    tokenizer = WordPieceTokenizer(vocab)
    length = args.max_seq_length
    builder = ExampleBuilder(vocab.cls_id, vocab.sep_id, length, random.Random(0))
    files = {os.path.realpath(path) for path in corpus.find_files(args.corpus_dir)}

    def feature(values):
        return tf.train.Feature(int64_list=tf.train.Int64List(value=values))

    def write(writer, example):
        row = np.zeros(length, np.int32)
        tokens, start = builder.write_row(example, row)
        features = {
            "input_ids": feature(row.tolist()),
            "input_mask": feature([1] * tokens + [0] * (length - tokens)),
            "segment_ids": feature([0] * start + [1] * (tokens - start) + [0] * (length - tokens)),
        }
        example = tf.train.Example(features=tf.train.Features(feature=features))
        writer.write(example.SerializeToString())

    first_line, size = time.time(), 0
    with tempfile.NamedTemporaryFile() as file, tf.io.TFRecordWriter(file.name) as writer:
        for path in sorted(files):
            part = corpus.cut_units(os.path.dirname(path), [path], REFERENCE_BYTES)[0][0]
            size += part.stop - part.start
            for _, lines, ends in corpus.read_documents(part):
                for line in lines:
                    for example in builder.add_line(tokenizer.encode(line)):
                        write(writer, example)
                if ends:
                    for example in builder.flush():
                        write(writer, example)
    return {"rate": size / 1e6 / (time.time() - first_line), "startup": first_line - begin}


def report(rounds):
    def of(way, what):
        return [each[way][what] for each in rounds]

    parts = [
        f"{way}: {spread(of(way, 'rate'))} MB/s, start-up {spread(of(way, 'startup'))} s"
        for way in WAYS
    ]
    for way, other in (("one process", "reference"), ("two processes", "one process")):
        ratios = [a / b for a, b in zip(of(way, "rate"), of(other, "rate"), strict=True)]
        parts.append(f"{way} / {other}: {spread(ratios)}")
    record("; ".join(parts))


if __name__ == "__main__":
    sys.path.insert(0, ROOT)
    main()
