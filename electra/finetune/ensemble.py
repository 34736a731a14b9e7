"""The ensemble of a run: the mean of what its trials predict, scored and written.

Enters: the results of trials, and a predictor that each trial's weights are loaded into. Leaves:
what the results say of the ensemble.
"""

from absl import logging

from electra.finetune import results, trials
from electra.finetune.families import get_family
from electra.saving import checkpoints

_NAME = "ensemble"  # of its folder in test_predictions


def score_ensemble(config, devs, submissions, finished, trainer):
    """Scores and writes what all trials predict together; what an earlier run did is kept.

    Args:
        config: FinetuningConfig; devs: list of TaskSplit; submissions: Submissions.
        finished: list of TrialResult.
        trainer: Trainer.
    Returns: dict trials (names), scores, and test_outputs where test files are predicted.
    Raises:
        ValueError: a trial has no model any more.
    """
    names = [result.trial for result in finished]
    known = results.known_ensemble(config, finished)
    ensemble = known or {"trials": names, "scores": {}}
    devs = [] if known else devs
    has_tests = submissions.are_written(_NAME, ensemble.get("test_outputs"))
    tests = [] if has_tests else submissions.tests
    members = [trial for trial in trials.planned(config) if trial.name in names]
    lacking = [trial.folder for trial in members if checkpoints.latest(trial.folder) is None]
    if lacking and devs:
        raise ValueError(
            f"ensemble wants the models of all trials, but {lacking[0]} has none any more. Set "
            "ensemble to false, or run the trials anew with keep_all_models"
        )
    if lacking and tests:
        logging.warning("%s holds no model for the ensemble's test predictions", lacking[0])
    if lacking or not [*devs, *tests]:
        return ensemble
    predicted = []
    for trial in members:
        trainer.restore(trial)
        of_trial = [trainer.predictor.predict(*dev.inputs, config.eval_batch_size) for dev in devs]
        of_tests = submissions.predict(trainer.predictor) if tests else ()
        predicted.append([predictions for predictions, _ in of_trial] + [*of_tests])
    means = [
        get_family(split.task.family).mean(of_split)
        for split, of_split in zip([*devs, *tests], zip(*predicted, strict=True), strict=True)
    ]
    if devs:
        ensemble["scores"] = {
            dev.name: dev.score(mean, config.qa_na_threshold)
            for dev, mean in zip(devs, means, strict=False)
        }
        shown = results.readable(ensemble["scores"])
        logging.info("Ensemble of %d trials: %s", len(names), shown)
    if tests:
        ensemble["test_outputs"] = submissions.write(_NAME, means[len(devs) :])
    return ensemble
