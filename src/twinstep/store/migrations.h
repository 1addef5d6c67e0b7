#pragma once

#include <span>

namespace twinstep::store {

struct Migration {
  const char* name;  ///< "0002_workflows"
  const char* sql;   ///< several statements, for SQLite and PostgreSQL alike; " TEXT" is ordered by bytes
};

/// All of them, oldest first; a schema's version is how many of them it has seen.
std::span<const Migration> migrations();

}  // namespace twinstep::store
