-- The whole schema as a new file gets it. The migrations, applied one after another, give the same (a test compares).
--
-- Keys are integers in order of time, so tables grow at their end. Columns exist for what is searched, checked or changed
-- alone; the rest of a row is msgpack in `body`. STRICT everywhere; narrow tables without rowid.

CREATE TABLE meta (name TEXT PRIMARY KEY, value ANY) STRICT, WITHOUT ROWID;

CREATE TABLE line (id INTEGER PRIMARY KEY, ns TEXT NOT NULL, process TEXT NOT NULL, UNIQUE (ns, process)) STRICT;

CREATE TABLE run (
  key INTEGER PRIMARY KEY, line INTEGER NOT NULL, live INTEGER NOT NULL, rev INTEGER NOT NULL, created INTEGER NOT NULL,
  head BLOB NOT NULL, ended INTEGER NOT NULL DEFAULT 0, status INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX run_line ON run (line) WHERE line <> 0;
CREATE INDEX run_live ON run (line) WHERE live = 1;
CREATE INDEX run_ended ON run (ended) WHERE ended <> 0;
CREATE INDEX run_status ON run (line, status) WHERE status = 2 OR status > 3;
CREATE INDEX run_found ON run (line, status, created) WHERE status >= 3;

CREATE TABLE open (
  run INTEGER NOT NULL, n INTEGER NOT NULL, slot TEXT NOT NULL, scope INTEGER NOT NULL, it INTEGER NOT NULL,
  queue TEXT NOT NULL, urgency INTEGER NOT NULL, due INTEGER NOT NULL, lease INTEGER NOT NULL, lim INTEGER NOT NULL,
  started INTEGER NOT NULL, polls INTEGER NOT NULL, worker TEXT NOT NULL,
  ends INTEGER AS (CASE WHEN lim > 0 THEN min(lease, started + lim) ELSE lease END) VIRTUAL,
  parts INTEGER NOT NULL, body BLOB NOT NULL, input BLOB, output BLOB, waits BLOB, place INTEGER, thread INTEGER, stranded INTEGER,
  line INTEGER NOT NULL DEFAULT 0, quota TEXT, handed INTEGER, pace INTEGER,
  PRIMARY KEY (run, n)
) STRICT, WITHOUT ROWID;
-- `line` is that of the run: what stands at a node is found over all runs of a process by the index that finds it in one of them.
-- `thread` is NULL in a run that had no threads when the row was opened: all its steps are the root thread's then, and they are
-- in no index of threads. `stranded`: a token that parked for fuel; NULL for all others.
CREATE INDEX open_thread ON open (run, thread, n) WHERE thread IS NOT NULL;
CREATE INDEX open_stands ON open (run, slot, thread, n) WHERE thread IS NOT NULL AND n > 0;
CREATE INDEX open_stranded ON open (run, n) WHERE stranded IS NOT NULL;
CREATE INDEX open_slot ON open (line, slot, run, n);
CREATE INDEX open_iteration ON open (run, slot, it, scope, n) WHERE scope <> 0 OR it <> 0;
CREATE INDEX open_place ON open (run, place, n) WHERE place IS NOT NULL;
CREATE INDEX open_work ON open (queue, urgency, due, run, n) WHERE queue <> '' AND lease = 0;
CREATE INDEX open_lease ON open (ends, run, n, queue) WHERE queue <> '' AND lease <> 0;
-- Work that was handed out under a limit: of which name, when, and for how long it counts towards its rate; NULL for all other.
CREATE INDEX open_quota ON open (quota) WHERE quota IS NOT NULL AND lease <> 0;

CREATE TABLE paced (
  quota TEXT NOT NULL, at INTEGER NOT NULL, run INTEGER NOT NULL, n INTEGER NOT NULL, polls INTEGER NOT NULL,
  PRIMARY KEY (quota, at, run, n, polls)
) STRICT, WITHOUT ROWID;
CREATE TRIGGER open_paced AFTER UPDATE OF handed ON open WHEN NEW.pace > 0 BEGIN
  DELETE FROM paced WHERE quota = NEW.quota AND at <= NEW.handed - NEW.pace;
  INSERT INTO paced (quota, at, run, n, polls) VALUES (NEW.quota, NEW.handed, NEW.run, NEW.n, NEW.polls);
END;

CREATE TABLE step (
  run INTEGER NOT NULL, n INTEGER NOT NULL, slot TEXT NOT NULL, scope INTEGER NOT NULL, it INTEGER NOT NULL,
  parts INTEGER NOT NULL, body BLOB NOT NULL, place INTEGER,
  PRIMARY KEY (run, n)
) STRICT, WITHOUT ROWID;
CREATE INDEX step_slot ON step (run, slot, n);
CREATE INDEX step_iteration ON step (run, slot, it, scope, n) WHERE scope <> 0 OR it <> 0;
CREATE INDEX step_place ON step (run, place, n) WHERE place IS NOT NULL;

CREATE TABLE blob (
  run INTEGER NOT NULL, n INTEGER NOT NULL, part INTEGER NOT NULL, body BLOB NOT NULL, UNIQUE (run, n, part)
) STRICT;

-- A blob goes with the row that says it has it, unless the row that follows (open to ended, ended to open) has it too.
CREATE TRIGGER open_gone AFTER DELETE ON open WHEN OLD.parts <> 0 BEGIN
  DELETE FROM blob WHERE run = OLD.run AND n = OLD.n
    AND NOT EXISTS (SELECT 1 FROM step WHERE step.run = OLD.run AND step.n = OLD.n AND (step.parts >> blob.part) & 1);
END;
CREATE TRIGGER open_less AFTER UPDATE OF parts ON open WHEN OLD.parts & ~NEW.parts <> 0 BEGIN
  DELETE FROM blob WHERE run = OLD.run AND n = OLD.n AND NOT (NEW.parts >> part) & 1;
END;
CREATE TRIGGER step_gone AFTER DELETE ON step WHEN OLD.parts <> 0 BEGIN
  DELETE FROM blob WHERE run = OLD.run AND n = OLD.n
    AND NOT EXISTS (SELECT 1 FROM open WHERE open.run = OLD.run AND open.n = OLD.n AND (open.parts >> blob.part) & 1);
END;

-- `above`: the number of its parent as long as it has not ended.
CREATE TABLE thread (
  run INTEGER NOT NULL, no INTEGER NOT NULL, body BLOB NOT NULL, above INTEGER, PRIMARY KEY (run, no)
) STRICT, WITHOUT ROWID;
CREATE INDEX thread_above ON thread (run, above, no) WHERE above IS NOT NULL;

CREATE TABLE var (
  run INTEGER NOT NULL, thread INTEGER NOT NULL, name TEXT NOT NULL, value BLOB NOT NULL, PRIMARY KEY (run, thread, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE fragment (
  run INTEGER NOT NULL, n INTEGER NOT NULL, node TEXT NOT NULL, value BLOB NOT NULL, parent INTEGER NOT NULL DEFAULT -1,
  PRIMARY KEY (run, n, node)
) STRICT, WITHOUT ROWID;

-- Attempts of a step that another one has followed in the same step. `checkpoint`: what an attempt need not do again.
CREATE TABLE attempt (
  run INTEGER NOT NULL, n INTEGER NOT NULL, number INTEGER NOT NULL, body BLOB NOT NULL, PRIMARY KEY (run, n, number)
) STRICT, WITHOUT ROWID;

CREATE TABLE checkpoint (
  run INTEGER NOT NULL, n INTEGER NOT NULL, number INTEGER NOT NULL, body BLOB NOT NULL, UNIQUE (run, n, number)
) STRICT;

-- A run's document. When it goes its row stays, without a body: a list of what there was at an instant goes by these rows.
-- `born`: since when the run's first value was good; a list as of an earlier instant passes the row by.
CREATE TABLE record (
  run INTEGER PRIMARY KEY, line INTEGER NOT NULL, born INTEGER NOT NULL, since INTEGER NOT NULL, number INTEGER NOT NULL,
  live INTEGER NOT NULL, body BLOB
) STRICT;
CREATE INDEX record_line ON record (line);
CREATE INDEX record_live ON record (line) WHERE live = 1;

CREATE TABLE past (
  id INTEGER PRIMARY KEY, run INTEGER NOT NULL, since INTEGER NOT NULL, until INTEGER NOT NULL, number INTEGER NOT NULL,
  live INTEGER NOT NULL, body BLOB NOT NULL, UNIQUE (run, since)
) STRICT;

-- Clustered by run: what a run is found by lies together, and goes with it. A search reads the index alone.
CREATE TABLE attr (
  run INTEGER NOT NULL, name TEXT NOT NULL, value TEXT NOT NULL, line INTEGER NOT NULL, PRIMARY KEY (run, name, value)
) STRICT, WITHOUT ROWID;
CREATE INDEX attr_value ON attr (line, name, value, run);

CREATE TABLE timer (
  run INTEGER NOT NULL, n INTEGER NOT NULL, arm TEXT NOT NULL, epoch INTEGER NOT NULL, due INTEGER NOT NULL,
  PRIMARY KEY (run, n, arm)
) STRICT, WITHOUT ROWID;
CREATE INDEX timer_due ON timer (due, run, n, arm, epoch);

CREATE TABLE rendezvous (
  ns TEXT NOT NULL, name TEXT NOT NULL, key TEXT NOT NULL, rev INTEGER NOT NULL, touched INTEGER NOT NULL,
  PRIMARY KEY (ns, name, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX rendezvous_touched ON rendezvous (touched);

CREATE TABLE wait_key (
  ns TEXT NOT NULL, name TEXT NOT NULL, key TEXT NOT NULL, run INTEGER NOT NULL, n INTEGER NOT NULL,
  opened INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (ns, name, key, run, n)
) STRICT, WITHOUT ROWID;
CREATE INDEX wait_key_run ON wait_key (run, n);
CREATE INDEX wait_key_since ON wait_key (ns, name, key, opened, run, n);

CREATE TABLE held (
  id INTEGER PRIMARY KEY, ns TEXT NOT NULL, run INTEGER NOT NULL, name TEXT NOT NULL, key TEXT NOT NULL, posted INTEGER NOT NULL,
  expires INTEGER NOT NULL, body BLOB NOT NULL
) STRICT;
CREATE INDEX held_run ON held (run, posted) WHERE run <> 0;
CREATE INDEX held_key ON held (ns, name, key, posted) WHERE run = 0;
CREATE INDEX held_ns ON held (ns, posted);
CREATE INDEX held_expires ON held (expires) WHERE expires <> 0;

-- Events of runs that stay when they are taken. The rowid is part of each index, so pages go by it.
CREATE TABLE kept (
  id INTEGER PRIMARY KEY, ns TEXT NOT NULL, run INTEGER NOT NULL, name TEXT NOT NULL, ident TEXT NOT NULL,
  taken INTEGER NOT NULL, n INTEGER NOT NULL, body BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX kept_ident ON kept (run, name, ident) WHERE ident <> '';
CREATE INDEX kept_run ON kept (run);
CREATE INDEX kept_name ON kept (ns, name);
CREATE INDEX kept_free ON kept (ns, name) WHERE taken = 0;
CREATE INDEX kept_taken ON kept (ns, name) WHERE taken <> 0;

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

CREATE TABLE run_key (
  ns TEXT NOT NULL, kind TEXT NOT NULL, text TEXT NOT NULL, process TEXT NOT NULL, run INTEGER NOT NULL, live INTEGER NOT NULL,
  uniq INTEGER NOT NULL, PRIMARY KEY (ns, kind, text, process, run)
) STRICT, WITHOUT ROWID;
CREATE INDEX run_key_live ON run_key (ns, kind, text, process, run) WHERE live = 1;
CREATE INDEX run_key_run ON run_key (run);

CREATE TABLE event (
  key INTEGER PRIMARY KEY, ns TEXT NOT NULL, type TEXT NOT NULL, ident BLOB NOT NULL, body BLOB NOT NULL, outcome BLOB NOT NULL,
  state INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE UNIQUE INDEX event_ident ON event (ident); -- a 16-byte hash of ns, source and id: a third of their size, and as unique
-- `state` is in the indexes that there are anyway, so that a rare one is found without looking at the others: no insert writes more.
CREATE INDEX event_state ON event (ns, state);
CREATE INDEX event_type ON event (ns, type, state);

-- Events that are gone and whose ids are still known, so that a repeat is recognised.
CREATE TABLE known_event (
  ident BLOB PRIMARY KEY, key INTEGER NOT NULL, hash BLOB NOT NULL, state TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX known_event_key ON known_event (key);

CREATE TABLE delivery (
  number INTEGER PRIMARY KEY, tries INTEGER NOT NULL, due INTEGER NOT NULL, error TEXT NOT NULL, body BLOB NOT NULL
) STRICT;

CREATE TABLE dead (number INTEGER PRIMARY KEY, ns TEXT NOT NULL, body BLOB NOT NULL) STRICT;
CREATE INDEX dead_ns ON dead (ns);

CREATE TABLE inbox (
  id INTEGER PRIMARY KEY, run INTEGER NOT NULL, due INTEGER NOT NULL, parked INTEGER NOT NULL, body BLOB NOT NULL
) STRICT;
CREATE INDEX inbox_due ON inbox (due) WHERE parked = 0;
CREATE INDEX inbox_run ON inbox (run);

CREATE TABLE definition (
  id INTEGER PRIMARY KEY, ns TEXT NOT NULL, kind TEXT NOT NULL, name TEXT NOT NULL, version INTEGER NOT NULL,
  since INTEGER NOT NULL, until INTEGER NOT NULL, hash BLOB NOT NULL, body BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX definition_time ON definition (ns, kind, name, version, since);
CREATE UNIQUE INDEX definition_live ON definition (ns, kind, name, version) WHERE until = 0;
CREATE INDEX definition_bound ON definition (ns, hash) WHERE kind = 'bound';

CREATE TABLE counter (ns TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;

-- What each value of that counter changed: the definitions that went and came, 0 for none.
CREATE TABLE handler_change (
  ns TEXT NOT NULL, counter INTEGER NOT NULL, gone INTEGER NOT NULL, come INTEGER NOT NULL, PRIMARY KEY (ns, counter)
) STRICT, WITHOUT ROWID;

CREATE TABLE result (
  job INTEGER NOT NULL, run INTEGER NOT NULL, n INTEGER NOT NULL, at INTEGER NOT NULL, outcome TEXT NOT NULL,
  detail TEXT NOT NULL, PRIMARY KEY (job, run, n)
) STRICT, WITHOUT ROWID;
CREATE INDEX result_at ON result (at);

CREATE TABLE seen (
  ns TEXT NOT NULL, source TEXT NOT NULL, name TEXT NOT NULL, state BLOB NOT NULL, PRIMARY KEY (ns, source, name)
) STRICT, WITHOUT ROWID;

-- When a source of bookmarks was last in use.
CREATE TABLE source_use (ns TEXT NOT NULL, source TEXT NOT NULL, at INTEGER NOT NULL, PRIMARY KEY (ns, source)) STRICT, WITHOUT ROWID;

CREATE TABLE log (id INTEGER PRIMARY KEY, run INTEGER NOT NULL, n INTEGER NOT NULL, at INTEGER NOT NULL, text TEXT NOT NULL) STRICT;
CREATE INDEX log_run ON log (run, n);

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

-- Whether a process is paused. The row stays when it is resumed: its epoch rises with every change.
CREATE TABLE pause (
  ns TEXT NOT NULL, process TEXT NOT NULL, epoch INTEGER NOT NULL, body BLOB NOT NULL, PRIMARY KEY (ns, process)
) STRICT, WITHOUT ROWID;

-- Secrets, sealed with a key that is never in here.
CREATE TABLE secret (ns TEXT NOT NULL, name TEXT NOT NULL, body BLOB NOT NULL, PRIMARY KEY (ns, name)) STRICT, WITHOUT ROWID;

-- Numbers of a process's nodes over all runs: tokens that stand there, that have passed, and sums of what they carry.
CREATE TABLE tally (
  line INTEGER NOT NULL, node TEXT NOT NULL, name TEXT NOT NULL, value ANY NOT NULL, PRIMARY KEY (line, node, name)
) STRICT, WITHOUT ROWID;

-- How many events and runs go back to one event or run, since when; for a day.
CREATE TABLE descendants (
  ns TEXT NOT NULL, ancestor INTEGER NOT NULL, count INTEGER NOT NULL, since INTEGER NOT NULL, PRIMARY KEY (ns, ancestor)
) STRICT, WITHOUT ROWID;
CREATE INDEX descendants_since ON descendants (since);

-- Callers who wait for an answer from the middle of a run, and the answers that they have not read yet.
CREATE TABLE reply (
  ns TEXT NOT NULL, request TEXT NOT NULL, body BLOB NOT NULL, expires INTEGER NOT NULL, PRIMARY KEY (ns, request)
) STRICT, WITHOUT ROWID;
CREATE INDEX reply_expires ON reply (expires);
