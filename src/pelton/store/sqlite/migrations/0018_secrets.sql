-- Secrets, sealed with a key that is never in here.
CREATE TABLE secret (ns TEXT NOT NULL, name TEXT NOT NULL, body BLOB NOT NULL, PRIMARY KEY (ns, name)) STRICT, WITHOUT ROWID;
