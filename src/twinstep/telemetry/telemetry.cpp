#include "twinstep/telemetry/telemetry.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <typeinfo>

#include "twinstep/telemetry/app_insights.h"
#include "twinstep/telemetry/event_table.h"
#include "twinstep/telemetry/event_text.h"
#include "twinstep/telemetry/ndjson_sink.h"
#include "twinstep/telemetry/web_address.h"
#include "twinstep/telemetry/webhook_sink.h"

namespace twinstep::telemetry {
namespace {

constexpr Millis kFileAge{200};
constexpr size_t kWebhookLines = 100;

/// The event with what the table lets out.
obs::Event allowed(const obs::Event& event, const EventKind& kind) {
  obs::Event out = event;
  const auto unknown = [](const auto& names) {
    return [&names](const auto& one) { return std::find(names.begin(), names.end(), one.first) == names.end(); };
  };
  std::erase_if(out.properties, unknown(kind.properties));
  std::erase_if(out.measurements, unknown(kind.measurements));
  return out;
}

std::string plain_line(const obs::Event& event) { return json::write(event_object(event)); }

}  // namespace

Telemetry::Telemetry(TelemetryOptions options, std::string ca_file)
    : options_(std::move(options)),
      client_(http::make_transport({.ca_file = std::move(ca_file), .proxy = {}, .user_agent = {}})) {}

Telemetry::~Telemetry() { stop(); }

void Telemetry::add(CourierOptions options, std::function<std::string(const obs::Event&)> line,
                    Courier::Deliver deliver, Clock& clock, Rng& rng) {
  const std::string name = options.name;
  sinks_.push_back(
      {name, std::move(line), std::make_unique<Courier>(std::move(options), std::move(deliver), clock, rng), false});
}

Result<std::unique_ptr<Telemetry>> Telemetry::open(TelemetryOptions options, std::string ca_file, std::string instance,
                                                   Clock& clock, Rng& rng) {
  std::unique_ptr<Telemetry> out(new Telemetry(std::move(options), std::move(ca_file)));
  const TelemetryOptions& is = out->options_;
  if (!is.application_insights.empty()) {
    TRY_ASSIGN(Ingestion ingestion, parse_ingestion(is.application_insights.reveal()));
    const auto insights =
        std::make_shared<AppInsights>(std::move(ingestion), std::move(instance), *out->client_, clock);
    CourierOptions courier;
    courier.name = "application_insights";
    out->add(
        courier, [insights](const obs::Event& event) { return insights->line(event); },
        [insights](const std::vector<std::string>& lines, const Call& call) { return insights->deliver(lines, call); },
        clock, rng);
    out->sinks_.back().buffered = true;
  }
  if (!is.file.empty()) {
    const auto file = std::make_shared<LineFile>(is.file);
    CourierOptions courier;
    courier.name = "file";
    courier.batch_age = kFileAge;
    out->add(
        courier, plain_line,
        [file](const std::vector<std::string>& lines, const Call& call) { return file->deliver(lines, call); }, clock,
        rng);
  }
  for (size_t i = 0; i < is.webhooks.size(); ++i) {
    const WebhookOptions& one = is.webhooks[i];
    if (auto address = parse_web_address(one.url.reveal()); !address)
      return fail_within(std::move(address), fmt::format("telemetry.webhooks[{}].url", i));
    const auto webhook = std::make_shared<Webhook>(one.url, one.secret, *out->client_, clock);
    CourierOptions courier;
    courier.name = fmt::format("webhook {}", i + 1);
    courier.batch_lines = kWebhookLines;
    out->add(
        courier, plain_line,
        [webhook](const std::vector<std::string>& lines, const Call& call) { return webhook->deliver(lines, call); },
        clock, rng);
  }
  return out;
}

void Telemetry::emit(const obs::Event& event) noexcept try {
  if (sinks_.empty()) return;
  const EventKind* kind = find_event(event.name);
  if (!kind) {
    spdlog::error("telemetry.unknown_event name={}", event.name);
    return;
  }
  const obs::Event shown = allowed(event, *kind);
  for (const Sink& sink : sinks_) sink.courier->offer(sink.line(shown));
} catch (const std::exception& bug) {
  spdlog::error("telemetry.bug type={} what=\"{}\"", typeid(bug).name(), bug.what());
}

void Telemetry::start() {
  for (Sink& sink : sinks_) {
    std::optional<DiskBuffer> disk;
    if (sink.buffered && !options_.buffer_path.empty()) {
      auto opened = DiskBuffer::open(options_.buffer_path, options_.buffer_bytes);
      if (opened)
        disk.emplace(std::move(*opened));
      else
        spdlog::warn("telemetry.no_buffer sink={} reason=\"{}\" next=\"what cannot be sent stays in memory\"",
                     sink.name, opened.error().what);
    }
    sink.courier->start(std::move(disk));
  }
}

void Telemetry::stop() {
  for (Sink& sink : sinks_) sink.courier->stop();
}

std::vector<std::pair<std::string, CourierCounts>> Telemetry::counts() const {
  std::vector<std::pair<std::string, CourierCounts>> out;
  for (const Sink& sink : sinks_) out.emplace_back(sink.name, sink.courier->counts());
  return out;
}

}  // namespace twinstep::telemetry
