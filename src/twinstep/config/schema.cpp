#include "twinstep/config/schema.h"

namespace twinstep::config {

// The keys are those that load.cpp and link_reader.cpp read; a key added there is added here.
std::string json_schema() {
  return R"json({
  "$schema": "https://json-schema.org/draft/2020-12/schema",
  "title": "twinstep configuration",
  "type": "object",
  "additionalProperties": false,
  "$defs": {
    "secret": { "type": "string", "description": "env:NAME, file:/path, or the value itself" },
    "duration": { "type": "string", "pattern": "^[0-9]+ ?(ms|s|m|min|h|d)$" },
    "limit": { "type": ["string", "integer"], "description": "10% or a count" },
    "polling": {
      "type": "object", "additionalProperties": false,
      "properties": { "interval": { "$ref": "#/$defs/duration" }, "attempts": { "type": "integer", "minimum": 1 } }
    }
  },
  "properties": {
    "hubs": {
      "type": "object",
      "additionalProperties": {
        "type": "object", "additionalProperties": false,
        "properties": {
          "connection_string": { "$ref": "#/$defs/secret" },
          "host": { "type": "string" },
          "tier": { "enum": ["F1", "B1", "B2", "B3", "S1", "S2", "S3"], "default": "S1" },
          "units": { "type": "integer", "minimum": 1, "maximum": 200, "default": 1 },
          "time_factor": {
            "type": "integer", "minimum": 1, "maximum": 100000, "default": 1, "description": "of a simulated hub"
          },
          "entra": {
            "type": "object", "additionalProperties": false,
            "properties": {
              "kind": { "enum": ["client-secret", "workload-identity", "managed-identity"], "default": "client-secret" },
              "tenant": { "type": "string" },
              "client_id": { "type": "string" },
              "client_secret": { "$ref": "#/$defs/secret" }
            }
          }
        }
      }
    },
    "storage": {
      "type": "object", "additionalProperties": false, "required": ["connection_string"],
      "properties": {
        "connection_string": { "$ref": "#/$defs/secret" },
        "identity_based_jobs": { "type": "boolean", "default": false },
        "user_assigned_identity": { "type": "string" }
      }
    },
    "externals": {
      "type": "object",
      "additionalProperties": {
        "type": "object", "additionalProperties": false, "required": ["provider"],
        "properties": {
          "provider": { "type": "string" },
          "settings": { "type": "object", "additionalProperties": { "$ref": "#/$defs/secret" } }
        }
      }
    },
    "links": {
      "type": "array",
      "items": {
        "type": "object", "additionalProperties": false, "required": ["name", "hub", "external", "deletes"],
        "properties": {
          "name": { "type": "string" },
          "hub": { "type": "string" },
          "external": { "type": "string" },
          "master": { "enum": ["external", "hub"], "default": "external" },
          "schedule": { "type": "string", "description": "cron with 5 fields, or NCRONTAB with 6" },
          "zone": { "type": "string", "default": "UTC" },
          "scope": { "enum": ["owned", "whole-hub"], "default": "owned" },
          "deletes": { "enum": ["delete", "disable", "never"] },
          "limits": {
            "type": "object", "additionalProperties": false,
            "properties": {
              "deletes": { "$ref": "#/$defs/limit" }, "updates": { "$ref": "#/$defs/limit" }, "shrink": { "$ref": "#/$defs/limit" }
            }
          },
          "copy_secrets": { "type": "boolean", "default": false },
          "include": { "type": "array", "items": { "enum": ["edge", "modules", "certificates"] } },
          "ids": { "enum": ["as-listed", "upper", "lower"], "default": "as-listed" },
          "plan_lifetime": { "$ref": "#/$defs/duration" }
        }
      }
    },
    "store": { "type": "string", "pattern": "^sqlite:" },
    "ca_file": { "type": "string" },
    "use_export_jobs": { "type": "boolean", "default": true },
    "job_threshold": { "type": "integer", "minimum": 0, "default": 100 },
    "export_polling": { "$ref": "#/$defs/polling" },
    "import_polling": { "$ref": "#/$defs/polling" }
  }
})json";
}

}  // namespace twinstep::config
