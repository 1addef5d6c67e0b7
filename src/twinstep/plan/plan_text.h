#pragma once

#include <array>
#include <string>
#include <vector>

#include "twinstep/plan/plan_file.h"

namespace twinstep::plan {

/// A text that came from a remote (ids, reasons): what would steer a terminal is shown as a question mark.
std::string printable(std::string_view text);

/// Counts, what the guard says and problems, for people. Lines end with '\n'; no colour.
std::string summary_text(const PlanHead& head);

/// Collects changes and writes them grouped by kind, the first `most_per_kind` of each. Memory is bounded by that
/// number.
class ChangeGroups {
 public:
  /// `most_per_kind` 0 keeps all of them: for small plans only.
  explicit ChangeGroups(size_t most_per_kind = 20) : most_(most_per_kind) {}
  void add(const Change& change);
  std::string text() const;

 private:
  struct Group {
    uint64_t count = 0;
    std::vector<std::string> lines;
  };
  size_t most_;
  std::array<Group, 5> groups_;
};

/// One line per device or line that could not be taken, with its place: "  invalid   external, line 3: ...\n".
std::string problems_text(const std::vector<Problem>& problems);

/// One line per change as in ChangeGroups: "  + create   dev-1   in thingpark, not in the hub\n".
std::string change_text(const Change& change);

}  // namespace twinstep::plan
