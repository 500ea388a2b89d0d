-- What a source that looks for itself has told of something by name: written with the event that tells it.

CREATE TABLE seen (
  ns TEXT NOT NULL, source TEXT NOT NULL, name TEXT NOT NULL, state BLOB NOT NULL, PRIMARY KEY (ns, source, name)
) STRICT, WITHOUT ROWID;
