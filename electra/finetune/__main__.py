"""Fine-tunes an ELECTRA model on tasks and scores it.

    python -m electra.finetune --data_dir D --model_name M \\
        --hparams '{"model_size": "small", "task_names": ["cola"]}'

`python run_finetuning.py` and `electra finetune` are the same command. See
configure_finetuning.py for the hparams and docs/data.md for the folders.
"""

from electra import next_steps
from electra.cli import define_run_flags, end_run, run_command, start_run
from electra.finetune.config import FinetuningConfig


def main(_):
    config = start_run(FinetuningConfig)
    from electra.finetune.runner import run_finetuning  # TensorFlow: after the quick checks

    result = run_finetuning(config)
    status = end_run(result)
    next_steps.after_finetuning(config, result)
    return status


if __name__ == "__main__":
    define_run_flags()
    run_command(main)
