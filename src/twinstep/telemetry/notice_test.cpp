// The shapes that chat and paging services take, templates, and mail.
#include "twinstep/telemetry/notice.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "twinstep/base/encoding.h"
#include "twinstep/json/json.h"
#include "twinstep/telemetry/smtp.h"

namespace twinstep::telemetry {
namespace {

using testing::HasSubstr;

Notice sample(bool resolved = false) {
  return {"blocked/r1",
          "blocked",
          resolved,
          "Run \"r1\" is blocked",
          "it would delete 3 of 4 devices\n<!channel> & more",
          "thingpark",
          "",
          "r1",
          SystemTime{std::chrono::seconds{1'700'000'000}}};
}
json::value body(NoticeOptions options, const Notice& notice) {
  return json::parse(notice_body(options, notice, "host-1"), "the body").value();
}
NoticeOptions to(NoticeTo what) {
  NoticeOptions out;
  out.to = what;
  out.url = Secret("https://example.org/hook");
  return out;
}
std::string text_at(const json::value& value, const char* pointer) {
  const json::value* found = json::at(value, pointer);
  return found && found->is_string() ? std::string(found->get_string()) : "nothing";
}

TEST(NoticeShape, OfSlackIsOneTextInWhichNobodyIsCalled) {
  const auto made = body(to(NoticeTo::kSlack), sample());
  EXPECT_EQ(made.as_object().size(), 1u);
  EXPECT_EQ(text_at(made, "/text"),
            "*Run \"r1\" is blocked*\nit would delete 3 of 4 devices\n&lt;!channel&gt; &amp; more");
}

TEST(NoticeShape, OfTeamsIsAMessageWithAnAdaptiveCard) {
  const auto made = body(to(NoticeTo::kTeams), sample());
  EXPECT_EQ(text_at(made, "/type"), "message");
  EXPECT_EQ(text_at(made, "/attachments/0/contentType"), "application/vnd.microsoft.card.adaptive");
  EXPECT_EQ(text_at(made, "/attachments/0/content/type"), "AdaptiveCard");
  EXPECT_EQ(text_at(made, "/attachments/0/content/version"), "1.4");
  EXPECT_EQ(text_at(made, "/attachments/0/content/body/0/text"), "Run \"r1\" is blocked");
  EXPECT_EQ(text_at(made, "/attachments/0/content/body/2/facts/2/value"), "host-1");
}

TEST(NoticeShape, OfPagerDutyTriggersAndResolvesTheSameIncident) {
  NoticeOptions options = to(NoticeTo::kPagerDuty);
  options.routing_key = Secret("0123456789abcdef0123456789abcdef");
  const auto made = body(options, sample());
  EXPECT_EQ(text_at(made, "/routing_key"), "0123456789abcdef0123456789abcdef");
  EXPECT_EQ(text_at(made, "/event_action"), "trigger");
  EXPECT_EQ(text_at(made, "/dedup_key"), "twinstep/blocked/r1");
  EXPECT_EQ(text_at(made, "/payload/severity"), "warning");
  EXPECT_EQ(text_at(made, "/payload/source"), "host-1");
  EXPECT_EQ(text_at(made, "/payload/timestamp"), "2023-11-14T22:13:20.000Z");
  Notice endless = sample();
  endless.text = std::string(5000, 'x');
  EXPECT_LE(text_at(body(options, endless), "/payload/summary").size(), 1024u);
  const auto ended = body(options, sample(true));
  EXPECT_EQ(text_at(ended, "/event_action"), "resolve");
  EXPECT_EQ(text_at(ended, "/dedup_key"), "twinstep/blocked/r1");
}

TEST(NoticeShape, OfAPlainWebhookHasEveryFieldOrIsWhatTheTemplateSays) {
  const auto made = body(to(NoticeTo::kWebhook), sample());
  EXPECT_EQ(text_at(made, "/action"), "trigger");
  EXPECT_EQ(text_at(made, "/run"), "r1");
  EXPECT_EQ(text_at(made, "/text"), sample().text);
  NoticeOptions own = to(NoticeTo::kWebhook);
  own.body = R"x({"summary": "{{ title }} ({{link}})", "n": 1})x";
  EXPECT_EQ(text_at(body(own, sample()), "/summary"), "Run \"r1\" is blocked (thingpark)");
}

TEST(NoticeTemplate, IsRefusedWhenItNamesTheUnknownOrMakesNoJson) {
  EXPECT_TRUE(check_template(R"({"text":"{{text}}"})"));
  const auto unknown = check_template(R"({"text":"{{txet}}"})");
  ASSERT_FALSE(unknown);
  EXPECT_THAT(unknown.error().what, HasSubstr("title"));
  for (const char* bad :
       {R"({"text":"{{text"})", R"({"text":{{text}}})", "plain {{text}}", R"({"k":"{{routing_key}}"})"})
    EXPECT_FALSE(check_template(bad)) << bad;
}

TEST(NoticeTemplate, EscapesWhatWouldEndTheString) {
  EXPECT_EQ(render_template(R"("{{a}}")", {{"a", "\"\\\n\x01\xFF"}}).value(), "\"\\\"\\\\\\n\\u0001\xEF\xBF\xBD\"");
}

TEST(NoticeChannels, GetWhatTheyAskedForAndAreCompleteOrRefused) {
  NoticeOptions options = to(NoticeTo::kSlack);
  EXPECT_TRUE(wanted(options, sample()));
  EXPECT_TRUE(wanted(options, sample(true)));
  options.recovery = false;
  EXPECT_FALSE(wanted(options, sample(true)));
  options.blocked = false;
  EXPECT_FALSE(wanted(options, sample()));
  EXPECT_TRUE(check_notice(to(NoticeTo::kTeams)));
  EXPECT_FALSE(check_notice(to(NoticeTo::kPagerDuty))) << "no routing key";
  NoticeOptions none;
  EXPECT_FALSE(check_notice(none)) << "no url";
  none.url = Secret("http://example.org");
  EXPECT_FALSE(check_notice(none)) << "not secured";
}

TEST(StoredNotice, IsReadBackAsItWas) {
  const Notice back = Notice::from_json(sample(true).to_json()).value();
  EXPECT_EQ(back.to_json(), sample(true).to_json());
  EXPECT_EQ(back.since, sample().since);
  EXPECT_FALSE(Notice::from_json("[]"));
}

EmailOptions mailbox() {
  EmailOptions out;
  out.server = "smtp://mail.example.org:587";
  out.from = "twinstep@example.org";
  out.recipients = {"ops@example.org", "night@example.org"};
  return out;
}

TEST(Mail, IsAsciiWithEncodedHeadersAndBody) {
  const std::string text = mail_message(mailbox(), {"Lauf blockiert: \xC3\xA4\xC3\xB6\r\nBcc: all@example.org",
                                                    "Zeile \xC3\xA4\nnext\n.\n" + std::string(200, 'x'), "id1",
                                                    SystemTime{std::chrono::seconds{1'700'000'000}}});
  EXPECT_THAT(text, HasSubstr("Date: Tue, 14 Nov 2023 22:13:20 +0000\r\n"));
  EXPECT_THAT(text, HasSubstr("From: <twinstep@example.org>\r\nTo: <ops@example.org>,\r\n <night@example.org>\r\n"));
  EXPECT_THAT(text, HasSubstr("Message-ID: <id1@example.org>\r\n"));
  EXPECT_THAT(text, HasSubstr("Subject: =?utf-8?B?"));
  EXPECT_THAT(text, testing::Not(HasSubstr("\nBcc:"))) << "a line end in a subject begins no header";
  size_t line = 0;
  for (size_t at = 0; at < text.size(); ++at) {
    EXPECT_LT(static_cast<unsigned char>(text[at]), 0x80);
    line = text[at] == '\n' ? 0 : line + 1;
    EXPECT_LE(line, 78u);
  }
  std::string packed = text.substr(text.find("\r\n\r\n") + 4);
  std::erase_if(packed, [](char c) { return c == '\r' || c == '\n'; });
  EXPECT_EQ(base64_decode(packed).value(), "Zeile \xC3\xA4\r\nnext\r\n.\r\n" + std::string(200, 'x'));
}

TEST(Mail, RefusesAddressesWithWhichCommandsCouldBeSmuggled) {
  EXPECT_TRUE(check_email(mailbox()));
  for (const char* bad : {"", "ops", "@x", "a@", "a@b@c", "a b@c", "a@b>\r\nDATA", "<a@b>"}) {
    EmailOptions options = mailbox();
    options.recipients.push_back(bad);
    EXPECT_FALSE(check_email(options)) << bad;
    options = mailbox();
    options.from = bad;
    EXPECT_FALSE(check_email(options)) << bad;
  }
  for (const char* bad :
       {"", "mail.example.org", "http://mail.example.org", "smtp://", "smtp://u:p@mail.example.org"}) {
    EmailOptions options = mailbox();
    options.server = bad;
    EXPECT_FALSE(check_email(options)) << bad;
  }
  EmailOptions half = mailbox();
  half.user = "me";
  EXPECT_FALSE(check_email(half));
}

}  // namespace
}  // namespace twinstep::telemetry
