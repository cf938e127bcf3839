"""The measuring tool: Lamella beside Orthanc, and beside what the machine itself allows.

    python -m bench run            all cases, alternating, into bench/results/
    python -m bench run search frames --quick
    python -m bench scale          the store's cost as history grows
    python -m bench trickle        bytes that one-instance commits cost

See bench/README.md.
"""
