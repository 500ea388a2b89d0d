-- Whether a process is paused; and open rows know the process of their run, so that those at one of its nodes are found together.
CREATE TABLE pause (
  ns TEXT NOT NULL, process TEXT NOT NULL, epoch INTEGER NOT NULL, body BLOB NOT NULL, PRIMARY KEY (ns, process)
) STRICT, WITHOUT ROWID;

ALTER TABLE open ADD COLUMN line INTEGER NOT NULL DEFAULT 0;
UPDATE open SET line = coalesce((SELECT line FROM run WHERE key = open.run), 0);
DROP INDEX open_slot;
CREATE INDEX open_slot ON open (line, slot, run, n);
