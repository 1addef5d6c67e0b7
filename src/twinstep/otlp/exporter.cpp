#include "twinstep/otlp/exporter.h"

#include <spdlog/spdlog.h>

#include "twinstep/base/backoff.h"
#include "twinstep/base/encoding.h"
#include "twinstep/version.h"

namespace twinstep::otlp {
namespace {

constexpr Millis kLastWords{3'000};
constexpr size_t kShortestHidden = 4;  // shorter ones would tear ordinary words apart
constexpr Millis kLongestTold{60'000};
constexpr Backoff kAgain{.first = Millis{1'000}, .cap = Millis{30'000}, .jitter = 0.2};

bool retryable(int status) { return status == 429 || status == 502 || status == 503 || status == 504; }

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
  while (!text.empty() && text.back() == ' ') text.remove_suffix(1);
  return text;
}

bool is_header_name(std::string_view name) {
  constexpr std::string_view kAlso = "!#$%&'*+-.^_`|~";
  for (const char c : name)
    if (!(c >= 'a' && c <= 'z') && !(c >= 'A' && c <= 'Z') && !(c >= '0' && c <= '9') &&
        kAlso.find(c) == std::string_view::npos)
      return false;
  return !name.empty();
}

}  // namespace

Result<std::vector<http::Header>> parse_headers(const Secret& text) {
  std::vector<http::Header> out;
  std::string_view rest = text.reveal();
  while (!rest.empty()) {
    const size_t comma = rest.find(',');
    const std::string_view one = trimmed(rest.substr(0, comma));
    rest = comma == std::string_view::npos ? std::string_view() : rest.substr(comma + 1);
    if (one.empty()) continue;
    const size_t equals = one.find('=');
    const std::string_view name = trimmed(one.substr(0, equals));
    const std::string value =
        equals == std::string_view::npos ? std::string() : percent_decode(trimmed(one.substr(equals + 1)));
    if (equals == std::string_view::npos || !is_header_name(name) ||
        value.find_first_of(std::string_view("\r\n\0", 3)) != std::string::npos)
      return fail(ErrorKind::kInvalid, "otlp.headers",
                  fmt::format("headers for the collector: member {} is not name=value", out.size() + 1));
    out.push_back({std::string(name), value});
  }
  return out;
}

Exporter::Exporter(ExportOptions options, std::vector<http::Header> headers, http::Client& client,
                   obs::Metrics& metrics, Clock& clock, Rng& rng)
    : options_(std::move(options)),
      resource_{options_.service_name, std::string(kVersion), options_.instance},
      headers_(std::move(headers)),
      client_(client),
      metrics_(metrics),
      clock_(clock),
      rng_(rng) {
  // A collector that refuses may say why with our key in it, of "Bearer KEY" the key alone.
  for (const http::Header& header : headers_)
    for (const std::string& one : {header.value, header.value.substr(header.value.rfind(' ') + 1)})
      if (one.size() >= kShortestHidden) hidden_.push_back(one);
  headers_.push_back({"Content-Type", "application/json"});
}

Result<std::unique_ptr<Exporter>> Exporter::start(ExportOptions options, obs::Metrics& metrics, Clock& clock,
                                                  Rng& rng) {
  TRY_ASSIGN(auto headers, parse_headers(options.headers));
  auto client = http::make_transport({.ca_file = options.ca_file, .proxy = {}, .user_agent = {}});
  auto out = std::make_unique<Exporter>(std::move(options), std::move(headers), *client, metrics, clock, rng);
  out->owned_ = std::move(client);
  out->thread_ = std::jthread([self = out.get()](std::stop_token stop) { self->work(std::move(stop)); });
  return out;
}

Exporter::~Exporter() { stop(); }

void Exporter::ended(obs::SpanData&& span) {
  bool full = false, batch = false;
  {
    std::scoped_lock lock(mutex_);
    if (closed_) return;
    full = queue_.size() >= options_.queue;
    if (full) queue_.pop_front();
    queue_.push_back(std::move(span));
    batch = queue_.size() == options_.batch;
  }
  if (full) metrics_.spans("dropped", 1);
  if (batch) changed_.notify_all();
}

void Exporter::stop() {
  {
    std::scoped_lock lock(mutex_);
    if (std::exchange(closed_, true)) return;
  }
  if (!thread_.joinable()) return;
  thread_.request_stop();
  changed_.notify_all();
  thread_.join();
  const Call last{clock_.steady_now() + kLastWords, {}};
  while (clock_.steady_now() < last.deadline && send_batch(last) > 0) {
  }
}

void Exporter::work(std::stop_token stop) {
  while (!stop.stop_requested()) {
    {
      std::unique_lock lock(mutex_);
      changed_.wait_for(lock, stop, options_.every, [this] { return queue_.size() >= options_.batch; });
    }
    while (!stop.stop_requested() && send_batch({SteadyTime::max(), stop}) >= options_.batch) {
    }
  }
}

size_t Exporter::send_batch(const Call& call) {
  std::vector<obs::SpanData> spans;
  {
    std::scoped_lock lock(mutex_);
    while (!queue_.empty() && spans.size() < options_.batch) {
      spans.push_back(std::move(queue_.front()));
      queue_.pop_front();
    }
  }
  if (spans.empty()) return 0;
  const size_t count = spans.size();
  if (deliver(spans, call)) return count;
  if (!call.stop.stop_requested()) {
    metrics_.spans("failed", count);
    return count;
  }
  // The process ends: the last words take them along.
  std::scoped_lock lock(mutex_);
  queue_.insert(queue_.begin(), std::make_move_iterator(spans.begin()), std::make_move_iterator(spans.end()));
  return 0;
}

bool Exporter::deliver(const std::vector<obs::SpanData>& spans, const Call& call) {
  http::Request request;
  request.method = "POST";
  request.url = options_.endpoint;
  request.headers = headers_;
  request.body = export_request(resource_, spans);
  request.operation = "export spans";
  request.try_timeout = options_.timeout;
  request.max_response_bytes = 1ull << 20;
  for (int tries = 1;; ++tries) {
    const auto answer = client_.send(request, call.sooner(clock_.steady_now() + options_.timeout));
    if (answer && answer->ok()) {
      metrics_.spans("exported", spans.size());
      if (const auto partial = partial_success(answer->body, hidden_))
        spdlog::warn("spans.partly_refused count={} reason=\"{}\"", partial->rejected, partial->message);
      if (std::exchange(complained_, false)) spdlog::info("spans.exported_again");
      return true;
    }
    if (call.stop.stop_requested()) return false;
    const bool again = answer ? retryable(answer->status) : answer.error().transient();
    const std::string why = answer ? fmt::format("the collector answered {}", answer->status) : answer.error().what;
    if (!std::exchange(complained_, true))
      spdlog::warn("spans.not_exported reason=\"{}\" next=\"{}\"", why,
                   again ? "tried again; the oldest are dropped when too many wait" : "this batch is lost");
    if (!again || tries >= options_.tries) return false;
    const auto told = answer ? http::retry_after(*answer, clock_.system_now()) : std::nullopt;
    const Millis wait = told ? std::min(*told, kLongestTold) : kAgain.after(tries, rng_);
    const SteadyTime until = clock_.steady_now() + wait;
    if (until >= call.deadline || !clock_.sleep_until(until, call.stop)) return false;
  }
}

}  // namespace twinstep::otlp
