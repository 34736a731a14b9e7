"""Turns a corpus of raw text into pre-training records.

    python -m electra.data --corpus_dir C --vocab_file D/vocab.txt \\
        --output_dir D/pretrain_tfrecords --max_seq_length 128 --num_processes 2

A killed build goes on when the same command is run again. `python build_pretraining_dataset.py` and
`electra build` are the same command.
"""

from absl import flags, logging

from electra import console, next_steps
from electra.cli import define_flags, run_command
from electra.data.build import SHARES, BuildFlags, build
from electra.data.manifest import few_held_out

FLAGS = flags.FLAGS
PLACES = {
    "corpus_dir": "Folder of text files, .jsonl, compressed or tar.",
    "vocab_file": "The vocabulary, one token a line.",
    "output_dir": "Where records and manifest go.",
}
FIELDS = {**BuildFlags.fields, **SHARES}


def main(_):
    console.log_info()
    manifest = build(**{name: FLAGS[name].value for name in (*PLACES, *FIELDS)})
    if manifest is None:  # of several tasks the last one tells
        return
    print(
        f"{FLAGS.output_dir}: {manifest['train_examples']} training examples, "
        f"{manifest['train_tokens']} tokens; {manifest['eval_examples']} held-out examples, "
        f"{manifest['eval_tokens']} tokens; {len(manifest['files'])} files",
        flush=True,
    )
    if (count := manifest["eval_examples"]) and (problem := few_held_out(count)):
        logging.warning(problem)
    next_steps.after_build(FLAGS.output_dir, FLAGS.vocab_file, manifest["train_tokens"])


if __name__ == "__main__":
    for name, meaning in PLACES.items():
        flags.DEFINE_string(name, None, meaning, required=True)
    define_flags(FIELDS)
    run_command(main, [name for name, field in FIELDS.items() if field.kinds == (bool,)])
