"""Codecs and encodings: bytes and attributes in, bytes out, no storage.

answers      in which form an instance goes out (stored, rewritten, decompressed)
explicit     whole files as Explicit VR Little Endian, streamed
data_sets    data sets from DICOM JSON
elements     data elements of any native encoding, re-encoded on their bytes
pool         processes for codecs; worker is what runs in them
decoders     one compressed frame to native little endian
rendering    from a frame to a picture
codestreams  what a codestream says of itself
"""
