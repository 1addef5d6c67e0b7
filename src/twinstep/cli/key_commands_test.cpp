// The commands for keys: on a store of their own, and against the daemon's routes.
#include <stdlib.h>

#include <filesystem>
#include <fstream>

#include "twinstep/api/api_fixture.h"
#include "twinstep/base/encoding.h"
#include "twinstep/cli/commands.h"
#include "twinstep/security/sealed_store.h"

namespace twinstep::cli {
namespace {

class KeyCommands : public api::ApiFixture {
 protected:
  KeyCommands() {
    std::string pattern = (std::filesystem::temp_directory_path() / "twinstep-keys-XXXXXX").string();
    folder = mkdtemp(pattern.data());
    std::ofstream(folder + "/empty.yaml") << "{}\n";
  }
  ~KeyCommands() override { std::filesystem::remove_all(folder); }

  int run_line(std::vector<std::string> words) {
    words.insert(words.begin(),
                 {"twinstep", "--config", folder + "/empty.yaml", "--store", "sqlite:" + folder + "/state.db"});
    std::vector<const char*> argv;
    for (const std::string& word : words) argv.push_back(word.c_str());
    const CommandLine line = parse_command_line(static_cast<int>(argv.size()), argv.data());
    if (line.ended) {
      err = line.text;
      return line.exit;
    }
    testing::internal::CaptureStdout();
    testing::internal::CaptureStderr();
    Hangup hangup;
    const int code = run(line, {}, hangup);
    err = testing::internal::GetCapturedStderr();
    out = testing::internal::GetCapturedStdout();
    return code;
  }
  std::unique_ptr<store::Database> state() {
    return store::open_database("sqlite:" + folder + "/state.db", clock).value();
  }
  std::string file(const std::string& name, const std::string& text) {
    std::ofstream(folder + "/" + name) << text << "\n";
    return "file:" + folder + "/" + name;
  }
  std::string folder, out, err;
};

TEST_F(KeyCommands, AKeyIsPrintedAloneAndKeptWithItsRights) {
  ASSERT_EQ(run_line({"key", "create", "--name", "tp", "--hubs", "contoso,fabrikam", "--ids", "lora-*", "--may",
                      "create,delete", "--rate", "10/s"}),
            kDone)
      << err;
  ASSERT_TRUE(out.ends_with("\n"));
  const std::string text = out.substr(0, out.size() - 1);
  ASSERT_TRUE(security::KeyText::parse(text)) << out;
  EXPECT_NE(err.find("facade: create,delete of lora-* in contoso,fabrikam, 10/s. It is not shown again."),
            std::string::npos)
      << err;
  const auto kept_in = state();
  const security::Key kept = security::KeyStore(*kept_in).find("tp", {}).value();
  EXPECT_EQ(kept.rights.hubs, (std::vector<std::string>{"contoso", "fabrikam"}));
  EXPECT_TRUE(kept.created_by.starts_with("command line (")) << kept.created_by;

  ASSERT_EQ(run_line({"key", "list"}), kDone);
  EXPECT_NE(out.find(kept.id + "  tp  active  facade: create,delete of lora-*"), std::string::npos) << out;
  EXPECT_EQ(out.find(text), std::string::npos);
  ASSERT_EQ(run_line({"key", "rotate", "tp", "--overlap", "1h", "--output", "json"}), kDone) << err;
  const json::value rotated = json::parse(out, "out").value();
  EXPECT_NE(rotated.at("key").as_string(), text);
  EXPECT_EQ(run_line({"key", "revoke", "tp"}), kDone);
  EXPECT_EQ(run_line({"key", "revoke", "tp"}), kError);
  EXPECT_NE(err.find("there is no key 'tp'"), std::string::npos) << err;
}

TEST_F(KeyCommands, MistakesAreUsageErrors) {
  EXPECT_EQ(run_line({"key"}), kUsage);
  EXPECT_EQ(run_line({"key", "create"}), kUsage);
  EXPECT_EQ(run_line({"key", "create", "--name", "tp", "--scope", "everything"}), kUsage);
  EXPECT_NE(err.find("known are events, facade, read, operate, admin"), std::string::npos) << err;
  EXPECT_EQ(run_line({"key", "create", "--name", "tp", "--expires", "soon"}), kUsage);
  EXPECT_EQ(run_line({"key", "rotate", "tp", "--overlap", "forever"}), kUsage);
  ASSERT_EQ(run_line({"key", "list"}), kDone);
  EXPECT_EQ(out, "there is no key; twinstep key create makes one\n");
}

TEST_F(KeyCommands, ADaemonIsAskedWithTheKeyThatIsNamed) {
  std::string shown;
  const auto server = http::Server::start({}, [&](const http::ServerRequest& request) {
                        shown = request.header("Authorization");
                        return router.handle(request, *gate);
                      }).value();
  const std::string url = "http://127.0.0.1:" + std::to_string(server->port());
  const std::string key = "tsk_0123456789ab_" + std::string(43, 'A');
  ASSERT_EQ(run_line({"key", "create", "--name", "remote", "--scope", "read", "--url", url, "--key", file("key", key)}),
            kDone)
      << err;
  EXPECT_EQ(shown, "Bearer " + key);
  EXPECT_EQ(keys.find("remote", {}).value().rights.scopes, std::vector{api::Scope::kRead});
  EXPECT_EQ(run_line({"key", "rotate", "remote", "--url", url}), kDone) << err;
  EXPECT_EQ(shown, "") << "no key, none shown";
  EXPECT_EQ(run_line({"key", "revoke", "remote", "--url", url}), kDone) << err;
  EXPECT_EQ(run_line({"key", "list", "--url", url}), kDone) << err;
  EXPECT_NE(out.find("remote  revoked  read"), std::string::npos) << out;
  EXPECT_EQ(run_line({"runs", "--url", url, "--key", key}), kUsage) << "others would see it in the list of processes";
  EXPECT_EQ((out + err).find(key), std::string::npos);
}

TEST_F(KeyCommands, RekeySealsAnewAndSaysWhichKeyIsMissing) {
  const std::string before(32, 'a'), after(32, 'b');
  const auto key_of = [](const std::string& bytes) {
    return security::SealKey::parse(Secret(base64_encode(bytes)), "x").value();
  };
  {
    const auto kept_in = state();
    ASSERT_TRUE(security::SealedStore(*kept_in).get_or_put("one", Secret("s"), security::Sealer({key_of(before)}), {}));
  }
  EXPECT_EQ(run_line({"store", "rekey"}), kUsage);
  EXPECT_NE(err.find("openssl rand -base64 32"), std::string::npos) << err;
  EXPECT_EQ(run_line({"store", "rekey", "--new-key", file("after", base64_encode(after))}), kError);
  EXPECT_NE(err.find(key_of(before).id()), std::string::npos) << err;
  std::ofstream(folder + "/empty.yaml") << "store_key: \"" << file("before", base64_encode(before)) << "\"\n";
  ASSERT_EQ(run_line({"store", "rekey", "--new-key", file("after", base64_encode(after))}), kDone) << err;
  EXPECT_EQ(out, "1 sealed anew\n");
  ASSERT_EQ(run_line({"store", "rekey", "--new-key", file("after", base64_encode(after)), "--output", "json"}), kDone);
  EXPECT_EQ(out, "{\"resealed\":0}\n");
  const auto kept_in = state();
  EXPECT_EQ(security::SealedStore(*kept_in)
                .get_or_put("one", Secret("x"), security::Sealer({key_of(after)}), {})
                .value()
                .reveal(),
            "s");
}

}  // namespace
}  // namespace twinstep::cli
