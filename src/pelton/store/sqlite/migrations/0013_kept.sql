-- Events of runs that stay when they are taken.
CREATE TABLE kept (
  id INTEGER PRIMARY KEY, ns TEXT NOT NULL, run INTEGER NOT NULL, name TEXT NOT NULL, ident TEXT NOT NULL,
  taken INTEGER NOT NULL, n INTEGER NOT NULL, body BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX kept_ident ON kept (run, name, ident) WHERE ident <> '';
CREATE INDEX kept_run ON kept (run);
CREATE INDEX kept_name ON kept (ns, name);
CREATE INDEX kept_free ON kept (ns, name) WHERE taken = 0;
CREATE INDEX kept_taken ON kept (ns, name) WHERE taken <> 0;
