"""The stores' tables, for whoever saves and whoever reads: SQLite in a store's folder, or PostgreSQL for several processes.

`tables` has the tables, `states` the words in their columns, `database` opens and locks, `schema` migrates stores of earlier
versions. `feedback`, `inspections`, `jobs`, `requests` and `folders` hold all queries: their functions take a connection of
`Database.reading` or `Database.writing`. Left to others: what a row means (`sidecar`, `retrain`).
"""
