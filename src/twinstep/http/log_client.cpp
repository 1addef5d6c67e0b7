#include <spdlog/spdlog.h>

#include <algorithm>
#include <array>

#include "twinstep/http/client.h"
#include "twinstep/http/text.h"

namespace twinstep::http {
namespace {

/// Query parameters whose values may be logged. Everything else shows its name only: a SAS travels in the query.
constexpr std::array<std::string_view, 10> kPlainParameters{
    "api-version", "comp", "restype", "pageIndex", "top", "maxresults", "prefix", "limit", "offset", "extendedInfo"};

/// Host and path as sent; parameters by the list above.
std::string shown(std::string_view url) {
  if (const size_t scheme = url.find("://"); scheme != std::string_view::npos) {
    const size_t end = std::min(url.find('/', scheme + 3), url.size());
    if (const size_t at = url.substr(0, end).rfind('@'); at != std::string_view::npos)
      url.remove_prefix(at + 1);
    else
      url.remove_prefix(scheme + 3);
  }
  const size_t question = url.find('?');
  std::string out(url.substr(0, question));
  if (question == std::string_view::npos) return out;
  char join = '?';
  for (std::string_view rest = url.substr(question + 1); !rest.empty();) {
    const size_t end = std::min(rest.find('&'), rest.size());
    const std::string_view pair = rest.substr(0, end);
    rest.remove_prefix(std::min(end + 1, rest.size()));
    const std::string_view name = pair.substr(0, pair.find('='));
    const bool plain = std::find(kPlainParameters.begin(), kPlainParameters.end(), name) != kPlainParameters.end();
    out += join;
    out += plain ? std::string(pair) : std::string(name) + "=***";
    join = '&';
  }
  return out;
}

class LoggingClient final : public Client {
 public:
  LoggingClient(Client& inner, Clock& clock) : inner_(inner), clock_(clock) {}

  Result<Response> send(const Request& request, const Call& call) override {
    const SteadyTime start = clock_.steady_now();
    auto answer = inner_.send(request, call);
    if (!spdlog::should_log(spdlog::level::debug)) return answer;
    const auto took = std::chrono::duration_cast<Millis>(clock_.steady_now() - start).count();
    if (answer)
      spdlog::debug("http.answered operation=\"{}\" method={} url={} status={} bytes={} ms={} request_id={} error={}",
                    request.operation, request.method, shown(request.url), answer->status, answer->body.size(), took,
                    answer->header("x-ms-request-id"), answer->header("iothub-errorcode"));
    else
      spdlog::debug("http.failed operation=\"{}\" method={} url={} kind=\"{}\" code={} ms={}", request.operation,
                    request.method, shown(request.url), to_string(answer.error().kind), answer.error().code, took);
    return answer;
  }

 private:
  Client& inner_;
  Clock& clock_;
};

}  // namespace

std::unique_ptr<Client> with_log(Client& inner, Clock& clock) { return std::make_unique<LoggingClient>(inner, clock); }

}  // namespace twinstep::http
