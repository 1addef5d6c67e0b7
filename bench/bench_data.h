#pragma once

#include <cstdint>
#include <string>

namespace twinstep::bench {

/// A hub and an external list of `devices` devices each, the same in every run and in different orders. Of 200 devices
/// of the hub two are orphans and two foreign, four have changed outside, one is not owned yet; in the place of the
/// orphans and the foreign ones the external list has four that the hub lacks.
class BenchData {
 public:
  /// What a comparison of the two must find.
  struct Counts {
    uint64_t creates = 0, updates = 0, deletes = 0, adopts = 0, unchanged = 0, foreign = 0;
  };

  /// `devices` is at most 1,000,000,000.
  explicit BenchData(uint64_t devices);

  uint64_t devices() const { return devices_; }
  const Counts& counts() const { return counts_; }

  /// The sentence with which an export without keys begins.
  static std::string export_head();
  /// Line `row` of an export, about 750 bytes with its newline.
  void append_hub_line(uint64_t row, std::string& out) const;
  /// Item `row` of a ThingPark listing, as JSON text.
  void append_listed(uint64_t row, std::string& out) const;

 private:
  enum class Kind { kUnchanged, kChanged, kUnowned, kOrphan, kForeign };
  static Kind kind_of(uint64_t device);

  uint64_t devices_;
  uint64_t stride_;  // has no divisor in common with devices_: rows times it are all devices in another order
  Counts counts_;
};

}  // namespace twinstep::bench
