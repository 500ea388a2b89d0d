-- Attempts of a step that another has followed in the same step, and what an attempt need not do again.
CREATE TABLE attempt (
  run INTEGER NOT NULL, n INTEGER NOT NULL, number INTEGER NOT NULL, body BLOB NOT NULL, PRIMARY KEY (run, n, number)
) STRICT, WITHOUT ROWID;

CREATE TABLE checkpoint (
  run INTEGER NOT NULL, n INTEGER NOT NULL, number INTEGER NOT NULL, body BLOB NOT NULL, UNIQUE (run, n, number)
) STRICT;
