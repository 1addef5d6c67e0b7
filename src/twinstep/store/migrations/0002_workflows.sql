-- The daemon's workflows (docs/durability.md). Times are microseconds since 1970, UTC.
CREATE TABLE meta (
  name  TEXT PRIMARY KEY,
  value TEXT NOT NULL
);
CREATE TABLE workflow (
  id           TEXT PRIMARY KEY,
  kind         TEXT NOT NULL,               -- run, sweep, device
  lane         TEXT NOT NULL,
  key          TEXT NOT NULL,               -- one active workflow each
  state        TEXT NOT NULL CHECK (state IN ('queued', 'waiting', 'running', 'blocked', 'done', 'failed', 'cancelled')),
  due          BIGINT NOT NULL,
  generation   BIGINT NOT NULL DEFAULT 0,  -- hints merged into it
  attempt      BIGINT NOT NULL DEFAULT 0,  -- counted tries of the policy in force
  waited       BIGINT NOT NULL DEFAULT 0,  -- milliseconds: sum of the waits asked for by that policy
  owner        TEXT NOT NULL DEFAULT '',
  epoch        BIGINT NOT NULL DEFAULT 0,
  lease_until  BIGINT NOT NULL DEFAULT 0,
  cancel_asked BIGINT NOT NULL DEFAULT 0,
  input        TEXT NOT NULL,               -- JSON, never with a secret
  status       TEXT NOT NULL DEFAULT '',    -- for people: what it waits for, or how it ended
  error_code   TEXT NOT NULL DEFAULT '',
  created      BIGINT NOT NULL,
  updated      BIGINT NOT NULL,
  ended        BIGINT
);
CREATE UNIQUE INDEX workflow_active ON workflow (key) WHERE state IN ('waiting', 'running', 'blocked');
CREATE INDEX workflow_due ON workflow (lane, due) WHERE state = 'waiting';
CREATE INDEX workflow_running ON workflow (lease_until) WHERE state = 'running';
CREATE INDEX workflow_queued ON workflow (key, created) WHERE state = 'queued';
CREATE INDEX workflow_key ON workflow (key, created);
CREATE INDEX workflow_ended ON workflow (ended) WHERE ended IS NOT NULL;
CREATE TABLE step (
  workflow TEXT NOT NULL REFERENCES workflow (id) ON DELETE CASCADE,
  name     TEXT NOT NULL,
  output   TEXT NOT NULL,
  at       BIGINT NOT NULL,
  PRIMARY KEY (workflow, name)
);
CREATE TABLE history (
  workflow TEXT NOT NULL REFERENCES workflow (id) ON DELETE CASCADE,
  seq      BIGINT NOT NULL,
  at       BIGINT NOT NULL,
  what     TEXT NOT NULL,
  detail   TEXT NOT NULL,
  PRIMARY KEY (workflow, seq)
);
CREATE TABLE seen (                         -- events and idempotency keys
  id       TEXT PRIMARY KEY,
  workflow TEXT NOT NULL,                   -- what it started or joined
  at       BIGINT NOT NULL
);
CREATE INDEX seen_at ON seen (at);
CREATE TABLE ledger (                       -- what twinstep knows of devices that it made outside, or saw deleted
  link    TEXT NOT NULL,
  key     TEXT NOT NULL,                    -- canonical device id
  device  TEXT NOT NULL,                    -- as the hub spells it
  present BIGINT NOT NULL,                 -- 1: twinstep made it outside
  tags    TEXT NOT NULL,                    -- JSON: what is needed to find and delete it, never a secret
  updated BIGINT NOT NULL,
  PRIMARY KEY (link, key)
);
CREATE TABLE schedule (
  link TEXT PRIMARY KEY,
  cron TEXT NOT NULL,
  next BIGINT NOT NULL
);
CREATE TABLE pause (                        -- lanes at rest, because credentials were refused
  lane   TEXT PRIMARY KEY,
  until  BIGINT NOT NULL,
  tries  BIGINT NOT NULL,
  reason TEXT NOT NULL,
  since  BIGINT NOT NULL
);
