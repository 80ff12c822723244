// Which checkpoints take a plan.
#include "plans/provenance.h"

#include <gtest/gtest.h>

#include "exporters/export.h"
#include "tests/support/temporary.h"

namespace yopo {
namespace {

const fs::path kDemo = fs::path(YOPO_SOURCE_DIR) / "examples/digitgrid";

TEST(Provenance, PartsOfAnIdentity) {
  const std::string identity = "checkpoint ab; dataset cd; options queries prefill, fp32";
  EXPECT_EQ(identity_part(identity, "checkpoint"), "ab");
  EXPECT_EQ(identity_part(identity, "dataset"), "cd");
  EXPECT_EQ(identity_part(identity, "options"), "queries prefill, fp32");
  EXPECT_EQ(identity_part(identity, "check"), "");
  EXPECT_EQ(identity_part("", "checkpoint"), "");
}

TEST(Provenance, ACheckpointTakesPlansOfItsOwn) {
  const testing::TemporaryFolder folder;
  const OpenModel original = open_model(kDemo / "model");
  const DecoderSpec& spec = original.spec.text;
  Plan plan = dense_plan(spec);
  plan.layers[2].neurons = Neurons{1, 5};
  export_checkpoint(original, plan, folder / "pruned", {});
  const OpenModel pruned = open_model(folder / "pruned");
  const auto check = [&](const OpenModel& model) { check_made_for(plan, model.checkpoint, spec, "p.json"); };
  const auto made_on = [&](const std::string& fingerprint) {
    plan.provenance["statistics"] = "checkpoint " + fingerprint + "; dataset d; options o";
  };
  EXPECT_NO_THROW(check(original)) << "a plan that does not say where it is from";
  EXPECT_USER_ERROR(check(pruned), "reordered");
  made_on(original.checkpoint.fingerprint());
  EXPECT_EQ(checkpoint_of(plan), original.checkpoint.fingerprint());
  EXPECT_NO_THROW(check(original));
  EXPECT_USER_ERROR(check(pruned), "reordered");
  made_on(pruned.checkpoint.fingerprint());
  EXPECT_NO_THROW(check(pruned));
  EXPECT_USER_ERROR(check(original), "another checkpoint");

  // Windows, depth, and all or none of a layer's heads and neurons mean the same in every order.
  made_on("elsewhere");
  const auto ordered = [&](const auto& change) {
    plan.layers = dense_plan(spec).layers;
    set_window(plan, Window{3, true});
    set_visual_layers(plan, 9);
    plan.layers[1].updates.assign(size_t(spec.num_attention_heads), 0);
    plan.layers[3].neurons = Neurons();
    EXPECT_NO_THROW(check(pruned));
    change(plan.layers[4]);
    EXPECT_USER_ERROR(check(pruned), "reordered");
    EXPECT_USER_ERROR(check(original), "another checkpoint");
  };
  ordered([](LayerPlan& layer) { layer.heads[1] = layer.updates[1] = 0; });
  ordered([](LayerPlan& layer) { layer.updates[7] = 0; });
  ordered([](LayerPlan& layer) { layer.neurons = Neurons{0}; });
}

}  // namespace
}  // namespace yopo
