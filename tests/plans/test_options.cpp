// The options of a plan from recipes and flags, as text, as JSON and in the documentation: all by one schema.
#include <gtest/gtest.h>

#include <set>

#include "core/error.h"
#include "plans/option_schema.h"
#include "tests/support/temporary.h"

namespace yopo {
namespace {

PlanOptions from_yaml(const std::string& text) { return read_plan_options(parse_yaml(text, "f")); }

PlanOptions from_flags(const std::vector<std::pair<std::string, std::string>>& given) {
  OptionFlags flags("yopo plan");
  for (const auto& [flag, text] : given)
    for (const PlanOption& option : plan_option_schema())
      if (option.flag == flag) flags.give(option, text);
  return read_plan_options(flags.tree(), option_flag);
}

/// Every option given, none at its default, in recipes that together hold them all.
const std::vector<std::string> kRecipes{
    "{window: {size: 5, causal: true}, heads: {keep: 24, scope: model, exempt_layers: 3}, updates: {threshold: 0.25, "
    "vote: 0.5, exempt_layers: 1}, ffn: {keep: 0.5, score: rms, scope: model, multiple: 16}, visual_layers: 0.5, "
    "semantics: llava}",
    "{heads: {threshold: 0.125, vote: 0.75, exempt_layers: 4}, updates: {keep: 0.25, scope: model, exempt_layers: 5}}",
    "{heads: {mask: a b.npy}, updates: {mask: c.npy}, visual_layers: 7}", "{budget: 0.25}"};

/// The scalar under an option's key, "" where there is none.
std::string scalar_of(const YamlNode& plan, const PlanOption& option) {
  const YamlNode* node = option.section().empty() ? &plan : plan.find(option.section());
  node = node ? node->find(option.name()) : nullptr;
  return node ? node->text : "";
}

TEST(Options, EveryOptionIsReadFromRecipesAndFlagsAlike) {
  std::set<std::string> seen;
  for (const std::string& recipe : kRecipes) {
    const YamlNode tree = parse_yaml(recipe, "f");
    std::vector<std::pair<std::string, std::string>> flags;
    for (const PlanOption& option : plan_option_schema())
      if (const std::string text = scalar_of(tree, option); !text.empty()) {
        flags.emplace_back(option.flag, text);
        seen.insert(option.key);
      }
    const PlanOptions options = from_yaml(recipe);
    EXPECT_EQ(plan_options_text(from_flags(flags)), plan_options_text(options));
    // What was given comes back from both ways of writing it.
    const YamlNode written = parse_yaml(plan_options_text(options), "g");
    const Json json = plan_options_json(options);
    for (const PlanOption& option : plan_option_schema()) {
      const std::string given = scalar_of(tree, option);
      if (given.empty()) continue;
      EXPECT_EQ(scalar_of(*written.find("plan"), option), given) << option.key;
      const Json& member = option.section().empty() ? json : json.at(option.section());
      const Json value = member.at(option.name());
      EXPECT_EQ(value.is_string() ? value.get<std::string>() : value.dump(), given) << option.key;
    }
    EXPECT_EQ(plan_options_text(read_plan_options(*written.find("plan"))), plan_options_text(options));
  }
  for (const PlanOption& option : plan_option_schema()) EXPECT_TRUE(seen.contains(option.key)) << option.key;
}

TEST(Options, DefaultsAreWrittenOut) {
  EXPECT_EQ(plan_options_text({}), "plan:\n  window: none\n  semantics: skip\n");
  EXPECT_EQ(
      plan_options_text(from_yaml("{window: {size: 3}, heads: {keep: 1.0}, updates: {threshold: 1}, ffn: {keep: 9}}")),
      "plan:\n  window: {size: 3, causal: false}\n  heads: {keep: 1.0, scope: layer, exempt_layers: 0}\n"
      "  updates: {threshold: 1.0, vote: 0.4, exempt_layers: 2}\n"
      "  ffn: {keep: 9, score: wanda, scope: layer}\n  semantics: skip\n");
  EXPECT_EQ(plan_options_json(from_yaml("{heads: {threshold: 0.5}, updates: {mask: /some/where/m.npy}}")),
            parse_json(R"({"heads": {"threshold": 0.5, "vote": 0.4, "exempt_layers": 2}, "updates": {"mask": "m.npy"},
              "semantics": "skip"})",
                       "t"));
}

