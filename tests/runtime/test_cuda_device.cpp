// Machines that the CUDA backend cannot use, or that run out of memory: what the user is told.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <thread>

#include "core/error.h"
#include "runtime/cuda/context.h"
#include "runtime/cuda/launch.h"
#include "runtime/cuda/ops.h"
#include "runtime/machine.h"
#include "tests/runtime/fixtures.h"
#include "tests/runtime/tested_device.h"
#include "tests/support/child.h"
#include "tests/support/close.h"
#include "tests/support/cuda_emulator/machine.h"
#include "tests/support/temporary.h"

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

TEST_F(EmulatedMachine, GpusHaveNumbers) {
  std::string why;
  EXPECT_FALSE(runtime::cuda_shim::usable(&why, 1));
  expect_words(why, {"one GPU", "cuda:0"});
  shim::configure({.device_count = 3});
  EXPECT_TRUE(runtime::cuda_shim::usable(nullptr, 2));
  EXPECT_FALSE(runtime::cuda_shim::usable(&why, 3));
  expect_words(why, {"3 GPUs", "cuda:0 to cuda:2"});
  EXPECT_FALSE(runtime::cuda_shim::usable(&why, -1));
  EXPECT_EQ(&runtime::cuda_shim::cuda_ops(0), &testing::tested_ops());
  EXPECT_USER_ERROR(runtime::cuda_shim::cuda_ops(2), "a process works on one GPU, and this one on cuda:0");
}

void work_on_the_second_gpu() {
  shim::configure({.device_count = 2});
  const runtime::Ops& ops = runtime::cuda_shim::cuda_ops(1);
  EXPECT_EQ(runtime::cuda_shim::device().index, 1);
  EXPECT_USER_ERROR(runtime::cuda_shim::cuda_ops(0), "a process works on one GPU, and this one on cuda:1");
  const ModelSpec spec = testing::small_spec();
  std::mt19937 random(1);
  const ModelInput input = testing::drawn_input(spec.text, random, 1);
  const Engine engine(spec, dense_plan(spec.text), {.dtype = "fp32", .ops = &ops}, 3);
  const std::vector<float> here = engine.logits(*engine.prefill({input}, 0));
  std::vector<float> there;  // to CUDA the device is a thread's own
  std::thread([&] { there = engine.logits(*engine.prefill({input}, 0)); }).join();
  EXPECT_EQ(there, here);
}

// Another GPU than the first is a process's from its beginning on: this test once more, in a program of its own.
TEST(SecondGpu, IsChosen) {
  constexpr const char* own_program = "YOPO_TEST_SECOND_GPU";
  if (std::getenv(own_program)) {
    work_on_the_second_gpu();
    return;
  }
  const testing::Outcome outcome = testing::in_child(false, [] {
    ::setenv(own_program, "1", 1);
    execl("/proc/self/exe", "test", "--gtest_filter=SecondGpu.IsChosen", nullptr);
    return 98;
  });
  EXPECT_TRUE(outcome.exited(0)) << outcome.text;
}

__global__ void broken() { throw InternalError("this one is broken"); }

// YOPO_CUDA_CHECK: without it a failure is found by whoever waits next, and nobody knows whose it is.
TEST_F(EmulatedMachine, AFailedLaunchIsNamed) {
  shim::configure({.failures_as_status = true});
  namespace cuda = runtime::cuda_shim;
  EXPECT_NO_THROW(cuda::launch(broken, dim3(1), dim3(32), 0));
  EXPECT_THROW(testing::tested_ops().synchronize(), InternalError);
  cuda::set_checks_launches(true);
  try {
    cuda::launch(broken, dim3(1), dim3(32), 0);
    ADD_FAILURE() << "nobody noticed";
  } catch (const InternalError& error) {
    expect_words(error.what(), {"a kernel failed, launched by", "TestBody", "test_cuda_device.cpp:", "is broken"});
  }
  cuda::set_checks_launches(false);
}

