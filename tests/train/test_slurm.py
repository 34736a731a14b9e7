"""TF_CONFIG of Slurm's variables: as srun sets them, and what does not fit."""

import doctest
import json

import pytest

from electra.train import slurm

FOUR = {
    "SLURM_STEP_NODELIST": "n[9-10],gpu01",
    "SLURM_STEP_TASKS_PER_NODE": "1(x2),2",
    "SLURM_PROCID": "3",
    "SLURM_NODEID": "2",
    "SLURM_LOCALID": "1",
    "SLURM_JOB_ID": "4000017",
}


def test_every_task_is_a_worker_at_its_machine_with_a_port_of_the_job():
    config = json.loads(slurm.tf_config(FOUR))
    assert config == {
        "cluster": {"worker": ["n9:20017", "n10:20017", "gpu01:20017", "gpu01:20018"]},
        "task": {"type": "worker", "index": 3},
    }


def test_the_examples_hold():
    assert doctest.testmod(slurm).failed == 0
    assert slurm.hosts_of("a-[1-2]") == ["a-1", "a-2"]
    assert slurm.hosts_of("127.0.0.1") == ["127.0.0.1"]


@pytest.mark.parametrize(
    "changes",
    [
        {"SLURM_PROCID": ""},  # no srun
        {"SLURM_STEP_NODELIST": "n1", "SLURM_STEP_TASKS_PER_NODE": "1"},  # a step of one task
    ],
)
def test_without_several_tasks_there_is_none(changes):
    changes = {"SLURM_PROCID": "0", "SLURM_NODEID": "0", "SLURM_LOCALID": "0"} | changes
    assert slurm.tf_config(FOUR | changes) is None


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("SLURM_STEP_NODELIST", "n[9-10", "no list of machines"),
        ("SLURM_STEP_NODELIST", "n[9-10],", "no list of machines"),
        ("SLURM_STEP_NODELIST", "n[9-]", "3 numbers of tasks|no list"),
        ("SLURM_STEP_NODELIST", "n[1-99999999]", "machines or tasks"),
        ("SLURM_STEP_NODELIST", "n[3-1]", "machines or tasks"),
        ("SLURM_STEP_NODELIST", "n1", "1 machines and 3 numbers"),
        ("SLURM_STEP_TASKS_PER_NODE", "1(x2", "no numbers of tasks"),
        ("SLURM_STEP_TASKS_PER_NODE", "999999(x999999)", "machines or tasks"),
        ("SLURM_STEP_TASKS_PER_NODE", "0", "machines or tasks"),
        ("SLURM_PROCID", "4", "--distribution=block"),
        ("SLURM_PROCID", "first", "invalid literal"),
        ("SLURM_NODEID", "0", "--distribution=block"),  # cyclic
    ],
)
def test_what_does_not_fit_is_refused_with_all_variables(name, value, message):
    with pytest.raises(ValueError, match=message) as error:
        slurm.tf_config(FOUR | {name: value})
    assert f"{name}={value}" in str(error.value)
    assert "Set TF_CONFIG yourself" in str(error.value)