TEST(Options, FlagsAreNamedInMessages) {
  EXPECT_FALSE(from_flags({{"--window", "none"}}).window);
  EXPECT_USER_ERROR(from_flags({{"--window", "none"}, {"--window-causal", "true"}}),
                    "yopo plan: --window-causal says nothing where there is no window");
  EXPECT_USER_ERROR(from_flags({{"--window", "4"}}), "yopo plan: --window should be odd");
  EXPECT_USER_ERROR(from_flags({{"--window-causal", "true"}}), "'--window' is missing");
  EXPECT_USER_ERROR(from_flags({{"--vote", "0.5"}}), "exactly one of --heads-keep, --threshold and --head-mask");
  EXPECT_USER_ERROR(from_flags({{"--heads-keep", "1"}, {"--threshold", "1"}}), "exactly one of --heads-keep");
  EXPECT_USER_ERROR(from_flags({{"--heads-keep", "1"}, {"--vote", "0.5"}}),
                    "yopo plan: --vote goes with --threshold; plan.heads is chosen by --heads-keep");
  EXPECT_USER_ERROR(from_flags({{"--updates-mask", "m"}, {"--updates-exempt-layers", "1"}}),
                    "--updates-exempt-layers goes with --updates-keep or --updates-threshold");
  EXPECT_USER_ERROR(from_flags({{"--ffn-score", "rms"}}), "'--ffn-keep' is missing");
  EXPECT_USER_ERROR(from_flags({{"--ffn-keep", "half"}}), "yopo plan: --ffn-keep: expected a count (16) or a fraction");
  EXPECT_USER_ERROR(from_flags({{"--semantics", "lava"}}), "--semantics: expected one of skip, llava, qwen2_vl; found");
}

TEST(Options, NumbersHaveBounds) {
  EXPECT_USER_ERROR(from_yaml("{heads: {threshold: -0.5}}"), "threshold should be a number in [0,");
  EXPECT_USER_ERROR(from_yaml("{updates: {threshold: 1, vote: -0.1}}"), "vote should be a number in [0, 1]");
  EXPECT_USER_ERROR(from_yaml("{heads: {keep: 1, exempt_layers: 100001}}"),
                    "exempt_layers should be an integer in [0,");
  EXPECT_USER_ERROR(from_yaml("{window: {size: 65537}}"), "size should be an integer in [1, 65535]");
  EXPECT_USER_ERROR(from_yaml("{window: \"none\"}"), "plan.window should be a map");
}

TEST(Options, QuotedTextReadsBack) {
  const std::string text = "a\"b\\c\n\x7f\xc3\xa9";
  EXPECT_EQ(yaml_quoted(text), "\"a\\\"b\\\\c\\x0A\\x7F\xc3\xa9\"");
  EXPECT_EQ(yaml_quoted("null"), "\"null\"");
}

TEST(Options, LayersAsCountOrFraction) {
  const auto layers = [](const char* text, int64_t of) {
    return visual_layer_count(from_yaml(fmt::format("{{visual_layers: {}}}", text)), of, "here");
  };
  EXPECT_EQ(visual_layer_count({}, 11, "here"), 11);
  EXPECT_EQ(layers("10", 11), 10);
  EXPECT_EQ(layers("1", 11), 1);
  EXPECT_EQ(layers("1.0", 11), 11);
  EXPECT_EQ(layers("0.5", 32), 16);
  EXPECT_EQ(layers("0.5", 11), 6) << "to the nearest, halves up";
  EXPECT_EQ(layers("0.0", 11), 0);
  EXPECT_USER_ERROR(layers("12", 11), "here: visual_layers: 12 layers are above the 11 that the model has");
}

TEST(Options, PlacesAreOfARecipeOrOfFlags) {
  const OptionPlace recipe = "r.yaml: plan", flags = flag_place("yopo plan", option_flag);
  EXPECT_EQ(recipe.all(), "r.yaml: plan");
  EXPECT_EQ(recipe.of("visual_layers"), "r.yaml: plan: visual_layers");
  EXPECT_EQ(recipe.section("heads").all(), "r.yaml: plan: heads");
  EXPECT_EQ(recipe.section("heads").of("keep"), "r.yaml: plan: heads: keep");
  EXPECT_EQ(flags.of("visual_layers"), "yopo plan: --visual-layers");
  EXPECT_EQ(flags.section("updates").all(), "yopo plan: updates");
  EXPECT_EQ(flags.section("updates").of("exempt_layers"), "yopo plan: --updates-exempt-layers");
  EXPECT_THROW((void)flags.of("no_option"), InternalError);
}

TEST(Options, WhatCannotBeGivenIsNotNamed) {
  OptionFlags flags("yopo headmask");
  for (const PlanOption& option : plan_option_schema())
    if (option.key == "heads.vote") flags.give(option, "0.5");
  const auto without_mask = [](const PlanOption& option) { return option.name() == "mask" ? "" : option.flag; };
  EXPECT_USER_ERROR(read_plan_options(flags.tree(), without_mask), "exactly one of --heads-keep and --threshold");
}

TEST(Options, TheDocumentationHoldsTheTable) {
  const fs::path file = fs::path(YOPO_SOURCE_DIR) / "docs" / "formats.md";
  const std::string text = testing::read_file(file);
  EXPECT_TRUE(with_option_table(text, "formats.md") == text)
      << "docs/formats.md does not show the options as they are: run `yopo options --write docs/formats.md`";
  for (const PlanOption& option : plan_option_schema())
    EXPECT_NE(option_table().find("| `plan." + option.key + "` | `" + option.flag + "` |"), std::string::npos);
  EXPECT_USER_ERROR((void)with_option_table("no such lines\n", "some.md"), "some.md: expected the lines");
}

}  // namespace
}  // namespace yopo
