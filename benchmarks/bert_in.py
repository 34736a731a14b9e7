"""How well a BERT that came in is fine-tuned, beside transformers from the same weights.

    python benchmarks/bert_in.py --bert FOLDER --finetuning_data D --work_dir W

FOLDER is a BertModel with its tokenizer as Hugging Face has it, D has cola/ and mrpc/, W is for
what is written. Ours: electra.convert, then run_finetuning.py. The peers, on PyTorch: `equal`,
BertModel with our head, dropout and a linear layer on the last [CLS] vector, and `transformers`,
BertForSequenceClassification, whose pooler stands before these. All sides: float32, AdamW with a
linear warm-up and decay, gradients clipped to 1, batches of like length, the same rate, batch size,
epochs and longest text; one rate for all layers, each pair in one order. W/scores.jsonl gets a line
for each task, seed and side; the same command goes on after the last one.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from side_by_side import ROOT, positive

METRICS = {"cola": ("mcc",), "mrpc": ("accuracy", "f1")}
SIDES = ("ours", "equal", "transformers")
NAMES = ("task", "seed", "side")  # of a line, besides its numbers
LENGTH, WARMUP_SHARE, DECAY = 128, 0.1, 0.01


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    for name in ("bert", "finetuning_data", "work_dir"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--tasks", nargs="+", choices=METRICS, default=list(METRICS))
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=list(SIDES))
    parser.add_argument("--seeds", type=positive, default=5)
    parser.add_argument("--epochs", type=positive, default=3)
    parser.add_argument("--batch_size", type=positive, default=32)
    parser.add_argument("--learning_rate", type=float, default=1e-4)
    args = parser.parse_args()
    results = Path(args.work_dir) / "scores.jsonl"
    lines = [json.loads(line) for line in results.open()] if results.exists() else []
    done = {tuple(line[name] for name in NAMES) for line in lines}
    for seed in range(args.seeds):
        for task in args.tasks:
            for side in args.sides:
                if (task, seed, side) in done:
                    continue
                started = time.monotonic()
                scores = (ours if side == "ours" else peer)(args, task, seed, side)
                scores["seconds"] = round(time.monotonic() - started, 1)
                line = dict(zip(NAMES, (task, seed, side), strict=True)) | scores
                lines.append(line)
                with results.open("a") as file:
                    file.write(json.dumps(line) + "\n")
                print(line, flush=True)
    report(lines)


def report(lines):
    """Prints mean, deviation and values of each task, side and metric."""
    for task, metrics in METRICS.items():
        for metric in metrics:
            for side in SIDES:
                of = [x[metric] for x in lines if (x["task"], x["side"]) == (task, side)]
                if of:
                    deviation = statistics.stdev(of) if len(of) > 1 else 0
                    values = ", ".join(f"{value:.2f}" for value in of)
                    mean = statistics.mean(of)
                    print(f"{task} {metric}, {side}: {mean:.2f} +- {deviation:.2f} ({values})")


def ours(args, task, seed, _):
    """Returns the scores of our trial of that seed."""
    work = os.path.abspath(args.work_dir)
    model = os.path.join(work, "models", "bert")
    if not os.path.exists(model):
        run("-m", "electra.convert", "--model", args.bert, "--to", "electra", "--output", model)
    hparams = {
        "task_names": [task],
        "raw_data_dir": os.path.abspath(args.finetuning_data),
        "seed": 0,
        "num_trials": seed + 1,
        "learning_rate": args.learning_rate,
        "layerwise_lr_decay": 0,
        "warmup_proportion": WARMUP_SHARE,
        "weight_decay_rate": DECAY,
        "num_train_epochs": args.epochs,
        "train_batch_size": args.batch_size,
        "max_seq_length": LENGTH,
        "double_unordered": False,
        "keep_all_models": False,
        "precision": "float32",
    }
    flags = ("--data-dir", work, "--model-name", "bert", "--hparams", json.dumps(hparams))
    run("run_finetuning.py", *flags)
    trial = os.path.join(model, "finetuning_models", f"{task}_model_{seed + 1}", "scores.json")
    with open(trial, encoding="utf-8") as file:
        scores = json.load(file)["scores"][task]
    return {metric: scores[metric] for metric in METRICS[task]}


def run(*command):
    subprocess.run([sys.executable, *command], cwd=ROOT, check=True)


def peer(args, task, seed, side):
    """Returns the dev scores of transformers."""
    import torch
    import transformers
    from sklearn import metrics
    from transformers.trainer_pt_utils import LengthGroupedSampler

    torch.manual_seed(seed)
    tokenizer = transformers.AutoTokenizer.from_pretrained(args.bert)
    tokenizer.backend_tokenizer.no_padding()  # the collator pads
    train, dev = (rows_of(args, task, split, tokenizer) for split in ("train", "dev"))
    collator = transformers.DataCollatorWithPadding(tokenizer)
    model = classifier(args.bert, side)
    lengths = [len(row["input_ids"]) for row in train]
    sampler = LengthGroupedSampler(args.batch_size, lengths=lengths)
    batches = torch.utils.data.DataLoader(
        train, args.batch_size, sampler=sampler, collate_fn=collator
    )
    steps = args.epochs * len(batches)
    optimizer = torch.optim.AdamW(model.parameters(), args.learning_rate, weight_decay=DECAY)
    scheduler = transformers.get_linear_schedule_with_warmup(
        optimizer, int(WARMUP_SHARE * steps), steps
    )
    for _ in range(args.epochs):
        for batch in batches:
            labels = batch.pop("labels")
            loss = torch.nn.functional.cross_entropy(model(**batch), labels)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            scheduler.step()
    model.eval()
    gold, found = [row["labels"] for row in dev], []
    with torch.no_grad():
        for batch in torch.utils.data.DataLoader(dev, 64, collate_fn=collator):
            del batch["labels"]
            found += model(**batch).argmax(-1).tolist()
    kinds = {
        "mcc": metrics.matthews_corrcoef,
        "accuracy": metrics.accuracy_score,
        "f1": metrics.f1_score,
    }
    return {name: 100 * float(kinds[name](gold, found)) for name in METRICS[task]}


def classifier(folder, side):
    """Returns a network of their encoder that gives logits of two labels, ready to train."""
    import torch
    import transformers

    class Equal(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.bert = transformers.BertModel.from_pretrained(folder, add_pooling_layer=False)
            self.dropout = torch.nn.Dropout(0.1)
            self.classifier = torch.nn.Linear(self.bert.config.hidden_size, 2)
            torch.nn.init.normal_(self.classifier.weight, std=self.bert.config.initializer_range)
            torch.nn.init.zeros_(self.classifier.bias)

        def forward(self, **batch):
            return self.classifier(self.dropout(self.bert(**batch).last_hidden_state[:, 0]))

    class Pooled(torch.nn.Module):
        def __init__(self):
            super().__init__()
            kind = transformers.BertForSequenceClassification
            self.model = kind.from_pretrained(folder, num_labels=2)

        def forward(self, **batch):
            return self.model(**batch).logits

    return (Equal if side == "equal" else Pooled)().train()


def rows_of(args, task, split, tokenizer):
    """Returns a split as the list of dicts that the peer's collator takes."""
    from electra.finetune.readers import read_examples
    from electra.finetune.tasks import get_task

    row = get_task(task)
    examples = read_examples(row, split, args.finetuning_data, double_unordered=False)
    pairs = [[x.text_a for x in examples]]
    if examples[0].text_b is not None:
        pairs.append([x.text_b for x in examples])
    encoded = tokenizer(*pairs, truncation=True, max_length=LENGTH)
    return [
        {**{name: values[i] for name, values in encoded.items()}, "labels": row.label_ids[x.label]}
        for i, x in enumerate(examples)
    ]


if __name__ == "__main__":
    main()
