"""Fine-tunes an ELECTRA model on tasks and scores it.

    python run_finetuning.py --data_dir D --model_name M \
        --hparams '{"model_size": "small", "task_names": ["cola"]}'

See configure_finetuning.py for the hparams and README.md for the folders.
"""

from absl import flags

from electra.cli import (
    define_run_flags,
    import_tensorflow_quietly,
    run_command,
    run_settings,
    start_run,
)
from electra.finetune.config import FinetuningConfig


def main(_):
    start_run()
    model_name, data_dir, hparams = run_settings(flags.FLAGS)
    config = FinetuningConfig(model_name, data_dir, **hparams)
    import_tensorflow_quietly(config.compilation_cache_dir)
    from electra.finetune.runner import run_finetuning  # TensorFlow: after the quick checks

    return run_finetuning(config)


if __name__ == "__main__":
    define_run_flags()
    run_command(main)
