"""How fast a fine-tuned classifier predicts, beside transformers on PyTorch.

    python benchmarks/inference.py --data_dir D

D holds finetuning_data/sst/dev.tsv and vocab.txt. Both sides go from 512 sentences to their
probabilities, at the official small size with new weights: ours the way that do_predict goes, the
peer (ElectraForSequenceClassification, in float32 and in bfloat16: the faster of the two counts)
with its own tokenizer, in batches padded to their longest sentence (DataCollatorWithPadding). Every
shape was run once before.
"""

import tempfile
import time

import finetuning
from side_by_side import beside_fastest, measure_sides, record

TASK = "sst"


def main():
    sides = {"ours": ours, **dict.fromkeys(finetuning.PEERS, transformers)}
    _, sides = measure_sides(finetuning.options_of(__doc__, sides, 512), sides)
    mine = sides.pop("ours")
    record(f"{beside_fastest(mine, sides)} sentences/s")


def open_sentences(args):
    """Returns the run, the task and the examples to predict."""
    with tempfile.TemporaryDirectory() as folder:
        run = finetuning.open_run(args, folder, TASK, max_train_examples=args.batch_size)
    task, splits = run.data.tasks[0], run.data.splits
    splits.cache_folder = None  # features are made anew each time, as of a user's own file
    return run, task, splits.examples(task, "dev")[: args.examples]


def ours(args):
    """Returns a function that predicts all sentences and returns sentences/s."""
    run, task, examples = open_sentences(args)
    predictor = run.trainer.predictor

    def measure():
        started = time.monotonic()
        features = run.data.splits.features(task, "dev", examples)
        predictor.predict(task, examples, features, run.config.predict_batch_size)
        return len(examples) / (time.monotonic() - started)

    return measure


def transformers(args):
    """Returns a function that predicts all sentences and returns sentences/s."""
    import torch

    model, collator = finetuning.classifier(args)
    model.eval()
    if args.side.endswith("bfloat16"):
        model.to(torch.bfloat16)
    texts = [example.text_a for example in open_sentences(args)[2]]

    def measure():
        started = time.monotonic()
        encoded = collator.tokenizer(texts, truncation=True, max_length=finetuning.LENGTH)
        rows = [{k: v[i] for k, v in encoded.items()} for i in range(len(texts))]
        with torch.inference_mode():
            for batch in torch.utils.data.DataLoader(rows, args.batch_size, collate_fn=collator):
                model(**batch).logits.float().softmax(-1).numpy()
        return len(texts) / (time.monotonic() - started)

    return measure


if __name__ == "__main__":
    main()
