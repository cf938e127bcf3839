"""The DIMSE door: modalities and PACS push here; the called AE title says where it lands.

    gateway.py      starts and stops the door, commits what associations stored
    server.py       accepts connections
    association.py  one association: its reactor, the services it offers
    admission.py    who is let in, and what is agreed on
    guard.py        what an association request has to pass first: limits of a peer, its user
    identity.py     users: passcodes and tokens
    rejection.py    why associations are rejected
    tls.py          certificates
    transport.py    PDUs: from the socket to messages, without needless copies or polling
    pdu_buffer.py   PDUs cut out of what a connection brings
    reception.py    messages: where a C-STORE's bytes turn off towards the archive
    delivery.py     bytes of one instance, from an association's thread to the archive's intake
    finding.py      C-FIND: from a request to its answers, page by page
    retrieving.py   C-GET and C-MOVE: from a request to its last answer
    stock.py        the instances that a retrieve or a push is about, page by page
    carriers.py     where they are carried: back on the association, or on a call
    data_sets.py    their bytes, as stored or re-encoded
    outflow.py      messages on their way out, cut into PDUs
    pushing.py      a revision to a peer
    pulling.py      what a peer has into a branch
    background.py   their threads
    forwarding.py   rules by which commits go on to peers, and the work of that
    calling.py      associations that Lamella requests
    identifiers.py  identifiers of queries and retrieves, read and written
    committing.py   storage commitment: from a request to its report on the same association
    reporting.py    the same report on an association of our own, as work of the outbox
    depot.py        what one association stores, and its commits
    negotiation.py  which SOP classes and transfer syntaxes are accepted
    commands.py     command sets, read and written
    part10.py       the file meta information that is put before a received data set
    ae_titles.py    called AE titles and what they stand for
    routes.py       rules by which stores go elsewhere
    routed_depot.py a depot that follows them
    peers.py        other installations that Lamella calls
    failures.py     how the unexpected is logged
    metrics.py      what is counted

The upper layer protocol is pynetdicom's; its classes are subclassed where it polls, copies or
trusts more than a server of many associations can.
"""
