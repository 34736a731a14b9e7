"""Makes pre-training examples from tokenised lines: the official packing of two segments.

Enters: lines as arrays of token ids. Leaves: [CLS] A [SEP] B [SEP], at most max_seq_length ids.
"""

ONE_SEGMENT_PROB = 0.1
SHORT_EXAMPLE_PROB = 0.05
_WHOLE = 100_000  # first-segment target of an example of one segment


class ExampleBuilder:
    """Collects lines until an example is full.

    Args:
        cls_id, sep_id: ids of [CLS] and [SEP].
        max_seq_length: L.
        rng: has random() and randint(a, b), like random.Random.
        keep_long_lines: what does not fit an example goes on in the next one; False drops it.
    Source: ExampleBuilder in build_pretraining_dataset.py of the official code.
    Differs from source: keep_long_lines (officially what does not fit is dropped).

    With L = 8, [CLS] 2, [SEP] 3 and lines [5, 6], [7], [8, 9, 10, 11, 12]: the third makes eight
    tokens, A's target is (8 - 3) // 2 = 2, so A is [5, 6], B [7, 8, 9], and the example
    [2, 5, 6, 3, 7, 8, 9, 3]; [10, 11, 12] are left for the next one.
    """

    def __init__(self, cls_id, sep_id, max_seq_length, rng, keep_long_lines=True):
        self.cls_id, self.sep_id, self.max_seq_length = cls_id, sep_id, max_seq_length
        self.rng, self.keep_long_lines = rng, keep_long_lines
        self.target_length = max_seq_length
        self._lines, self._length = [], 0

    def add_line(self, ids):
        """Adds a line.

        Args:
            ids: int32 array, or list, of token ids.
        Returns: list of the examples that became full: tuples (A, B) of lists of arrays.
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
        self._lines = rest if self.keep_long_lines else []
        self._length = sum(map(len, self._lines))
        self.target_length = self.max_seq_length
        if rng.random() < SHORT_EXAMPLE_PROB:
            self.target_length = rng.randint(5, self.max_seq_length)
        return first, second

    def write_row(self, example, row):
        """Lays an example out in a row.

        Args:
            example: (A, B); row: int32 (L,) of zeros, filled here.
        Returns: (tokens, where B starts): segment 1 covers B and its [SEP]; None without B.
        """
        first, second = example
        row[0], at = self.cls_id, 1
        at = _lay(first, row, at)
        row[at] = self.sep_id
        at += 1
        if not second:
            return at, at
        start = at
        at = _lay(second, row, at)
        row[at] = self.sep_id
        return at + 1, start


def _lay(lines, row, at):
    for line in lines:
        end = at + len(line)
        row[at:end] = line
        at = end
    return at


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
