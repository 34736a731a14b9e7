"""Makes pre-training examples from tokenised lines: the official packing of two segments.

Enters: lines as arrays of token ids. Leaves: [CLS] A [SEP] B [SEP], at most max_seq_length ids.
"""

import numpy as np

ONE_SEGMENT_PROB = 0.1
SHORT_EXAMPLE_PROB = 0.05
_WHOLE = 100_000  # a target that no first segment reaches, so that there is no second one


class ExampleBuilder:
    """Collects lines until an example is full.

    Args:
        cls_id, sep_id: ids of [CLS] and [SEP].
        max_seq_length: L.
        rng: has random() and randint(a, b), like random.Random.
        keep_long_lines: a line that does not fit continues in the next example; False drops its
            tail.
    Source: ExampleBuilder in build_pretraining_dataset.py of the official code.
    Differs from source: keep_long_lines (officially False).

    With L = 8, [CLS] 2, [SEP] 3 and lines [5, 6], [7], [8, 9, 10, 11, 12]: the third makes eight
    tokens, A's target is (8 - 3) // 2 = 2, so A is [5, 6], B [7, 8, 9], and the example
    [2, 5, 6, 3, 7, 8, 9, 3]; [10, 11, 12] are left for the next one.
    """

    def __init__(self, cls_id, sep_id, max_seq_length, rng, keep_long_lines=True):
        self._cls, self._sep = np.array([[cls_id], [sep_id]], np.int32)
        self.max_seq_length = max_seq_length
        self.rng, self.keep_long_lines = rng, keep_long_lines
        self.target_length = max_seq_length
        self._lines, self._length = [], 0

    def add_line(self, ids):
        """Adds a line.

        Args:
            ids: int32 (n,), token ids.
        Returns: list of the examples that became full: tuples of
            pieces: list of int32 arrays, the ids of [CLS] A [SEP] B [SEP] when joined;
            start: where segment 1, of B and its [SEP], begins; the length where there is no B;
            length: of all pieces together.
        """
        size = len(ids)
        if not size:  # it would change no example
            return []
        self._lines.append(ids)
        self._length += size
        examples = []
        while self._length >= self.target_length:
            examples.append(self._make_example())
        return examples

    def flush(self):
        """Ends a document. Returns the examples still to be made of what was collected."""
        examples = []
        while self._length:
            examples.append(self._make_example())
        return examples

    def _make_example(self):
        """Makes an example of the collected lines; what does not fit stays, or is dropped."""
        rng, target = self.rng, self.target_length
        first_target = _WHOLE if rng.random() < ONE_SEGMENT_PROB else (target - 3) // 2
        first, second, first_length, second_length = [], [], 0, 0
        for line in self._lines:
            size = len(line)
            if (
                first_length == 0
                or first_length + size < first_target
                or (second_length == 0 and first_length < first_target and rng.random() < 0.5)
            ):
                first.append(line)
                first_length += size
            else:
                second.append(line)
                second_length += size
        room, rest = self.max_seq_length - 2, []
        if first_length > room:
            rest += _cut(first, room)
            first_length = room
        room = max(0, room - first_length - 1)
        if second_length > room:
            rest += _cut(second, room)
            second_length = room
        if self.keep_long_lines:
            self._lines = rest
            self._length -= first_length + second_length
        else:
            self._lines, self._length = [], 0
        self.target_length = self.max_seq_length
        if rng.random() < SHORT_EXAMPLE_PROB:
            self.target_length = rng.randint(5, self.max_seq_length)
        start = first_length + 2
        if not second:
            return [self._cls, *first, self._sep], start, start
        pieces = [self._cls, *first, self._sep, *second, self._sep]
        return pieces, start, start + second_length + 1


def _cut(lines, room):
    """Cuts a segment to `room` tokens in place. Returns the cut-off lines in order."""
    for i, line in enumerate(lines):
        size = len(line)
        if size > room:
            rest = [line[room:], *lines[i + 1 :]]
            lines[i:] = [line[:room]] if room else []
            return rest
        room -= size
    return []
