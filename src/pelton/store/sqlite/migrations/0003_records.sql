-- The documents of runs, their past values, and what runs are found by.

CREATE TABLE record (
  run INTEGER PRIMARY KEY, line INTEGER NOT NULL, born INTEGER NOT NULL, since INTEGER NOT NULL, number INTEGER NOT NULL,
  live INTEGER NOT NULL, body BLOB
) STRICT;
CREATE INDEX record_line ON record (line);
CREATE INDEX record_live ON record (line) WHERE live = 1;

CREATE TABLE past (
  id INTEGER PRIMARY KEY, run INTEGER NOT NULL, since INTEGER NOT NULL, until INTEGER NOT NULL, number INTEGER NOT NULL,
  live INTEGER NOT NULL, body BLOB NOT NULL, UNIQUE (run, since)
) STRICT;

CREATE TABLE attr (
  run INTEGER NOT NULL, name TEXT NOT NULL, value TEXT NOT NULL, line INTEGER NOT NULL, PRIMARY KEY (run, name, value)
) STRICT, WITHOUT ROWID;
CREATE INDEX attr_value ON attr (line, name, value, run);
