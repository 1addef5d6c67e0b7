#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "twinstep/base/clock.h"
#include "twinstep/base/encoding.h"
#include "twinstep/base/ids.h"
#include "twinstep/plan/change.h"
#include "twinstep/plan/guard.h"

namespace twinstep::plan {

inline constexpr std::string_view kPlanSchema = "twinstep.plan/1";

/// Everything of a plan but its changes.
struct PlanHead {
  PlanId id;  ///< 32 lower-case hex digits
  std::string link;
  std::string hub;       ///< host
  std::string external;  ///< name
  SystemTime created;
  SystemTime expires;
  std::string hub_fingerprint;
  std::string external_fingerprint;
  Counts counts;
  std::vector<std::string> why_withheld;
  Verdict verdict;
  std::vector<Problem> problems;
};

/// Writes a plan: one valid JSON document, one change per line, a SHA-256 over all bytes before the digest at its end.
/// Secret values never enter it. Holds one change at a time.
/// Errors  those of the sink.
class PlanWriter {
 public:
  using Sink = std::function<Status(std::string_view bytes)>;
  PlanWriter(const PlanHead& head, Sink sink);
  Status write(const Change& change);
  /// Ends the document. Call once.
  Status finish();

 private:
  Status put(std::string_view bytes);
  Sink sink_;
  Sha256 digest_;
  std::string line_;
  uint64_t changes_ = 0;
  Status opened_;
};

/// A PlanWriter's sink on a file that is readable by its owner only and takes its name when close() succeeds: there is
/// never half a plan under `path`.
class PlanFileSink {
 public:
  static Result<PlanFileSink> create(const std::string& path);
  PlanFileSink(PlanFileSink&& other) noexcept;
  PlanFileSink& operator=(PlanFileSink&&) = delete;
  ~PlanFileSink();
  Status write(std::string_view bytes);
  Status close();

 private:
  PlanFileSink(std::string path, std::string temporary, int fd);
  Status flush();
  std::string path_, temporary_, buffer_;
  int fd_;
};

/// Reads a plan back, a bounded piece at a time.
///
/// open() reads the whole file once to check the digest, so that nothing of an edited or cut-off plan is ever used.
/// Errors  kNotFound "plan.not-found"; kInvalid "plan.not-a-plan", "plan.schema" (made by another version),
/// "plan.cut-off",
///         "plan.edited" (the digest does not fit). Age and use of a plan are for the caller to judge.
class PlanReader {
 public:
  static Result<PlanReader> open(const std::string& path);
  PlanReader(PlanReader&&) noexcept;
  PlanReader& operator=(PlanReader&&) noexcept;
  ~PlanReader();

  const PlanHead& head() const;
  /// The SHA-256 of the file's content, lower-case hex.
  const std::string& digest() const;
  /// Every change in file order. May be called again.
  Status changes(const ChangeSink& sink) const;

 private:
  struct Data;
  explicit PlanReader(std::unique_ptr<Data> data);
  std::unique_ptr<Data> data_;
};

/// One change as the JSON object of a plan's line; the inverse.
json::object to_json(const Change& change);
Result<Change> change_from(const json::object& o);

}  // namespace twinstep::plan
