#include "twinstep/store/link_lock.h"

#include <spdlog/spdlog.h>
#include <unistd.h>

#include <array>

namespace twinstep::store {
namespace {

constexpr Millis kGiveBackWithin{2'000};

}  // namespace

LinkLock::LinkLock(std::unique_ptr<LinkLease> lease, std::string link, Millis span, Clock& clock)
    : lease_(std::move(lease)), link_(std::move(link)), clock_(&clock) {
  keeper_ = std::jthread([this, span](const std::stop_token& stop) { keep(stop, span / 3); });
}

LinkLock::~LinkLock() {
  if (!lease_) return;
  keeper_ = {};
  if (auto given = lease_->give_back({clock_->steady_now() + kGiveBackWithin, {}}); !given)
    spdlog::warn("link.not_given_back link={} reason=\"{}\" next=\"it ends by itself\"", link_, given.error().what);
}

bool LinkLock::holds() const { return !lease_ || lease_->holds(); }

void LinkLock::keep(const std::stop_token& stop, Millis every) {
  while (clock_->sleep_for(every, stop)) {
    // One that takes longer is of no use any more: the next one comes then.
    const auto renewed = lease_->renew({clock_->steady_now() + every, stop});
    if (renewed || stop.stop_requested()) continue;
    spdlog::warn("link.not_renewed link={} reason=\"{}\"", link_, renewed.error().what);
    if (renewed.error().code == "link.lost") return;
  }
}

Result<std::unique_ptr<LinkLock>> LinkLocks::take(std::string_view link, const LinkHolder& holder, const Call& call) {
  if (database_.shared()) {
    TRY_ASSIGN(auto lease, LinkLease::take(database_, link, holder, lease_, clock_, rng_, call));
    return std::unique_ptr<LinkLock>(new LinkLock(std::move(lease), std::string(link), lease_, clock_));
  }
  auto file = FileLock::take(store_, link);
  if (!file && file.error().kind == ErrorKind::kConflict)
    return fail(ErrorKind::kConflict, "link.busy",
                fmt::format("link {}: another twinstep process works on it; wait for it to end", link));
  if (!file) return fail(std::move(file).error());
  return std::unique_ptr<LinkLock>(new LinkLock(std::move(*file)));
}

std::string who_in_this_process(std::string_view what) {
  std::array<char, 256> host{};
  if (::gethostname(host.data(), host.size() - 1) != 0) host[0] = '?';
  return fmt::format("{} (process {} on {})", what, ::getpid(), host.data());
}

}  // namespace twinstep::store
