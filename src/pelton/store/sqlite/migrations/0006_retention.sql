-- What the removal of old data goes by: when a run ended, ids of events that are gone, and when a source was last in use.
ALTER TABLE run ADD COLUMN ended INTEGER NOT NULL DEFAULT 0;
UPDATE run SET ended = packed_field(head, 10) WHERE live = 0 AND line <> 0;
CREATE INDEX run_ended ON run (ended) WHERE ended <> 0;

CREATE TABLE known_event (
  ident BLOB PRIMARY KEY, key INTEGER NOT NULL, hash BLOB NOT NULL, state TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX known_event_key ON known_event (key);

CREATE TABLE source_use (ns TEXT NOT NULL, source TEXT NOT NULL, at INTEGER NOT NULL, PRIMARY KEY (ns, source)) STRICT, WITHOUT ROWID;
