"""Scoring: what a de-identification did, check by check, against an answer key of MIDI-B's form.

An answer key says of each original instance what has to be gone, to have changed and to be there
still. The score needs the output and the two maps from old to new identifiers, and shares no code
with the pipeline that made the output.

Holes of the MIDI-B scorer that are closed here:

- a missing instance fails all its checks, those of removal too;
- a date that has to be shifted is there, valid, different, and moved by as many days as the others
  of its patient; a UID that has to be changed is there and a UID;
- maps that send two originals to one replacement are wrong for both;
- words are compared as words, not as parts of others;
- pixels are compared outside of the tight boxes of the text, so that too large a box is punished
  although the key's box is larger than the text.

Source:
    DEID (anchors); the published answer keys' schema.
"""
