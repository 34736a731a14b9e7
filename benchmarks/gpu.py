"""Measures on a GPU, in stages: steps, start-up, fine-tuning, a real run, the largest batches.

    python benchmarks/gpu.py OUT
    python benchmarks/gpu.py OUT --stages steps memory --limit_minutes 5
    python benchmarks/gpu.py OUT --data_dir D --model_name M --curve reference.csv

Each result is a line of JSON, printed and appended to OUT/results.jsonl as soon as it is known;
what the programs say is in OUT/<stage>.log. A stage that exceeds its limit is ended, the next one
begins. D is laid out as for the commands; of finetuning_data/ and pretrain_tfrecords/ what is
missing is written, of random tokens. Peers are measured where PyTorch and transformers are
installed.
"""

import argparse
import contextlib
import csv
import importlib.util
import json
import os
import pathlib
import signal
import statistics
import subprocess
import sys
import time

import pretraining_step
import start_up
from side_by_side import ROOT, Side, parser_of, positive

STEPS = (("small", 128, 128), ("base", 256, 128), ("base", 64, 512), ("large", 64, 128))
LARGEST = (  # size, length, whether layers are computed anew, the batch that is tried first
    ("small", 128, False, 4096),
    ("small", 128, True, 8192),
    ("base", 512, False, 256),
    ("base", 512, True, 1024),
)
MOST = 2**16  # examples of a batch that is tried
PEERS = ("transformers", pretraining_step.COMPILED)
TINY = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
TINY_BATCH, TINY_LENGTH = 8, 16
COLUMNS = {  # of a reference curve -> of train_log.jsonl
    "total": "loss",
    "mlm_loss": "masked_lm_loss",
    "disc_loss": "disc_loss",
    "disc_auc": "disc_auc",
}


def options():
    parser = parser_of(__doc__, rounds=3)
    parser.add_argument("out", type=pathlib.Path, metavar="OUT", help="folder for all results")
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=list(STAGES))
    parser.add_argument("--limit_minutes", type=float, default=20, help="of a stage")
    parser.add_argument("--data_dir", type=pathlib.Path, help="default: one of random tokens")
    parser.add_argument("--model_name", help="that is fine-tuned; default: a new small one")
    parser.add_argument("--minutes", type=float, default=5, help="of pre-training")
    parser.add_argument("--curve", type=pathlib.Path, help="reference: csv of step, total, ...")
    parser.add_argument("--memory_gib", type=positive, default=80, help="for the largest batches")
    parser.add_argument("--tiny", action="store_true", help="try the command, at tiny sizes")
    parser.add_argument("--only", choices=STAGES, help=argparse.SUPPRESS)  # in this process
    return parser


def main():
    args = options().parse_args()
    args.out = args.out.absolute()
    args.out.mkdir(parents=True, exist_ok=True)
    if args.tiny:  # programs for a CPU are kept too
        os.environ["TF_XLA_FLAGS"] = "--tf_xla_persistent_cache_device_types=CPU"
    if args.only:
        STAGES[args.only](args)
        return
    for name in args.stages:
        started = time.monotonic()
        ended = run_stage(args, name)
        write(args, name, ended=ended, seconds=round(time.monotonic() - started, 1))


def run_stage(args, name):
    """Runs a stage with all its processes, for so long as it may take. Returns: how it ended."""
    command = [sys.executable, *sys.argv, "--only", name]
    with open(args.out / f"{name}.log", "a", encoding="utf-8") as log:
        process = subprocess.Popen(command, stderr=log, start_new_session=True)
    try:
        status = process.wait(args.limit_minutes * 60)
    except subprocess.TimeoutExpired:
        return f"after its limit of {args.limit_minutes:g} minutes"
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    return f"with status {status}, see {name}.log" if status else "well"


def write(args, stage, **values):
    line = json.dumps({"stage": stage, **values})
    print(line, flush=True)
    with open(args.out / "results.jsonl", "a", encoding="utf-8") as file:
        file.write(line + "\n")


def median(values):
    return statistics.median(values) if values else None


def measured(side):
    """Whether a Side measured once; no where its process ended, as with too large a batch."""
    try:
        side.measure()
    except (SystemExit, OSError) as error:
        print(error, file=sys.stderr)
        return False
    return True


