"""What must hold between the hparams of fine-tuning.

Enters: a FinetuningConfig with all values set. Leaves: an error that says what to change.
"""


def checked(config):
    """Checks a FinetuningConfig's values against each other.

    Returns: its predict_files as a dict task -> list of paths.
    Raises:
        ValueError: they contradict each other.
    """
    if len(set(config.task_names)) < len(config.task_names):
        raise ValueError(f"task_names holds a task twice: {config.task_names}")
    for task in config.tasks:
        if config.do_train and "train" not in task.sources:
            of = f"It is predicted with the model of {task.model_of!r}"
            advice = of if task.model_of else "Name its train file, or set do_train to false"
            raise ValueError(f"Task {task.name!r} has no training data. {advice}")
    if not any((config.do_train, config.do_eval, config.do_predict, config.write_test_outputs)):
        raise ValueError(
            "do_train, do_eval, do_predict and write_test_outputs are false: nothing to do. "
            "Set one to true"
        )
    _check_evaluations(config)
    return _checked_predict_files(config)


def are_strings(values):
    """Returns whether a value is a list of strings that can be names of files."""
    return type(values) is list and all(type(v) is str and "\0" not in v for v in values)


def _check_evaluations(config):
    if not config.do_train:
        return
    wanting = [
        n for n in ("load_best_model_at_end", "early_stopping_patience") if getattr(config, n)
    ]
    if wanting and not config.eval_every_steps:
        raise ValueError(
            f"{' and '.join(wanting)}: the scores of which steps? Set eval_every_steps to a number "
            'of steps or to "epoch"'
        )
    if config.eval_every_steps and not config.do_eval:
        raise ValueError(
            "eval_every_steps is set, but nothing is scored: do_eval is false. Set it to true with "
            "a dev file, or eval_every_steps to null"
        )


def _checked_predict_files(config):
    names, given = config.task_names, config.predict_files
    if type(given) is list and (len(names) == 1 or not given):
        given = dict.fromkeys(names, given)
    is_right = type(given) is dict and set(given) <= set(names)
    is_right = is_right and all(map(are_strings, given.values()))
    if not is_right or (config.do_predict and not any(given.values())):
        raise ValueError(
            "do_predict wants predict_files: a list of paths, of several tasks a dict with a "
            f"list for each of {', '.join(names)}. Received: {config.predict_files!r}"
        )
    return given