TEST_F(EmulatedMachine, ChecksLeaveRecordingsAlone) {
  const ModelSpec spec = testing::small_spec();
  std::mt19937 random(1);
  const ModelInput input = testing::drawn_input(spec.text, random, 2);
  const Engine engine(spec, dense_plan(spec.text), testing::on_device(), 3);
  const auto decoded = [&] {
    const auto session = engine.prefill({input}, 4);
    std::vector<std::vector<float>> all{engine.logits(*session)};
    for (int64_t token : {5, 6, 7, 8}) engine.decode(*session, {0}, {token}), all.push_back(engine.logits(*session));
    return all;
  };
  const auto expected = decoded();
  runtime::cuda_shim::set_checks_launches(true);
  EXPECT_EQ(decoded(), expected);
  runtime::cuda_shim::set_checks_launches(false);
}

// Without --memory a GPU's limit is nine tenths of what is free.
class DefaultLimit : public EmulatedMachine {
 protected:
  DefaultLimit() { spec_.text.num_hidden_layers = 6; }
  Engine engine() const { return Engine(spec_, dense_plan(spec_.text), options_, 3); }
  static void leave_free(int64_t bytes) { shim::configure({.total_bytes = size_t(testing::bytes_in_use() + bytes)}); }
  Trace traced(const Engine& engine) const {
    TraceOptions options;
    options.decode = {3, 14, 15};
    return engine.trace(input_, options);
  }

  std::mt19937 random_{31};
  ModelSpec spec_ = testing::small_spec();
  ModelInput input_ = testing::drawn_input(spec_.text, random_, 2);
  runtime::Options options_ = testing::on_device();
};

TEST_F(DefaultLimit, LayersPassThroughWhereWeightsAreMore) {
  options_.pack = false;  // streamed layers are rows: bit for bit the same
  Trace expected;
  int64_t bytes = 0;
  {
    const Engine whole = engine();
    expected = traced(whole);
    bytes = whole.weight_bytes_owned();
  }
  std::vector<int64_t> held;
  for (int64_t free = bytes / 2; held.empty() || held.back() < 6; free += bytes / 16) {
    ASSERT_LT(free, 4 * bytes);
    leave_free(free);
    try {
      const Engine some = engine();
      const Trace trace = traced(some);
      EXPECT_EQ(trace.hidden, expected.hidden);
      EXPECT_EQ(trace.decode_logits, expected.decode_logits);
      held.push_back(some.layers_held());
    } catch (const UserError& error) {
      EXPECT_TRUE(held.empty()) << "more is never too little: " << free << ", " << error.what();
    }
  }
  EXPECT_LT(held.front(), 6);
  EXPECT_TRUE(std::is_sorted(held.begin(), held.end()));
}

// Weights fit, and so are merged; a batch that needs their room gets it, and the rest of the layers pass through.
TEST_F(DefaultLimit, LayersMakeRoomForABatch) {
  const Trace expected = traced(engine());
  const int64_t bytes = engine().weight_bytes_owned();
  bool made_room = false;
  for (int64_t free = bytes; !made_room; free += bytes / 32) {
    ASSERT_LT(free, 3 * bytes) << "weights fit only with everything else";
    leave_free(free);
    try {
      const Engine some = engine();
      const int64_t before = some.layers_held();
      const Trace trace = traced(some);
      EXPECT_TRUE(testing::close(trace.hidden, expected.hidden, 1e-5));
      EXPECT_TRUE(testing::close(trace.decode_logits, expected.decode_logits, 1e-5));
      made_room = before == 6 && some.layers_held() < 6;
    } catch (const UserError& error) {
      expect_words(error.what(), {"memory"});
    }
  }
}

// The clock and the copy that rates are measured with; on the emulator their figures mean nothing.
TEST_F(EmulatedMachine, RatesAreMeasuredOnTheDevice) {
  const runtime::Ops& ops = testing::tested_ops();
  const runtime::MachineRates rates = runtime::measure_machine(DType::F32, ops, {64, size_t(1) << 16});
  EXPECT_GT(rates.flops, 0);
  EXPECT_GT(rates.bytes, 0);
  int runs = 0;
  EXPECT_GE(ops.seconds_of([&] { ++runs; }), 0);
  EXPECT_EQ(runs, 1);
  const std::vector<float> values{1, 2, 3};
  const runtime::Buffer from(ops, sizeof(float) * 3), to(ops, sizeof(float) * 3);
  std::vector<float> found(3);
  ops.upload(from.data(), values.data(), from.bytes());
  ops.copy(to.data(), from.data(), to.bytes());
  ops.download(found.data(), to.data(), to.bytes());
  EXPECT_EQ(found, values);
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
