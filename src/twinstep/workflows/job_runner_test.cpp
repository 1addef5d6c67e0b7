// What a job that was not done in time says: how long it needs, and which setting to raise to what.
#include "twinstep/workflows/job_runner.h"

#include "twinstep/workflows/run_fixture.h"

namespace twinstep::workflows {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;
using testing::Not;

class JobNotInTime : public testing::Test, public RunWorld {
 protected:
  JobNotInTime() : RunWorld(true) { hub.looks_to_end = INT_MAX; }
  void has_devices(int count) {
    for (int i = 0; i < count; ++i) hub.fake.devices[fmt::format("d{}", i)];
  }
  /// Five and a half minutes are allowed. The hub says `percent` whenever it is asked.
  std::string text(bool import, int percent, uint64_t lines = 0) {
    hub.on_look = [this, percent] { hub.fake.job_list.back().progress = percent - 10; };
    const auto job = hub.fake.add_job(import);
    const auto waited = JobRunner(*context, {.polling = {60s, 5}, .lines = lines}).wait(job.id, import, {});
    EXPECT_EQ(hub.running_jobs(), 0) << "it was cancelled";
    EXPECT_EQ(waited ? "" : waited.error().code, "hub.job-timeout");
    return waited ? "" : waited.error().what;
  }
};

TEST_F(JobNotInTime, IsJudgedByItsProgressWhereTheHubTellsIt) {
  has_devices(10);
  EXPECT_THAT(
      text(false, 40),
      HasSubstr("hub fake: the export job was not done after 6 min and was cancelled; it had done 40 % by then, "
                "so it needs about 14 min. Set retryAttemptsForIoTHubExportJob (in a file "
                "export_polling.attempts) to 16; it is 5, 1 min apart"));
  EXPECT_THAT(text(true, 10, 5), HasSubstr("about 55 min. Set retryAttemptsForIoTHubImportJob (in a file "
                                           "import_polling.attempts) to 66; it is 5"));
}

TEST_F(JobNotInTime, AnExportIsJudgedByTheHubsDeviceCountElse) {
  has_devices(1'200);
  const std::string said = text(false, 0);
  EXPECT_THAT(said, HasSubstr("an export of about 1,200 devices needs up to 12 min at the 100 a minute of this hub's "
                              "tier and units. Set retryAttemptsForIoTHubExportJob"));
  EXPECT_THAT(said, HasSubstr("to 14; it is 5"));
}

TEST_F(JobNotInTime, AnExportIsJudgedByWhatEarlierRunsSawWhenTheStatisticsLag) {
  hub.fake.counts_devices = false;
  ASSERT_TRUE(state->remember_run("one", {900, 1'200, clock.system_now()}));
  EXPECT_THAT(text(false, 0), HasSubstr("about 1,200 devices needs up to 12 min"));
  ASSERT_TRUE(state->remember_run("sweep/one", {2'400, 3, clock.system_now()}));
  EXPECT_THAT(text(false, 0), HasSubstr("about 2,400 devices needs up to 24 min"));
}

TEST_F(JobNotInTime, AnImportIsJudgedByItsLinesAndTheHubsTier) {
  EXPECT_THAT(text(true, 0, 1'000), HasSubstr("its 1,000 lines need about 10 min at the 100 a minute"));
  hub_config.tier = config::Tier::kS3;
  EXPECT_THAT(text(true, 0, 100'000), HasSubstr("its 100,000 lines need about 20 min at the 5,000 a minute"));
  hub_config.units = 2;
  EXPECT_THAT(text(true, 0, 100'000), HasSubstr("about 10 min at the 10,000 a minute"));
}

TEST_F(JobNotInTime, ThatShouldHaveBeenPointsToTheHub) {
  const std::string said = text(true, 0, 100);
  EXPECT_THAT(said, HasSubstr("its 100 lines should take no more than 1 min at the 100 a minute"));
  EXPECT_THAT(said, HasSubstr("so something else takes up the hub, or the job hangs"));
  EXPECT_THAT(said, HasSubstr("to 13; it is 5")) << "twice the time, as good a try as any";
}

TEST_F(JobNotInTime, OfAHubThatTellsNothingStillNamesASetting) {
  hub.fake.counts_devices = false;
  const std::string said = text(false, 0);
  EXPECT_THAT(said, HasSubstr("how long it needs cannot be told"));
  EXPECT_THAT(said,
              HasSubstr("Set retryAttemptsForIoTHubExportJob (in a file export_polling.attempts) to 13; it is 5"));
}

TEST_F(JobNotInTime, OfAnEarlierProcessIsJudgedByAllTheTimeItRan) {
  const auto began = clock.system_now();
  clock.advance(10min);
  hub.on_look = [&] {
    hub.fake.job_list.back().progress = 40;
    hub.fake.job_list.back().started = began;
  };
  const auto job = hub.fake.add_job(false);
  const auto waited = JobRunner(*context, {.polling = {60s, 5}}).wait(job.id, false, {});
  EXPECT_THAT(waited.error().what, HasSubstr("it had done 50 % by then, so it needs about 32 min"));
}

TEST_F(JobNotInTime, IsNotCancelledByAProcessWhoseClaimIsOver) {
  class Over final : public WriteGuard {
   public:
    bool holds() const override { return false; }
  } over;
  hub.on_look = [this] { hub.fake.job_list.back().progress = 0; };
  const auto job = hub.fake.add_job(false);
  EXPECT_FALSE(JobRunner(*context, {.polling = {60s, 5}}).wait(job.id, false, {SteadyTime::max(), {}, &over}));
  EXPECT_EQ(hub.running_jobs(), 1) << "whoever works on the link now may be waiting for it";
}

}  // namespace
}  // namespace twinstep::workflows
