#pragma once

#include "twinstep/store/pg_connection.h"

namespace twinstep::store {

/// Brings the tables of the current schema up to date; of several replicas that start at once, one does it.
/// Errors  kInvalid "store.newer", else as PgConnection.
Status pg_migrate(PgConnection& connection, const Call& call);

}  // namespace twinstep::store
