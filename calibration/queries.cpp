#include "calibration/queries.h"

#include "core/values.h"

namespace yopo {

namespace {

constexpr NamedValue<Queries> kQueries[] = {
    {Queries::Prefill, "prefill"}, {Queries::Text, "text"}, {Queries::Decode, "decode"}};

}  // namespace

Queries parse_queries(std::string_view text, const std::string& where) { return parse_choice(kQueries, text, where); }
std::string_view name_of(Queries queries) { return name_in(kQueries, queries); }

}  // namespace yopo
