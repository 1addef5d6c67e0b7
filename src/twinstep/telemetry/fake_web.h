#pragma once

#include <stdlib.h>

#include <deque>
#include <filesystem>
#include <string>
#include <vector>

#include "twinstep/http/client.h"

namespace twinstep::telemetry {

/// A transport for tests: prepared answers in order, then 200; keeps every request.
class FakeWeb final : public http::Client {
 public:
  void answer(int status, std::string body = {}, std::vector<http::Header> headers = {}) {
    answers_.push_back(http::Response{status, std::move(headers), std::move(body)});
  }
  void breaks(ErrorKind kind) { answers_.push_back(fail(kind, "http.broken", "https://host/secret-path: broke")); }

  Result<http::Response> send(const http::Request& request, const Call&) override {
    requests.push_back(request);
    if (answers_.empty()) return http::Response{200, {}, ""};
    auto next = std::move(answers_.front());
    answers_.pop_front();
    return next;
  }
  std::string header(size_t request, std::string_view name) const {
    http::Response as_response;
    as_response.headers = requests.at(request).headers;
    return std::string(as_response.header(name));
  }

  std::vector<http::Request> requests;

 private:
  std::deque<Result<http::Response>> answers_;
};

/// A folder for one test.
struct Scratch {
  Scratch() {
    std::string pattern = (std::filesystem::temp_directory_path() / "twinstep-telemetry-XXXXXX").string();
    path = mkdtemp(pattern.data());
  }
  ~Scratch() { std::filesystem::remove_all(path); }
  std::string path;
};

}  // namespace twinstep::telemetry