def sizes_of(args, size, batch, length):
    """Returns the sizes as they are measured, for a line, and pretraining_step.py's arguments."""
    if args.tiny:
        size, batch, length = "small", min(batch, TINY_BATCH), TINY_LENGTH
    flags = ["--model_size", size, "--batch_size", batch, "--max_seq_length", length]
    flags += ["--overrides", json.dumps(TINY), "--steps", 2] if args.tiny else ["--steps", 40]
    names = {"size": "tiny" if args.tiny else size, "batch": batch, "length": length}
    return names, [pretraining_step.__file__, *map(str, flags)]


# ---- runs of the commands -----------------------------------------------------------------------


def data_of(args, part):
    """Returns the folder of the data, one of random tokens where that given lacks a part."""
    if args.data_dir and (args.data_dir / part).exists():
        return args.data_dir.absolute()
    folder = args.out / "data"
    if folder.exists():
        return folder
    start_up.write_data(folder, *((100, TINY_LENGTH) if args.tiny else (100_000, 128)))
    rows = [f"x\t{i % 2}\t*\t" + "w5 w6 " * (1 + i) + "\n" for i in range(12)]
    answers = {"answers": [{"text": "w8", "answer_start": 3}], "is_impossible": False}
    asked = [{"id": f"{i}", "question": f"w{i}", **answers} for i in range(12)]
    squad = {"data": [{"paragraphs": [{"context": "w7 w8 w9", "qas": asked}]}]}
    for task, ending, text in (
        ("cola", "tsv", "".join(rows)),
        ("squad", "json", json.dumps(squad)),
    ):
        for split in ("train", "dev"):
            file = folder / "finetuning_data" / task / f"{split}.{ending}"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
    return folder


def new_folder(args, name):
    """Returns the path of a folder that is not there yet: no run goes on with another."""
    return args.out / f"{name}_{time.time_ns()}"


def start(script, data, name, hparams):
    """Starts a command of this project; what it prints goes to the stage's log."""
    flags = ["--data_dir", data, "--model_name", name, "--hparams", json.dumps(hparams)]
    return subprocess.Popen([sys.executable, ROOT / script, *flags], stdout=sys.stderr)


def tiny_run(args, **more):
    """Returns the hparams of a tiny run, {} where runs are not to be tiny."""
    sizes = {"train_batch_size": TINY_BATCH, "max_seq_length": TINY_LENGTH, "xla": True}
    return {**sizes, "model_hparam_overrides": TINY, **more} if args.tiny else {}


# ---- stages -------------------------------------------------------------------------------------


def steps(args):
    """Pre-training steps on one batch, beside transformers eager and compiled."""
    has_peers = all(importlib.util.find_spec(name) for name in ("torch", "transformers"))
    for sizes in STEPS[: 1 if args.tiny else None]:
        about, flags = sizes_of(args, *sizes)
        with contextlib.ExitStack() as stack:
            running = {}
            for name in ("ours", *(PEERS if has_peers else ())):
                started, side = time.monotonic(), stack.enter_context(Side(name, flags))
                if measured(side):
                    running[name] = side
                    side.values.clear()
                seconds = round(time.monotonic() - started, 1)
                write(args, "steps", **about, side=name, works=name in running, ready=seconds)
            for i in range(args.rounds):
                for name in list(running) if i % 2 == 0 else list(running)[::-1]:
                    if not measured(running[name]):
                        del running[name]
        for name, side in running.items():
            values = {"examples_per_sec": median(side.values), "rounds": side.values}
            if name != "ours" and "ours" in running:
                pairs = zip(running["ours"].values, side.values, strict=True)
                values["ours_to_it"] = median([a / b for a, b in pairs])
            write(args, "steps", **about, side=name, **values)


def start_ups(args):
    """Seconds from the start of run_pretraining.py to its first step, cold and from the cache."""
    data = data_of(args, "pretrain_tfrecords")
    for i in range(args.rounds):
        folder = new_folder(args, "start_up")
        hparams = {**tiny_run(args), "compilation_cache_dir": str(folder / "compiled")}
        for kind in ("cold", "cached"):
            seconds = start_up.first_step(data, folder / kind, **hparams)
            write(args, "start_up", round=i, programs=kind, seconds=round(seconds, 1))


