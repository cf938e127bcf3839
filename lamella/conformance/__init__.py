"""A DICOMweb conformance suite for any server: what it asks of one, and how it is judged.

A run talks to a server from outside, as any client would. It shares no parsing code with
Lamella, so that a fault of Lamella cannot hide itself here.

    samples      synthetic instances, made anew for each run, under UIDs that nobody else has
    probe        requests and answers: the client, and what a check asks of it
    checks/      what is asked, one module a subject; each check names rule, section and level
    catalogue    all checks, in the order in which they run
    campaign     one run: store the samples, run the checks, take the samples away again
    reports/     the outcome as table, JSON, JUnit and HTML

A **check** is a function that returns when the server does right and raises when it does not.
Its level says how much that weighs:

- *shall*: PS3.18 or the RFCs it builds on demand it; a failure is a fault of the server;
- *should*: they recommend it, or demand it in some editions only;
- *practice*: no standard says so, but viewers and clients need it.

What a server may leave out, and does, is "not offered": no failure.

Source:
    PS3.18 (sections as numbered since 2019, with 2024 wording where it changed), PS3.4 §C.2.2.
"""
