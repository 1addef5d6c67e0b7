// The simulated blob service: who is let in, blocks, ranges, lists.
#include "sims/test_support.h"

namespace twinstep::sims {
namespace {

using http::Header;
using http::ServerResponse;

constexpr const char* kRoot = "/devstoreaccount1";

class BlobTest : public ::testing::Test {
 protected:
  BlobTest() { EXPECT_EQ(owner("PUT", "/job1", "restype=container").status, 201); }
  ServerResponse owner(const std::string& method, const std::string& path, const std::string& query = "",
                       const std::string& body = "", std::vector<Header> more = {}) {
    more.push_back({"x-ms-version", "2021-12-02"});
    more.push_back({"Authorization", "Bearer owner"});
    if (method == "PUT") more.push_back({"x-ms-blob-type", "BlockBlob"});
    return blobs.handle(make_request(method, kRoot + path, query, std::move(more), body));
  }
  std::string sas(const std::string& permissions, const std::string& se = "2024-01-02T04:00:00Z",
                  const std::string& st = "") {
    const std::string text =
        permissions + "\n" + st + "\n" + se + "\n/blob/devstoreaccount1/job1\n\n\n\n2021-12-02\nc\n\n\n\n\n\n\n";
    const std::string sig = base64_encode(hmac_sha256(*base64_decode(BlobSimOptions{}.key), text));
    return fmt::format("sv=2021-12-02&sr=c&sp={}&se={}{}&sig={}", permissions, percent_encode(se),
                       st.empty() ? "" : "&st=" + percent_encode(st), percent_encode(sig));
  }
  ServerResponse guest(const std::string& method, const std::string& path, const std::string& query,
                       const std::string& body = "") {
    return blobs.handle(make_request(method, kRoot + path, query,
                                     {{"x-ms-version", "2021-12-02"}, {"x-ms-blob-type", "BlockBlob"}}, body));
  }
  static std::string code(const ServerResponse& r) {
    return fmt::format("{} {}", r.status, header(r, "x-ms-error-code"));
  }

