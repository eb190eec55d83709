"""Rehearsal: a track played through the selector and judged, beside two ways of picking that do not listen."""
