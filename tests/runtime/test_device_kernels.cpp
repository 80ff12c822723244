// The timed list of kernels (benchmarks/device_kernels.h) in miniature: every kernel runs on operands that it may have.
#include <gtest/gtest.h>

#include <set>

#include "benchmarks/device_kernels.h"
#include "tests/runtime/tested_device.h"

namespace yopo {
namespace {

TEST(DeviceKernels, AreTimedOneByOne) {
  for (const bench::KernelSizes& sizes : {bench::KernelSizes{"multi-head", 64, 80, 4, 4, 16, 3, 8, 1, 10, 2, 16},
                                          bench::KernelSizes{"grouped", 64, 96, 8, 2, 16, 4, 8, 2, 7, 2, 24}}) {
    std::set<std::string> kernels;
    const Json times = bench::to_json(bench::time_kernels(testing::tested_ops(), DType::F32, sizes, 0));
    for (const Json& time : times) {
      kernels.insert(time["kernel"]);
      EXPECT_EQ(time["model"], sizes.model);
      EXPECT_GT(time["ms"].get<double>(), 0) << time;
      EXPECT_GT(time["gbytes"].get<double>(), 0) << time;
    }
    EXPECT_EQ(kernels, (std::set<std::string>{"product", "prefill_attention", "decode_attention", "full_attention",
                                              "rms_norm", "gated", "rope"}));
  }
  EXPECT_EQ(bench::real_sizes().size(), 4u);
}

}  // namespace
}  // namespace yopo
