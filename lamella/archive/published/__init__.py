"""Published indexes: one object that tells a reader, without server or database, all of a commit.

    header      8 bytes: MAGIC
    sections    one for each series, one for each chunk of studies
    directory   one more section: what is published, and where the chunks are
    footer      offset and length of the directory (little endian, 8 bytes each), MAGIC

A section is one zstd frame, with a checksum, of one msgpack value (`format`). Its reader needs
the end of the object, then one range for a chunk of studies and one for a series; bytes of
instances are ranges of packs beside it, which stay as long as the index is known (`published` in
`archive.tables`). An index of another format number is refused: there is no reading of half of it.
"""
