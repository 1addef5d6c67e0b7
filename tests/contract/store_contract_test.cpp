#include "postgres_subject.h"
#include "twinstep/store/state_contract.h"
#include "twinstep/store/workflow_contract.h"

namespace twinstep::store {
namespace {

const auto kPostgres = ::testing::Values(Kind{"postgresql", PostgresSubject::make});
const auto kName = [](const auto& which) { return std::string(which.param.name); };

INSTANTIATE_TEST_SUITE_P(Postgres, WorkflowContract, kPostgres, kName);
INSTANTIATE_TEST_SUITE_P(Postgres, StateContract, kPostgres, kName);

}  // namespace
}  // namespace twinstep::store
