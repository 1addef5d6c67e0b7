#pragma once

#include <stdlib.h>

#include <filesystem>
#include <string>
#include <string_view>

namespace twinstep::bench {

/// A new folder in TMPDIR or /tmp that goes, with all that is in it, at the end.
class TempFolder {
 public:
  TempFolder() {
    std::error_code ignored;
    std::string name = (std::filesystem::temp_directory_path(ignored) / "twinstep-bench-XXXXXX").string();
    if (::mkdtemp(name.data()) != nullptr) path_ = name;
  }
  ~TempFolder() {
    std::error_code ignored;
    if (!path_.empty() && !keep_) std::filesystem::remove_all(path_, ignored);
  }
  TempFolder(const TempFolder&) = delete;
  TempFolder& operator=(const TempFolder&) = delete;

  void keep() { keep_ = true; }  ///< it stays after all
  bool made() const { return !path_.empty(); }
  std::string path(std::string_view name = {}) const { return name.empty() ? path_ : path_ + "/" + std::string(name); }

 private:
  std::string path_;
  bool keep_ = false;
};

}  // namespace twinstep::bench
