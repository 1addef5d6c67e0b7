#include "twinstep/app/certificate_keeper.h"

#include <gmock/gmock.h>
#include <spdlog/sinks/ostream_sink.h>
#include <spdlog/spdlog.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "twinstep/base/fake_clock.h"
#include "twinstep/http/tls_certificate.h"

namespace twinstep::app {
namespace {

using namespace std::chrono_literals;
using std::chrono::days;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

class CertificateKeeperTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (std::filesystem::temp_directory_path() / "twinstep-keeper-XXXXXX").string();
    folder = mkdtemp(pattern.data());
    before = spdlog::default_logger();
    spdlog::set_default_logger(
        std::make_shared<spdlog::logger>("test", std::make_shared<spdlog::sinks::ostream_sink_mt>(log)));
  }
  void TearDown() override {
    spdlog::set_default_logger(before);
    std::filesystem::remove_all(folder);
  }

  http::TlsIdentity identity(days validity = days{90}) const {
    return authority.issue({"localhost"}, clock.system_now(), validity).value();
  }
  void write(const std::string& name, const std::string& text) const {
    const std::string path = folder + "/" + name;
    std::ofstream(path + ".new", std::ios::binary) << text;
    ASSERT_EQ(chmod((path + ".new").c_str(), 0600), 0);
    std::filesystem::rename(path + ".new", path);
  }
  void write(const http::TlsIdentity& one) const {
    write("tls.pem", one.certificate);
    write("tls.key", one.key);
  }
  CertificateKeeper::Files files() const { return {folder + "/tls.pem", folder + "/tls.key", {}}; }

  /// A keeper without its thread: the test looks itself.
  std::unique_ptr<CertificateKeeper> keeper(CertificateKeeper::Use give) {
    auto out = CertificateKeeper::open(files(), metrics, still).value();
    still.stop();
    out->keep(std::move(give));
    return out;
  }
  /// What the keeper sees of time; its thread sleeps until the keeper ends.
  class StillClock final : public Clock {
   public:
    explicit StillClock(FakeClock& inner) : inner_(inner) {}
    SystemTime system_now() const override { return inner_.system_now(); }
    SteadyTime steady_now() const override { return inner_.steady_now(); }
    bool sleep_until(SteadyTime when, std::stop_token stop) override {
      return stopped_ ? false : inner_.sleep_until(when, std::move(stop));
    }
    void stop() { stopped_ = true; }

   private:
    FakeClock& inner_;
    bool stopped_ = false;
  };

  FakeClock clock;
  StillClock still{clock};
  obs::Metrics metrics{"1", clock};
  http::CertificateAuthority authority = http::CertificateAuthority::create("test", clock.system_now()).value();
  std::string folder;
  std::ostringstream log;
  std::shared_ptr<spdlog::logger> before;
  std::vector<std::string> used;
  CertificateKeeper::Use use = [this](const http::TlsMaterial& material) -> Status {
    TRY(http::make_tls_context(material));
    used.push_back(material.certificate);
    return {};
  };
};

TEST_F(CertificateKeeperTest, AChangeIsUsedWhenTheNextLookFindsItSettled) {
  write(identity());
  const auto kept = keeper(use);
  kept->look();
  kept->look();
  EXPECT_THAT(used, IsEmpty()) << "nothing has changed";
  const http::TlsIdentity next = identity(days{30});
  write("tls.pem", next.certificate);
  kept->look();
  write("tls.key", next.key);  // in time: the pair is taken together
  kept->look();
  EXPECT_THAT(used, IsEmpty());
  kept->look();
  EXPECT_THAT(used, testing::ElementsAre(next.certificate));
  EXPECT_EQ(kept->material().key, next.key);
  const auto until = http::certificate_facts(next.certificate)->not_after.time_since_epoch();
  EXPECT_THAT(metrics.text(), HasSubstr(fmt::format("\ntwinstep_certificate_expiry_timestamp_seconds {}\n",
                                                    std::chrono::duration_cast<std::chrono::seconds>(until).count())));
  kept->look();
  EXPECT_EQ(used.size(), 1u);
  EXPECT_THAT(log.str(), HasSubstr("certificate.loaded"));
  EXPECT_THAT(log.str(), Not(HasSubstr("certificate.refused")));
}

