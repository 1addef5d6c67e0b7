#include "twinstep/obs/trace.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>

namespace twinstep::obs {
namespace {

constexpr size_t kMostState = 512;  // what the specification asks everybody to hand on at least
constexpr uint64_t kLow63 = ~uint64_t{0} >> 1;

TraceContext& current() {
  thread_local TraceContext context;
  return context;
}

/// Lower-case hex digits only, as the specification wants.
std::optional<uint64_t> hex(std::string_view text) {
  uint64_t out = 0;
  for (const char c : text) {
    if (c >= '0' && c <= '9')
      out = out << 4 | static_cast<uint64_t>(c - '0');
    else if (c >= 'a' && c <= 'f')
      out = out << 4 | static_cast<uint64_t>(c - 'a' + 10);
    else
      return std::nullopt;
  }
  return out;
}

uint64_t not_zero(Rng& rng) {
  for (;;)
    if (const uint64_t id = rng.next()) return id;
}

/// Whole members from the left, so that what is cut off is the oldest.
std::string bounded(std::string_view state) {
  if (state.size() <= kMostState) return std::string(state);
  const size_t comma = state.rfind(',', kMostState);
  return comma == std::string_view::npos ? std::string() : std::string(state.substr(0, comma));
}

bool printable(std::string_view text) {
  for (const char c : text)
    if (static_cast<unsigned char>(c) < 0x20 || static_cast<unsigned char>(c) > 0x7e) return false;
  return true;
}

}  // namespace

std::string TraceContext::trace_id() const { return fmt::format("{:016x}{:016x}", trace_high, trace_low); }
std::string TraceContext::span_id() const { return span_id_text(span); }
std::string span_id_text(uint64_t id) { return fmt::format("{:016x}", id); }

std::optional<TraceContext> parse_traceparent(std::string_view header, std::string_view tracestate) {
  constexpr size_t kLength = 55;  // of version 00: "00-" 32 "-" 16 "-" 2
  if (header.size() < kLength || header[2] != '-' || header[35] != '-' || header[52] != '-') return std::nullopt;
  const auto version = hex(header.substr(0, 2));
  if (!version || *version == 0xff) return std::nullopt;
  // Later versions may say more behind a dash; version 00 ends here.
  if (*version == 0 ? header.size() != kLength : header.size() > kLength && header[kLength] != '-') return std::nullopt;
  const auto high = hex(header.substr(3, 16)), low = hex(header.substr(19, 16)), span = hex(header.substr(36, 16)),
             flags = hex(header.substr(53, 2));
  if (!high || !low || !span || !flags) return std::nullopt;
  TraceContext out{*high, *low, *span, (*flags & 1) != 0, {}};
  if (!out.valid()) return std::nullopt;
  if (printable(tracestate)) out.state = bounded(tracestate);
  return out;
}

std::string format_traceparent(const TraceContext& context) {
  if (!context.valid()) return {};
  return fmt::format("00-{:016x}{:016x}-{:016x}-{:02x}", context.trace_high, context.trace_low, context.span,
                     context.sampled ? 1 : 0);
}

const TraceContext& current_trace() { return current(); }
std::string current_traceparent() { return format_traceparent(current()); }

Span::Span(Span&& other) noexcept
    : clock_(other.clock_),
      sink_(other.sink_),
      began_(other.began_),
      data_(std::move(other.data_)),
      before_(std::move(other.before_)),
      owner_(std::exchange(other.owner_, false)) {}

Span::~Span() {
  if (!owner_) return;
  if (sink_) {
    // The steady clock measures: a correction of the system's clock must not make a span end before it began.
    data_.end = data_.start + std::chrono::duration_cast<SystemTime::duration>(clock_->steady_now() - began_);
    sink_->ended(std::move(data_));
  }
  current() = std::move(before_);
}

void Span::name(std::string_view name) {
  if (sink_) data_.name = name;
}

void Span::set(std::string_view key, std::string_view value) {
  if (sink_) data_.attributes.push_back({std::string(key), std::string(value)});
}

void Span::set(std::string_view key, int64_t value) {
  if (sink_) data_.attributes.push_back({std::string(key), value});
}

void Span::fail(std::string_view why) {
  if (!sink_ || data_.failed) return;
  data_.failed = true;
  data_.message = why;
}

void Tracer::export_to(SpanSink* sink, double ratio) {
  const double part = std::isfinite(ratio) ? std::min(std::max(ratio, 0.0), 1.0) : 1.0;
  threshold_ = part >= 1.0 ? kLow63 + 1 : static_cast<uint64_t>(part * static_cast<double>(kLow63));
  sink_ = sink;
}

Span Tracer::begin(std::string_view name, SpanKind kind, const std::optional<TraceContext>& parent) {
  if (parent && parent->valid()) return begin_root(name, kind, parent);
  return current().valid() ? begin_root(name, kind, current()) : begin_root(name, kind, std::nullopt);
}

Span Tracer::begin_root(std::string_view name, SpanKind kind, const std::optional<TraceContext>& parent) {
  Span out;
  SpanSink* const sink = sink_.load();
  TraceContext& context = out.data_.context;
  if (parent && parent->valid()) {
    context = *parent;
    // Unless it is exported, a span of ours would be a gap between those of others.
    if (sink) context.span = not_zero(rng_);
  } else {
    context.trace_high = not_zero(rng_);
    context.trace_low = not_zero(rng_);
    context.span = not_zero(rng_);
    context.sampled = sink && (context.trace_low & kLow63) < threshold_.load();
  }
  if (sink && context.sampled) {
    out.sink_ = sink;
    out.clock_ = &clock_;
    out.began_ = clock_.steady_now();
    out.data_.start = clock_.system_now();
    out.data_.parent = parent && parent->valid() ? parent->span : 0;
    out.data_.name = name;
    out.data_.kind = kind;
  }
  out.before_ = std::exchange(current(), context);
  return out;
}

TraceScope::TraceScope(TraceContext context) : before_(std::exchange(current(), std::move(context))) {}
TraceScope::~TraceScope() { current() = std::move(before_); }

}  // namespace twinstep::obs
