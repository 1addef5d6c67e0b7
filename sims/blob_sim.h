#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>

#include "twinstep/base/clock.h"
#include "twinstep/http/server.h"

namespace twinstep::sims {

struct BlobSimOptions {
  std::string account = "devstoreaccount1";
  /// The emulators' public, well-known key.
  std::string key = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";
  std::string identity_token;  ///< a Bearer token that has every right on blobs from the start; empty = none
};

/// A blob service with path-style addresses, in memory: containers, block blobs, SharedKey and service SAS.
///
/// Threads   any method, any thread.
/// Source    azure.md section 3.
class BlobSim {
 public:
  BlobSim(BlobSimOptions options, Clock& clock);
  http::ServerResponse handle(const http::ServerRequest& request);
  /// From now on these Bearer tokens, and no others, have every right.
  void grant(std::set<std::string> bearers);

 private:
  struct Blob {
    std::shared_ptr<const std::string> data;
    std::string type, etag;
    SystemTime modified;
  };
  struct Container {
    std::map<std::string, Blob> blobs;
    std::map<std::string, std::map<std::string, std::string>> staged;  // blob -> block id -> bytes
    std::map<std::string, std::map<std::string, std::string>> committed;
    std::string etag;
    SystemTime modified;
  };
  struct Target {
    std::string container, blob;
  };

  http::ServerResponse refuse(int status, std::string_view code, std::string_view text) const;
  bool shared_key_ok(const http::ServerRequest& request) const;
  /// 0 = fine, else the refusal's status with its code in `code`.
  int authorize(const http::ServerRequest& request, const Target& target, std::string_view needs,
                std::string& code) const;
  http::ServerResponse container_call(const http::ServerRequest& request, const std::string& name);
  http::ServerResponse blob_call(const http::ServerRequest& request, const Target& target);
  http::ServerResponse list(const http::ServerRequest& request, const std::string& name, const Container& c) const;
  std::string next_etag();

  const BlobSimOptions options_;
  Clock& clock_;
  mutable std::mutex mutex_;  // guards all below
  std::set<std::string> bearers_;
  std::map<std::string, Container> containers_;
  uint64_t etags_ = 0x8DD000000000000ULL;
};

}  // namespace twinstep::sims
