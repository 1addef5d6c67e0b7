#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "twinstep/azure/token_source.h"
#include "twinstep/base/clock.h"
#include "twinstep/base/rng.h"
#include "twinstep/base/secret.h"
#include "twinstep/http/client.h"

namespace twinstep::azure {

/// Where blobs live and how to sign for them, from a storage connection string.
struct StorageAccount {
  std::string name;
  Secret key;            ///< base64 account key; empty with a SAS or an identity
  Secret sas;            ///< query string without '?'; instead of the key
  std::string endpoint;  ///< e.g. "https://acct.blob.core.windows.net" or "http://127.0.0.1:10000/devstoreaccount1"

  /// Errors  kInvalid naming the unknown or missing part and the nearest known name; never the values.
  /// Source  azure.md 3.5; UseDevelopmentStorage=true (and DevelopmentStorageProxyUri) is expanded here.
  static Result<StorageAccount> parse(std::string_view connection_string);

  /// An account that is reached with an identity: by its name ("acct"), its host ("acct.blob.core.windows.net"), or the
  /// address of its blob service, which is https, or http on this machine, because tokens go there.
  /// Errors  kInvalid "storage.bad-account".
  static Result<StorageAccount> of_identity(std::string_view account);
};

struct BlobInfo {
  std::string name;
  uint64_t size = 0;
  std::string etag;
  std::optional<SystemTime> last_modified;
};

struct ContainerInfo {
  std::string name;
  std::optional<SystemTime> last_modified;
};

/// Writes a blob of unknown length: pieces up to one block stay in memory, more goes out as blocks. The blob exists
/// only after finish(). At most one block (8 MiB) of memory.
class BlobWriter {
 public:
  virtual ~BlobWriter() = default;
  virtual Status write(std::string_view piece) = 0;
  virtual Status finish() = 0;
};

/// Azure Blob Storage, the part that IoT Hub jobs need.
///
/// Threads   any method, any thread; a BlobWriter belongs to one thread at a time.
/// Blocking  as http::Client. Transient answers are repeated inside.
/// Errors    kNotFound ContainerNotFound, BlobNotFound; kConflict ContainerAlreadyExists, ContainerBeingDeleted,
///           ConditionNotMet; kDenied AuthenticationFailed, Authorization*; else by status.
///           A repeated create or delete may meet its own earlier effect and answer kConflict or kNotFound.
/// Source    Blob service REST API, x-ms-version 2021-12-02; azure.md section 3.
class BlobClient {
 public:
  virtual ~BlobClient() = default;

  virtual Status create_container(std::string_view container, const Call& call) = 0;
  virtual Status delete_container(std::string_view container, const Call& call) = 0;
  virtual Result<std::vector<ContainerInfo>> list_containers(std::string_view prefix, const Call& call) = 0;
  virtual Result<std::vector<BlobInfo>> list_blobs(std::string_view container, std::string_view prefix,
                                                   const Call& call) = 0;
  virtual Result<BlobInfo> properties(std::string_view container, std::string_view blob, const Call& call) = 0;
  virtual std::unique_ptr<BlobWriter> write_blob(std::string_view container, std::string_view blob,
                                                 const Call& call) = 0;
  /// Streams the blob in ranges, resumed where a connection broke, guarded by ETag so that it cannot change meanwhile.
  /// Returns its size. A zero-length blob calls the sink never.
  virtual Result<uint64_t> read_blob(std::string_view container, std::string_view blob, const http::BodySink& sink,
                                     const Call& call) = 0;
  virtual Status delete_blob(std::string_view container, std::string_view blob, const Call& call) = 0;

  /// URI of the container with a service SAS (read, add, create, write, delete, list) valid until `expires`, for a job
  /// of the hub. With a connection string that itself holds a SAS, that SAS is used. Errors  kInvalid "blob.no-key"
  /// with an identity: it cannot sign, and jobs must be identity-based.
  virtual Result<Secret> container_sas_uri(std::string_view container, SystemTime expires) = 0;
  /// URI without credentials, for identity-based jobs.
  virtual std::string container_uri(std::string_view container) const = 0;
};

/// Signs and repeats over `transport`, which outlives the client (as do the clock and the generator). Whoever owns the
/// transport adds logging to it.
std::unique_ptr<BlobClient> make_blob_client(StorageAccount account, http::Client& transport, Clock& clock, Rng& rng);

/// The same with a Bearer token of Entra ID for kStorageAudience (entra.h) instead of key or SAS.
std::unique_ptr<BlobClient> make_blob_client(StorageAccount account, std::shared_ptr<TokenSource> tokens,
                                             http::Client& transport, Clock& clock, Rng& rng);

/// The same over a client that signs and repeats already.
std::unique_ptr<BlobClient> make_blob_client_over(StorageAccount account, std::shared_ptr<http::Client> api,
                                                  Clock& clock, Rng& rng);

}  // namespace twinstep::azure
