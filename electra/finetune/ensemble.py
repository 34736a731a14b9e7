"""The ensemble of a run: the mean of what its trials predict, scored and written.

Enters: a run and the records of its trials. Leaves: what the results say of the ensemble.
"""

from absl import logging

from electra.finetune import outputs, trials
from electra.finetune.families import family
from electra.saving import checkpoints

_NAME = "ensemble"  # of its folder in test_predictions


def of_trials(run, finished):
    """Scores and writes what all trials predict together; what an earlier run did is kept.

    Args:
        run: Finetuning; finished: list of records.
    Returns: dict trials (names), scores, and test_outputs where test files are predicted.
    Raises:
        ValueError: a trial has no model any more.
    """
    names = [each["trial"] for each in finished]
    known = trials.known_ensemble(run.config, finished)
    result = known or {"trials": names, "scores": {}}
    devs = [] if known else run.data.dev
    tests = [] if outputs.has_tests(run, _NAME, result) else run.tests
    members = [trial for trial in trials.planned(run.config) if trial.name in names]
    lacking = [trial.folder for trial in members if checkpoints.latest(trial.folder) is None]
    if lacking and devs:
        raise ValueError(
            f"ensemble wants the models of all trials, but {lacking[0]} has none any more. Set "
            "ensemble to false, or run the trials anew with keep_all_models"
        )
    if lacking and tests:
        logging.warning("%s holds no model for the ensemble's test predictions", lacking[0])
    if lacking or not [*devs, *tests]:
        return result
    made = []
    for trial in members:
        run.restore(trial)
        made.append([run.predict(dev.task, dev.examples, dev.features)[0] for dev in devs])
        made[-1] += [outputs.predict(run, test) for test in tests]
    means = [
        family(split.task.family).mean(predictions)
        for split, predictions in zip([*devs, *tests], zip(*made, strict=True), strict=True)
    ]
    if devs:
        scores = [run.score(dev, mean) for dev, mean in zip(devs, means, strict=False)]
        result["scores"] = {dev.name: each for dev, each in zip(devs, scores, strict=True)}
        logging.info("Ensemble of %d trials: %s", len(names), trials.readable(result["scores"]))
    if tests:
        result["test_outputs"] = outputs.write_tests(run, _NAME, means[len(devs) :])
    return result
