#include "twinstep/api/openapi.h"

namespace twinstep::api {
namespace {

struct Document {
  const char* name;
  const char* text;
};
constexpr Document kDocuments[] = {
#include "twinstep/api/openapi.inc"
};

}  // namespace

std::string_view openapi_text() { return kDocuments[0].text; }

void add_openapi_routes(Router& router) {
  for (const char* path : {"/openapi.json", "/api/v1/openapi.json"})
    router.add("GET", path, Scope::kRead, [](const http::ServerRequest&, const RouteMatch&) {
      http::ServerResponse out;
      out.headers.push_back({"Content-Type", "application/json; charset=utf-8"});
      out.body = openapi_text();
      return out;
    });
}

}  // namespace twinstep::api
