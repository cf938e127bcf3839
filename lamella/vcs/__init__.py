"""The versioning engine: datasets, refs, commits, trees, and the one way to store.

revision text ── revision.resolve ──▶ View (commit, tree, visible rows), pinned
incoming      ── staging.stage    ──▶ staged rows, durable
session       ── commits.commit   ──▶ tree nodes, catalog rows, visible set, ref: one transaction
"""
