#include "twinstep/cli/daemon_client.h"

#include "twinstep/base/encoding.h"
#include "twinstep/cli/session.h"
#include "twinstep/config/values.h"

namespace twinstep::cli {
namespace {

constexpr std::chrono::seconds kPatience{30};

std::string variable(const std::map<std::string, std::string>& environment, const std::string& name) {
  const auto found = environment.find(name);
  return found == environment.end() ? std::string{} : found->second;
}

/// Its name or address, without scheme, port and path.
std::string_view host_of(std::string_view url) {
  const size_t from = url.find("://") + 3;
  const std::string_view rest = url.substr(from, url.find('/', from) - from);
  return rest.starts_with('[') ? rest.substr(0, rest.find(']') + 1) : rest.substr(0, rest.rfind(':'));
}

/// On the command line a key would be seen by everybody on this machine, so only where to find it is written there.
Result<Secret> key_to_show(const CommandLine& line, const std::map<std::string, std::string>& environment) {
  if (line.key.empty()) return Secret(variable(environment, "TWINSTEP_KEY"));
  if (!line.key.starts_with("env:") && !line.key.starts_with("file:"))
    return fail(ErrorKind::kInvalid, "usage.key", "--key says where the key is: env:NAME or file:/path");
  auto found = config::resolve_secret(line.key, [&](std::string_view name) -> std::optional<std::string> {
    const auto at = environment.find(std::string(name));
    return at == environment.end() ? std::nullopt : std::optional(at->second);
  });
  if (!found) return fail_within(std::move(found), "--key");
  return std::move(*found);
}

ErrorKind kind_of(int status) {
  switch (status) {
    case 404:
      return ErrorKind::kNotFound;
    case 409:
    case 410:
      return ErrorKind::kConflict;
    case 401:
    case 403:
      return ErrorKind::kDenied;
    case 429:
      return ErrorKind::kThrottled;
    default:
      return status >= 500 ? ErrorKind::kUnavailable : ErrorKind::kInvalid;
  }
}

}  // namespace

std::string client_url(const config::Serve& serve) {
  const size_t colon = serve.operations.rfind(':');
  if (colon == std::string::npos || serve.operations.substr(colon) == ":0") return {};
  std::string address = serve.operations.substr(0, colon);
  if (address.empty() || address == "0.0.0.0") address = "127.0.0.1";
  if (address == "[::]") address = "[::1]";
  return fmt::format("http://{}{}", address, serve.operations.substr(colon));
}

std::string query_of(const std::vector<std::pair<std::string_view, std::string>>& parameters) {
  std::string out;
  for (const auto& [name, value] : parameters)
    if (!value.empty()) out += fmt::format("{}{}={}", out.empty() ? "?" : "&", name, percent_encode(value));
  return out;
}

Result<DaemonClient> DaemonClient::open(const CommandLine& line, std::stop_token stop) {
  const auto environment = config::process_environment();
  std::string url = line.url.empty() ? variable(environment, "TWINSTEP_URL") : line.url;
  std::string ca_file = line.ca_file.empty() ? variable(environment, "TWINSTEP_CA_FILE") : line.ca_file;
  if (url.empty()) {
    TRY_ASSIGN(const config::Loaded loaded, load_configuration(line));
    url = client_url(loaded.config.serve);
    ca_file = loaded.config.ca_file;
    if (url.empty())
      return fail(
          ErrorKind::kInvalid, "usage.url",
          fmt::format("serve.listen is {}, which does not say where the daemon is; say it by --url or TWINSTEP_URL",
                      loaded.config.serve.operations));
  }
  while (url.ends_with('/')) url.pop_back();
  if (!url.starts_with("http://") && !url.starts_with("https://"))
    return fail(ErrorKind::kInvalid, "usage.url",
                fmt::format("'{}' is no address of a daemon; it must begin with http:// or https://", url));
  TRY_ASSIGN(Secret key, key_to_show(line, environment));
  return DaemonClient(std::move(url), std::move(ca_file), std::move(key), std::move(stop));
}

DaemonClient::DaemonClient(std::string url, std::string ca_file, Secret key, std::stop_token stop)
    : url_(std::move(url)), key_(std::move(key)), stop_(std::move(stop)) {
  const std::string_view host = host_of(url_);
  const bool here = host.starts_with("127.") || host == "localhost" || host == "[::1]";
  http_ = http::make_transport({.ca_file = std::move(ca_file), .proxy = here ? "-" : "", .user_agent = {}});
}

Result<json::value> DaemonClient::send(http::Request request) {
  const std::string path = request.url;
  request.url = url_ + path;
  request.operation = "ask the daemon";
  request.try_timeout = kPatience;
  if (!key_.empty()) request.headers.push_back({"Authorization", fmt::format("Bearer {}", key_.reveal())});
  auto answer = http_->send(request, Call{real_clock().steady_now() + kPatience, stop_});
  if (!answer && (answer.error().kind == ErrorKind::kUnavailable || answer.error().kind == ErrorKind::kTimeout))
    return fail(
        ErrorKind::kUnavailable, "daemon.not-reachable",
        fmt::format("no daemon answers at {}: {}. Start it with `twinstep serve`, or say where it is by --url or "
                    "TWINSTEP_URL",
                    url_, answer.error().what));
  if (!answer) return fail(std::move(answer).error());
  const std::string_view type = answer->header("Content-Type");
  auto body = json::parse(answer->body, "the daemon's answer");
  const bool problem = type.starts_with("application/problem+json");
  if (!body || !body->is_object() || !(problem || (answer->ok() && type.starts_with("application/json"))))
    return fail(ErrorKind::kCorrupt, "daemon.answer",
                fmt::format("{} does not answer as a twinstep daemon does: {} {}. Is it another program's address?",
                            url_, answer->status, type));
  if (!problem) return std::move(*body);
  const json::object& told = body->get_object();
  Error error{.kind = kind_of(answer->status),
              .what = std::string(json::string_or(told, "detail", "refused")),
              .code = std::string(json::string_or(told, "code", "daemon.answer"))};
  error.remote_status = answer->status;
  return fail(std::move(error));
}

Result<json::value> DaemonClient::get(const std::string& path) {
  http::Request request;
  request.url = path;
  return send(std::move(request));
}

Result<json::value> DaemonClient::post(const std::string& path, const json::object& body) {
  http::Request request;
  request.method = "POST";
  request.url = path;
  request.headers.push_back({"Content-Type", "application/json"});
  request.body = json::write(body);
  return send(std::move(request));
}

Result<json::value> DaemonClient::list(std::string path, bool all) {
  json::array items;
  for (;;) {
    TRY_ASSIGN(json::value page, get(path));
    json::object* object = page.if_object();
    const json::array* more = object ? json::array_at(*object, "items") : nullptr;
    if (!more) return fail(ErrorKind::kCorrupt, "daemon.answer", fmt::format("{}{} is no list", url_, path));
    const std::string next(json::string_or(*object, "next"));
    items.insert(items.end(), more->begin(), more->end());
    if (all && next.starts_with('/') && next != path) {
      path = next;
      continue;
    }
    return json::value{{"items", std::move(items)}, {"next", next.empty() ? json::value() : json::value(next)}};
  }
}

}  // namespace twinstep::cli
