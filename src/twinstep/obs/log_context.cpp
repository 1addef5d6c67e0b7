#include "twinstep/obs/log_context.h"

#include <spdlog/pattern_formatter.h>

namespace twinstep::obs {
namespace {

std::string& fields() {
  thread_local std::string text;
  return text;
}

class ContextFlag final : public spdlog::custom_flag_formatter {
 public:
  void format(const spdlog::details::log_msg&, const std::tm&, spdlog::memory_buf_t& out) override {
    const std::string text = log_context();
    out.append(text.data(), text.data() + text.size());
  }
  std::unique_ptr<custom_flag_formatter> clone() const override { return std::make_unique<ContextFlag>(); }
};

}  // namespace

LogScope::LogScope(std::initializer_list<std::pair<std::string_view, std::string_view>> pairs)
    : before_(fields().size()) {
  std::string& text = fields();
  for (const auto& [key, value] : pairs) {
    if (value.empty()) continue;
    text += ' ';
    text += key;
    text += '=';
    for (const char c : value) text += static_cast<unsigned char>(c) <= ' ' || c == '\x7f' ? '_' : c;
  }
}

LogScope::~LogScope() { fields().resize(before_); }

std::string log_context() {
  const TraceContext& trace = current_trace();
  return (trace.valid() ? " trace=" + trace.trace_id() : std::string()) + fields();
}

Handover::Handover() : trace_(current_trace()), fields_(fields()) {}
Handover::Scope::Scope(const Handover& from) : trace_(from.trace_), before_(std::exchange(fields(), from.fields_)) {}
Handover::Scope::~Scope() { fields() = std::move(before_); }

std::unique_ptr<spdlog::formatter> log_formatter() {
  auto out = std::make_unique<spdlog::pattern_formatter>(spdlog::pattern_time_type::utc);
  // The flag is told before the pattern that uses it.
  out->add_flag<ContextFlag>('*').set_pattern("%Y-%m-%dT%H:%M:%S.%eZ %l %v%*");
  return out;
}

}  // namespace twinstep::obs
