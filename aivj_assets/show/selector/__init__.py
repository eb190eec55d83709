"""Which preset comes next, and when. `web/aivj-selector.mjs` is the same in JavaScript: change both, in one order.

Both must make the same picks with the same probabilities, to the last bit. So: only + - * / and comparisons, in the
same order, and no `sum()` of floats (Python compensates its rounding since 3.12).
"""
