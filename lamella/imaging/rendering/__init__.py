"""From a frame to a picture: what PS3.3 and PS3.4 call the grayscale and colour pipelines.

attributes   what of an instance's DICOM JSON a frame's rendering needs
options      what a client asks for: window, viewport, annotation, quality, ICC profile, type
luts         look-up tables
windows      the VOI functions
greys        stored grey values to 8-bit ones
colour       palettes, YBR, ICC profiles
viewport     crop, flip, scale
annotation   text burnt in
pictures     JPEG, PNG, GIF, WebP and JPEG 2000
movies       animated GIF, WebP and MP4
reports      structured reports as HTML and text
waveforms    waveforms as SVG
renderer     all of it, in a worker
"""
