#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "twinstep/base/clock.h"
#include "twinstep/base/result.h"

namespace twinstep::store {

class PgConnection;

/// Held while a link is planned, applied or synchronized from the command line. With SQLite it keeps the other
/// processes of this machine away, and the operating system lets go of it when the process ends, however it ends; with
/// PostgreSQL all processes that use the same schema, and the server lets go of it when the connection ends.
class LinkLock {
 public:
  /// `store` as in open_database(); `clock` outlives the lock.
  /// Errors  kConflict "link.busy" when another process has it; as PgConnection.
  static Result<LinkLock> take(const std::string& store, std::string_view link, Clock& clock);
  LinkLock(LinkLock&& other) noexcept;
  LinkLock& operator=(LinkLock&&) = delete;
  ~LinkLock();

 private:
  explicit LinkLock(int fd);
  explicit LinkLock(std::unique_ptr<PgConnection> connection);
  static Result<LinkLock> take_file(const std::string& path, std::string_view link);
  static Result<LinkLock> take_session(const std::string& uri, std::string_view link, Clock& clock);

  int fd_ = -1;
  std::unique_ptr<PgConnection> connection_;
};

}  // namespace twinstep::store
