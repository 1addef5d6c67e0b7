#pragma once

#include <deque>
#include <functional>
#include <mutex>
#include <string>
#include <vector>

#include "twinstep/http/client.h"

namespace twinstep::azure {

/// An http::Client for tests: gives the scripted answers in order and records every request, with its body read whole.
/// A request beyond the script is answered kUnavailable "script.empty", so that it shows.
class ScriptedClient final : public http::Client {
 public:
  using Answer = std::function<Result<http::Response>(const http::Request&)>;

  void then(Answer answer) { answers_.push_back(std::move(answer)); }
  void then(int status, std::vector<http::Header> headers = {}, std::string body = {}) {
    then([response = http::Response{status, std::move(headers), std::move(body)}](
             const http::Request& request) -> Result<http::Response> { return give(request, response); });
  }
  void then(Error error) {
    then([error](const http::Request&) -> Result<http::Response> { return fail(error); });
  }

  Result<http::Response> send(const http::Request& request, const Call& call) override {
    TRY(http::still_ours(request, call, request.operation));  // as the transport does
    Answer answer;
    {
      std::scoped_lock lock(mutex_);
      http::Request seen = request;
      if (request.body_source) {
        seen.body.clear();
        if (auto rewound = request.body_source->rewind(); !rewound) return fail(rewound.error());
        char piece[1000];
        while (true) {
          auto n = request.body_source->read(piece, sizeof piece);
          if (!n) return fail(n.error());
          if (*n == 0) break;
          seen.body.append(piece, *n);
        }
        seen.body_source.reset();
      }
      seen.sink = nullptr;
      requests.push_back(std::move(seen));
      if (answers_.empty()) return fail(ErrorKind::kUnavailable, "script.empty", "no answer is scripted");
      answer = std::move(answers_.front());
      answers_.pop_front();
    }
    return answer(request);
  }

  /// As the transport does: a 2xx body goes to the sink if there is one.
  static Result<http::Response> give(const http::Request& request, http::Response response) {
    if (request.sink && response.ok()) {
      if (!response.body.empty()) {
        if (auto taken = request.sink(response.body); !taken) return fail(taken.error());
      }
      response.body.clear();
    }
    return response;
  }

  static std::string header(const http::Request& request, std::string_view name) {
    for (const auto& h : request.headers)
      if (h.name == name) return h.value;
    return {};
  }

  std::vector<http::Request> requests;

 private:
  std::mutex mutex_;  // guards the script and the record while requests run
  std::deque<Answer> answers_;
};

}  // namespace twinstep::azure
