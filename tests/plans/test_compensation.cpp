#include "plans/compensation.h"

#include <gtest/gtest.h>

#include <limits>

#include "core/error.h"
#include "formats/safetensors.h"
#include "plans/cost.h"
#include "tests/support/temporary.h"

namespace yopo {
namespace {

using testing::TemporaryFolder;

DecoderSpec small_spec() {
  DecoderSpec spec;
  spec.num_hidden_layers = 3;
  spec.num_attention_heads = spec.num_key_value_heads = 2;
  spec.head_dim = 2;
  spec.hidden_size = 4;
  spec.intermediate_size = 6;
  spec.vocab_size = 5;
  return spec;
}

std::shared_ptr<const Compensation> some(int64_t rank, float from) {
  Compensation added;
  added.rank = rank;
  for (int64_t i = 0; i < 4 * rank; ++i) added.down.push_back(from + float(i)), added.up.push_back(-from - float(i));
  for (int64_t i = 0; i < 4; ++i) added.bias.push_back(from * float(i));
  return std::make_shared<const Compensation>(std::move(added));
}

Plan compensated() {
  Plan plan = dense_plan(small_spec());
  set_visual_layers(plan, 2);
  plan.layers[0].compensation = some(2, 0.5f);
  plan.layers[1].compensation = some(0, 0.25f);
  return plan;
}

std::string message_of(const fs::path& file) {
  try {
    read_plan(file);
  } catch (const UserError& error) {
    return error.what();
  }
  return "";
}

TEST(Compensation, ComesBackFromTheFileBesideThePlan) {
  const TemporaryFolder folder;
  const Plan plan = compensated();
  write_plan(folder / "a.plan.json", plan);
  EXPECT_TRUE(fs::exists(folder / "a.plan.safetensors"));
  const Plan read = read_plan(folder / "a.plan.json");
  EXPECT_EQ(read, plan);
  check_plan(read, small_spec(), "test");
  Plan other = plan;
  other.layers[0].compensation = some(2, 0.75f);
  EXPECT_FALSE(other == plan);
  other.layers[0].compensation = nullptr;
  EXPECT_FALSE(other == plan);
  EXPECT_NE(plan_to_json(plan), plan_to_json(other));
}

TEST(Compensation, IsCountedAndNoDenseModel) {
  const DecoderSpec spec = small_spec();
  Plan plan = dense_plan(spec);
  EXPECT_TRUE(is_dense(plan, spec));
  const PromptShape prompt = single_image_shape(2, 3, 5, 4);
  const Cost before = prefill_cost(plan, spec, prompt);
  const double paper = paper_flops(plan, spec, prompt);
  plan.layers[1].compensation = some(3, 1);
  EXPECT_FALSE(is_dense(plan, spec));
  EXPECT_EQ(layer_counts(plan.layers[1], spec).rank, 3);
  EXPECT_EQ(prefill_cost(plan, spec, prompt).ffn - before.ffn, 15 * 2 * 4 * 3) << "15 visual rows, down and up";
  EXPECT_EQ(prefill_cost(plan, spec, prompt).projections, before.projections);
  EXPECT_EQ(paper_flops(plan, spec, prompt) - paper, 2 * 15 * 2 * 4 * 3);
  EXPECT_EQ(kv_bytes(plan, spec, prompt, 1, 4), kv_bytes(dense_plan(spec), spec, prompt, 1, 4));
}

TEST(Compensation, WhatDoesNotFitIsRefused) {
  const DecoderSpec spec = small_spec();
  Plan plan = compensated();
  plan.semantics = Semantics::Llava;
  EXPECT_THROW(check_plan(plan, spec, "test"), UserError);
  plan = compensated();
  plan.layers[2].compensation = some(1, 1);
  EXPECT_THROW(check_plan(plan, spec, "test"), UserError) << "nothing is computed there";
  plan = compensated();
  Compensation narrow = *plan.layers[0].compensation;
  narrow.bias.pop_back();
  plan.layers[0].compensation = std::make_shared<const Compensation>(narrow);
  EXPECT_THROW(check_plan(plan, spec, "test"), UserError);
}

TEST(Compensation, DamagedFilesAreNamed) {
  const TemporaryFolder folder;
  const fs::path file = folder / "plan.json", vectors = folder / "plan.safetensors";
  write_plan(file, compensated());
  const Json json = read_json(file);
  const auto change = [&](auto edit) {
    Json other = json;
    edit(other);
    write_json(file, other);
    const std::string message = message_of(file);
    write_json(file, json);
    return message;
  };
  const auto has = [](const std::string& text, const std::string& part) {
    return text.find(part) != std::string::npos;
  };
  EXPECT_TRUE(has(change([](Json& j) { j["compensation"]["file"] = "../plan.safetensors"; }), "expected a plain name"));
  EXPECT_TRUE(has(change([](Json& j) { j["compensation"]["file"] = "other.safetensors"; }), "other.safetensors"));
  EXPECT_TRUE(has(change([](Json& j) { j["compensation"]["digest"] = "00"; }), "not the vectors"));
  EXPECT_TRUE(has(change([](Json& j) { j["compensation"]["fil"] = "x"; }), "did you mean 'file'"));
  EXPECT_TRUE(has(change([](Json& j) { j.erase("compensation"); }), "no file is named"));
  EXPECT_TRUE(has(change([](Json& j) { j["layers"][0]["compensation"]["rank"] = 3; }), "layers.0.down"));
  EXPECT_TRUE(has(change([](Json& j) { j["layers"][1].erase("compensation"); }), "tensors, but"));
  EXPECT_TRUE(has(change([](Json& j) { j["layers"][0]["compensation"]["rank"] = -1; }), "rank"));

  // Vectors of another plan, of NaN, and none.
  Plan other = compensated();
  other.layers[0].compensation = some(2, 0.75f);
  write_compensation(vectors, other);
  EXPECT_TRUE(has(message_of(file), "not the vectors"));
  Compensation nan = *other.layers[0].compensation;
  nan.up[3] = std::numeric_limits<float>::quiet_NaN();
  other.layers[0].compensation = std::make_shared<const Compensation>(nan);
  write_compensation(vectors, other);
  EXPECT_TRUE(has(message_of(file), "layers.0.up: value 3 is nan"));
  fs::remove(vectors);
  EXPECT_TRUE(has(message_of(file), "plan.safetensors"));
}

}  // namespace
}  // namespace yopo
