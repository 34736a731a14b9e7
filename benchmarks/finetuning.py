"""How fast fine-tuning is, beside transformers on PyTorch and beside ourselves padded to 128.

    python benchmarks/finetuning.py --data_dir D --task_name cola

D holds finetuning_data/<task>/ and vocab.txt. All sides pass over the same examples, in an order
drawn anew each time, forward, backward, clip and update, with dropout on, at the official small
size with new weights. Ours makes batches of like length; the peer is
ElectraForSequenceClassification behind a shuffling DataLoader that pads to the longest of its batch
(DataCollatorWithPadding), with the fused AdamW, in eager mode as its users run it, in float32 and
with autocast to bfloat16: the faster of the two counts. Every shape was run once before.
"""

import functools
import itertools
import os
import tempfile
import time

from side_by_side import beside_fastest, measure_sides, parser_of, positive, record

PEERS = ("transformers-bfloat16", "transformers-float32")
LENGTH = 128  # that everything is padded to in the official code
PADDED_SHARE = 4  # ourselves padded take so small a share of the examples: all batches cost alike


def options_of(doc, sides, examples):
    """Returns the parser of what fine-tuning and inference have in common."""
    parser = parser_of(doc, sides)
    parser.add_argument("--data_dir", required=True)
    parser.add_argument("--vocab_file", help="default: vocab.txt of data_dir")
    parser.add_argument("--batch_size", type=positive, default=32)
    parser.add_argument("--examples", type=positive, default=examples)
    return parser


def main():
    sides = {"ours": ours, "padded": ours, **dict.fromkeys(PEERS, transformers)}
    parser = options_of(__doc__, sides, 1920)
    parser.add_argument("--task_name", choices=("cola", "sst"), default="cola")
    args, sides = measure_sides(parser, sides)
    mine, padded = sides.pop("ours"), {"padded": sides.pop("padded")}
    record(
        f"{args.task_name}: {beside_fastest(mine, sides)} examples/s; "
        f"{beside_fastest(mine, padded)} examples/s"
    )


def open_run(args, folder, task_name, **hparams):
    """Returns a Finetuning of ELECTRA-small, not trained yet; `folder` is for what it writes."""
    from electra.finetune.config import FinetuningConfig
    from electra.finetune.runner import Finetuning

    hparams |= {"vocab_file": args.vocab_file} if args.vocab_file else {}
    config = FinetuningConfig(
        "benchmark",
        args.data_dir,
        output_dir=folder,
        model_size="small",
        task_names=[task_name],
        from_scratch=True,
        strategy="one",
        do_eval=False,
        train_batch_size=args.batch_size,
        predict_batch_size=args.batch_size,
        **hparams,
    )
    return Finetuning(config)


def open_training(args):
    sizes = {"max_train_examples": args.examples, "num_train_epochs": 3 * args.rounds}
    with tempfile.TemporaryDirectory() as folder:
        return open_run(args, folder, args.task_name, **sizes)


def ours(args):
    """Returns a function that trains for an epoch, or a share of it, and returns examples/s."""
    from electra.data import batches
    from electra.finetune.featurize import HOST_FEATURES

    run = open_training(args)
    data, count = run.data, run.data.steps_per_epoch
    batch_at, passes = functools.partial(data.batch_at, 0), itertools.count()
    if args.side == "padded":
        plan = batches.plan(batches.joined_lengths(data.train), [LENGTH], args.batch_size)
        count = max(1, count // PADDED_SHARE)

        def batch_at(step):
            batch = plan[step % data.steps_per_epoch]
            return batches.padded(data.train, batch, leave=HOST_FEATURES)

    loop = run.trainer.loop(0, batch_at)

    def measure():
        steps = loop.run(next(passes) * data.steps_per_epoch, count)
        return float(steps.values["examples"].sum()) / steps.seconds

    return measure


def classifier(args):
    """Returns the peer: a new model and the collator that pads its batches."""
    import torch
    from transformers import (
        BertTokenizer,
        DataCollatorWithPadding,
        ElectraConfig,
        ElectraForSequenceClassification,
    )

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    torch.manual_seed(0)
    # The sizes are those of google/electra-small-discriminator, as are ElectraConfig's defaults.
    model = ElectraForSequenceClassification(ElectraConfig(num_labels=2))
    vocab_file = args.vocab_file or os.path.join(args.data_dir, "vocab.txt")
    return model, DataCollatorWithPadding(BertTokenizer(vocab_file))


def transformers(args):
    """Returns a function that trains for an epoch and returns examples/s."""
    import torch

    model, collator = classifier(args)
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.01, fused=True)
    rows = rows_of(open_training(args).data.train[args.task_name])
    loader = torch.utils.data.DataLoader(rows, args.batch_size, shuffle=True, collate_fn=collator)

    def measure():
        started = time.monotonic()
        for batch in loader:
            with torch.autocast("cpu", torch.bfloat16, enabled=args.side.endswith("bfloat16")):
                loss = model(**batch).loss
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
        return len(loader.dataset) / (time.monotonic() - started)

    return measure


def rows_of(features):
    """Returns features as the list of dicts that the peer's collator takes."""
    rows = (features.row(i) for i in range(len(features)))
    return [
        {
            "input_ids": r["input_ids"].tolist(),
            "token_type_ids": r["segment_ids"].tolist(),
            "attention_mask": r["input_mask"].tolist(),
            "labels": int(r["label_ids"]),
        }
        for r in rows
    ]


if __name__ == "__main__":
    main()
