#pragma once

#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "twinstep/obs/trace.h"

namespace spdlog {
class formatter;
}

/// What every log line says of the work it was written for: ` trace=... run=... link=... device=...` at its end.
namespace twinstep::obs {

/// Fields of all lines that this thread writes until the end of the block, behind those of the blocks around it. An
/// empty value adds nothing; spaces and control characters become '_', so that a line stays one line of key=value.
class LogScope {
 public:
  LogScope(std::initializer_list<std::pair<std::string_view, std::string_view>> fields);
  ~LogScope();
  LogScope(const LogScope&) = delete;
  LogScope& operator=(const LogScope&) = delete;

 private:
  size_t before_;
};

/// What a line of this thread says now, with a leading space; empty while it is idle.
std::string log_context();

/// A thread's context for another one that helps it: taken on the first, put on for a block by the second.
class Handover {
 public:
  Handover();  ///< of this thread, now
  class Scope {
   public:
    explicit Scope(const Handover& from);
    ~Scope();
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

   private:
    TraceScope trace_;
    std::string before_;
  };

 private:
  TraceContext trace_;
  std::string fields_;
};

/// How every program of ours writes its log: time, level, text, context.
std::unique_ptr<spdlog::formatter> log_formatter();

}  // namespace twinstep::obs
