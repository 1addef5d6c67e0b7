#pragma once

#include <deque>
#include <functional>
#include <vector>

#include "twinstep/azure/iothub_errors.h"
#include "twinstep/http/client.h"

namespace twinstep::azure {

/// A transport for tests: gives prepared answers in order and keeps every request.
class ScriptedHttp final : public http::Client {
 public:
  void answer(int status, std::string body = {}, std::vector<http::Header> headers = {}) {
    answers_.push_back(http::Response{status, std::move(headers), std::move(body)});
  }
  void refuse(int status, const std::string& code, const std::string& text = "free text") {
    answer(status, R"({"Message":"ErrorCode:)" + code + ";" + text + R"(","ExceptionMessage":""})",
           {{"iothub-errorcode", code}, {"x-ms-request-id", "req-1"}});
  }
  void breaks(ErrorKind kind, std::string code = "http.broken") {
    answers_.push_back(fail(kind, std::move(code), "the connection broke"));
  }

  Result<http::Response> send(const http::Request& request, const Call& call) override {
    TRY(http::still_ours(request, call, request.operation));  // as the transport does
    requests.push_back(request);
    if (on_send) on_send();
    if (answers_.empty()) return fail(ErrorKind::kInvalid, "test.no-answer", "the script has no more answers");
    auto next = std::move(answers_.front());
    answers_.pop_front();
    return next;
  }

  bool used_up() const { return answers_.empty(); }
  std::string header(size_t request, std::string_view name) const {
    http::Response as_response;
    as_response.headers = requests.at(request).headers;
    return std::string(as_response.header(name));
  }

  std::vector<http::Request> requests;
  std::function<void()> on_send;

 private:
  std::deque<Result<http::Response>> answers_;
};

}  // namespace twinstep::azure
