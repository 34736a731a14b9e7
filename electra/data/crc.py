"""Checksums of TFRecord files (masked CRC-32C), of many byte strings in one go.

A CRC is linear over XOR: it is the XOR of one table entry per byte, chosen by the byte's value and
by how many bytes follow it, and of one constant per length. So a batch of records needs one NumPy
look-up and one segmented XOR instead of a Python step per byte.
"""

import functools

import numpy as np

_POLYNOMIAL = np.uint32(0x82F63B78)  # Castagnoli, bits reversed
_ALL_ONES = np.uint32(0xFFFFFFFF)  # start value and final XOR
_MASK_DELTA = np.uint32(0xA282EAD8)
_COLUMNS = 257  # the 256 byte values, and the start value
_GROWTH = 1024  # tables are made for multiples of so many bytes


def masked_crc32c(data, lengths):
    """Returns the masked CRC-32C of byte strings that lie one behind the other.

    Args:
        data: uint8 (T,), the strings joined.
        lengths: int (n,), the length in bytes of each, T in sum.
    Returns: uint32 (n,), as TFRecord files store it.
    Source: TensorFlow's documentation of the TFRecord format; RFC 3720, appendix B.4.
    """
    lengths = np.asarray(lengths, np.int64)
    if not lengths.size:
        return np.zeros(0, np.uint32)
    longest = -(-int(lengths.max()) // _GROWTH) * _GROWTH
    tables, rows = _tables(longest), _rows(longest)
    places = np.concatenate([rows[longest - length :] for length in lengths.tolist()])
    places += data
    parts = tables.ravel().take(places)
    crc = np.zeros(len(lengths), np.uint32)
    some = lengths > 0  # reduceat takes an empty part for its first element
    crc[some] = np.bitwise_xor.reduceat(parts, (np.cumsum(lengths) - lengths)[some])
    crc ^= tables[lengths, -1] ^ _ALL_ONES
    return ((crc >> np.uint32(15)) | (crc << np.uint32(17))) + _MASK_DELTA


@functools.lru_cache(maxsize=4)
def _rows(longest):
    """Where the rows of the tables begin, the last first: those of a string's bytes are the end."""
    return np.arange(longest - 1, -1, -1) * _COLUMNS


@functools.lru_cache(maxsize=4)
def _tables(longest):
    """Row i: the state that each byte value, and the start value, becomes after i zero bytes."""
    by_byte = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        by_byte = np.where(by_byte & 1, (by_byte >> np.uint32(1)) ^ _POLYNOMIAL, by_byte >> 1)
    tables = np.empty((longest + 1, _COLUMNS), np.uint32)
    tables[0] = np.append(by_byte, _ALL_ONES)
    for i in range(longest):
        tables[i + 1] = (tables[i] >> np.uint32(8)) ^ by_byte[tables[i] & np.uint32(0xFF)]
    return tables
