"""The door for files on disk: import from folders and zips, export to a folder.

It works beside a running server: what it stores goes through the same staging and commit
transactions as what comes over the network.
"""
