#include "twinstep/azure/blob_client.h"
#include "twinstep/azure/sas.h"

namespace twinstep::azure {
namespace {

/// Retry outside of signing: every try carries a fresh date and signature.
class SignedClient final : public http::Client {
 public:
  SignedClient(std::unique_ptr<http::Authenticator> authenticator, http::Client& transport, Clock& clock, Rng& rng)
      : authenticator_(std::move(authenticator)),
        signed_(http::with_auth(transport, *authenticator_)),
        repeated_(http::with_retry(*signed_, {}, clock, rng)) {}

  Result<http::Response> send(const http::Request& request, const Call& call) override {
    return repeated_->send(request, call);
  }

 private:
  const std::unique_ptr<http::Authenticator> authenticator_;
  const std::unique_ptr<http::Client> signed_;
  const std::unique_ptr<http::Client> repeated_;
};

}  // namespace

std::unique_ptr<BlobClient> make_blob_client(StorageAccount account, http::Client& transport, Clock& clock, Rng& rng) {
  auto api = std::make_shared<SignedClient>(make_blob_authenticator(account, clock), transport, clock, rng);
  return make_blob_client_over(std::move(account), std::move(api), clock, rng);
}

std::unique_ptr<BlobClient> make_blob_client(StorageAccount account, std::shared_ptr<TokenSource> tokens,
                                             http::Client& transport, Clock& clock, Rng& rng) {
  auto signs = make_blob_token_authenticator(std::move(tokens), clock);
  auto api = std::make_shared<SignedClient>(std::move(signs), transport, clock, rng);
  return make_blob_client_over(std::move(account), std::move(api), clock, rng);
}

}  // namespace twinstep::azure
