#pragma once

#include <deque>
#include <mutex>
#include <string>
#include <vector>

#include "twinstep/http/client.h"

namespace twinstep::providers {

/// A remote for tests: gives prepared answers in order and keeps what was sent. More requests than answers fail.
class ScriptedClient final : public http::Client {
 public:
  ScriptedClient& answer(int status, std::string body = {}, std::vector<http::Header> headers = {}) {
    answers_.push_back(http::Response{status, std::move(headers), std::move(body)});
    return *this;
  }
  ScriptedClient& broken(ErrorKind kind, std::string what = "the connection broke") {
    answers_.push_back(fail(kind, "http.broken", std::move(what)));
    return *this;
  }

  Result<http::Response> send(const http::Request& request, const Call& call) override {
    TRY(http::still_ours(request, call, request.operation));  // as the transport does
    std::scoped_lock lock(mutex_);
    sent_.push_back(request);
    if (answers_.empty()) {
      return fail(ErrorKind::kInvalid, "test.unexpected", "not expected: " + request.method + " " + request.url);
    }
    Result<http::Response> out = std::move(answers_.front());
    answers_.pop_front();
    return out;
  }

  const std::vector<http::Request>& sent() const { return sent_; }
  /// "METHOD url" of each request.
  std::vector<std::string> lines() const {
    std::vector<std::string> out;
    for (const http::Request& request : sent_) out.push_back(request.method + " " + request.url);
    return out;
  }
  size_t unused() const { return answers_.size(); }

 private:
  std::mutex mutex_;  // guards both below
  std::deque<Result<http::Response>> answers_;
  std::vector<http::Request> sent_;
};

inline std::string header_of(const http::Request& request, std::string_view name) {
  http::Response as_response;
  as_response.headers = request.headers;
  return std::string(as_response.header(name));
}

}  // namespace twinstep::providers
