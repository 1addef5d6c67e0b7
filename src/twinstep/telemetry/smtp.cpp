#include "twinstep/telemetry/smtp.h"

#include <curl/curl.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <new>

#include "twinstep/base/encoding.h"
#include "twinstep/base/time_format.h"
#include "twinstep/telemetry/event_text.h"

namespace twinstep::telemetry {
namespace {

constexpr size_t kLineLength = 76;
constexpr size_t kWordBytes = 39;  // RFC 2047: a line with an encoded word has 76 characters at most
constexpr size_t kLongestSubject = 300;
constexpr Millis kConnectTime{15'000};

tl::unexpected<Error> bad(std::string what) { return fail(ErrorKind::kInvalid, "notice.email", std::move(what)); }

bool plain(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return c >= ' ' && c <= '~'; });
}

/// What may stand in MAIL FROM and RCPT TO without quoting; no header and no command can be smuggled in with it.
bool usable_address(std::string_view text) {
  const size_t at = text.find('@');
  const auto allowed = [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           std::string_view(".!#$%&'*+-/=?^_`{|}~@").find(c) != std::string_view::npos;
  };
  return at != std::string_view::npos && at > 0 && at + 1 < text.size() && text.find('@', at + 1) == text.npos &&
         text.size() <= 254 && std::all_of(text.begin(), text.end(), allowed);
}

/// A header's text: as it is when it is short and plain, else in encoded words, never with half a character in one.
std::string header_text(std::string_view text) {
  std::string one_line = cut_text(text, kLongestSubject);
  std::replace_if(
      one_line.begin(), one_line.end(), [](char c) { return static_cast<unsigned char>(c) < ' ' || c == 0x7f; }, ' ');
  if (plain(one_line) && one_line.size() <= 60 && one_line.find("=?") == std::string::npos) return one_line;
  std::string out, word;
  const auto flush = [&] {
    if (word.empty()) return;
    out += (out.empty() ? "" : "\r\n ") + fmt::format("=?utf-8?B?{}?=", base64_encode(word));
    word.clear();
  };
  for (size_t at = 0; at < one_line.size();) {
    size_t length = 1;
    while (at + length < one_line.size() && (static_cast<unsigned char>(one_line[at + length]) & 0xC0) == 0x80)
      ++length;
    if (word.size() + length > kWordBytes) flush();
    word += one_line.substr(at, length);
    at += length;
  }
  flush();
  return out;
}

std::string joined(const std::vector<std::string>& list) {
  std::string out;
  for (const std::string& one : list) out += (out.empty() ? "<" : ",\r\n <") + one + ">";
  return out;
}

struct EasyFree {
  void operator()(CURL* handle) const { curl_easy_cleanup(handle); }
};
struct ListFree {
  void operator()(curl_slist* list) const { curl_slist_free_all(list); }
};

struct Upload {
  std::string_view left;
  const Call* call;
};

size_t on_read(char* into, size_t size, size_t count, void* upload) {
  auto& left = static_cast<Upload*>(upload)->left;
  const size_t now = std::min(left.size(), size * count);
  std::memcpy(into, left.data(), now);
  left.remove_prefix(now);
  return now;
}

size_t on_answer(char*, size_t size, size_t count, void*) { return size * count; }

int on_progress(void* upload, curl_off_t, curl_off_t, curl_off_t, curl_off_t) {
  return static_cast<Upload*>(upload)->call->stop.stop_requested() ? 1 : 0;
}

Error error_of(CURLcode code, CURL* easy, const std::string& server) {
  long answer = 0;
  curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &answer);
  const auto make = [&](ErrorKind kind, std::string what) {
    return Error{.kind = kind,
                 .what = fmt::format("mail server {}: {}", server, what),
                 .code = "notice.smtp",
                 .remote_status = static_cast<int>(answer)};
  };
  switch (code) {
    case CURLE_ABORTED_BY_CALLBACK:
      return make(ErrorKind::kCancelled, "stopped");
    case CURLE_OPERATION_TIMEDOUT:
      return make(ErrorKind::kTimeout, "no answer in time");
    case CURLE_LOGIN_DENIED:
      return make(ErrorKind::kDenied, "it refuses user or password");
    case CURLE_USE_SSL_FAILED:
      return make(ErrorKind::kDenied,
                  "it offers no STARTTLS, and nothing is sent in clear; use smtps:// or "
                  "'starttls: false'");
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_CONNECT:
      return make(ErrorKind::kUnavailable, "it cannot be reached");
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_SSL_CACERT_BADFILE:
      return make(ErrorKind::kUnavailable,
                  "TLS failed; if a private authority signed its certificate, name its file as "
                  "ca_file");
    default:
      break;
  }
  if (answer >= 500)
    return make(ErrorKind::kInvalid, fmt::format("it refuses the message or a recipient ({})", answer));
  if (answer >= 400) return make(ErrorKind::kUnavailable, fmt::format("it wants it later ({})", answer));
  return make(ErrorKind::kUnavailable, curl_easy_strerror(code));
}

}  // namespace

