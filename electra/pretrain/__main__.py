"""Pre-trains an ELECTRA model and evaluates it.

    python -m electra.pretrain --data_dir D --model_name M --hparams '{"debug": true}'

`python run_pretraining.py` and `electra pretrain` are the same command. See
configure_pretraining.py for the hparams and docs/data.md for the folders.
"""

from electra import next_steps
from electra.cli import define_run_flags, end_run, run_command, start_run
from electra.pretrain.config import PretrainingConfig


def main(_):
    config = start_run(PretrainingConfig)
    from electra.pretrain.runner import run_pretraining  # TensorFlow: after the quick checks

    result = run_pretraining(config)
    status = end_run(result)
    next_steps.after_pretraining(config, result)
    return status


if __name__ == "__main__":
    define_run_flags()
    run_command(main)
