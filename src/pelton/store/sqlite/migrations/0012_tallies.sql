-- Numbers of a process's nodes over all runs: tokens that stand there, that have passed, and sums of what they carry.
CREATE TABLE tally (
  line INTEGER NOT NULL, node TEXT NOT NULL, name TEXT NOT NULL, value ANY NOT NULL, PRIMARY KEY (line, node, name)
) STRICT, WITHOUT ROWID;