def finetuning(args):
    """CoLA and SQuAD from start to scores, and how many programs were compiled."""
    data, name = data_of(args, "finetuning_data"), args.model_name or "new"
    new = {} if args.model_name else {"from_scratch": True, "model_size": "small"}
    for task in ("cola", "squad"):
        folder = new_folder(args, f"finetuning_{task}")
        hparams = {"task_names": [task], "output_dir": str(folder), **new}
        hparams["compilation_cache_dir"] = str(folder / "compiled")
        hparams |= tiny_run(args, num_train_epochs=1, max_query_length=4, doc_stride=4)
        started = time.monotonic()
        status = start("run_finetuning.py", data, name, hparams).wait()
        values = {"status": status, "seconds": round(time.monotonic() - started, 1)}
        values["compiled_programs"] = len(list((folder / "compiled").rglob("*.pb")))
        results = folder / "results" / f"{task}_results.json"
        if results.exists():
            values["scores"] = json.loads(results.read_text(encoding="utf-8"))["summary"][task]
        write(args, "finetuning", task=task, **values)


def pretraining(args):
    """A run of some minutes from records, its speed beside that on one batch, its curve."""
    model = new_folder(args, "pretraining")
    hparams = {"model_dir": str(model), "eval_every_steps": 0}
    hparams |= tiny_run(args, log_every_steps=2, iterations_per_loop=2)
    process = start("run_pretraining.py", data_of(args, "pretrain_tfrecords"), "run", hparams)
    log = model / "train_log.jsonl"
    while process.poll() is None and not (log.exists() and log.stat().st_size):
        time.sleep(0.1)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(args.minutes * 60)
    process.terminate()  # it saves and ends
    status, text = process.wait(), log.read_text(encoding="utf-8") if log.exists() else ""
    lines = [json.loads(line) for line in text.splitlines()]
    values = {"status": status, "steps": lines[-1]["step"] if lines else 0}
    rates = [line["examples_per_sec"] for line in lines[1:]]  # the first one compiles
    write(args, "pretraining", examples_per_sec=median(rates), **values)
    about, flags = sizes_of(args, "small", 128, 128)
    with Side("ours", flags) as side:
        ran = all(measured(side) for _ in range(1 + args.rounds))
    rate = median(side.values[1:] if ran else [])
    write(args, "pretraining", **about, examples_per_sec_of_one_batch=rate)
    for row in beside_reference(args.curve, lines) if args.curve else ():
        write(args, "pretraining", **row)


def beside_reference(path, lines):
    """Puts a run's log beside a reference's curve.

    Args:
        path: csv with a column step and some of COLUMNS; lines that begin with # are left out.
        lines: dicts of train_log.jsonl.
    Returns: list of dicts, one for each row that the run reached: step, and for each column
        [reference, ours], ours of the last line at or before that step.
    """
    text = [x for x in path.read_text(encoding="utf-8").splitlines() if not x.startswith("#")]
    rows = []
    for row in csv.DictReader(text):
        step = int(float(row["step"]))
        before = [line for line in lines if line["step"] <= step]
        if before and step <= lines[-1]["step"]:
            both = {k: [float(row[k]), before[-1].get(COLUMNS[k])] for k in COLUMNS if k in row}
            rows.append({"step": step, **both})
    return rows


def memory(args):
    """The largest batch that fits, with and without the layers computed anew."""
    most = TINY_BATCH if args.tiny else MOST
    for size, length, recomputes, first in LARGEST[: 2 if args.tiny else None]:
        options = {"recompute_layers": recomputes, "memory_gib": args.memory_gib}

        def fits(batch, size=size, length=length, options=options):
            about, flags = sizes_of(args, size, batch, length)
            flags += ["--memory_gib", str(args.memory_gib), "--steps", "1"]
            with Side("ours", flags + ["--recompute_layers"] * options["recompute_layers"]) as side:
                found = measured(side)
            write(args, "memory", **about, **options, fits=found)
            return found

        best = largest(fits, min(first, most // 2), most)
        about, _ = sizes_of(args, size, best, length)
        write(args, "memory", **about, **options, is_largest=True)


def largest(fits, first, most):
    """Finds the largest batch that fits: a power of two times `first`, or 1.5 times that.

    Args:
        fits: function from a batch to whether it fits; most: no larger one is tried.
    Returns: int; 0 where none fits.
    """
    best = first
    if fits(first):
        while 2 * best <= most and fits(2 * best):
            best *= 2
    else:
        best //= 2
        while best and not fits(best):
            best //= 2
    more = best + best // 2
    return more if best < more <= most and fits(more) else best


STAGES = {
    "steps": steps,
    "start_up": start_ups,
    "finetuning": finetuning,
    "pretraining": pretraining,
    "memory": memory,
}

if __name__ == "__main__":
    main()
