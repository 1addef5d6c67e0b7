#pragma once

#include "twinstep/api/api.h"

namespace twinstep::api {

/// What the Azure Functions sample answered, so that scripts written for it go on working: the start of its
/// synchronization, and Durable Functions' instances. An instance is a run, a sweep or a task. Answers as azure.md
/// section 6 has them; a failed one answers 500 as in 1.4.1, unless returnInternalServerErrorOnFailure=false. The
/// parameters taskHub and connection are taken and ignored; code is the gate's. Who came with a key gets addresses that
/// carry a code for their one instance (security::InstanceKeys).
/// Source  Durable Functions HTTP API, 1.4.1 and current (azure.md 6).
void add_durable_functions_routes(Router& router, const ApiDeps& deps);

/// The status document of one instance, without its history.
json::object instance_json(const store::Workflow& workflow, bool show_input);
/// "Pending", "Running", "Completed", "Failed", "Terminated" (a person said so), "Canceled".
std::string_view runtime_status(const store::Workflow& workflow);
/// What Durable Functions calls history: started, each line of ours, ended.
json::array history_events(const store::Workflow& workflow, const std::vector<store::HistoryLine>& lines,
                           bool show_output);
/// Scheme and authority under which the client reached us, without a slash at the end; empty without a Host header.
std::string base_url(const http::ServerRequest& request);

}  // namespace twinstep::api
