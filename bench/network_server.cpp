#include "network_server.h"

#include "twinstep/json/json.h"

namespace twinstep::bench {

Result<std::unique_ptr<NetworkServer>> NetworkServer::start(std::chrono::milliseconds delay) {
  std::unique_ptr<NetworkServer> out(new NetworkServer(delay));
  http::ServerOptions options;
  options.handler_threads = 1;  // no handler waits
  options.queue = 4096;
  TRY_ASSIGN(out->server_, http::Server::start(options, [self = out.get()](const http::ServerRequest& request) {
               return self->answer(request);
             }));
  return out;
}

http::ServerResponse NetworkServer::answer(const http::ServerRequest& request) {
  const Time now = std::chrono::steady_clock::now();
  http::ServerResponse out;
  out.headers.push_back({"Content-Type", "application/json"});
  if (request.path == "/token") {
    out.body = R"({"access_token":"bench","token_type":"bearer","expires_in":3600})";
    return out;
  }
  out.fault.delay = delay_;
  if (request.method != "POST") {  // a look-up: nothing is found
    out.body = "[]";
    return out;
  }
  const auto body = json::parse(request.body, "a create");
  std::string name(body && body->is_object() ? json::string_or(body->get_object(), "name") : std::string_view());
  if (name.empty()) {
    out.status = 400;
    return out;
  }
  {
    std::scoped_lock lock(mutex_);
    if (!created_.emplace(std::move(name), now).second) ++repeated_;
    out.body = fmt::format(R"({{"ref":"{}"}})", created_.size());
  }
  changed_.notify_all();
  out.status = 201;
  return out;
}

std::optional<NetworkServer::Time> NetworkServer::created(const std::string& device) const {
  std::scoped_lock lock(mutex_);
  const auto found = created_.find(device);
  return found == created_.end() ? std::nullopt : std::optional(found->second);
}

bool NetworkServer::wait_until_created(const std::string& device, std::chrono::milliseconds patience) {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, patience, [&] { return created_.contains(device); });
}

bool NetworkServer::wait_until_devices(size_t count, std::chrono::milliseconds patience) {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, patience, [&] { return created_.size() >= count; });
}

size_t NetworkServer::devices() const {
  std::scoped_lock lock(mutex_);
  return created_.size();
}

uint64_t NetworkServer::repeated() const {
  std::scoped_lock lock(mutex_);
  return repeated_;
}

void NetworkServer::forget() {
  std::scoped_lock lock(mutex_);
  created_.clear();
  repeated_ = 0;
}

}  // namespace twinstep::bench
