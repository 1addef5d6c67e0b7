// Connection strings of hubs and storage accounts: what is accepted can be used as it is.
#include "check.h"
#include "twinstep/azure/blob_client.h"
#include "twinstep/azure/connection_string.h"
#include "twinstep/base/encoding.h"

using twinstep::fuzz::check;
using twinstep::fuzz::has_control;

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text = twinstep::fuzz::text_of(data, size);
  if (const auto hub = twinstep::azure::HubConnection::parse(text)) {
    check(!hub->host.empty() && !has_control(hub->host), "a hub has a host");
    check(hub->key.empty() != hub->signature.empty(), "a hub has a key or a signature");
    check(hub->key.empty() || twinstep::base64_decode(hub->key.reveal()).has_value(), "a hub's key is base64");
    check(!has_control(hub->signature.reveal()), "a signature fits into a header");
  } else {
    check(hub.error().code == "hub.bad-connection-string", "every refusal has the hub's code");
    check(twinstep::is_utf8(hub.error().what), "messages are text");
  }
  if (const auto account = twinstep::azure::StorageAccount::parse(text)) {
    check(account->endpoint.starts_with("http") && !has_control(account->endpoint), "an account has an address");
    check(account->key.empty() != account->sas.empty(), "an account has a key or a SAS");
    check(account->key.empty() || twinstep::base64_decode(account->key.reveal()).has_value(), "a key is base64");
    check(!has_control(account->sas.reveal()), "a SAS fits into an address");
  } else {
    check(account.error().code == "storage.bad-connection-string", "every refusal has the storage's code");
    check(twinstep::is_utf8(account.error().what), "messages are text");
  }
  return 0;
}
