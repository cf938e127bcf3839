"""Looking after an installation: is everything that was stored still there, and does it agree?

    fsck      what the database and the packs hold, checked against each other; repairs what is
              derived, never guesses about bytes, nodes, commits or refs
    doctor    whether this machine can run Lamella: folders, database, ports, codecs

Every check is a module of its own, so that a finding can be read beside the rule it breaks.
"""
