"""How fast records are built, beside the same work in pure Python.

    python benchmarks/build_dataset.py --corpus_dir C --vocab_file V --repeat 10

Without C and V those of the quickstart are taken.

Rounds alternate between four ways, each in a new process. Two are pure Python, with
tf.train.Example and TFRecordWriter, on a part of the corpus: with the official tokenizer as
transformers has it, and with this project's, which gives the same ids, without its table of words.
Two are the build: with one process and one TensorFlow thread, and with two. Time runs from the
first line read to the manifest; start-up (imports, the tokenizer, the workers' too) is printed
apart.
"""

import itertools
import os
import random
import sys
import tempfile
import time
from pathlib import Path

from side_by_side import ROOT, Side, parser_of, positive, record, serve, spread

PURE_PYTHON = ("transformers", "reference")
PROCESSES = {"one process": 1, "two processes": 2}
WAYS = (*PURE_PYTHON, *PROCESSES)
STAMPS = "ELECTRA_BENCHMARK_STAMPS"  # environment: a folder
PURE_PYTHON_BYTES = 300_000  # of each file


def main():
    parser = parser_of(__doc__, WAYS, rounds=3)
    parser.add_argument("--corpus_dir", default=f"{ROOT}/quickstart_data/corpus")
    parser.add_argument("--vocab_file", default=f"{ROOT}/quickstart_data/vocab.txt")
    parser.add_argument("--repeat", type=positive, default=10, help="times that the corpus is read")
    parser.add_argument("--max_seq_length", type=positive, default=128)
    args = parser.parse_args()
    if args.side:
        os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
        measure = measure_pure_python if args.side in PURE_PYTHON else measure_build
        serve(lambda: measure(args))
        return
    for path in (args.corpus_dir, args.vocab_file):
        if not os.path.exists(path):
            parser.error(f"{path} does not exist. Run make quickstart first, or name your own")
    rounds = []
    with tempfile.TemporaryDirectory() as corpus:
        repeat_corpus(args.corpus_dir, corpus, args.repeat)
        for i in range(args.rounds):
            order = WAYS if i % 2 == 0 else WAYS[::-1]
            rounds.append({way: in_a_new_process(way, corpus) for way in order})
            print(f"round {i + 1}: {rounds[-1]}", flush=True)
    report(rounds)


def repeat_corpus(source, target, repeat):
    """Links each file of a corpus `repeat` times."""
    from electra.data.corpus import find_files

    for copy, (i, path) in itertools.product(range(repeat), enumerate(find_files(source))):
        os.symlink(os.path.realpath(path), f"{target}/{copy:03}-{i:05}-{os.path.basename(path)}")


def in_a_new_process(way, corpus):
    with Side(way, [*sys.argv, "--corpus_dir", corpus]) as side:
        side.measure()
    return side.values[0]


def measure_build(args):
    """Builds the corpus. Returns rate (MB/s) and startup (seconds)."""
    begin = time.time()
    from electra.data import build, corpus, engines, units

    if PROCESSES[args.side] == 1:
        engines.use_one_thread()
    size = sum(os.path.getsize(path) for path in corpus.find_files(args.corpus_dir))
    stamped_unit.original, units.build_unit = units.build_unit, stamped_unit
    with tempfile.TemporaryDirectory() as folder:
        stamps = os.environ[STAMPS] = os.path.join(folder, "stamps")
        os.mkdir(stamps)
        build.build(
            args.corpus_dir,
            args.vocab_file,
            os.path.join(folder, "out"),
            num_processes=PROCESSES[args.side],
            max_seq_length=args.max_seq_length,
        )
        end = time.time()
        first_line = min(float(stamp.read_text()) for stamp in Path(stamps).iterdir())
    return {"rate": size / 1e6 / (end - first_line), "startup": first_line - begin}


def stamped_unit(*unit, vocab_file, vocab_sha256, flags):
    """build_unit that notes when a process reads its first line; runs in the workers too."""
    from electra.data import units

    stamp = Path(os.environ[STAMPS], str(os.getpid()))
    if not stamp.exists():
        case = flags.do_lower_case, flags.strip_accents
        units.tokenizer_of(vocab_file, vocab_sha256, *case)[1].encode_lines(["a"])
        stamp.write_text(str(time.time()))
    build_unit = getattr(stamped_unit, "original", units.build_unit)
    return build_unit(*unit, vocab_file=vocab_file, vocab_sha256=vocab_sha256, flags=flags)


def measure_pure_python(args):
    """Does the same work in pure Python on the first lines of each file."""
    begin = time.time()
    import tensorflow as tf

    from electra.data import corpus
    from electra.data.examples import ExampleBuilder
    from electra.text.vocab import read_vocab

    vocab, length = read_vocab(args.vocab_file), args.max_seq_length
    tokenize = pure_python_tokenizer(args.side, vocab)
    builder = ExampleBuilder(vocab.cls_id, vocab.sep_id, length, random.Random(0))

    def feature(values):
        padded = values + [0] * (length - len(values))
        return tf.train.Feature(int64_list=tf.train.Int64List(value=padded))

    def encode(pieces, start, tokens):
        features = {
            "input_ids": feature([token for piece in pieces for token in piece]),
            "input_mask": feature([1] * tokens),
            "segment_ids": feature([0] * start + [1] * (tokens - start)),
        }
        example = tf.train.Example(features=tf.train.Features(feature=features))
        return example.SerializeToString()

    first_line, size = time.time(), 0
    with tempfile.NamedTemporaryFile() as file, tf.io.TFRecordWriter(file.name) as writer:
        for path in sorted({os.path.realpath(path) for path in corpus.find_files(args.corpus_dir)}):
            part = corpus.cut_units(os.path.dirname(path), [path], PURE_PYTHON_BYTES)[0][0]
            size += part.stop - part.start
            for _, lines, ends in corpus.read_documents(part):
                examples = [full for line in lines for full in builder.add_line(tokenize(line))]
                for example in examples + (builder.flush() if ends else []):
                    writer.write(encode(*example))
    return {"rate": size / 1e6 / (time.time() - first_line), "startup": first_line - begin}


def pure_python_tokenizer(way, vocab):
    """Returns a function from a line to its ids."""
    if way == "reference":
        from electra.text.wordpiece import WordPieceTokenizer

        return WordPieceTokenizer(vocab).encode
    from transformers.models.bert import tokenization_bert_legacy as published

    # Its two steps by themselves: its own method looks for special tokens first.
    words = published.BasicTokenizer(do_lower_case=True)
    pieces = published.WordpieceTokenizer(vocab.ids, "[UNK]", 200)

    def tokenize(line):
        word_pieces = [piece for word in words.tokenize(line) for piece in pieces.tokenize(word)]
        return [vocab.ids[piece] for piece in word_pieces]

    return tokenize


def report(rounds):
    parts = []
    for way in WAYS:
        rates, waits = ([values[way][what] for values in rounds] for what in ("rate", "startup"))
        parts.append(f"{way}: {spread(rates)} MB/s, start-up {spread(waits)} s")
    pairs = [("one process", other) for other in PURE_PYTHON] + [("two processes", "one process")]
    for way, other in pairs:
        ratios = [values[way]["rate"] / values[other]["rate"] for values in rounds]
        parts.append(f"{way} / {other}: {spread(ratios)}")
    record("; ".join(parts))


if __name__ == "__main__":
    main()
