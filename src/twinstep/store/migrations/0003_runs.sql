-- What runs keep beside their workflow, and when blocked ones expire. Times are microseconds since 1970, UTC.
CREATE TABLE run_plan (
  run     TEXT PRIMARY KEY REFERENCES workflow (id) ON DELETE CASCADE,
  version BIGINT NOT NULL,                  -- of the pieces that are the plan
  pieces  BIGINT NOT NULL
);
CREATE TABLE run_plan_piece (
  run     TEXT NOT NULL REFERENCES workflow (id) ON DELETE CASCADE,
  version BIGINT NOT NULL,                  -- counts the writings of the plan; one that was cut off stays unread
  seq     BIGINT NOT NULL,
  text    TEXT NOT NULL,
  PRIMARY KEY (run, version, seq)
);
CREATE TABLE run_outcome (
  run       TEXT NOT NULL REFERENCES workflow (id) ON DELETE CASCADE,
  device    TEXT NOT NULL,                  -- as the hub spells it
  canonical TEXT NOT NULL,
  op        TEXT NOT NULL,
  outcome   TEXT NOT NULL,
  reason    TEXT NOT NULL,
  at        BIGINT NOT NULL,
  PRIMARY KEY (run, device)
);
CREATE INDEX run_outcome_device ON run_outcome (canonical, at);
CREATE INDEX workflow_created ON workflow (created, id);
CREATE INDEX workflow_blocked ON workflow (due) WHERE state = 'blocked';
-- One of a key waits its turn, no more: a run that takes longer than its schedule must not pile up others.
DROP INDEX workflow_queued;
CREATE UNIQUE INDEX workflow_queued ON workflow (key) WHERE state = 'queued';
