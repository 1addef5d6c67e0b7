#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "twinstep/base/clock.h"
#include "twinstep/base/rng.h"

/// What belongs together, across threads, replicas and crashes: W3C trace contexts and the spans of one process.
namespace twinstep::obs {

/// Which trace something belongs to, and the span in it that asked for it. A plain value; without a trace id it is
/// none.
///
/// Source  https://www.w3.org/TR/trace-context-1/
struct TraceContext {
  uint64_t trace_high = 0, trace_low = 0;
  uint64_t span = 0;
  bool sampled = false;
  std::string state;  ///< tracestate as it came, at most 512 characters

  bool valid() const { return (trace_high != 0 || trace_low != 0) && span != 0; }
  std::string trace_id() const;  ///< 32 lower-case hex digits
  std::string span_id() const;   ///< 16
  friend bool operator==(const TraceContext&, const TraceContext&) = default;
};
std::string span_id_text(uint64_t id);

/// Empty for anything that the specification says to ignore. Of a version that is not known, the fields of version 00
/// are taken when they stand where they belong.
std::optional<TraceContext> parse_traceparent(std::string_view header, std::string_view tracestate = {});
/// "00-TRACE-SPAN-FLAGS"; empty for no context.
std::string format_traceparent(const TraceContext& context);

struct Attribute {
  std::string key;
  std::variant<std::string, int64_t, double, bool> value;
};

enum class SpanKind { kInternal = 1, kServer = 2, kClient = 3, kProducer = 4, kConsumer = 5 };  // as OTLP numbers them

/// A span that has ended.
struct SpanData {
  TraceContext context;  ///< of the span itself
  uint64_t parent = 0;   ///< 0 = none
  std::string name;
  SpanKind kind = SpanKind::kInternal;
  SystemTime start, end;
  std::vector<Attribute> attributes;
  bool failed = false;
  std::string message;  ///< why; never holds a secret
};

/// Takes ended spans, from any thread; must not block.
class SpanSink {
 public:
  virtual ~SpanSink() = default;
  virtual void ended(SpanData&& span) = 0;
};

/// The context in which this thread works now; none when it is idle.
const TraceContext& current_trace();
/// As format_traceparent() of it: what is kept with work that is done later.
std::string current_traceparent();

class Tracer;

/// From begin() to the end of the block: the current span of this thread. Not recorded unless somebody takes spans and
/// the trace is sampled; then it only carries the ids.
///
/// Threads  the one that began it.
class Span {
 public:
  Span(Span&& other) noexcept;
  Span& operator=(Span&&) = delete;
  ~Span();
  bool recording() const { return sink_ != nullptr; }
  const TraceContext& context() const { return data_.context; }
  void name(std::string_view name);
  void set(std::string_view key, std::string_view value);
  void set(std::string_view key, int64_t value);
  /// An error; the first one stays.
  void fail(std::string_view why);

 private:
  friend class Tracer;
  Span() = default;
  const Clock* clock_ = nullptr;
  SpanSink* sink_ = nullptr;
  SteadyTime began_{};
  SpanData data_;
  TraceContext before_;
  bool owner_ = true;
};

/// Begins spans and decides which traces are recorded: as the parent says, else every so many-th (`ratio`).
///
/// Threads  any method, any thread; export_to() before anything is begun, or with nullptr.
class Tracer {
 public:
  /// Both outlive the tracer.
  Tracer(Clock& clock, Rng& rng) : clock_(clock), rng_(rng) {}
  /// Without a sink nothing is recorded, and a trace that came from outside is handed on as it came.
  void export_to(SpanSink* sink, double ratio);
  /// A child of `parent` when that is valid, else of the thread's current span, else the root of a new trace.
  Span begin(std::string_view name, SpanKind kind, const std::optional<TraceContext>& parent = {});
  /// As begin(), but without a parent it begins a new trace.
  Span begin_root(std::string_view name, SpanKind kind, const std::optional<TraceContext>& parent);

 private:
  Clock& clock_;
  Rng& rng_;
  std::atomic<SpanSink*> sink_{nullptr};
  std::atomic<uint64_t> threshold_{0};  // traces whose low 63 bits are below are sampled
};

/// Sets the thread's context for a block, for helper threads: see log_context.h.
class TraceScope {
 public:
  explicit TraceScope(TraceContext context);
  ~TraceScope();
  TraceScope(const TraceScope&) = delete;
  TraceScope& operator=(const TraceScope&) = delete;

 private:
  TraceContext before_;
};

}  // namespace twinstep::obs