  FakeClock clock{SystemTime{std::chrono::seconds{1'704'164'645}}};  // 2024-01-02T03:04:05Z
  BlobSim blobs{BlobSimOptions{.identity_token = "owner"}, clock};
};

TEST_F(BlobTest, ThePublishedSharedKeyVectorIsAccepted) {
  const auto put = [&](const std::string& signature, const std::string& date, const std::string& body) {
    return blobs
        .handle(make_request("PUT", "/devstoreaccount1/job1/devices.txt", "",
                             {{"x-ms-blob-type", "BlockBlob"},
                              {"x-ms-date", date},
                              {"x-ms-version", "2021-12-02"},
                              {"Content-Type", "text/plain"},
                              {"Content-Length", std::to_string(body.size())},
                              {"Authorization", "SharedKey devstoreaccount1:" + signature}},
                             body))
        .status;
  };
  const std::string good = "mZhgc6YXs4B1djC4CUjXWSjbk3hUbqEXsLjSgTLcX40=", date = "Tue, 02 Jan 2024 03:04:05 GMT";
  EXPECT_EQ(put(good, date, std::string(24, 'x')), 201);
  EXPECT_EQ(put(good, date, std::string(25, 'x')), 403) << "the length is signed";
  EXPECT_EQ(put("nZhgc6YXs4B1djC4CUjXWSjbk3hUbqEXsLjSgTLcX40=", date, std::string(24, 'x')), 403);
  EXPECT_EQ(put(good, "Tue, 02 Jan 2024 03:04:06 GMT", std::string(24, 'x')), 403);
  clock.advance(std::chrono::minutes{16});
  EXPECT_EQ(put(good, date, std::string(24, 'x')), 403) << "the date is too old";
}

TEST_F(BlobTest, ThePublishedContainerSasIsAccepted) {
  const std::string query =
      "sv=2021-12-02&st=2024-01-02T03%3A04%3A05Z&se=2024-01-09T03%3A04%3A05Z&sr=c&sp=racwdl&"
      "sig=D5k%2BWl8byltoBVmLdkO6JBmU2%2BIjvP77APOFlZMVrpM%3D";
  EXPECT_EQ(guest("PUT", "/job1/a", query, "x").status, 201);
  EXPECT_EQ(guest("GET", "/job1", "restype=container&comp=list&" + query).status, 200);
  EXPECT_EQ(guest("PUT", "/job2", "restype=container&" + query).status, 403) << "a SAS never makes a container";
  EXPECT_EQ(guest("DELETE", "/job1", "restype=container&" + query).status, 403);
  clock.advance(std::chrono::hours{24 * 7});
  EXPECT_EQ(guest("GET", "/job1/a", query).status, 403) << "expired";
}

TEST_F(BlobTest, ASasCoversItsPermissionsAndTimeOnly) {
  owner("PUT", "/job1/a", "", "x");
  struct {
    const char* method;
    const char* query;
    const char* enough;
  } const calls[] = {{"GET", "", "r"},
                     {"HEAD", "", "r"},
                     {"PUT", "", "c"},
                     {"PUT", "", "w"},
                     {"PUT", "comp=block&blockid=AAAA&", "w"},
                     {"DELETE", "", "d"}};
  for (const auto& call : calls) {
    EXPECT_LT(guest(call.method, "/job1/a", call.query + sas(call.enough), "x").status, 300)
        << call.method << call.enough;
    EXPECT_EQ(code(guest(call.method, "/job1/a", call.query + sas("l"), "x")), "403 AuthorizationPermissionMismatch")
        << call.method;
    owner("PUT", "/job1/a", "", "x");
  }
  EXPECT_EQ(guest("PUT", "/job1/a", "comp=block&blockid=AAAA&" + sas("c"), "x").status, 403) << "blocks need w";
  EXPECT_EQ(guest("GET", "/job1", "restype=container&comp=list&" + sas("r")).status, 403);
  EXPECT_EQ(guest("GET", "/job1/a", sas("wr")).status, 403) << "permissions have one order";
  EXPECT_EQ(guest("GET", "/job1/a", sas("r", "2024-01-02T03:04:05Z")).status, 403);
  EXPECT_EQ(guest("GET", "/job1/a", sas("r", "2024-01-02T04:00:00Z", "2024-01-02T03:30:00Z")).status, 403) << "not yet";
  EXPECT_EQ(guest("GET", "/job1/a", "").status, 403);
  std::string other = sas("r");
  other.replace(other.find("sp=r"), 4, "sp=rw");
  EXPECT_EQ(guest("GET", "/job1/a", other).status, 403) << "the signature covers the permissions";
}

TEST_F(BlobTest, ContainersAreMadeOnceUnderLegalNames) {
  EXPECT_EQ(code(owner("PUT", "/job1", "restype=container")), "409 ContainerAlreadyExists");
  EXPECT_EQ(code(owner("PUT", "/ab", "restype=container")), "400 OutOfRangeInput");
  for (const char* bad : {"/Abc", "/a--b", "/-abc", "/abc-", "/a_bc"})
    EXPECT_EQ(owner("PUT", bad, "restype=container").status, 400) << bad;
  EXPECT_EQ(owner("DELETE", "/job1", "restype=container").status, 202);
  EXPECT_EQ(code(owner("GET", "/job1/a")), "404 ContainerNotFound");
  EXPECT_EQ(code(owner("DELETE", "/job1", "restype=container")), "404 ContainerNotFound");
}

TEST_F(BlobTest, BlocksBecomeABlobInTheOrderOfTheList) {
  EXPECT_EQ(owner("PUT", "/job1/b", "comp=block&blockid=MDAx", "one").status, 201);
  EXPECT_EQ(owner("PUT", "/job1/b", "comp=block&blockid=MDAy", "two").status, 201);
  EXPECT_EQ(owner("PUT", "/job1/b", "comp=block&blockid=MDAwMDAx", "x").status, 400) << "ids of one length";
  EXPECT_EQ(owner("PUT", "/job1/b", "comp=block&blockid=%3F%3F", "x").status, 400);
  EXPECT_EQ(code(owner("GET", "/job1/b")), "404 BlobNotFound") << "staged blocks are not a blob";
  const auto commit = [&](const std::string& ids) {
    return owner("PUT", "/job1/b", "comp=blocklist", "<?xml version=\"1.0\"?><BlockList>" + ids + "</BlockList>",
                 {{"x-ms-blob-content-type", "text/plain"}});
  };
  EXPECT_EQ(code(commit("<Latest>MDAz</Latest>")), "400 InvalidBlockList");
  EXPECT_EQ(code(commit("<Committed>MDAx</Committed>")), "400 InvalidBlockList");
  ASSERT_EQ(commit("<Latest>MDAy</Latest><Uncommitted>MDAx</Uncommitted>").status, 201);
  const auto got = owner("GET", "/job1/b");
  EXPECT_EQ(got.body, "twoone");
  EXPECT_EQ(header(got, "Content-Type"), "text/plain");
  ASSERT_EQ(owner("PUT", "/job1/b", "comp=block&blockid=MDAz", "three").status, 201);
  ASSERT_EQ(commit("<Committed>MDAx</Committed><Latest>MDAz</Latest>").status, 201);
  EXPECT_EQ(owner("GET", "/job1/b").body, "onethree");
}

TEST_F(BlobTest, RangesAreInclusiveAndBoundedByTheBlob) {
  owner("PUT", "/job1/r", "", "0123456789");
  owner("PUT", "/job1/empty", "", "");
  const auto range = [&](const std::string& blob, const char* name, const std::string& value) {
    return owner("GET", blob, "", "", {{name, value}});
  };
  auto part = range("/job1/r", "x-ms-range", "bytes=2-4");
  EXPECT_EQ(part.status, 206);
  EXPECT_EQ(part.body, "234");
  EXPECT_EQ(header(part, "Content-Range"), "bytes 2-4/10");
  part = range("/job1/r", "Range", "bytes=8-99");
  EXPECT_EQ(part.body, "89");
  EXPECT_EQ(header(part, "Content-Range"), "bytes 8-9/10");
  EXPECT_EQ(range("/job1/r", "Range", "bytes=9-").body, "9");
  const auto beyond = range("/job1/r", "Range", "bytes=10-12");
  EXPECT_EQ(code(beyond), "416 InvalidRange");
  EXPECT_EQ(header(beyond, "Content-Range"), "bytes */10");
  EXPECT_EQ(range("/job1/empty", "Range", "bytes=0-9").status, 416);
  EXPECT_EQ(owner("GET", "/job1/empty").status, 200);
  EXPECT_EQ(owner("GET", "/job1/r", "", "", {{"Range", "bytes=0-1"}, {"x-ms-range", "bytes=3-3"}}).body, "3");
}

TEST_F(BlobTest, ConditionsAreObeyed) {
  const auto first = owner("PUT", "/job1/c", "", "1", {{"If-None-Match", "*"}});
  ASSERT_EQ(first.status, 201);
  EXPECT_EQ(code(owner("PUT", "/job1/c", "", "2", {{"If-None-Match", "*"}})), "409 BlobAlreadyExists");
  const std::string etag = header(first, "ETag");
  EXPECT_EQ(owner("GET", "/job1/c", "", "", {{"If-Match", etag}}).status, 200);
  EXPECT_EQ(owner("GET", "/job1/c", "", "", {{"If-None-Match", etag}}).status, 304);
  ASSERT_EQ(owner("PUT", "/job1/c", "", "3").status, 201);
  EXPECT_EQ(code(owner("GET", "/job1/c", "", "", {{"If-Match", etag}})), "412 ConditionNotMet");
  EXPECT_EQ(code(owner("DELETE", "/job1/c", "", "", {{"If-Match", etag}})), "412 ConditionNotMet");
}

TEST_F(BlobTest, ListsComeInPagesAndByPrefix) {
  for (const char* name : {"a1", "a2", "b/1", "b/2", "c&d"})
    owner("PUT", std::string("/job1/") + percent_encode(name), "", "xy");
  const auto between = [](const std::string& text, const std::string& from, const std::string& to) {
    const size_t at = text.find(from);
    return at == std::string::npos ? std::string{}
                                   : text.substr(at + from.size(), text.find(to, at + from.size()) - at - from.size());
  };
  std::string marker;
  int pages = 0, blobs_seen = 0;
  do {
    const auto page =
        owner("GET", "/job1", "restype=container&comp=list&maxresults=2&marker=" + percent_encode(marker));
    ASSERT_EQ(page.status, 200);
    for (size_t at = 0; (at = page.body.find("<Name>", at)) != std::string::npos; ++at) ++blobs_seen;
    marker = between(page.body, "<NextMarker>", "</NextMarker>");
    EXPECT_EQ(between(page.body, "<Content-Length>", "</Content-Length>"), "2");
    EXPECT_EQ(between(page.body, "<Etag>", "</Etag>").find('"'), std::string::npos) << "unquoted in lists";
    ++pages;
  } while (!marker.empty() && pages < 10);
  EXPECT_EQ(pages, 3);
  EXPECT_EQ(blobs_seen, 5);
  const auto some = owner("GET", "/job1", "restype=container&comp=list&prefix=b%2F");
  EXPECT_NE(some.body.find("<Name>b/2</Name>"), std::string::npos);
  EXPECT_EQ(some.body.find("<Name>a1</Name>"), std::string::npos);
  EXPECT_NE(owner("GET", "/job1", "restype=container&comp=list").body.find("<Name>c&amp;d</Name>"), std::string::npos);
  owner("PUT", "/job2", "restype=container");
  EXPECT_NE(owner("GET", "/", "comp=list&prefix=job").body.find("<Name>job2</Name>"), std::string::npos);
}

TEST_F(BlobTest, FailuresCarryTheirCodeAlsoWithoutABody) {
  const auto head = owner("HEAD", "/job1/none");
  EXPECT_EQ(code(head), "404 BlobNotFound");
  EXPECT_EQ(head.body, "");
  EXPECT_NE(owner("GET", "/job1/none").body.find("<Code>BlobNotFound</Code>"), std::string::npos);
  EXPECT_EQ(owner("DELETE", "/job1/none").status, 404);
  EXPECT_EQ(header(owner("GET", "/job1/none"), "x-ms-version"), "2021-12-02");
}

}  // namespace
}  // namespace twinstep::sims
