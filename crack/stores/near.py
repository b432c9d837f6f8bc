"""Finds near copies by their perceptual hashes, without comparing each photograph with all others.

A hash has 64 bits, cut into four words of 16. If two hashes differ in at most 6 bits, at least one word differs in at most one
bit: two bits in each word would be eight. So each photograph is stored under its four words, and its near copies are among
those stored under one of the 4 x 17 words that differ from its own in at most one bit.
"""

MOST_BITS = 6  # scaled, recompressed and slightly cropped pictures differ by less, other pictures by some 20 and more
_N_WORDS, _WORD_BITS = 4, 16


def distance(one: str, other: str) -> int:
    """The number of bits, of 64, in which two perceptual hashes (hexadecimal) differ."""
    return (int(one, 16) ^ int(other, 16)).bit_count()


def keys(perceptual_hash: str) -> list[int]:
    """The keys under which a photograph is stored: each word, with its place in front."""
    bits = int(perceptual_hash, 16)
    return [place << _WORD_BITS | bits >> place * _WORD_BITS & (1 << _WORD_BITS) - 1 for place in range(_N_WORDS)]


def neighbours(perceptual_hash: str) -> list[int]:
    """The keys under which its near copies are stored."""
    return [key ^ flipped for key in keys(perceptual_hash) for flipped in (0, *(1 << bit for bit in range(_WORD_BITS)))]
