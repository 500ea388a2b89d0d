-- Keyed events that stay for whoever waits later, and who has got a copy.
CREATE TABLE sticky (
  id INTEGER PRIMARY KEY, ns TEXT NOT NULL, name TEXT NOT NULL, key TEXT NOT NULL, expires INTEGER NOT NULL, got INTEGER NOT NULL,
  size INTEGER NOT NULL, body BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX sticky_key ON sticky (ns, name, key);
CREATE INDEX sticky_free ON sticky (ns, name, key) WHERE got = 0;
CREATE INDEX sticky_got ON sticky (ns, name, key) WHERE got <> 0;
CREATE INDEX sticky_size ON sticky (ns, size);
CREATE INDEX sticky_expires ON sticky (expires) WHERE expires <> 0;
CREATE TABLE copy (
  sticky INTEGER NOT NULL, id INTEGER NOT NULL, body BLOB NOT NULL, PRIMARY KEY (sticky, id)
) STRICT, WITHOUT ROWID;
