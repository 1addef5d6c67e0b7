#include <curl/curl.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <unordered_map>

#include "twinstep/base/freed.h"
#include "twinstep/http/client.h"
#include "twinstep/http/text.h"
#include "twinstep/version.h"

namespace twinstep::http {
namespace {

constexpr size_t kMaxHeaderBytes = 256 * 1024;

/// One thread's handles: the multi keeps the connections, libcurl 7.88 cannot share them across threads.
struct Handles {
  std::unique_ptr<CURL, Freed<curl_easy_cleanup>> easy{curl_easy_init()};
  std::unique_ptr<CURLM, Freed<curl_multi_cleanup>> multi{curl_multi_init()};
};

/// This thread's handles of each client, by the client's number, which is never used twice.
Handles& handles_of(uint64_t client) {
  thread_local std::unordered_map<uint64_t, Handles> all;
  return all[client];
}

/// What the callbacks of one transfer share.
struct Transfer {
  const Request& request;
  const Call& call;
  const std::string& what;
  Response response{};
  Status sink_status{};
  Status source_status{};
  Status ours{};
  bool too_large = false;
  size_t header_bytes = 0;
  size_t body_sent = 0;
  std::string proxy{};           ///< host and port of the proxy in use, without its user; empty = none
  std::string proxy_variable{};  ///< where its address comes from
};

/// A proxy's address without scheme, user and password.
std::string proxy_name(std::string_view address) {
  if (const size_t scheme = address.find("://"); scheme != std::string_view::npos) address.remove_prefix(scheme + 3);
  if (const size_t at = address.rfind('@'); at != std::string_view::npos) address.remove_prefix(at + 1);
  return std::string(address.substr(0, address.find('/')));
}

/// Learns which proxy libcurl takes: what the variables mean (no_proxy with its networks, names in either case) is
/// libcurl's to say, and before 8.7 it says so in this text only.
int on_info(CURL*, curl_infotype type, char* data, size_t size, void* user) {
  constexpr std::string_view kStart = "Uses proxy env variable ";
  std::string_view text(data, size);
  if (type != CURLINFO_TEXT || !text.starts_with(kStart)) return 0;
  text.remove_prefix(kStart.size());
  const size_t space = text.find(' ');
  const size_t open = text.find('\'');
  const size_t close = text.rfind('\'');
  if (space == std::string_view::npos || open == std::string_view::npos || close <= open) return 0;
  const std::string_view variable = text.substr(0, space);
  if (same_name(variable, "no_proxy")) return 0;
  auto& transfer = *static_cast<Transfer*>(user);
  transfer.proxy = proxy_name(text.substr(open + 1, close - open - 1));
  transfer.proxy_variable = variable;
  return 0;
}

/// The connection stands, TLS included, and nothing of the request has been sent.
int on_ready(void* user, char*, char*, int, int) {
  auto& transfer = *static_cast<Transfer*>(user);
  transfer.ours = still_ours(transfer.request, transfer.call, transfer.what);
  return transfer.ours ? CURL_PREREQFUNC_OK : CURL_PREREQFUNC_ABORT;
}

size_t on_header(char* data, size_t size, size_t count, void* user) {
  auto& transfer = *static_cast<Transfer*>(user);
  const std::string_view line(data, size * count);
  transfer.header_bytes += line.size();
  if (transfer.header_bytes > kMaxHeaderBytes) {
    transfer.too_large = true;
    return 0;
  }
  if (line.starts_with("HTTP/")) {  // a new head: after 100 Continue or a proxy's CONNECT
    transfer.response.headers.clear();
    const size_t space = line.find(' ');
    transfer.response.status =
        space == std::string_view::npos ? 0 : std::atoi(std::string(line.substr(space + 1, 3)).c_str());
    return line.size();
  }
  const size_t colon = line.find(':');
  if (colon != std::string_view::npos) {
    std::string_view value = line.substr(colon + 1);
    while (!value.empty() && (value.back() == '\r' || value.back() == '\n')) value.remove_suffix(1);
    transfer.response.headers.push_back({std::string(line.substr(0, colon)), std::string(trimmed(value))});
  }
  return line.size();
}

size_t on_body(char* data, size_t size, size_t count, void* user) {
  auto& transfer = *static_cast<Transfer*>(user);
  const std::string_view piece(data, size * count);
  if (transfer.request.sink && transfer.response.ok()) {
    transfer.sink_status = transfer.request.sink(piece);
    return transfer.sink_status ? piece.size() : 0;
  }
  if (transfer.response.body.size() + piece.size() > transfer.request.max_response_bytes) {
    transfer.too_large = true;
    return 0;
  }
  transfer.response.body.append(piece);
  return piece.size();
}

size_t on_read(char* into, size_t size, size_t count, void* user) {
  auto& transfer = *static_cast<Transfer*>(user);
  if (transfer.request.body_source) {
    auto got = transfer.request.body_source->read(into, size * count);
    if (got) return *got;
    transfer.source_status = fail(std::move(got).error());
    return CURL_READFUNC_ABORT;
  }
  const std::string& body = transfer.request.body;
  const size_t piece = std::min(size * count, body.size() - transfer.body_sent);
  std::memcpy(into, body.data() + transfer.body_sent, piece);
  transfer.body_sent += piece;
  return piece;
}

int on_seek(void* user, curl_off_t offset, int origin) {
  auto& transfer = *static_cast<Transfer*>(user);
  if (offset != 0 || origin != SEEK_SET) return CURL_SEEKFUNC_CANTSEEK;
  transfer.body_sent = 0;
  if (transfer.request.body_source && !transfer.request.body_source->rewind()) return CURL_SEEKFUNC_FAIL;
  return CURL_SEEKFUNC_OK;
}

std::string host_of(std::string_view url) {
  const size_t scheme = url.find("://");
  if (scheme == std::string_view::npos) return std::string(url.substr(0, 80));
  url.remove_prefix(scheme + 3);
  url = url.substr(0, url.find_first_of("/?#"));
  if (const size_t at = url.rfind('@'); at != std::string_view::npos) url.remove_prefix(at + 1);
  return std::string(url);
}

class CurlClient final : public Client {
 public:
  explicit CurlClient(TransportOptions options) : options_(std::move(options)) {
    static std::once_flag once;
    std::call_once(once, [] { curl_global_init(CURL_GLOBAL_DEFAULT); });
    static std::atomic<uint64_t> next{1};
    number_ = next++;
    if (options_.user_agent.empty()) options_.user_agent = fmt::format("twinstep/{}", kVersion);
  }

