-- How many events and runs go back to one event or run, since when; for a day.
CREATE TABLE descendants (
  ns TEXT NOT NULL, ancestor INTEGER NOT NULL, count INTEGER NOT NULL, since INTEGER NOT NULL, PRIMARY KEY (ns, ancestor)
) STRICT, WITHOUT ROWID;
CREATE INDEX descendants_since ON descendants (since);