TEST_F(CertificateKeeperTest, WhatCannotBeUsedIsRefusedOnceAndTheOneBeforeStays) {
  const http::TlsIdentity good = identity();
  write(good);
  const auto kept = keeper(use);
  write("tls.key", identity().key);  // of another certificate
  for (int i = 0; i < 4; ++i) kept->look();
  EXPECT_THAT(used, IsEmpty());
  EXPECT_EQ(kept->material().key, good.key);
  const std::string said = log.str();
  EXPECT_THAT(said, HasSubstr("certificate.refused"));
  EXPECT_THAT(said, HasSubstr("it does not belong to the certificate"));
  EXPECT_EQ(said.find("certificate.refused"), said.rfind("certificate.refused"));
  EXPECT_THAT(said, Not(HasSubstr("PRIVATE KEY")));
  std::filesystem::remove(folder + "/tls.pem");
  kept->renew();
  EXPECT_THAT(log.str(), HasSubstr("cannot be read: No such file"));
  const http::TlsIdentity mended = identity();
  write(mended);
  kept->renew();  // asked for: at once
  EXPECT_THAT(used, testing::ElementsAre(mended.certificate));
}

TEST_F(CertificateKeeperTest, ARenewalThatIsAskedForWithoutAChangeChangesNothing) {
  write(identity());
  const auto kept = keeper(use);
  kept->renew();
  EXPECT_THAT(used, IsEmpty());
  EXPECT_EQ(log.str(), "");
}

TEST_F(CertificateKeeperTest, AnEndThatComesSoonIsToldEveryDay) {
  write(identity(days{20}));
  const auto kept = keeper(use);
  EXPECT_EQ(log.str(), "");
  clock.advance(5 * 24h);
  kept->look();
  EXPECT_EQ(log.str(), "") << "15 days are left";
  clock.advance(2 * 24h);
  kept->look();
  kept->look();
  const std::string said = log.str();
  EXPECT_THAT(said, HasSubstr("certificate.expires_soon"));
  EXPECT_THAT(said, HasSubstr("until=2023-12-04T22:13:20Z"));
  EXPECT_EQ(said.find("certificate.expires_soon"), said.rfind("certificate.expires_soon"));
  clock.advance(14 * 24h);
  kept->look();
  EXPECT_THAT(log.str(), HasSubstr("certificate.expired"));
}

TEST_F(CertificateKeeperTest, AnExpiredCertificateIsAWarningAndNoRefusal) {
  write(identity(days{10}));
  clock.advance(11 * 24h);
  EXPECT_TRUE(CertificateKeeper::open(files(), metrics, clock));
  EXPECT_THAT(log.str(), HasSubstr("certificate.expired"));
}

TEST_F(CertificateKeeperTest, AStartWithoutAUsablePairIsRefusedWithWhatToDo) {
  auto missing = CertificateKeeper::open(files(), metrics, clock);
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code, "config.tls");
  EXPECT_THAT(missing.error().what, HasSubstr("tls.pem cannot be read"));
  write(identity());
  write("tls.key", identity().key);
  auto strangers = CertificateKeeper::open(files(), metrics, clock);
  ASSERT_FALSE(strangers);
  EXPECT_THAT(strangers.error().what, HasSubstr("give the key that the first certificate of the chain was made with"));
}

TEST_F(CertificateKeeperTest, AKeyThatEverybodyMayReadIsTold) {
  write(identity());
  ASSERT_EQ(chmod((folder + "/tls.key").c_str(), 0644), 0);
  EXPECT_TRUE(CertificateKeeper::open(files(), metrics, clock));
  EXPECT_THAT(log.str(), HasSubstr("certificate.key_exposed"));
}

}  // namespace
}  // namespace twinstep::app