  Result<Response> send(const Request& request, const Call& call) override {
    const std::string what =
        fmt::format("{} {}", request.operation.empty() ? request.method : request.operation, host_of(request.url));
    if (call.stop.stop_requested()) return cancelled(what);
    const auto now = std::chrono::steady_clock::now();
    const auto limit = std::min(call.deadline, now + request.try_timeout);
    if (limit <= now)
      return fail(ErrorKind::kTimeout, "http.timeout", fmt::format("{}: no time was left to ask", what));

    Handles& handles = handles_of(number_);
    CURL* easy = handles.easy.get();
    curl_easy_reset(easy);
    Transfer transfer{.request = request, .call = call, .what = what};
    if (request.body_source) TRY(request.body_source->rewind());
    // Rounded up: 0 would mean no limit at all to libcurl.
    const auto headers = prepare(easy, transfer, std::chrono::ceil<Millis>(limit - now));
    const auto result = perform(handles, call, limit);
    if (!result) return cancelled(what);
    curl_off_t uploaded = 0;
    curl_easy_getinfo(easy, CURLINFO_SIZE_UPLOAD_T, &uploaded);
    // Of a remote that is asked through a proxy without a tunnel this status comes from the proxy alone.
    if (*result == CURLE_OK && transfer.response.status == 407 && !transfer.proxy.empty())
      return fail(proxy_wants_password(transfer, what));
    if (*result == CURLE_OK) return std::move(transfer.response);
    return fail(error_of(*result, transfer, easy, what));
  }

 private:
  static tl::unexpected<Error> cancelled(const std::string& what) {
    return fail(ErrorKind::kCancelled, "cancelled", fmt::format("{}: stopped", what));
  }

