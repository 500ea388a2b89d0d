-- Runs by status. Most are running or completed, which other indexes find; only the rest are listed here.
ALTER TABLE run ADD COLUMN status INTEGER NOT NULL DEFAULT 0;
UPDATE run SET status = packed_field(head, 3) WHERE line <> 0;
CREATE INDEX run_status ON run (line, status) WHERE status = 2 OR status > 3;
