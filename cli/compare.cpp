#include "pipeline/compare.h"

#include "cli/command.h"
#include "cli/output.h"
#include "cli/table.h"

namespace yopo::cli {

namespace {

struct CompareFlags {
  std::string recipe, controls;
  std::vector<std::string> overrides;
  PromptOptions prompts;
  int64_t seeds = CompareOptions().seeds;
};

std::vector<std::string> split(const std::string& text) {
  std::vector<std::string> parts;
  for (size_t first = 0; first < text.size();) {
    const size_t end = std::min(text.find(',', first), text.size());
    if (end > first) parts.push_back(text.substr(first, end - first));
    first = end + 1;
  }
  return parts;
}

std::string percent(const Json& value) {
  return value.is_number() ? fmt::format("{:.1f} %", 100 * value.get<double>()) : "-";
}

std::string table(const Json& json) {
  std::vector<std::vector<std::string>> rows{{"", "visual FLOPs", "KL"}};
  for (const auto& [name, score] : json["dense"]["benchmarks"].items()) {
    rows[0].push_back(name);
    rows[0].push_back("kept");
    rows[0].push_back("95 % interval");
  }
  std::vector<std::string> dense{"dense", percent(1.0), "0"};
  for (const auto& [name, score] : json["dense"]["benchmarks"].items()) {
    dense.push_back(percent(score["score"]));
    dense.insert(dense.end(), {"", ""});
  }
  rows.push_back(std::move(dense));
  std::string notes;
  for (const Json& point : json["points"]) {
    std::string name = point["name"];
    if (point["seed"].is_number()) name += fmt::format(" {}", point["seed"].get<int64_t>());
    std::vector<std::string> row{name, percent(point["visual_flops"]),
                                 point["kl"].is_number() ? fmt::format("{:.3f}", point["kl"].get<double>()) : "-"};
    for (const auto& [benchmark, score] : point["benchmarks"].items()) {
      row.push_back(percent(score["score"]));
      row.push_back(percent(score["kept"]));
      row.push_back(score["interval"].is_array()
                        ? fmt::format("{} to {}", percent(score["interval"][0]), percent(score["interval"][1]))
                        : "-");
    }
    if (point["note"].is_string()) notes += fmt::format("{}: {}\n", name, point["note"].get<std::string>());
    rows.push_back(std::move(row));
  }
  return format_table(rows) + "\n" + notes;
}

}  // namespace

void add_compare(CLI::App& app, Context& context) {
  auto flags = std::make_shared<CompareFlags>();
  CLI::App* command = add_command(app, context, Runs::Model, "compare",
                                  "Evaluate a recipe's plan beside simple ones and token dropping at the same FLOPs",
                                  "yopo compare configs/demo.yaml --set plan.budget=0.12 --set output=out/twelve");
  command->add_option("recipe", flags->recipe, "Recipe file (YAML) with plan.budget")->required();
  command->add_option("--set", flags->overrides, "Override a key of the recipe: a.b=c")->take_all();
  std::string names;
  for (const std::string& name : control_names()) names += (names.empty() ? "" : ",") + name;
  command->add_option("--controls", flags->controls, "Only these, with commas between: " + names);
  command->add_option("--seeds", flags->seeds, "How often what is random is drawn")->capture_default_str();
  add_prompt_flags(command, flags->prompts);
  command->callback([flags, &context] {
    context.resumes = true;
    context.run = [flags, &context] {
      const Recipe recipe = read_recipe(flags->recipe, with_prompts(flags->overrides, flags->prompts));
      const Json json = compare_recipe(recipe, context.settings(), {split(flags->controls), flags->seeds});
      if (context.json)
        print_json(json);
      else
        print(fmt::format("\n{}: {} of the visual FLOPs\n\n{}Everything is in {}\n", escaped(recipe.model.string()),
                          percent(json["budget"]), table(json), escaped((recipe.output / "compare").string())));
      return 0;
    };
  });
}

}  // namespace yopo::cli
