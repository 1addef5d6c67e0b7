#include "twinstep/store/metered_database.h"

namespace twinstep::store {
namespace {

/// The store is away, busy or broken; everything else is an answer.
bool is_of_store(const Error& error) {
  switch (error.kind) {
    case ErrorKind::kUnavailable:
    case ErrorKind::kTimeout:
    case ErrorKind::kCorrupt:
    case ErrorKind::kDenied:
      return error.code.starts_with("store.");
    default:
      return false;
  }
}

class MeteredDatabase final : public Database {
 public:
  MeteredDatabase(std::unique_ptr<Database> inner, obs::Metrics& metrics, Clock& clock)
      : inner_(std::move(inner)), metrics_(metrics), clock_(clock) {}

  Status write(const Body& body, const Call& call) override {
    const SteadyTime began = clock_.steady_now();
    SteadyTime ready{};
    // The body runs on whatever thread; whoever waits for it here sees what it wrote.
    Status out = inner_->write(
        [&](Transaction& transaction) {
          Status done = body(transaction);
          ready = clock_.steady_now();
          return done;
        },
        call);
    const SteadyTime now = clock_.steady_now();
    metrics_.store_called("write", now - began);
    if (out && ready != SteadyTime{}) metrics_.store_called("commit", now - ready);
    return noted("write", std::move(out));
  }

  Status read(const Body& body, const Call& call) override {
    const SteadyTime began = clock_.steady_now();
    Status out = inner_->read(body, call);
    metrics_.store_called("read", clock_.steady_now() - began);
    return noted("read", std::move(out));
  }

  void listen(Listener listener) override { inner_->listen(std::move(listener)); }
  bool shared() const override { return inner_->shared(); }
  Millis went_back() const override { return inner_->went_back(); }

 private:
  Status noted(std::string_view operation, Status out) {
    if (!out && is_of_store(out.error())) metrics_.store_failed(operation, out.error().kind);
    return out;
  }

  const std::unique_ptr<Database> inner_;
  obs::Metrics& metrics_;
  Clock& clock_;
};

}  // namespace

std::unique_ptr<Database> with_metrics(std::unique_ptr<Database> inner, obs::Metrics& metrics, Clock& clock) {
  return std::make_unique<MeteredDatabase>(std::move(inner), metrics, clock);
}

}  // namespace twinstep::store
