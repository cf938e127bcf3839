"""What `S3Client` reads: commits that were put where plain storage or a web server gives them out.

objects    objects of a folder, a bucket or a web server, read by ranges
release    what a release is; `published` is one by its index beside the packs, `static` is
           a static export
mirror     rows of a release in a private database, made as they are asked for
site       the place that a client opens: the doors, behind which a mirror is filled first
"""
