#pragma once

#include "stage.h"
#include "twinstep/json/json.h"

/// The rows of `twinstep-bench serve`: each measures one of the daemon's numbers with one kind of store.
namespace twinstep::bench {

struct ServeOptions {
  uint64_t events = 100'000;     ///< of the rows webhook and batches
  uint64_t creates = 20'000;     ///< of the row facade
  uint64_t connections = 64;     ///< over which they come
  uint64_t batch = 100;          ///< events in a body, of the row batches
  uint64_t rate = 20;            ///< events a second, of the row latency
  uint64_t seconds = 20;         ///< how long the rows latency and waiting look
  uint64_t waiting = 1'000'000;  ///< tasks of the row waiting
  uint64_t tasks = 4'000;        ///< for each replica, of the row replicas
  uint64_t delay_ms = 100;       ///< until the network server answers
};

/// What a row found.
struct RowReport {
  json::object figures;
  bool correct = false;  ///< nothing lost, nothing doubled, no errors; says nothing about speed
};
using Row = Result<RowReport> (*)(const ServeOptions&, Stores&, StoreKind);

Result<RowReport> measure_webhook(const ServeOptions& options, Stores& stores, StoreKind kind);
Result<RowReport> measure_batches(const ServeOptions& options, Stores& stores, StoreKind kind);
/// The same webhooks to pg-boss; on PostgreSQL only.
Result<RowReport> measure_pgboss(const ServeOptions& options, Stores& stores, StoreKind kind);
Result<RowReport> measure_latency(const ServeOptions& options, Stores& stores, StoreKind kind);
Result<RowReport> measure_waiting(const ServeOptions& options, Stores& stores, StoreKind kind);
Result<RowReport> measure_idle(const ServeOptions& options, Stores& stores, StoreKind kind);
Result<RowReport> measure_replicas(const ServeOptions& options, Stores& stores, StoreKind kind);

/// Creates through the façade; needs a hub without throttle.
Result<RowReport> measure_facade(const ServeOptions& options, Stores& stores, StoreKind kind);

/// What a key and the metrics cost the daemon for each event.
Result<RowReport> measure_cost(const ServeOptions& options, Stores& stores, StoreKind kind);

/// The one number that a question to the store gives. Errors  those of the store.
Result<int64_t> number_of(const Stage& stage, std::string_view sql);

}  // namespace twinstep::bench
