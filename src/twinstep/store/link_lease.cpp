#include "twinstep/store/link_lease.h"

#include "twinstep/base/time_format.h"

namespace twinstep::store {
namespace {

// One statement decides, so that of two that come at once one waits for the other's row and then finds it taken.
constexpr std::string_view kTake =
    "INSERT INTO link_lock (link, token, owner, who, since, until) VALUES ($1, $2, $3, $4, {now}, {now} + $5) "
    "ON CONFLICT (link) DO UPDATE SET token = excluded.token, owner = excluded.owner, who = excluded.who, "
    "since = excluded.since, until = excluded.until "
    "WHERE link_lock.until <= {now} OR link_lock.owner = excluded.owner";
constexpr std::string_view kHolder = "SELECT who, until FROM link_lock WHERE link = $1";
// Whoever took it in between left another token, or none, so that an end that nobody made use of does no harm.
constexpr std::string_view kRenew = "UPDATE link_lock SET until = {now} + $3 WHERE link = $1 AND token = $2";
constexpr std::string_view kGiveBack = "DELETE FROM link_lock WHERE link = $1 AND token = $2";

tl::unexpected<Error> busy(std::string_view link, const Rows& holder) {
  if (holder.empty())
    return fail(ErrorKind::kConflict, "link.busy", fmt::format("link {}: another process just took it", link));
  return fail(ErrorKind::kConflict, "link.busy",
              fmt::format("link {}: {} works on it and holds it until {}, longer as long as it lives; wait for it to "
                          "end",
                          link, holder.text(0, 0), format_iso_seconds(holder.time(0, 1))));
}

}  // namespace

LinkLease::LinkLease(Database& database, std::string link, std::string token, Millis lease, Clock& clock,
                     SteadyTime sent)
    : database_(database), link_(std::move(link)), token_(std::move(token)), lease_(lease), clock_(clock) {
  trust_from(sent);
}

Result<std::unique_ptr<LinkLease>> LinkLease::take(Database& database, std::string_view link, const LinkHolder& holder,
                                                   Millis lease, Clock& clock, Rng& rng, const Call& call) {
  const std::string token = rng.hex_id();
  const SteadyTime sent = clock.steady_now();
  TRY(database.write(
      [&](Transaction& transaction) -> Status {
        TRY_ASSIGN(const Rows taken, transaction.run(kTake, {link, token, holder.owner, holder.who, micros(lease)}));
        if (taken.affected > 0) return {};
        TRY_ASSIGN(const Rows other, transaction.run(kHolder, {link}));
        return busy(link, other);
      },
      call));
  return std::unique_ptr<LinkLease>(new LinkLease(database, std::string(link), token, lease, clock, sent));
}

void LinkLease::trust_from(SteadyTime sent) {
  std::scoped_lock lock(mutex_);
  trusted_until_ = sent + lease_ - lease_ / 5;
}

bool LinkLease::holds() const {
  std::scoped_lock lock(mutex_);
  return !lost_ && clock_.steady_now() < trusted_until_;
}

Status LinkLease::renew(const Call& call) {
  const SteadyTime sent = clock_.steady_now();
  TRY_ASSIGN(const Rows renewed, database_.change(kRenew, {link_, token_, micros(lease_)}, call));
  if (renewed.affected > 0) {
    trust_from(sent);
    return {};
  }
  {
    std::scoped_lock lock(mutex_);
    lost_ = true;
  }
  return fail(ErrorKind::kConflict, "link.lost",
              fmt::format("link {}: it was not renewed in time, and another process took it", link_));
}

Status LinkLease::give_back(const Call& call) {
  TRY(database_.change(kGiveBack, {link_, token_}, call));
  std::scoped_lock lock(mutex_);
  lost_ = true;
  return {};
}

}  // namespace twinstep::store
