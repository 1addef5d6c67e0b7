#include "twinstep/store/notice_store.h"

#include "twinstep/store/notice_contract.h"

namespace twinstep::store {
namespace {

INSTANTIATE_TEST_SUITE_P(Sqlite, NoticeContract,
                         ::testing::Values(Kind{"memory", SqliteSubject::in_memory},
                                           Kind{"file", SqliteSubject::in_file}),
                         [](const auto& which) { return std::string(which.param.name); });

}  // namespace
}  // namespace twinstep::store
