// Machines that the CUDA backend cannot use, or that run out of memory: what the user is told.
#include <gtest/gtest.h>

#include "core/error.h"
#include "runtime/cuda/ops.h"
#include "tests/runtime/fixtures.h"
#include "tests/runtime/tested_device.h"
#include "tests/support/cuda_emulator/machine.h"

namespace yopo {
namespace {

using runtime::Engine;

class EmulatedMachine : public ::testing::Test {
 protected:
  void SetUp() override { testing::tested_ops(); }  // opened on the usual machine
  void TearDown() override { shim::configure({}); }
  static std::string complaint() {
    std::string why;
    return runtime::cuda_shim::usable(&why) ? "" : why;
  }
};

void expect_words(const std::string& text, const std::vector<std::string>& words) {
  for (const std::string& word : words)
    EXPECT_NE(text.find(word), std::string::npos) << "'" << word << "' in: " << text;
}

TEST_F(EmulatedMachine, UsualOneIsFine) { EXPECT_EQ(complaint(), ""); }

TEST_F(EmulatedMachine, NoGpu) {
  shim::configure({.device_count = 0});
  expect_words(complaint(), {"no GPU"});
}

TEST_F(EmulatedMachine, NoDriver) {
  shim::configure({.device_count = 0, .driver_version = 0});
  expect_words(complaint(), {"no NVIDIA driver"});
}

TEST_F(EmulatedMachine, OldDriver) {
  shim::configure({.driver_version = 12040});
  expect_words(complaint(), {"driver is too old", "13.0", "12.4"});
}

TEST_F(EmulatedMachine, OldGpu) {
  shim::configure({.major = 7, .minor = 5, .name = "Old GPU"});
  expect_words(complaint(), {"too old", "8.0", "Old GPU", "7.5"});
}

// Out of memory in the middle: a clear message, and what was allocated until then is given back.
TEST_F(EmulatedMachine, OutOfMemoryIsNamedAndGivenBack) {
  const ModelSpec spec = testing::small_spec();
  std::mt19937 random(1);
  const ModelInput input = testing::drawn_input(spec.text, random, 2);
  const Engine engine(spec, dense_plan(spec.text), testing::on_device(), 3);
  { const auto session = engine.prefill({input}, 1); }
  const int64_t before = testing::bytes_in_use();
  shim::configure({.total_bytes = size_t(before) + 20000});
  try {
    engine.prefill({input}, 1);
    FAIL() << "there was room";
  } catch (const UserError& error) {
    expect_words(error.what(), {"out of memory", "free", "--memory"});
  }
  EXPECT_THROW(Engine(spec, dense_plan(spec.text), testing::on_device(), 4), UserError) << "while weights are loaded";
  EXPECT_EQ(testing::bytes_in_use(), before);
  shim::configure({});
  EXPECT_NO_THROW(engine.prefill({input}, 1)) << "the engine lives on";
}

}  // namespace
}  // namespace yopo
