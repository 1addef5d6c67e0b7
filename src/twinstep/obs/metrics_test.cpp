#include "twinstep/obs/metrics.h"

#include <gtest/gtest.h>

#include <fstream>
#include <regex>
#include <set>
#include <thread>

#include "twinstep/base/fake_clock.h"

namespace twinstep::obs {
namespace {

using std::chrono::milliseconds;

class MetricsTest : public ::testing::Test {
 protected:
  bool has(const std::string& line) const {
    return ("\n" + metrics.text()).find("\n" + line + "\n") != std::string::npos;
  }

  FakeClock clock;
  Metrics metrics{"1.2.3", clock};
};

TEST_F(MetricsTest, EveryFamilyHasItsHeadFromTheFirstMomentOn) {
  const std::string text = metrics.text();
  for (const MetricRow& row : metric_table()) {
    EXPECT_NE(text.find("# HELP " + std::string(row.name) + " "), std::string::npos) << row.name;
    const char* type = row.kind == MetricKind::kCounter ? "counter"
                       : row.kind == MetricKind::kGauge ? "gauge"
                                                        : "histogram";
    EXPECT_NE(text.find("# TYPE " + std::string(row.name) + " " + type + "\n"), std::string::npos) << row.name;
  }
  EXPECT_TRUE(has("twinstep_build_info{version=\"1.2.3\"} 1"));
  EXPECT_TRUE(has("twinstep_store_up 0"));
}

TEST_F(MetricsTest, CountsAndMeasures) {
  metrics.http_answered("POST", "/api/x/{id}", 200, milliseconds{4});
  metrics.http_answered("POST", "/api/x/{id}", 200, milliseconds{400});
  metrics.http_answered("BREW", "none", 404, milliseconds{1});
  metrics.remote_called("hub/a", "get twin", "ok", milliseconds{20});
  metrics.budget_taken("a", "registry", 3, milliseconds{1500});
  metrics.hub_throttled("a", "registry");
  metrics.store_failed("write", ErrorKind::kUnavailable);
  metrics.changed("one", "create", "done", 5);
  metrics.changed("one", "create", "failed", 0);
  EXPECT_TRUE(has(R"(twinstep_http_requests_total{method="POST",route="/api/x/{id}",status="200"} 2)"));
  EXPECT_TRUE(has(R"(twinstep_http_requests_total{method="other",route="none",status="404"} 1)"));
  EXPECT_TRUE(has(R"(twinstep_http_request_seconds_bucket{route="/api/x/{id}",le="0.005"} 1)"));
  EXPECT_TRUE(has(R"(twinstep_http_request_seconds_count{route="/api/x/{id}"} 2)"));
  EXPECT_TRUE(has(R"(twinstep_remote_calls_total{operation="get twin",outcome="ok",remote="hub/a"} 1)"));
  EXPECT_TRUE(has(R"(twinstep_budget_tokens_total{hub="a",operation="registry"} 3)"));
  EXPECT_TRUE(has(R"(twinstep_budget_wait_seconds_total{hub="a",operation="registry"} 1.5)"));
  EXPECT_TRUE(has(R"(twinstep_store_errors_total{kind="unavailable",operation="write"} 1)"));
  EXPECT_TRUE(has(R"(twinstep_changes_total{kind="create",link="one",result="done"} 5)"));
  EXPECT_EQ(metrics.text().find(R"(result="failed")"), std::string::npos);
}

TEST_F(MetricsTest, WhatTheStoreSaysIsShownWithItsAge) {
  StoreFigures figures;
  LinkFigures link;
  link.link = "one";
  link.in_step = clock.system_now() - std::chrono::seconds{60};
  link.last_good_run = clock.system_now();
  link.last_run = clock.system_now();
  link.last_outcome = "done";
  link.owned = 7;
  link.orphans = 2;
  link.blocked = 1;
  link.last_changes[{"create", "done"}] = 4;
  figures.links.push_back(link);
  figures.lanes.push_back({"external/tp", {{"waiting", 1'000'000}}, Millis{2'500}, true});
  figures.at = clock.steady_now();
  metrics.store_figures(figures);
  clock.advance(std::chrono::seconds{5});
  EXPECT_TRUE(has(R"(twinstep_in_step_lag_seconds{link="one"} 65)"));
  EXPECT_TRUE(has(R"(twinstep_last_good_run_timestamp_seconds{link="one"} 1700000000)"));
  EXPECT_TRUE(has(R"(twinstep_last_run_timestamp_seconds{link="one",outcome="done"} 1700000000)"));
  EXPECT_TRUE(has(R"(twinstep_owned_devices{link="one"} 7)"));
  EXPECT_TRUE(has(R"(twinstep_orphan_devices{link="one"} 2)"));
  EXPECT_TRUE(has(R"(twinstep_blocked_runs{link="one"} 1)"));
  EXPECT_TRUE(has(R"(twinstep_last_run_changes{link="one",kind="create",result="done"} 4)"));
  EXPECT_TRUE(has(R"(twinstep_tasks{lane="external/tp",state="waiting"} 1000000)"));
  EXPECT_TRUE(has(R"(twinstep_task_overdue_seconds{lane="external/tp"} 2.5)"));
  EXPECT_TRUE(has(R"(twinstep_lane_resting{lane="external/tp"} 1)"));
  EXPECT_TRUE(has("twinstep_store_figures_age_seconds 5"));
  EXPECT_TRUE(has("twinstep_store_up 1"));

  metrics.forget_service();
  EXPECT_EQ(metrics.text().find(R"(link="one")"), std::string::npos) << "a link that was taken out is no link any more";
}

TEST_F(MetricsTest, LanesAreAskedAtEveryScrape) {
  int busy = 1;
  metrics.lanes_from([&] { return std::vector<LaneFigures>{{"run/a", 4, busy, false}}; });
  EXPECT_TRUE(has(R"(twinstep_lane_busy_threads{lane="run/a"} 1)"));
  busy = 3;
  EXPECT_TRUE(has(R"(twinstep_lane_busy_threads{lane="run/a"} 3)"));
  metrics.lane_alarm("run/a", true);
  EXPECT_TRUE(has(R"(twinstep_lane_alarm{lane="run/a"} 1)"));
}

TEST_F(MetricsTest, TheEndOfTheCertificateIsThereOnceThereIsOne) {
  EXPECT_EQ(metrics.text().find("\ntwinstep_certificate_expiry_timestamp_seconds "), std::string::npos);
  metrics.certificate_ends(SystemTime{std::chrono::seconds{1'900'000'000}});
  EXPECT_TRUE(has("twinstep_certificate_expiry_timestamp_seconds 1900000000"));
}

TEST_F(MetricsTest, LabelsFromOutsideCannotMakeItGrowWithoutEnd) {
  for (int i = 0; i < 5'000; ++i)
    metrics.remote_called("hub/a", "operation " + std::to_string(i), "ok", milliseconds{1});
  EXPECT_TRUE(has(R"(twinstep_remote_calls_total{operation="other",outcome="other",remote="other"} 4500)"));
  EXPECT_LT(metrics.text().size(), 2'000'000u);
}

TEST_F(MetricsTest, ManyThreadsLoseNoCount) {
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([this] {
      for (int i = 0; i < 5'000; ++i) metrics.http_answered("GET", "/x", 200 + i % 3, milliseconds{1});
    });
  for (auto& thread : threads) thread.join();
  EXPECT_TRUE(has(R"(twinstep_http_request_seconds_count{route="/x"} 20000)"));
}

TEST_F(MetricsTest, TellsOfTheProcess) {
  const ProcessFigures process = process_figures();
  EXPECT_GT(process.resident_bytes.value(), 1e6);
  EXPECT_GT(process.open_fds.value(), 2);
  EXPECT_GE(process.cpu_seconds.value(), 0);
  const auto now = static_cast<double>(
      std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch()).count());
  EXPECT_NEAR(process.start_time.value(), now, 600);
}

std::string described(const MetricRow& row) {
  std::string labels;
  for (const std::string_view label : row.labels) labels += (labels.empty() ? "`" : ", `") + std::string(label) + "`";
  return "| `" + std::string(row.name) + "` | " +
         (row.kind == MetricKind::kCounter ? "counter"
          : row.kind == MetricKind::kGauge ? "gauge"
                                           : "histogram") +
         " | " + labels + " | " + std::string(row.help) + " |";
}

TEST(MetricsPage, HasARowForEveryMetricAndNoOther) {
  std::ifstream page(TWINSTEP_SOURCE_DIR "/docs/metrics.md");
  ASSERT_TRUE(page.is_open());
  std::set<std::string> documented, expected;
  const std::regex metric("^\\| `(twinstep|process)_");
  for (std::string line; std::getline(page, line);)
    if (std::regex_search(line, metric)) documented.insert(line);
  for (const MetricRow& row : metric_table()) expected.insert(described(row));
  EXPECT_EQ(documented, expected);
}

TEST(MetricTable, KeepsTheRulesOfNames) {
  std::set<std::string_view> names;
  for (const MetricRow& row : metric_table()) {
    EXPECT_TRUE(names.insert(row.name).second) << row.name;
    EXPECT_EQ(row.kind == MetricKind::kCounter, row.name.ends_with("_total")) << row.name;
    EXPECT_EQ(row.kind == MetricKind::kHistogram, !row.buckets.empty()) << row.name;
    for (const std::string_view label : row.labels)
      EXPECT_TRUE(label != "device" && label != "id" && label != "le") << row.name << ": " << label;
  }
  EXPECT_EQ(metric_table().size(), kMetricCount);
}

TEST(Outcomes, AreFew) {
  EXPECT_EQ(outcome_of_status(204), "ok");
  EXPECT_EQ(outcome_of_status(404), "not-found");
  EXPECT_EQ(outcome_of_status(412), "conflict");
  EXPECT_EQ(outcome_of_status(429), "throttled");
  EXPECT_EQ(outcome_of_status(400), "refused");
  EXPECT_EQ(outcome_of_status(503), "server-error");
  EXPECT_EQ(outcome_of_error(ErrorKind::kTimeout), "timeout");
  EXPECT_EQ(outcome_of_error(ErrorKind::kCorrupt), "broken");
}

}  // namespace
}  // namespace twinstep::obs
