// Any text as a recipe, with the lines after a "=== " line as overrides: either a UserError, or a recipe whose resolved
// text parses back to itself.
#include <cstdlib>

#include "core/error.h"
#include "evaluation/benchmarks/benchmark.h"
#include "evaluation/benchmarks/registry.h"
#include "pipeline/recipe.h"

/// In place of the registry, whose readers need libraries of their own: one of each kind that recipes tell apart.
const std::vector<const yopo::Benchmark*>& yopo::benchmarks() {
  static const Benchmark plain{.name = "vqa"}, folder{.name = "mme", .folder_of_questions = true},
      rules{.name = "mmbench", .protocols = {{}, {.name = "lmms"}}, .rules = {"letter", "vlmevalkit", "lmms"}};
  static const std::vector<const Benchmark*> list = {&plain, &folder, &rules};
  return list;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string_view text(reinterpret_cast<const char*>(data), size);
  std::vector<std::string> overrides;
  if (const size_t mark = text.find("\n=== "); mark != std::string_view::npos) {
    std::string_view rest = text.substr(mark + 5);
    text = text.substr(0, mark + 1);
    while (!rest.empty()) {
      const size_t end = std::min(rest.find('\n'), rest.size());
      overrides.emplace_back(rest.substr(0, end));
      rest.remove_prefix(std::min(end + 1, rest.size()));
    }
  }
  try {
    const yopo::Recipe recipe = yopo::parse_recipe(text, "fuzz.yaml", overrides);
    const std::string resolved = recipe.resolved();
    try {
      if (yopo::parse_recipe(resolved, "resolved.yaml").resolved() != resolved) std::abort();
    } catch (const yopo::UserError&) {
      std::abort();  // our own text must parse
    }
  } catch (const yopo::UserError&) {
  }
  return 0;
}
