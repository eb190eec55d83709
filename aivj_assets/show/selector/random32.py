"""A seeded generator that any language with 32-bit integers can have."""

from __future__ import annotations

_MASK = 0xFFFFFFFF


class Random32:
    """A Weyl sequence through the finaliser of MurmurHash3 (SplitMix: Steele, Lea and Flood 2014, in 32 bits)."""

    def __init__(self, seed: int) -> None:
        self._state = int(seed) & _MASK

    def fraction(self) -> float:
        """Return the next number in [0, 1), a multiple of 2^-32."""
        self._state = (self._state + 0x9E3779B9) & _MASK
        value = self._state
        value = ((value ^ (value >> 16)) * 0x85EBCA6B) & _MASK
        value = ((value ^ (value >> 13)) * 0xC2B2AE35) & _MASK
        return (value ^ (value >> 16)) / 4294967296
