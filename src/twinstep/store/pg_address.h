#pragma once

#include <string>
#include <utility>
#include <vector>

#include "twinstep/base/result.h"
#include "twinstep/base/secret.h"

namespace twinstep::store {

/// Where a PostgreSQL server is and how to log in, from a connection URI with whatever libpq knows in it.
///
/// Source  PostgreSQL 15, "Database Connection Control Functions", connection URIs and parameter key words.
class PgAddress {
 public:
  static bool is_one(std::string_view store);  ///< "postgresql://..." or "postgres://..."
  /// Errors  kInvalid "store.name", without the text itself: it may hold a password.
  static Result<PgAddress> parse(const std::string& uri);

  /// For people: "PostgreSQL db.example:5432/twinstep".
  const std::string& name() const { return name_; }
  /// What libpq is to be told: the URI's own settings, and ours where it has none.
  const std::vector<std::pair<std::string, Secret>>& settings() const { return settings_; }
  Millis connect_timeout() const { return connect_timeout_; }
  /// `text` without the password.
  std::string redact(std::string text) const;

 private:
  std::string name_;
  std::vector<std::pair<std::string, Secret>> settings_;
  Millis connect_timeout_{10'000};
};

}  // namespace twinstep::store
