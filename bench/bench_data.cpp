#include "bench_data.h"

#include <fmt/format.h>

#include <iterator>
#include <numeric>

namespace twinstep::bench {

namespace {

/// Spreads numbers over 64 bits, each to another one (splitmix64).
uint64_t mixed(uint64_t number) {
  number += 0x9E3779B97F4A7C15;
  number = (number ^ (number >> 30)) * 0xBF58476D1CE4E5B9;
  number = (number ^ (number >> 27)) * 0x94D049BB133111EB;
  return number ^ (number >> 31);
}

std::string_view profile_of(uint64_t random) {
  constexpr std::string_view kProfiles[] = {"LORA/GenericA.1.0.3a_ETSI", "LORA/GenericC.1.0.2b_ETSI",
                                            "ADRF/TestRevB.1_RX2_ETSI", "MILS/EM300TH.1.0.3a_Rev_A"};
  return kProfiles[random % std::size(kProfiles)];
}

}  // namespace

BenchData::BenchData(uint64_t devices) : devices_(devices), stride_(devices * 618 / 1000 + 1) {
  while (std::gcd(stride_, devices_) != 1) ++stride_;
  for (uint64_t device = 0; device < devices_; ++device) {
    switch (kind_of(device)) {
      case Kind::kUnchanged:
        ++counts_.unchanged;
        break;
      case Kind::kChanged:
        ++counts_.updates;
        break;
      case Kind::kUnowned:
        ++counts_.adopts;
        break;
      case Kind::kOrphan:
        ++counts_.deletes;
        break;
      case Kind::kForeign:
        ++counts_.foreign;
        break;
    }
  }
  // In the place of each device that only the hub has, the external list has one of its own.
  counts_.creates = counts_.deletes + counts_.foreign;
}

BenchData::Kind BenchData::kind_of(uint64_t device) {
  switch (device % 200) {
    case 7:
    case 107:
      return Kind::kOrphan;
    case 31:
    case 131:
      return Kind::kForeign;
    case 40:
      return Kind::kUnowned;
    case 60:
    case 90:
    case 160:
    case 190:
      return Kind::kChanged;
    default:
      return Kind::kUnchanged;
  }
}

std::string BenchData::export_head() {
  return "Authentication keys are left out of this export because excludeKeysInExport is set.\n";
}

void BenchData::append_hub_line(uint64_t row, std::string& out) const {
  const uint64_t device = row;
  const uint64_t random = mixed(device);
  const Kind kind = kind_of(device);
  fmt::format_to(std::back_inserter(out),
                 R"({{"id":"{0:016X}","eTag":"{1:012x}","status":"enabled","statusReason":null,)"
                 R"("authentication":{{"symmetricKey":{{"primaryKey":null,"secondaryKey":null}},)"
                 R"("x509Thumbprint":{{"primaryThumbprint":null,"secondaryThumbprint":null}},"type":"sas"}},)"
                 R"("twinETag":"AAAAAAAAA{2:02X}=","tags":{{)",
                 random, random >> 16, random & 0xFF);
  if (kind != Kind::kForeign) {
    fmt::format_to(std::back_inserter(out),
                   R"("EUI":"{0:016X}","activationType":"OTAA","deviceProfileId":"{1}",)"
                   R"("applicationEUI":"70B3D57ED00{2:05X}")",
                   random, profile_of(kind == Kind::kChanged ? random + 1 : random), random & 0x3FF);
  } else {
    fmt::format_to(std::back_inserter(out), R"("site":"hall {0}","owner":"building services")", random % 90);
  }
  if (kind != Kind::kForeign && kind != Kind::kUnowned) {
    fmt::format_to(std::back_inserter(out), R"(,"ref":"{0}","twinstep":{{"link":"default"}})", device + 100'000'000);
  }
  fmt::format_to(std::back_inserter(out),
                 R"(}},"properties":{{"desired":{{"interval":{0},"$metadata":{{"$lastUpdated":"2026-03-0{1}T11:22:33.)"
                 R"(1234567Z","$lastUpdatedVersion":2}},"$version":2}},"reported":{{"firmware":"1.{0}",)"
                 R"("$metadata":{{"$lastUpdated":"2026-04-0{1}T01:02:03.7654321Z"}},"$version":{2}}}}},)"
                 R"("capabilities":{{"iotEdge":false}}}})"
                 "\n",
                 random % 600, random % 9 + 1, random % 5000);
}

void BenchData::append_listed(uint64_t row, std::string& out) const {
  const uint64_t place = row * stride_ % devices_;
  const Kind kind = kind_of(place);
  const uint64_t device = kind == Kind::kOrphan || kind == Kind::kForeign ? place + devices_ : place;
  const uint64_t random = mixed(device);
  fmt::format_to(
      std::back_inserter(out),
      R"({{"name":"{0:016X}","ref":"{1}","EUI":"{0:016X}","activationType":"OTAA","deviceProfileId":"{2}",)"
      R"("applicationEUI":"70B3D57ED00{3:05X}","networkAddress":"{4:08X}","healthState":"ACTIVE",)"
      R"("connectivityPlanId":"acme-cs/{5}","routeRefs":["{6}"],"coordinates":[{7:.4f},{8:.4f}],)"
      R"("statistics":{{"lastUplink":"2026-04-0{9}T01:02:03.000Z","meanRssi":-{10}.5,"spreadingFactor":{11}}}}})",
      random, device + 100'000'000, profile_of(random), random & 0x3FF, random >> 32, random % 12, random % 40 + 1000,
      static_cast<double>(random % 1'800'000) / 10'000.0, static_cast<double>(random % 900'000) / 10'000.0,
      random % 9 + 1, random % 60 + 50, random % 6 + 7);
}

}  // namespace twinstep::bench
