"""Series as arrays: read metadata and frames with any client, put slices in their places.

geometry   where the pixels of a frame are in the patient
frames     frames of a series: their geometry from metadata, their pixels
volume     a series as one array
labels     segmentations, on the grid of a volume
"""
