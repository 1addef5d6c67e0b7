#pragma once

#include <optional>
#include <string>
#include <vector>

#include "twinstep/json/json.h"
#include "twinstep/obs/trace.h"

namespace twinstep::otlp {

/// Who made the spans.
struct Resource {
  std::string service_name, version, instance;
};

/// The body of POST /v1/traces: ids in hex, 64-bit numbers as text, attributes typed.
/// Source  OTLP 1.0, "JSON Protobuf Encoding"; opentelemetry-proto, trace/v1/trace.proto.
std::string export_request(const Resource& resource, const std::vector<obs::SpanData>& spans);

/// What the collector did not take, of an answer 200.
struct PartialSuccess {
  uint64_t rejected = 0;
  std::string message;  ///< at most 200 bytes, without control characters
};
/// Empty when everything was taken, or the answer is no JSON (a collector may answer protobuf or nothing). Of the
/// collector's words those that `hidden` holds, none of them empty, become "***".
std::optional<PartialSuccess> partial_success(std::string_view body, const std::vector<std::string>& hidden = {});

}  // namespace twinstep::otlp
