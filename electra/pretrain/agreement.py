"""What must agree before a run begins: hparams, vocabulary, records, and the model to go on from.

Enters: a config. Leaves: the config to run with, or one error with every contradiction. TensorFlow
is not needed, but for TF1 checkpoints.
"""

from electra.data.manifest import AS_BUILT, contradictions, manifests_of
from electra.data.patterns import find_files
from electra.pretrain.defaults import newest_checkpoint, of_model, sizes_of
from electra.pretrain.phases import phases_left, phases_of, resumed
from electra.saving import checkpoints
from electra.saving.folder import ModelFolder
from electra.text.vocab import read_vocab
from electra.train import resume


def config_to_run(config):
    """Returns the PretrainingConfig with which a run begins or goes on.

    Raises:
        ValueError: it contradicts what the run's folder recorded, its vocabulary, its records or
            the model that it starts from; all that does is named.
        FileNotFoundError: no vocabulary, or nothing at init_checkpoint.
    """
    folder, cache = config.model_dir, config.compilation_cache_dir
    newest, recorded, wrong = newest_checkpoint(folder, cache), None, []
    newest = newest and checkpoints.read(newest, verify=False)
    if newest:
        recorded = ModelFolder(folder).recorded()
        try:
            config = resumed(config, recorded, folder, newest.step)
        except ValueError as error:
            wrong.append(str(error))
    vocab = read_vocab(config.vocab_file)
    advice = "Set vocab_file to that one, or model_name to a new model"
    for check in (
        lambda: config.check_vocab(vocab),
        lambda: resume.check_vocab(vocab, config.vocab_file, folder, newest, advice),
    ):
        try:
            check()
        except ValueError as error:
            wrong.append(str(error))
    wrong += _with_records(config, vocab, newest.step if newest else 0)
    start = newest.path if newest and recorded is None else config.init_checkpoint
    if start and (newest is None or recorded is None):
        wrong += _with_model(config, start, cache)
    if wrong:
        raise ValueError(". ".join(wrong))
    return config


def _with_records(config, vocab, step):
    """Lists what the manifests of the records that a run needs contradict."""
    wrong = []
    for phase in phases_left(config, phases_of(config), step):
        own = phase.config
        patterns = {"training": own.pretrain_tfrecords, "held-out": own.eval_tfrecords}
        if not own.do_train and find_files(own.eval_tfrecords):
            del patterns["training"]
        made_with = own.values("max_seq_length", "do_lower_case", "strip_accents")
        made_with["vocab_sha256"] = vocab.sha256
        manifests = {}  # folder -> the first kind of records there, and their manifest
        for kind, pattern in patterns.items():
            for folder, manifest in manifests_of(pattern).items():
                manifests.setdefault(folder, (kind, manifest))
        where = f"Phase {phase.number}: " if phase.count > 1 else ""
        for folder, (kind, manifest) in manifests.items():
            found = contradictions(manifest, made_with, folder, kind)
            wrong += [where + sentence for sentence in found]
    return [*wrong, AS_BUILT] if wrong else []


def _with_model(config, path, cache):
    """Lists what the model contradicts that a run starts from, or goes on from without a record."""
    checkpoints.read(path, verify=False)  # says what is missing or damaged
    wrong, sizes = [], sizes_of(path, config.fields, cache)
    differing = [
        f"{name} {getattr(config.encoder, name)} here, {value} there"
        for name, value in sizes.items()
        if getattr(config.encoder, name) != value
    ]
    if differing:
        wrong.append(
            f"The network of the hparams does not take the weights of {path}: "
            f"{'; '.join(differing)}. Leave the sizes out: they are taken over"
        )
    known = of_model(path, config.fields, cache)
    for name in ("do_lower_case", "strip_accents"):
        now = getattr(config, name)
        if not {name, "do_lower_case"} & config.given and known.get(name) not in (None, now):
            wrong.append(
                f"{path} was trained with {name} {known[name]}, the records were built with {now}. "
                "Build them as it was trained, or give that hparam to train on otherwise"
            )
    return wrong
