-- Ended runs by process, status and time, so that pages of them and their number need no other rows.
CREATE INDEX run_found ON run (line, status, created) WHERE status >= 3;
