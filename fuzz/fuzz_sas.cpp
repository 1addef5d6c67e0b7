// Signing: lines are resource or container, policy, key, address, and the rest a header's value.
#include <algorithm>

#include "check.h"
#include "twinstep/azure/sas.h"
#include "twinstep/base/encoding.h"

using namespace twinstep;
using fuzz::check;

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string_view rest = fuzz::text_of(data, size);
  const std::string_view resource = fuzz::take_line(rest);
  const std::string_view policy = fuzz::take_line(rest);
  const Secret key{std::string(fuzz::take_line(rest))};
  const std::string url(fuzz::take_line(rest));

  const bool usable = base64_decode(key.reveal()).has_value();
  const auto token = azure::hub_sas_token(resource, policy, key, 1'790'000'000);
  check(token.has_value() == usable, "a token needs a base64 key and nothing more");
  if (token) {
    const std::string_view text = token->reveal();
    check(text.starts_with("SharedAccessSignature sr="), "the scheme comes first");
    check(text.substr(25, text.find('&') - 25) == percent_encode(resource), "the resource is encoded once");
  }

  azure::StorageAccount account;
  account.name = "acct";
  account.key = key;
  account.endpoint = "https://acct.blob.core.windows.net";
  const auto sas = azure::container_sas(account, resource, "racwdl", "2026-01-02T03:04:05Z", "2026-01-03T03:04:05Z");
  check(sas.has_value() == usable, "a SAS needs a base64 key and nothing more");
  if (sas) check(!fuzz::has_control(sas->reveal()), "a SAS fits into an address");

  http::Request request;
  request.method = "PUT";
  request.url = url;
  request.headers = {{"X-Ms-Meta-A", std::string(rest)}, {"x-ms-date", "Sun, 22 Nov 2026 23:36:04 GMT"}};
  const std::string signed_text = azure::shared_key_text(request, account.name, size);
  check(signed_text.starts_with("PUT\n"), "the method comes first");
  check(std::count(signed_text.begin(), signed_text.end(), '\n') >= 12, "every standard header has its line");
  return 0;
}
