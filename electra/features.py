"""The one table of feature names, shapes and dtypes.

Shape letters, used in comments and docstrings throughout:
B batch, L sequence length, N masked slots, E embedding, H hidden, A heads, V vocabulary.
"""

# What an encoder reads, and a record on disk holds: int64 lists of max_seq_length values.
RECORD_FEATURES = ("input_ids", "input_mask", "segment_ids")  # (L,) each

# What the reader adds to a batch: each example's index in the global batch, int32 (B,).
# Masking and sampling draw their numbers by it, so that they do not depend on the replicas.
ROW = "row"

# What masking adds (see electra/pretrain/masking.py).
MASKED_LM_POSITIONS = "masked_lm_positions"  # (B, N) int32
MASKED_LM_IDS = "masked_lm_ids"  # (B, N) int32
MASKED_LM_WEIGHTS = "masked_lm_weights"  # (B, N) float32

# The tokens a vocabulary must hold; their ids are read from it, never assumed.
SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
