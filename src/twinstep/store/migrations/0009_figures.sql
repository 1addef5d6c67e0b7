-- What the daemon's figures and traces need.
ALTER TABLE workflow ADD COLUMN trace TEXT NOT NULL DEFAULT ''; -- traceparent of who asked for it; empty = nobody did
CREATE INDEX workflow_failed ON workflow (lane) WHERE state = 'failed';
