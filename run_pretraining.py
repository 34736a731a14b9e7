"""Pre-trains an ELECTRA model and evaluates it.

    python run_pretraining.py --data_dir D --model_name M --hparams '{"debug": true}'

See configure_pretraining.py for the hparams and README.md for the folders.
"""

from absl import flags

from electra.cli import (
    define_run_flags,
    import_tensorflow_quietly,
    run_command,
    run_settings,
    start_run,
)
from electra.pretrain.config import PretrainingConfig


def main(_):
    start_run()
    model_name, data_dir, hparams = run_settings(flags.FLAGS)
    config = PretrainingConfig(model_name, data_dir, **hparams)
    import_tensorflow_quietly(config.compilation_cache_dir)
    from electra.pretrain.runner import run_pretraining  # TensorFlow: after the quick checks

    return run_pretraining(config)


if __name__ == "__main__":
    define_run_flags()
    run_command(main)
