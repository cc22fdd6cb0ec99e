"""The versions of the tables, one a module, as Alembic reads them.

1. A released version never changes. The next one adds to it: tables, indexes, columns that are NULL or have a default.
   So nothing holds a lock for long.
2. A new version is in `dimse.node.schema` too, and its number is `VERSION` there. A test compares the two.
"""
