#include "twinstep/store/link_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cstring>
#include <utility>

#include "twinstep/base/encoding.h"
#include "twinstep/store/pg_connection.h"

namespace twinstep::store {
namespace {

constexpr Millis kWithin{30'000};
constexpr std::string_view kTryLock =
    "SELECT CASE WHEN pg_try_advisory_lock(hashtextextended($1 || current_schema(), 0)) THEN 1 ELSE 0 END";

tl::unexpected<Error> busy(std::string_view link) {
  return fail(ErrorKind::kConflict, "link.busy",
              fmt::format("link {}: another twinstep process works on it; wait for it to end", link));
}

}  // namespace

LinkLock::LinkLock(int fd) : fd_(fd) {}
LinkLock::LinkLock(std::unique_ptr<PgConnection> connection) : connection_(std::move(connection)) {}
LinkLock::LinkLock(LinkLock&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)), connection_(std::move(other.connection_)) {}

LinkLock::~LinkLock() {
  if (fd_ >= 0) ::close(fd_);
}

Result<LinkLock> LinkLock::take(const std::string& store, std::string_view link, Clock& clock) {
  if (PgAddress::is_one(store)) return take_session(store, link, clock);
  return take_file(store.substr(std::string_view("sqlite:").size()), link);
}

Result<LinkLock> LinkLock::take_file(const std::string& path, std::string_view link) {
  const std::string lock = fmt::format("{}.{}.lock", path, hex_encode(sha256(link)).substr(0, 16));
  const int fd = ::open(lock.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0)
    return fail(ErrorKind::kUnavailable, "store.lock", fmt::format("lock file {}: {}", lock, std::strerror(errno)));
  if (::flock(fd, LOCK_EX | LOCK_NB) != 0) {
    ::close(fd);
    return busy(link);
  }
  return LinkLock(fd);
}

Result<LinkLock> LinkLock::take_session(const std::string& uri, std::string_view link, Clock& clock) {
  TRY_ASSIGN(const PgAddress address, PgAddress::parse(uri));
  const Call call{clock.steady_now() + kWithin, {}};
  TRY_ASSIGN(auto connection, PgConnection::open(address, clock, call));
  const std::string name = fmt::format("twinstep link {} of ", link);
  TRY_ASSIGN(const Rows taken, connection->run(kTryLock, {std::string_view(name)}, call));
  if (taken.number(0, 0) == 0) return busy(link);
  return LinkLock(std::move(connection));
}

}  // namespace twinstep::store
