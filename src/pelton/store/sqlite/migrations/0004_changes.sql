-- What each value of a namespace's counter of handlers changed, so that a set at hand is brought up to date by its differences.

CREATE TABLE handler_change (
  ns TEXT NOT NULL, counter INTEGER NOT NULL, gone INTEGER NOT NULL, come INTEGER NOT NULL, PRIMARY KEY (ns, counter)
) STRICT, WITHOUT ROWID;
