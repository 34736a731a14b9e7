"""Tables of a user's own that are written again with what is predicted beside."""

import gzip

import numpy as np
import pytest

from electra.finetune.families import get_family
from electra.finetune.predictions import write_table
from electra.finetune.readers import find_file, read_examples
from electra.finetune.task_files import make_task


def predict(folder, name, text, predictions, columns, **row):
    """Writes a table, and again with predictions. Returns the new one's (name, text)."""
    data = text.encode()
    (folder / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    row = {"name": "my", "family": "classification", "files": {"test": name}, **row}
    task = make_task({**row, "columns": columns}, "", str(folder))
    examples, family = read_examples(task, "test", ""), get_family(task.family)
    cells = [family.cells(row) for row in family.rows(task, examples, np.array(predictions))]
    path = write_table(str(folder / "x_preds"), task, *find_file(task, "test", ""), cells)
    return path and (path.rpartition("/")[2], (folder / path).read_text())


YES_NO = {"labels": ["no", "yes"]}


@pytest.mark.parametrize("name", ["new.csv", "new.csv.gz"])
def test_all_columns_of_a_csv_file_stay(tmp_path, name):
    text = 'id,"my text",note\n7,"a ""b"", c\nd",\n\n8,é,"x,y"\n'
    found = predict(
        tmp_path, name, text, [[0.25, 0.75], [0.5, 0.5]], {"text_a": "my text"}, **YES_NO
    )
    assert found == (
        "x_preds.csv",
        'id,my text,note,prediction,probability\n7,"a ""b"", c\nd",,yes,0.75\n8,é,"x,y",no,0.5\n',
    )


def test_a_tsv_file_is_not_quoted_and_may_lack_a_header(tmp_path):
    found = predict(tmp_path, "new.tsv", 'a "b\tx\nc\n', [[1, 0], [0, 1]], {"text_a": 0}, **YES_NO)
    assert found == ("x_preds.tsv", 'a "b\tx\tno\t1.0\nc\t\tyes\t1.0\n')
    named = predict(
        tmp_path, "new.tsv", "text\tprediction\nc\t?\n", [[0, 1]], {"text_a": "text"}, **YES_NO
    )
    assert named[1] == "text\tprediction\tprediction_\tprobability\nc\t?\tyes\t1.0\n"
    again = predict(tmp_path, "new.tsv", named[1], [[0, 1]], {"text_a": "text"}, **YES_NO)
    assert again[1].split("\n")[0].split("\t")[3:] == [
        "probability",
        "prediction__",
        "probability_",
    ]


def test_numbers_and_several_labels_have_cells_of_their_own(tmp_path):
    rows = {"family": "regression", "label_range": [0, 5]}
    _, text = predict(tmp_path, "new.csv", "text\na\nb\n", [0.5, 0.3], {"text_a": "text"}, **rows)
    assert text == "text,prediction\na,2.5\nb,1.5\n"
    rows = {"family": "multilabel", "labels": ["x", "y"]}
    odds = [[0.75, 0.875], [0.25, 0.125]]
    _, text = predict(tmp_path, "new.csv", "text\na\nb\n", odds, {"text_a": "text"}, **rows)
    assert text == 'text,prediction,probability\na,"x,y","0.75,0.875"\nb,,\n'


def test_json_lines_are_no_table(tmp_path):
    found = predict(tmp_path, "a.jsonl", '{"text": "a"}\n', [[1, 0]], {"text_a": "text"}, **YES_NO)
    assert found is None
