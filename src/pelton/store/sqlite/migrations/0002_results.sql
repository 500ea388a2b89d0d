-- Who waits longest for a key is served first; and what became of each run that a job had a signal for.

ALTER TABLE wait_key ADD COLUMN opened INTEGER NOT NULL DEFAULT 0;
CREATE INDEX wait_key_since ON wait_key (ns, name, key, opened, run, n);

CREATE TABLE result (
  job INTEGER NOT NULL, run INTEGER NOT NULL, n INTEGER NOT NULL, at INTEGER NOT NULL, outcome TEXT NOT NULL,
  detail TEXT NOT NULL, PRIMARY KEY (job, run, n)
) STRICT, WITHOUT ROWID;
CREATE INDEX result_at ON result (at);
