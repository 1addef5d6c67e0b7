#include "twinstep/store/pg_hints.h"

#include "twinstep/base/backoff.h"

namespace twinstep::store {
namespace {

constexpr std::string_view kListen = "LISTEN twinstep";
constexpr std::string_view kNotify = "SELECT pg_notify('twinstep', $1)";
constexpr Backoff kAgain{Millis{200}, Millis{10'000}};

}  // namespace

PgHints::PgHints(PgAddress address, Clock& clock) : address_(std::move(address)), clock_(clock) {
  thread_ = std::jthread([this](const std::stop_token& stop) { work(stop); });
}

PgHints::~PgHints() {
  thread_.request_stop();
  thread_.join();
}

void PgHints::listen(Database::Listener listener) {
  std::scoped_lock lock(mutex_);
  listener_ = std::move(listener);
  changed_.notify_all();
}

void PgHints::tell(const std::set<std::string>& channels) {
  if (channels.empty()) return;
  std::scoped_lock lock(mutex_);
  unsent_.insert(channels.begin(), channels.end());
  if (listener_)
    for (const std::string& channel : channels) listener_(channel);
  changed_.notify_all();
  waker_.wake();
}

void PgHints::hear(std::string_view channel) {
  std::scoped_lock lock(mutex_);
  if (listener_) listener_(channel);
}

void PgHints::work(const std::stop_token& stop) {
  const Call call{SteadyTime::max(), stop};
  for (int failures = 0;;) {
    {
      std::unique_lock lock(mutex_);
      if (!changed_.wait(lock, stop, [&] { return listener_ || !unsent_.empty(); })) return;
    }
    if (auto connection = PgConnection::open(address_, clock_, call)) {
      failures = 0;
      (void)serve(**connection, call);  // it ends with an error only, and polling finds what a lost hint spoke of
    }
    if (!clock_.sleep_for(kAgain.after(++failures, Rng::real()), stop)) return;
  }
}

Status PgHints::serve(PgConnection& connection, const Call& call) {
  TRY(connection.run(kListen, {}, call));
  hear("");
  for (;;) {
    TRY(send(connection, call));
    for (const std::string& channel : connection.take_hints()) hear(channel);
    TRY(connection.listen(waker_, call));
  }
}

Status PgHints::send(PgConnection& connection, const Call& call) {
  std::set<std::string> channels;
  {
    std::scoped_lock lock(mutex_);
    waker_.rest();
    channels.swap(unsent_);
  }
  if (channels.empty()) return {};
  std::vector<Value> values(channels.begin(), channels.end());
  std::vector<PgRequest> requests;
  for (const Value& value : values) requests.push_back({kNotify, {&value, 1}});
  auto sent = connection.run(requests, call);
  if (sent) return {};
  std::scoped_lock lock(mutex_);
  unsent_.merge(channels);
  return fail(std::move(sent).error());
}

}  // namespace twinstep::store
