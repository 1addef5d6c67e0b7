#include "twinstep/http/tls_context.h"

#include <gmock/gmock.h>

#include "twinstep/http/tls_certificate.h"

namespace twinstep::http {
namespace {

using testing::HasSubstr;
using testing::Not;

const SystemTime kNow{std::chrono::seconds{1'700'000'000}};

class TlsContextTest : public testing::Test {
 protected:
  CertificateAuthority authority = CertificateAuthority::create("test", kNow).value();
  TlsIdentity one = authority.issue({"one.test"}, kNow, std::chrono::days{30}).value();
  TlsIdentity two = authority.issue({"two.test"}, kNow).value();
};

TEST_F(TlsContextTest, AKeyThatDoesNotBelongToTheCertificateIsRefusedWithWhatToDo) {
  EXPECT_TRUE(make_tls_context({one.certificate, one.key, {}}));
  const auto mixed = make_tls_context({one.certificate, two.key, {}});
  ASSERT_FALSE(mixed);
  EXPECT_EQ(mixed.error().code, "server.bad-certificate");
  EXPECT_THAT(mixed.error().what, HasSubstr("it does not belong to the certificate; give the key"));
}

TEST_F(TlsContextTest, WhatIsNotPemIsRefusedAndNamedButNotShown) {
  const std::string begun = one.key.substr(0, one.key.size() / 2);
  const TlsMaterial broken[] = {{"", one.key, {}},
                                {"no pem", one.key, {}},
                                {one.certificate.substr(0, 200), one.key, {}},
                                {one.certificate + "-----BEGIN CERTIFICATE-----\nAAAA\n", one.key, {}},
                                {one.key, one.key, {}},
                                {one.certificate, "", {}},
                                {one.certificate, begun, {}},
                                {one.certificate, one.certificate, {}},
                                {one.certificate, one.key, "no pem"},
                                {one.certificate, one.key, one.key}};
  for (const TlsMaterial& material : broken) {
    const auto made = make_tls_context(material);
    ASSERT_FALSE(made) << material.certificate << material.client_ca;
    EXPECT_EQ(made.error().code, "server.bad-certificate");
    EXPECT_THAT(made.error().what, HasSubstr("give a PEM file"));
    EXPECT_THAT(made.error().what, Not(HasSubstr(one.key.substr(40, 20))));
  }
}

TEST_F(TlsContextTest, TheFactsAreThoseOfTheFirstCertificate) {
  const auto facts = certificate_facts(one.certificate);
  ASSERT_TRUE(facts);
  EXPECT_EQ(facts->subject, "O = twinstep, CN = one.test");
  EXPECT_EQ(facts->not_before, kNow - std::chrono::days{1});
  EXPECT_EQ(facts->not_after, kNow + std::chrono::days{30});
  EXPECT_FALSE(certificate_facts("no pem"));
}

}  // namespace
}  // namespace twinstep::http