  std::unique_ptr<curl_slist, Freed<curl_slist_free_all>> prepare(CURL* easy, Transfer& transfer, Millis left) {
    const Request& request = transfer.request;
    curl_easy_setopt(easy, CURLOPT_URL, request.url.c_str());
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(easy, CURLOPT_FRESH_CONNECT, request.once ? 1L : 0L);
    curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, static_cast<long>(left.count()));
    curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS,
                     static_cast<long>(std::min(left, options_.connect_timeout).count()));
    curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
    curl_easy_setopt(easy, CURLOPT_USERAGENT, options_.user_agent.c_str());
    curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, &on_header);
    curl_easy_setopt(easy, CURLOPT_HEADERDATA, &transfer);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, &on_body);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, &transfer);
    curl_easy_setopt(easy, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
    curl_easy_setopt(easy, CURLOPT_PREREQFUNCTION, &on_ready);
    curl_easy_setopt(easy, CURLOPT_PREREQDATA, &transfer);
    if (!options_.ca_file.empty()) curl_easy_setopt(easy, CURLOPT_CAINFO, options_.ca_file.c_str());
    if (options_.proxy == "-") {
      curl_easy_setopt(easy, CURLOPT_PROXY, "");
    } else if (!options_.proxy.empty()) {
      curl_easy_setopt(easy, CURLOPT_PROXY, options_.proxy.c_str());
      curl_easy_setopt(easy, CURLOPT_NOPROXY, "");
      transfer.proxy = proxy_name(options_.proxy);
      transfer.proxy_variable = "as configured";
    } else {
      curl_easy_setopt(easy, CURLOPT_VERBOSE, 1L);
      curl_easy_setopt(easy, CURLOPT_DEBUGFUNCTION, &on_info);
      curl_easy_setopt(easy, CURLOPT_DEBUGDATA, &transfer);
    }

    const bool has_body = request.body_source || !request.body.empty();
    const bool body_method = request.method == "POST" || request.method == "PUT" || request.method == "PATCH";
    if (request.method == "HEAD") {
      curl_easy_setopt(easy, CURLOPT_NOBODY, 1L);
    } else if (has_body || body_method) {
      const auto size = request.body_source ? request.body_source->size() : request.body.size();
      curl_easy_setopt(easy, CURLOPT_UPLOAD, 1L);
      curl_easy_setopt(easy, CURLOPT_INFILESIZE_LARGE, static_cast<curl_off_t>(size));
      curl_easy_setopt(easy, CURLOPT_READFUNCTION, &on_read);
      curl_easy_setopt(easy, CURLOPT_READDATA, &transfer);
      curl_easy_setopt(easy, CURLOPT_SEEKFUNCTION, &on_seek);
      curl_easy_setopt(easy, CURLOPT_SEEKDATA, &transfer);
    }
    curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, request.method == "HEAD" ? nullptr : request.method.c_str());

    curl_slist* list = nullptr;
    bool content_type = false;
    for (const Header& header : request.headers) {
      content_type |= same_name(header.name, "Content-Type");
      list = curl_slist_append(list, header.value.empty() ? fmt::format("{};", header.name).c_str()
                                                          : fmt::format("{}: {}", header.name, header.value).c_str());
    }
    list = curl_slist_append(list, "Expect:");  // a 100-continue round trip helps nobody here
    if (!content_type) list = curl_slist_append(list, "Content-Type:");
    const bool accepts = std::any_of(request.headers.begin(), request.headers.end(),
                                     [](const Header& header) { return same_name(header.name, "Accept"); });
    if (!accepts) list = curl_slist_append(list, "Accept:");
    curl_easy_setopt(easy, CURLOPT_HTTPHEADER, list);
    return std::unique_ptr<curl_slist, Freed<curl_slist_free_all>>(list);
  }

  /// The transfer's result, or nothing when the stop token fired.
  static std::optional<CURLcode> perform(Handles& handles, const Call& call, SteadyTime limit) {
    CURLM* multi = handles.multi.get();
    CURL* easy = handles.easy.get();
    curl_multi_add_handle(multi, easy);
    std::optional<CURLcode> result;
    {
      const std::stop_callback wake(call.stop, [multi] { curl_multi_wakeup(multi); });
      int running = 1;
      while (!call.stop.stop_requested()) {
        if (curl_multi_perform(multi, &running) != CURLM_OK) {
          result = CURLE_SEND_ERROR;
          break;
        }
        if (running == 0) {
          int left = 0;
          while (const CURLMsg* message = curl_multi_info_read(multi, &left))
            if (message->msg == CURLMSG_DONE) result = message->data.result;
          if (!result) result = CURLE_RECV_ERROR;
          break;
        }
        const auto wait = std::chrono::duration_cast<Millis>(limit - std::chrono::steady_clock::now());
        curl_multi_poll(multi, nullptr, 0, static_cast<int>(std::clamp<Millis::rep>(wait.count(), 0, 1000)), nullptr);
      }
    }
    curl_multi_remove_handle(multi, easy);
    return result;
  }

  static Error proxy_wants_password(const Transfer& transfer, const std::string& what) {
    return {ErrorKind::kDenied,
            fmt::format("{}: the proxy {} ({}) wants a user and a password, or other ones (407); write them into its "
                        "address: http://user:password@host:port",
                        what, transfer.proxy, transfer.proxy_variable),
            "http.proxy-denied",
            {},
            0,
            {},
            {}};
  }

  /// What went wrong at the proxy before anything could reach the remote; empty when it is not the proxy.
  static std::optional<Error> proxy_error(CURLcode code, const Transfer& transfer, CURL* easy,
                                          const std::string& what) {
    if (transfer.proxy.empty()) return {};
    const auto nothing_sent = [&](std::string_view text) {
      return Error{ErrorKind::kUnavailable,
                   fmt::format("{}: the proxy {} ({}) {}", what, transfer.proxy, transfer.proxy_variable, text),
                   "http.no-connection",
                   {},
                   0,
                   {},
                   {}};
    };
    long answer = 0, connections = 0, os_error = 0;
    curl_off_t connected = 0, secured = 0;
    curl_easy_getinfo(easy, CURLINFO_HTTP_CONNECTCODE, &answer);
    curl_easy_getinfo(easy, CURLINFO_NUM_CONNECTS, &connections);
    curl_easy_getinfo(easy, CURLINFO_OS_ERRNO, &os_error);
    curl_easy_getinfo(easy, CURLINFO_CONNECT_TIME_T, &connected);
    curl_easy_getinfo(easy, CURLINFO_APPCONNECT_TIME_T, &secured);
    const bool late = code == CURLE_OPERATION_TIMEDOUT;
    if (code == CURLE_COULDNT_RESOLVE_PROXY)
      return nothing_sent("is not known by that name; check the proxy variables");
    if (code == CURLE_COULDNT_CONNECT || (late && connections > 0 && connected == 0))
      return nothing_sent(fmt::format("cannot be reached: {}; check the proxy variables, or name the host in no_proxy",
                                      late       ? "no connection in time"
                                      : os_error ? std::strerror(static_cast<int>(os_error))
                                                 : "no connection"));
    if (answer == 407) return proxy_wants_password(transfer, what);
    if (answer >= 300)
      return nothing_sent(
          fmt::format("refuses to connect to the host: it answered {}; ask who runs it, or name the "
                      "host in no_proxy",
                      answer));
    const bool tunnel = transfer.request.url.starts_with("https:");
    if (tunnel && answer == 0 && connections > 0 && secured == 0)
      return nothing_sent(late ? "did not answer in time" : "closed the connection without an answer");
    return {};
  }

  Error error_of(CURLcode code, const Transfer& transfer, CURL* easy, const std::string& what) const {
    const char* reason = curl_easy_strerror(code);
    const auto make = [&](ErrorKind kind, const char* name, std::string text) {
      if (!transfer.proxy.empty()) text += fmt::format(" (through the proxy {})", transfer.proxy);
      return Error{.kind = kind, .what = fmt::format("{}: {}", what, text), .code = name};
    };
    if (!transfer.ours) return transfer.ours.error();
    if (!transfer.sink_status) return Error(transfer.sink_status.error()).within(what);
    if (!transfer.source_status) return Error(transfer.source_status.error()).within(what);
    if (transfer.too_large)
      return make(ErrorKind::kCorrupt, "http.too-large",
                  fmt::format("the answer is larger than {} bytes", transfer.request.max_response_bytes));
    if (auto error = proxy_error(code, transfer, easy, what)) return std::move(*error);
    long os_error = 0;
    curl_easy_getinfo(easy, CURLINFO_OS_ERRNO, &os_error);
    switch (code) {
      case CURLE_COULDNT_RESOLVE_HOST:
        return make(ErrorKind::kUnavailable, "http.no-connection",
                    "the host name is not known; check the spelling and the network");
      case CURLE_COULDNT_CONNECT:
        return make(
            ErrorKind::kUnavailable, "http.no-connection",
            os_error ? fmt::format("no connection: {}", std::strerror(static_cast<int>(os_error))) : "no connection");
      case CURLE_OPERATION_TIMEDOUT: {
        curl_off_t connected = 0;
        curl_easy_getinfo(easy, CURLINFO_CONNECT_TIME_T, &connected);
        if (connected == 0) return make(ErrorKind::kUnavailable, "http.no-connection", "no connection in time");
        return make(ErrorKind::kTimeout, "http.timeout", "no complete answer in time");
      }
      case CURLE_PEER_FAILED_VERIFICATION:
      case CURLE_SSL_CERTPROBLEM:
      case CURLE_SSL_CONNECT_ERROR:
        return make(
            ErrorKind::kUnavailable, "http.tls",
            fmt::format(
                "TLS failed: {}; if a private authority signed the server's certificate, name its file as ca_file",
                reason));
      case CURLE_SSL_CACERT_BADFILE:
        return make(ErrorKind::kInvalid, "http.ca-file",
                    fmt::format("the CA file {} cannot be used", options_.ca_file));
      case CURLE_URL_MALFORMAT:
      case CURLE_UNSUPPORTED_PROTOCOL:
        return make(ErrorKind::kInvalid, "http.url", "the address is not a usable http or https URL");
      case CURLE_WEIRD_SERVER_REPLY:
        return make(ErrorKind::kCorrupt, "http.not-http", "the answer is not HTTP");
      default:
        return make(ErrorKind::kTimeout, "http.broken",
                    fmt::format("the connection broke before the answer was complete: {}", reason));
    }
  }

  TransportOptions options_;
  uint64_t number_;
};

}  // namespace

std::unique_ptr<Client> make_transport(TransportOptions options) {
  return std::make_unique<CurlClient>(std::move(options));
}

}  // namespace twinstep::http
