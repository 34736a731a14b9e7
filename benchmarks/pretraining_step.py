"""How fast a pre-training step is, beside transformers on PyTorch.

    python benchmarks/pretraining_step.py --model_size small --batch_size 32 --precision bfloat16

Both sides mask, run the generator, sample, run the discriminator, go back, clip and update, with
dropout on and the official sizes, on full-length examples of random tokens. The peer is
ElectraForMaskedLM with ElectraForPreTraining, sharing embeddings, in eager mode as its users run
it, with autocast for bfloat16 and the fused AdamW.
"""

import os
import statistics
import time
import types

from side_by_side import measure_sides, parser_of, positive, record, spread

VOCAB_SIZE = 30522
VOCAB = types.SimpleNamespace(cls_id=101, sep_id=102, mask_id=103)
FIRST_WORD = 1000  # ids from here on are no special tokens


def options():
    parser = parser_of(__doc__, ("ours", "transformers"), rounds=7)
    parser.add_argument("--model_size", choices=("small", "base", "large"), default="small")
    parser.add_argument("--recompute_layers", action="store_true", help="of ours")
    parser.add_argument("--precision", choices=("bfloat16", "float32"), default="bfloat16")
    parser.add_argument("--batch_size", type=positive, default=32)
    parser.add_argument("--max_seq_length", type=positive, default=128)
    parser.add_argument("--steps", type=positive, default=5, help="of one measurement")
    return parser


def main():
    args, sides = measure_sides(options(), {"ours": ours, "transformers": transformers})
    mine, theirs = sides.values()
    ratios = [a / b for a, b in zip(mine.values, theirs.values, strict=True)]
    record(
        f"{spread(ratios)} times the peer: {spread(mine.values)} and {spread(theirs.values)} "
        f"examples/s; peak memory {mine.peak_mb:.0f} and {theirs.peak_mb:.0f} MB; "
        f"{share_of_peak(args, mine.values)}"
    )


def config_of(args):
    from electra.pretrain.config import PretrainingConfig

    return PretrainingConfig(
        "benchmark",
        "",
        model_size=args.model_size,
        precision=args.precision,
        vocab_size=VOCAB_SIZE,
        train_batch_size=args.batch_size,
        max_seq_length=args.max_seq_length,
        recompute_layers=args.recompute_layers,
    )


def share_of_peak(args, rates):
    """Returns how much of the machine's matrix peak our rate (examples/s) is, as text."""
    from electra.pretrain import assembly
    from electra.pretrain.flops import training_flops
    from electra.train.peak import peak_flops
    from electra.train.strategy import choose_placement

    config = config_of(args)
    placement = choose_placement("one", precision=args.precision)
    model = assembly.build_model(config, VOCAB, placement.dtype)
    flops = training_flops(model, args.max_seq_length, config.max_predictions_per_seq)
    rate, peak = flops * statistics.median(rates), peak_flops(placement)
    return f"{rate / 1e9:.0f} GFLOP/s, {rate / peak:.0%} of {peak / 1e9:.0f}"


def one_batch(args):
    """Returns a dataset that repeats one batch of full-length examples."""
    import numpy as np
    import tensorflow as tf

    from electra.features import ROW

    shape = (args.batch_size, args.max_seq_length)
    batch = {
        "input_ids": np.random.default_rng(0).integers(FIRST_WORD, VOCAB_SIZE, shape, np.int32),
        "input_mask": np.ones(shape, np.int32),
        "segment_ids": np.zeros(shape, np.int32),
        ROW: np.arange(args.batch_size, dtype=np.int32),
    }
    return tf.data.Dataset.from_tensors(batch).repeat()


def build_loop(args, dataset):
    """Returns the training loop of a new model on a dataset."""
    from electra.pretrain import assembly
    from electra.train.loop import GraphSteps, Loop
    from electra.train.strategy import choose_placement

    config = config_of(args)
    placement = choose_placement("one", precision=args.precision)
    with placement.strategy.scope():
        model = assembly.build_model(config, VOCAB, placement.dtype)
        optimizer = assembly.build_optimizer(config, model)
    step = assembly.build_step(config, model, optimizer, placement)
    return Loop(GraphSteps(step, placement, iter(dataset)), placement)


def ours(args):
    """Returns a function that makes some steps and returns examples/s."""
    loop = build_loop(args, one_batch(args))

    def measure():
        loop.run(0, 2)  # wakes the caches up after the other side's turn
        return args.batch_size * args.steps / loop.run(2, args.steps).seconds

    return measure


def transformers(args):
    """Returns a function that makes some steps and returns examples/s."""
    import torch
    from transformers import ElectraConfig, ElectraForMaskedLM, ElectraForPreTraining

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    config = config_of(args)

    def sizes(encoder):
        return ElectraConfig(
            vocab_size=VOCAB_SIZE,
            embedding_size=config.embedding_size,
            hidden_size=encoder.hidden_size,
            num_hidden_layers=encoder.num_hidden_layers,
            num_attention_heads=encoder.num_attention_heads,
            intermediate_size=encoder.intermediate_size,
        )

    generator = ElectraForMaskedLM(sizes(config.generator)).train()
    discriminator = ElectraForPreTraining(sizes(config.encoder)).train()
    generator.electra.embeddings = discriminator.electra.embeddings
    generator.tie_weights()
    models = torch.nn.ModuleList([generator, discriminator])
    parameters = list(models.parameters())  # what both share comes once
    optimizer = torch.optim.AdamW(parameters, lr=5e-4, weight_decay=0.01, fused=True)
    torch.manual_seed(0)
    shape = (args.batch_size, args.max_seq_length)
    ids, attention = torch.randint(FIRST_WORD, VOCAB_SIZE, shape), torch.ones(shape).long()
    slots = config.max_predictions_per_seq
    rows = torch.arange(args.batch_size)[:, None]

    def step():
        places = torch.rand(shape).argsort(dim=1)[:, :slots]
        shown = torch.where(torch.rand(places.shape) < 0.85, VOCAB.mask_id, ids[rows, places])
        masked, labels = ids.clone(), torch.full(shape, -100)
        masked[rows, places], labels[rows, places] = shown, ids[rows, places]
        with torch.autocast("cpu", torch.bfloat16, enabled=args.precision == "bfloat16"):
            scored = generator(input_ids=masked, attention_mask=attention, labels=labels)
            scores = scored.logits.detach()[rows, places].float()
            drawn = torch.multinomial(scores.softmax(-1).view(-1, VOCAB_SIZE), 1).view(places.shape)
            corrupted = ids.clone()
            corrupted[rows, places] = drawn
            judged = discriminator(
                input_ids=corrupted, attention_mask=attention, labels=(corrupted != ids).long()
            )
            loss = scored.loss + 50.0 * judged.loss
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()

    def measure():
        for i in range(2 + args.steps):
            if i == 2:
                started = time.monotonic()
            step()
        return args.batch_size * args.steps / (time.monotonic() - started)

    return measure


if __name__ == "__main__":
    main()
