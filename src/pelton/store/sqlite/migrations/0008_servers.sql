-- What servers that share a store agree on: which of them are there, what each has written and claimed, and what their decisions
-- rest on beside runs: other definitions than handlers, and attributes by which runs are looked up.
CREATE TABLE node (
  number INTEGER PRIMARY KEY, epoch INTEGER NOT NULL, seen INTEGER NOT NULL, settled INTEGER NOT NULL, batch INTEGER NOT NULL
) STRICT;
CREATE TABLE outcome (node INTEGER NOT NULL, batch INTEGER NOT NULL, part INTEGER NOT NULL, PRIMARY KEY (node, batch, part))
STRICT, WITHOUT ROWID;
CREATE TABLE claim (
  kind TEXT NOT NULL, name TEXT NOT NULL, node INTEGER NOT NULL, epoch INTEGER NOT NULL, at INTEGER NOT NULL, PRIMARY KEY (kind, name)
) STRICT, WITHOUT ROWID;
CREATE TABLE defined (ns TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE lookup (
  ns TEXT NOT NULL, name TEXT NOT NULL, text TEXT NOT NULL, rev INTEGER NOT NULL, touched INTEGER NOT NULL, PRIMARY KEY (ns, name, text)
) STRICT, WITHOUT ROWID;
CREATE INDEX lookup_touched ON lookup (touched);
