-- What one machine remembers between runs. Times are microseconds since 1970, UTC.
CREATE TABLE last_run (
  link           TEXT PRIMARY KEY,
  external_count BIGINT NOT NULL,
  owned_count    BIGINT NOT NULL,
  finished       BIGINT NOT NULL
);
CREATE TABLE plan (
  id       TEXT PRIMARY KEY,
  link     TEXT NOT NULL,
  digest   TEXT NOT NULL,  -- SHA-256 of the plan file, hex
  state    TEXT NOT NULL,  -- made, applying, used
  created  BIGINT NOT NULL,
  expires  BIGINT NOT NULL,
  changed  BIGINT NOT NULL
);
CREATE TABLE journal (
  plan    TEXT NOT NULL,
  device  TEXT NOT NULL,
  op      TEXT NOT NULL,
  outcome TEXT NOT NULL,   -- done, failed, skipped
  reason  TEXT NOT NULL,
  PRIMARY KEY (plan, device)
);
CREATE TABLE job (
  container TEXT PRIMARY KEY,  -- blob container made for one job of a hub; gone when it is removed
  link      TEXT NOT NULL,
  plan      TEXT NOT NULL,     -- empty for an export
  kind      TEXT NOT NULL,     -- export, import
  blob      TEXT NOT NULL,
  job       TEXT NOT NULL,     -- the hub's job id, empty while not known
  created   BIGINT NOT NULL
);
