"""How pre-training's throughput grows with batch size, length and number of records.

    python benchmarks/growth.py

ELECTRA-small in the processor's own precision. Writes docs/growth.md and docs/growth.png.
"""

import statistics
import tempfile
import time

import input_pipeline
import pretraining_step
from side_by_side import ROOT, Side, machine, parser_of, record, spread

BATCH_SIZES, LENGTHS, RECORDS = (8, 16, 32, 64, 128), (64, 128, 256, 512), (10**4, 10**5, 10**6)
PAGE = ROOT / "docs" / "growth.md"


def main():
    args = parser_of(__doc__).parse_args()
    batch_sizes = [(n, [in_a_new_process(args, batch_size=n)]) for n in BATCH_SIZES]
    lengths = [(n, [in_a_new_process(args, max_seq_length=n)]) for n in LENGTHS]
    reading = ["examples/s", "s to open", "ms to read a batch"]
    tables = [
        ("Batch size (length 128)", ["examples/s"], batch_sizes),
        ("Length (batch 32)", ["examples/s"], lengths),
        ("Records on disk (batch 32, length 128)", reading, with_records(args)),
    ]
    write_page(tables)
    plot(tables)
    record(f"see {PAGE.relative_to(ROOT)}")


def in_a_new_process(args, **sizes):
    """Returns the median examples/s of steps on one batch in memory."""
    flags = [word for name, value in sizes.items() for word in (f"--{name}", str(value))]
    with Side("ours", [pretraining_step.__file__, "--steps", "3", *flags]) as side:
        for _ in range(args.rounds):
            side.measure()
    print(sizes, spread(side.values), flush=True)
    return statistics.median(side.values)


def with_records(args):
    """Returns [(records, [examples/s, seconds to open, milliseconds to read a batch])]."""
    sizes = pretraining_step.options().parse_args([])
    loop = pretraining_step.build_loop(sizes, pretraining_step.one_batch(sizes))
    rows = []
    for count in RECORDS:
        with tempfile.TemporaryDirectory() as folder:
            pattern = input_pipeline.write_records(folder, count, sizes.max_seq_length, files=10)
            started = time.perf_counter()
            loop.steps.iterator = input_pipeline.real_batches(pattern, sizes, loop.placement)
            opened, reads, rates = time.perf_counter() - started, [], []
            for _ in range(100):
                started = time.perf_counter()
                next(loop.steps.iterator)
                reads.append(time.perf_counter() - started)
            for _ in range(args.rounds):
                rates.append(sizes.batch_size * 5 / loop.run(0, 5).seconds)
        rows.append((count, [statistics.median(rates), opened, statistics.median(reads) * 1e3]))
        print(*rows[-1], flush=True)
    return rows


def write_page(tables):
    parts = [
        "# How throughput grows\n",
        f"Written by `benchmarks/growth.py`: ELECTRA-small, medians, on {machine()}.\n",
        "![Throughput against batch size, length and records](growth.png)\n",
    ]
    for title, columns, rows in tables:
        lines = [f"| {title} | {' | '.join(columns)} |", f"|{'---|' * (len(columns) + 1)}"]
        for at, values in rows:
            lines.append(f"| {at:,} | {' | '.join(f'{value:.3g}' for value in values)} |")
        parts.append("\n".join([*lines, ""]))
    PAGE.write_text("\n".join(parts), encoding="utf-8")


def plot(tables):
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, len(tables), figsize=(11, 3.2), sharey=False)
    for axis, (title, columns, rows) in zip(axes, tables, strict=True):
        axis.plot([at for at, _ in rows], [values[0] for _, values in rows], marker="o")
        axis.set(xlabel=title, ylabel=columns[0], xscale="log", ylim=(0, None))
        axis.set_xticks([at for at, _ in rows], [f"{at:,}" for at, _ in rows])
        axis.minorticks_off()
    figure.tight_layout()
    figure.savefig(PAGE.with_suffix(".png"), dpi=110)


if __name__ == "__main__":
    main()
