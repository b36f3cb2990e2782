"""Published records as they were once written, and their schemas: what they must stay readable as.

``records/<record>.<n>.json`` holds one record byte by byte and what it meant when it was written;
``schemas/<schema>.<n>.json`` a JSON Schema that others rely on. Files are added, never changed.
"""
