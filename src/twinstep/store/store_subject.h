#pragma once

#include <unistd.h>

#include <filesystem>
#include <memory>
#include <ostream>
#include <string>

#include "twinstep/base/fake_clock.h"
#include "twinstep/store/database.h"

namespace twinstep::store {

/// A database for the contract suites, empty at first, and the way to make its time pass.
class Subject {
 public:
  virtual ~Subject() = default;
  /// The same data each time, as another start of the process sees it.
  virtual std::unique_ptr<Database> open() = 0;
  virtual void advance(Database& database, std::chrono::nanoseconds span) = 0;
  virtual Clock& clock() = 0;
};

/// One of the kinds that a suite is run over.
struct Kind {
  const char* name;
  std::unique_ptr<Subject> (*make)();
  friend std::ostream& operator<<(std::ostream& out, const Kind& kind) { return out << kind.name; }
};

/// SQLite, whose time is the clock's.
class SqliteSubject final : public Subject {
 public:
  static std::unique_ptr<Subject> in_memory() { return std::make_unique<SqliteSubject>(":memory:"); }
  static std::unique_ptr<Subject> in_file() {
    return std::make_unique<SqliteSubject>(std::filesystem::temp_directory_path() /
                                           ("twinstep-store-" + std::to_string(::getpid()) + ".db"));
  }
  explicit SqliteSubject(std::string path) : path_(std::move(path)) {}
  ~SqliteSubject() override {
    for (const char* end : {"", "-wal", "-shm"}) std::filesystem::remove(path_ + end);
  }
  std::unique_ptr<Database> open() override { return open_database("sqlite:" + path_, clock_).value(); }
  void advance(Database&, std::chrono::nanoseconds span) override { clock_.advance(span); }
  Clock& clock() override { return clock_; }

 private:
  const std::string path_;
  FakeClock clock_;
};

}  // namespace twinstep::store
