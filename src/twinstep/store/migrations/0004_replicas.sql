-- The processes that share the store, so that each takes its share of the remotes' limits. Times as everywhere.
CREATE TABLE replica (
  owner TEXT PRIMARY KEY,
  seen  BIGINT NOT NULL
);
