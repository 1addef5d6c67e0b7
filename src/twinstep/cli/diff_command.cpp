#include <algorithm>
#include <filesystem>

#include "twinstep/cli/commands.h"
#include "twinstep/cli/session.h"
#include "twinstep/plan/diff.h"
#include "twinstep/providers/builtin.h"
#include "twinstep/providers/file_registry.h"
#include "twinstep/providers/mapper.h"

namespace twinstep::cli {
namespace {

/// A saved listing, read by any provider's rules.
class SavedListing final : public providers::ExternalRegistry {
 public:
  SavedListing(const providers::Definition& definition, std::string path, std::string items)
      : definition_(definition), tags_(definition.tag_specs()), path_(std::move(path)), items_(std::move(items)) {}

  const std::string& provider() const override { return definition_.name; }
  const std::vector<providers::TagSpec>& tags() const override { return tags_; }
  std::unique_ptr<providers::Mapper> mapper() const override { return providers::make_mapper(definition_); }
  Result<providers::ListProof> list(const providers::ItemSink& items, const providers::BrokenSink& broken,
                                    const Call& call) override {
    return providers::list_file(definition_, path_, items, broken, items_, call);
  }
  Result<providers::ListProof> first_page(const providers::ItemSink& items, const providers::BrokenSink& broken,
                                          const Call& call) override {
    return list(items, broken, call);
  }
  bool can_look_up(const providers::DeviceInput&) const override { return false; }
  Result<providers::FoundDevice> look_up(const providers::DeviceInput&, const Call&) override { return only_listed(); }
  Result<providers::WriteOutcome> create(const providers::DeviceInput&, const Call&) override { return only_listed(); }
  Result<providers::WriteOutcome> remove(const providers::DeviceInput&, const Call&) override { return only_listed(); }
  std::vector<providers::TagFault> missing_for_create(const providers::DeviceInput&) const override { return {}; }

 private:
  static tl::unexpected<Error> only_listed() {
    return fail(ErrorKind::kInvalid, "diff.file", "a saved listing can only be listed");
  }
  const providers::Definition& definition_;
  const std::vector<providers::TagSpec> tags_;
  const std::string path_;
  const std::string items_;
};

Result<plan::Rules> rules_of(const CommandLine& line, const providers::ExternalRegistry& listing) {
  plan::Rules rules;
  rules.link = line.link.empty() ? "default" : line.link;
  rules.external = listing.provider();
  rules.scope = line.scope;
  rules.deletes = line.deletes;
  rules.copy_secrets = line.copy_secrets;
  rules.tags = listing.tags();
  for (std::string_view rest = line.include; !rest.empty();) {
    const size_t end = std::min(rest.find(','), rest.size());
    const std::string_view kind = rest.substr(0, end);
    rest.remove_prefix(std::min(end + 1, rest.size()));
    if (kind == "edge")
      rules.include_edge = true;
    else if (kind == "modules")
      rules.include_modules = true;
    else if (kind == "certificates")
      rules.include_certificates = true;
    else
      return fail(ErrorKind::kInvalid, "usage.include",
                  fmt::format("--include holds '{}'; it may hold edge, modules, certificates", kind));
  }
  return rules;
}

}  // namespace

int run_diff(const CommandLine& line, std::stop_token stop) {
  const Call call{SteadyTime::max(), stop};
  auto definition = providers::load_definition(line.provider);
  if (!definition) return fail_with(definition.error(), line, stop);
  SavedListing listing(*definition, line.external_file, line.items);
  auto rules = rules_of(line, listing);
  if (!rules) return fail_with(rules.error(), line, stop);
  plan::SnapshotOptions options;
  options.counts_only = line.summary;
  std::error_code ignored;
  if (const auto folder = std::filesystem::temp_directory_path(ignored); !folder.empty())
    options.folder = folder.string();
  auto result = plan::diff_registry(line.hub_file, listing, *rules, options, call);
  if (!result) return fail_with(result.error(), line, stop);
  auto written = plan::write_diff(
      *result, line.summary,
      [](std::string_view bytes) -> Status {
        print(bytes);
        return {};
      },
      call);
  if (!written) return fail_with(written.error(), line, stop);
  print("\n");
  const plan::Comparison& comparison = result->comparison;
  for (const std::string& why : comparison.why_withheld()) print_warning(fmt::format("deletes are withheld: {}", why));
  if (comparison.external_empty()) print_warning("the external listing is empty: nothing is changed");
  if (comparison.external_empty() || !comparison.why_withheld().empty()) return kBlocked;
  return line.exit_code && comparison.counts().changes() > 0 ? kChangesPending : kDone;
}

}  // namespace twinstep::cli
