"""Turns a corpus of raw text into pre-training records.

    python build_pretraining_dataset.py --corpus_dir C --vocab_file D/vocab.txt \\
        --output_dir D/pretrain_tfrecords --max_seq_length 128 --num_processes 2

A killed build goes on when the same command is run again.
"""

from absl import flags, logging

from electra.door import run_door

FLAGS = flags.FLAGS
BOOLEANS = ("blanks_separate_docs", "do_lower_case", "strip_accents", "keep_long_lines")


def define_flags():
    string, integer = flags.DEFINE_string, flags.DEFINE_integer
    string("corpus_dir", None, "Folder of text files, .jsonl, compressed or tar.", required=True)
    string("vocab_file", None, "The vocabulary, one token a line.", required=True)
    string("output_dir", None, "Where records and manifest go.", required=True)
    integer("max_seq_length", 128, "Tokens of an example.")
    integer("num_processes", 1, "Processes that share the work; the records stay the same.")
    flags.DEFINE_boolean("blanks_separate_docs", True, "A blank line ends a document.")
    flags.DEFINE_boolean("do_lower_case", True, "Lower-case the text.")
    flags.DEFINE_boolean("strip_accents", None, "Strip accents; by default as do_lower_case.")
    flags.DEFINE_boolean("keep_long_lines", True, "Carry over what does not fit in an example.")
    integer("num_out_files", 0, "Training files; 0 chooses by size, about 64 MB each.")
    flags.DEFINE_float("eval_fraction", 0.0, "Share of the documents that is held out.")
    integer("seed", 0, "Seed of example lengths, segments, held-out documents.")
    string("jsonl_field", "text", "Field of a .jsonl line that holds the text.")


def main(_):
    logging.set_verbosity(logging.INFO)
    from electra.data.build import build

    names = (
        "corpus_dir",
        "vocab_file",
        "output_dir",
        "max_seq_length",
        "num_processes",
        *BOOLEANS,
        "num_out_files",
        "eval_fraction",
        "seed",
        "jsonl_field",
    )
    manifest = build(**{name: FLAGS[name].value for name in names})
    print(
        f"{FLAGS.output_dir}: {manifest['train_examples']} training examples, "
        f"{manifest['train_tokens']} tokens; {manifest['eval_examples']} held-out examples, "
        f"{manifest['eval_tokens']} tokens; {len(manifest['files'])} files"
    )


if __name__ == "__main__":
    define_flags()
    run_door(main, BOOLEANS)
