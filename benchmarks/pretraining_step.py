"""How fast a pre-training step is, beside transformers on PyTorch.

    python benchmarks/pretraining_step.py --model_size small --batch_size 32 --precision bfloat16

Both sides mask, run the generator, sample, run the discriminator, go back, clip and update, with
dropout on and the official sizes, on full-length examples of random tokens. The peer is
ElectraForMaskedLM with ElectraForPreTraining, sharing embeddings, in eager mode as its users run
it, with autocast for bfloat16 and the fused AdamW; on a GPU where PyTorch finds one. A side by
itself: transformers-compiled is the peer with torch.compile and the generator's head on the masked
tokens only.
"""

import json
import os
import statistics
import time
import types

from side_by_side import measure_sides, parser_of, positive, record, spread

VOCAB_SIZE = 30522
VOCAB = types.SimpleNamespace(cls_id=101, sep_id=102, mask_id=103)
FIRST_WORD = 1000  # ids from here on are no special tokens


def options():
    parser = parser_of(__doc__, SIDES, rounds=7)
    parser.add_argument("--model_size", choices=("small", "base", "large"), default="small")
    parser.add_argument("--overrides", type=json.loads, default={}, help="model_hparam_overrides")
    parser.add_argument("--recompute_layers", action="store_true", help="of ours")
    parser.add_argument("--memory_gib", type=positive, help="of a GPU that ours may take")
    parser.add_argument("--precision", choices=("bfloat16", "float32"), default="bfloat16")
    parser.add_argument("--batch_size", type=positive, default=32)
    parser.add_argument("--max_seq_length", type=positive, default=128)
    parser.add_argument("--steps", type=positive, default=5, help="of one measurement")
    return parser


def main():
    args, sides = measure_sides(options(), SIDES, names=("ours", "transformers"))
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
        model_hparam_overrides=args.overrides,
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
    from electra.train.calls import GraphSteps
    from electra.train.loop import Loop
    from electra.train.strategy import choose_placement

    config = config_of(args)
    placement = choose_placement("one", precision=args.precision)
    with placement.strategy.scope():
        model = assembly.build_model(config, VOCAB, placement.dtype)
        optimizer = assembly.build_optimizer(config, model)
    step = assembly.build_step(config, model, optimizer, placement)
    return Loop(GraphSteps(step, placement, batches_of(dataset, placement)), placement)


def batches_of(dataset, placement):
    """Returns an iterator over a dataset on the device, as a run has it."""
    return placement.iterate(lambda context: dataset)


def limit_memory(gibibytes):
    """Lets TensorFlow take so much of each GPU and no more."""
    import tensorflow as tf

    from electra import compilation

    compilation.set_environment()
    for gpu in tf.config.list_physical_devices("GPU"):
        limit = tf.config.LogicalDeviceConfiguration(memory_limit=gibibytes * 1024)
        tf.config.set_logical_device_configuration(gpu, [limit])


def ours(args):
    """Returns a function that makes some steps and returns examples/s."""
    if args.memory_gib:
        limit_memory(args.memory_gib)
    loop = build_loop(args, one_batch(args))

    def measure():
        loop.run(0, 2)  # wakes the caches up after the other side's turn
        return args.batch_size * args.steps / loop.run(2, args.steps).seconds

    return measure


def transformers(args):
    """Returns a function that makes some steps and returns examples/s."""
    import torch

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    torch.manual_seed(0)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.set_default_device(device)
    config = config_of(args)
    generator, discriminator = _networks(config)
    models = torch.nn.ModuleList([generator, discriminator]).to(device)
    parameters = list(models.parameters())  # what both share comes once
    optimizer = torch.optim.AdamW(parameters, lr=5e-4, weight_decay=0.01, fused=True)
    shape = (args.batch_size, args.max_seq_length)
    ids, attention = torch.randint(FIRST_WORD, VOCAB_SIZE, shape), torch.ones(shape).long()
    slots = config.max_predictions_per_seq
    generate, discriminate = _halves(generator, discriminator, attention, args.side)
    rows = torch.arange(args.batch_size)[:, None]

    def step():
        places = torch.rand(shape).argsort(dim=1)[:, :slots]
        originals, masked = ids[rows, places], ids.clone()
        masked[rows, places] = torch.where(
            torch.rand(places.shape) < 0.85, VOCAB.mask_id, originals
        )
        with torch.autocast(device, torch.bfloat16, enabled=args.precision == "bfloat16"):
            loss, scores = generate(masked, rows, places, originals)
            drawn = torch.multinomial(scores.softmax(-1).view(-1, VOCAB_SIZE), 1).view(places.shape)
            corrupted = ids.clone()
            corrupted[rows, places] = drawn
            loss = loss + 50.0 * discriminate(corrupted, (corrupted != ids).long())
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()

    def seconds(count):
        started = time.monotonic()
        for _ in range(count):
            step()
        if device == "cuda":
            torch.cuda.synchronize()
        return time.monotonic() - started

    def measure():
        seconds(2)
        return args.batch_size * args.steps / seconds(args.steps)

    return measure


def _networks(config):
    """Returns the peer's generator and discriminator, which share their tables."""
    from transformers import ElectraConfig, ElectraForMaskedLM, ElectraForPreTraining

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
    return generator, discriminator


def _halves(generator, discriminator, attention, side):
    """Returns functions of PyTorch: (masked ids, rows and places of the masks, originals) -> (loss,
    scores there); (ids, whether each is a replacement) -> loss."""
    import torch

    def by_labels(masked, rows, places, originals):
        labels = torch.full_like(masked, -100)
        labels[rows, places] = originals
        scored = generator(input_ids=masked, attention_mask=attention, labels=labels)
        return scored.loss, scored.logits.detach()[rows, places].float()

    def gathered(masked, rows, places, originals):
        states = generator.electra(input_ids=masked, attention_mask=attention)[0][rows, places]
        states = generator.generator_predictions(states)
        scores = generator.generator_lm_head(states).float()  # (B, N, V)
        loss = torch.nn.functional.cross_entropy(scores.flatten(0, 1), originals.flatten())
        return loss, scores.detach()

    def discriminate(ids, labels):
        return discriminator(input_ids=ids, attention_mask=attention, labels=labels).loss

    if side == COMPILED:
        return torch.compile(gathered), torch.compile(discriminate)
    return by_labels, discriminate


COMPILED = "transformers-compiled"
SIDES = {"ours": ours, "transformers": transformers, COMPILED: transformers}

if __name__ == "__main__":
    main()
