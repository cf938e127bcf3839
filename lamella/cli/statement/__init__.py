"""The DICOM Conformance Statement, made from the tables that the code itself works by.

`statement.build_statement` puts together the sections that PS3.2 Annex N wants, one module a
subject; `writers` turns them into Markdown or HTML. What is not offered has its section
nevertheless, and says so: readers compare statements section by section.
"""
