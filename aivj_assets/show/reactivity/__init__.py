"""Which presets move with the sound: envelopes, frame differences, and how one follows the other."""
