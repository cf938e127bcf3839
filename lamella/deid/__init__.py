"""De-identification: PHI out of headers, texts and pixels, by profiles that are data.

A profile (`profiles`) says what happens to each attribute; a project key (`keys`) makes new UIDs,
pseudonyms and date shifts that are the same each time; `headers.clean` turns one data set into a
`results.Cleaned`, whose verdict says whether it may go on. Everything here that is about one
instance is a plain function of its arguments, without storage, clock or network.

Source:
    PS3.15 Annex E; DEID.
"""
