"""How opening and reading records grows with their number, up to 100 million.

    python benchmarks/opening.py --work_dir FOLDER [--records 1000000 10000000 100000000]

Records of 5 tokens in files of a million, of which one is written and copied: 100 million take 11
GB. Each number is opened twice, each time in a process of its own: first without an index, then
with the one that was kept. Writes docs/opening.md and docs/opening.png.
"""

import json
import os
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path

from side_by_side import ROOT, machine, parser_of, positive

LENGTH, OF_FILE, BATCH, BATCHES = 5, 10**6, 128, 500
PAGE = ROOT / "docs" / "opening.md"
COLUMNS = ("GB", "s to open without an index", "MB", "s to open with it", "MB with it")
COLUMNS += ("examples/s",)


def main():
    parser = parser_of(__doc__)
    parser.add_argument("--work_dir", required=True)
    parser.add_argument("--records", type=positive, nargs="+", default=[10**6, 10**7, 10**8])
    parser.add_argument("--open", type=positive, help="measure so many records, in this process")
    args = parser.parse_args()
    folder = os.path.join(args.work_dir, "opening")
    if args.open:
        print(json.dumps(opened(files_of(folder, args.open))))
        return
    from electra.data.index import INDEX_NAME

    rows = []
    for count in sorted(args.records):
        write(files_of(folder, count))
        Path(folder, INDEX_NAME).unlink(missing_ok=True)
        command = [sys.executable, __file__, "--work_dir", args.work_dir, "--open", str(count)]
        first, again = (json.loads(subprocess.check_output(command)) for _ in range(2))
        size = sum(map(os.path.getsize, files_of(folder, count))) / 1e9
        rows.append((count, [size, *first[:2], *again]))
        print(*rows[-1], flush=True)
    shutil.rmtree(folder)
    write_page(rows)
    plot(rows)


def files_of(folder, count):
    return [f"{folder}/pretrain_data.tfrecord-{i:05}" for i in range(-(-count // OF_FILE))]


def write(paths):
    """Writes the files that are not there."""
    import numpy as np
    import tensorflow as tf

    from electra.data.records import encode_examples

    os.makedirs(os.path.dirname(paths[0]), exist_ok=True)
    if not os.path.exists(paths[0]):
        rng = np.random.default_rng(0)
        with tf.io.TFRecordWriter(paths[0]) as writer:
            for _ in range(OF_FILE // 1000):
                examples = [([row], 2, LENGTH) for row in rng.integers(5, 30522, (1000, LENGTH))]
                for record in encode_examples(examples, LENGTH)[0]:
                    writer.write(record)
    for path in paths[1:]:
        if not os.path.exists(path):
            shutil.copyfile(paths[0], path)


def opened(files):
    """Returns seconds to open, 2^20 bytes of memory for that, examples/s, in a fresh process."""
    import tensorflow as tf

    from electra.data import reader

    tf.io.parse_example([b""], {"x": tf.io.VarLenFeature(tf.int64)})  # sets itself up
    before, started = peak(), time.perf_counter()
    records = reader.Records(",".join(files))
    seconds, megabytes = time.perf_counter() - started, peak() - before
    order = {"seed": 0, "global_batch": BATCH, "start_step": 0, "replica_rows": [(0, BATCH)]}
    batches = iter(reader.dataset(records, **order))
    next(batches)
    started = time.perf_counter()
    for _ in range(BATCHES):
        next(batches)
    return seconds, megabytes, BATCH * BATCHES / (time.perf_counter() - started)


def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def write_page(rows):
    text = [
        "# Opening many records\n",
        f"Written by `benchmarks/opening.py`: records of {LENGTH} tokens in files of a million, "
        f"in the page cache, on {machine()}; one run. Memory is what opening added to the "
        "process's peak; with an index that is for the most part pages of its mapped file, which "
        "the system may take back.\n",
        "![Seconds to open against the number of records](opening.png)\n",
        f"| records | {' | '.join(COLUMNS)} |",
        f"|{'---|' * (len(COLUMNS) + 1)}",
    ]
    for count, values in rows:
        text.append(f"| {count:,} | {' | '.join(map(short, values))} |")
    PAGE.write_text("\n".join([*text, ""]), encoding="utf-8")


def short(value):
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def plot(rows):
    from matplotlib import pyplot

    figure, axis = pyplot.subplots(figsize=(5, 3.2))
    counts = [count for count, _ in rows]
    for name, place in (("first time, indexed", 1), ("with the index", 3)):
        axis.plot(counts, [values[place] for _, values in rows], marker="o", label=name)
    axis.set(xlabel="records", ylabel="s to open", xscale="log", yscale="log")
    axis.legend()
    figure.tight_layout()
    figure.savefig(PAGE.with_suffix(".png"), dpi=110)


if __name__ == "__main__":
    main()