Status check_email(const EmailOptions& options) {
  const std::string& server = options.server;
  const size_t colon = server.find("://");
  const std::string scheme = server.substr(0, colon == std::string::npos ? 0 : colon);
  if (scheme != "smtp" && scheme != "smtps") return bad("email.server must be smtp://HOST:PORT or smtps://HOST:PORT");
  if (!plain(server) || server.size() == colon + 3 || server.find_first_of("@ /?#", colon + 3) != std::string::npos)
    return bad("email.server holds more than host and port; user and password have keys of their own");
  if (!usable_address(options.from)) return bad("email.from is no address such as twinstep@example.org");
  if (options.recipients.empty()) return bad("email.recipients names nobody");
  for (const std::string& one : options.recipients)
    if (!usable_address(one))
      return bad("email.recipients holds something that is no address; separate them by commas");
  if (options.user.empty() != options.password.empty()) return bad("email.user and email.password belong together");
  return {};
}

std::string mail_message(const EmailOptions& options, const Mail& mail) {
  std::string date = format_http_date(mail.date);
  date.replace(date.size() - 3, 3, "+0000");  // RFC 5322 writes the zone so
  const std::string domain = options.from.substr(options.from.find('@') + 1);
  std::string out = fmt::format(
      "Date: {}\r\nFrom: <{}>\r\nTo: {}\r\nMessage-ID: <{}@{}>\r\nSubject: {}\r\nMIME-Version: 1.0\r\n"
      "Auto-Submitted: auto-generated\r\nContent-Type: text/plain; charset=utf-8\r\n"
      "Content-Transfer-Encoding: base64\r\n\r\n",
      date, options.from, joined(options.recipients), mail.id, domain, header_text(mail.subject));
  std::string text;
  for (char c : cut_text(mail.text, 100'000)) text += c == '\n' ? std::string("\r\n") : std::string(1, c);
  const std::string encoded = base64_encode(text);
  for (size_t at = 0; at < encoded.size(); at += kLineLength) out += encoded.substr(at, kLineLength) + "\r\n";
  return out;
}

Status send_mail(const EmailOptions& options, const Mail& mail, const std::string& ca_file, const Call& call) {
  TRY(check_email(options));
  const std::unique_ptr<CURL, EasyFree> easy(curl_easy_init());
  if (!easy) throw std::bad_alloc();
  const std::string message = mail_message(options, mail);
  Upload upload{message, &call};
  const auto left = std::chrono::duration_cast<Millis>(call.deadline - std::chrono::steady_clock::now());
  if (left <= Millis{0}) return fail(ErrorKind::kTimeout, "notice.smtp", "no time left to send mail");
  const std::string user(options.user), password(options.password.reveal());
  const std::string from = "<" + options.from + ">";
  curl_easy_setopt(easy.get(), CURLOPT_URL, options.server.c_str());
  curl_easy_setopt(easy.get(), CURLOPT_PROTOCOLS_STR, "smtp,smtps");
  curl_easy_setopt(easy.get(), CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(easy.get(), CURLOPT_TIMEOUT_MS, static_cast<long>(std::min(left, Millis{3'600'000}).count()));
  curl_easy_setopt(easy.get(), CURLOPT_CONNECTTIMEOUT_MS, static_cast<long>(std::min(left, kConnectTime).count()));
  curl_easy_setopt(easy.get(), CURLOPT_USE_SSL, static_cast<long>(options.starttls ? CURLUSESSL_ALL : CURLUSESSL_NONE));
  if (!ca_file.empty()) curl_easy_setopt(easy.get(), CURLOPT_CAINFO, ca_file.c_str());
  if (!user.empty()) {
    curl_easy_setopt(easy.get(), CURLOPT_USERNAME, user.c_str());
    curl_easy_setopt(easy.get(), CURLOPT_PASSWORD, password.c_str());
  }
  curl_easy_setopt(easy.get(), CURLOPT_MAIL_FROM, from.c_str());
  curl_slist* list = nullptr;
  for (const std::string& one : options.recipients) list = curl_slist_append(list, ("<" + one + ">").c_str());
  const std::unique_ptr<curl_slist, ListFree> recipients(list);
  curl_easy_setopt(easy.get(), CURLOPT_MAIL_RCPT, list);
  curl_easy_setopt(easy.get(), CURLOPT_UPLOAD, 1L);
  curl_easy_setopt(easy.get(), CURLOPT_READFUNCTION, &on_read);
  curl_easy_setopt(easy.get(), CURLOPT_READDATA, &upload);
  curl_easy_setopt(easy.get(), CURLOPT_WRITEFUNCTION, &on_answer);
  curl_easy_setopt(easy.get(), CURLOPT_NOPROGRESS, 0L);
  curl_easy_setopt(easy.get(), CURLOPT_XFERINFOFUNCTION, &on_progress);
  curl_easy_setopt(easy.get(), CURLOPT_XFERINFODATA, &upload);
  const CURLcode code = curl_easy_perform(easy.get());
  if (code == CURLE_OK) return {};
  return fail(error_of(code, easy.get(), options.server));
}

}  // namespace twinstep::telemetry
