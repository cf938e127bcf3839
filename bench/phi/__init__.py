"""Synthetic studies full of identifiers, with the answer key of what has to become of them.

Written from PS3.15 Annex E and from its tables as data, and from nothing of the pipeline that is
measured with it. The same seed gives the same bytes.

    python -m bench phi DEST --subjects 200 --seed 1 --profile research

DEST/studies   Part 10 files
DEST/key.db    the answer key, of MIDI-B's form
DEST/hunt.json what must be nowhere in the output, by original instance
"""
