-- What the fork of a fragment is itself part of: 0 = the process; -1 in rows of runs whose steps do not say which fragment they are
-- part of.
ALTER TABLE fragment ADD COLUMN parent INTEGER NOT NULL DEFAULT -1;
