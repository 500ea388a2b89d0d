-- Callers who wait for an answer from the middle of a run, and the answers that they have not read yet.
CREATE TABLE reply (
  ns TEXT NOT NULL, request TEXT NOT NULL, body BLOB NOT NULL, expires INTEGER NOT NULL, PRIMARY KEY (ns, request)
) STRICT, WITHOUT ROWID;
CREATE INDEX reply_expires ON reply (expires);
