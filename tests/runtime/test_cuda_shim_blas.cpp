// The emulated cuBLASLt against plain products in double precision.
#include <cublasLt.h>
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cmath>
#include <random>

#include "core/dtype.h"
#include "tests/runtime/cuda_shim_fixture.h"
#include "tests/support/close.h"

namespace shim_test {
namespace {

using yopo::testing::close;
using yopo::testing::close_relative;

size_t bytes_of(cudaDataType_t type) { return type == CUDA_R_32F ? 4 : 2; }
yopo::DType dtype(cudaDataType_t type) {
  return type == CUDA_R_32F ? yopo::DType::F32 : type == CUDA_R_16F ? yopo::DType::F16 : yopo::DType::BF16;
}

/// A matrix inside a larger one: `rows` x `columns` elements, lines ld apart, the first `offset` elements in.
struct Part {
  cudaDataType_t type;
  int rows, columns, ld, offset;
  bool by_rows;
  size_t at(int i, int j) const { return size_t(offset) + size_t(by_rows ? i * ld + j : j * ld + i); }
  size_t size() const { return size_t(offset) + size_t(by_rows ? rows : columns) * size_t(ld); }
};
Part part(cudaDataType_t type, int rows, int columns, int slack, int offset, bool by_rows) {
  return {type, rows, columns, (by_rows ? columns : rows) + slack, offset, by_rows};
}

class CudaShimBlas : public CudaShim {
 protected:
  void SetUp() override {
    CudaShim::SetUp();
    ASSERT_EQ(cublasLtCreate(&handle), CUBLAS_STATUS_SUCCESS);
    ASSERT_EQ(cublasLtMatmulDescCreate(&operation, CUBLAS_COMPUTE_32F, CUDA_R_32F), CUBLAS_STATUS_SUCCESS);
    ASSERT_EQ(cublasLtMatmulPreferenceCreate(&preference), CUBLAS_STATUS_SUCCESS);
  }
  void TearDown() override {
    for (const auto layout : layouts_) EXPECT_EQ(cublasLtMatrixLayoutDestroy(layout), CUBLAS_STATUS_SUCCESS);
    EXPECT_EQ(cublasLtMatmulPreferenceDestroy(preference), CUBLAS_STATUS_SUCCESS);
    EXPECT_EQ(cublasLtMatmulDescDestroy(operation), CUBLAS_STATUS_SUCCESS);
    EXPECT_EQ(cublasLtDestroy(handle), CUBLAS_STATUS_SUCCESS);
    CudaShim::TearDown();
  }

  template <typename T>
  void set(cublasLtMatmulDescAttributes_t attribute, T value) {
    ASSERT_EQ(cublasLtMatmulDescSetAttribute(operation, attribute, &value, sizeof value), CUBLAS_STATUS_SUCCESS);
  }
  template <typename T>
  void prefer(cublasLtMatmulPreferenceAttributes_t attribute, T value) {
    ASSERT_EQ(cublasLtMatmulPreferenceSetAttribute(preference, attribute, &value, sizeof value), CUBLAS_STATUS_SUCCESS);
  }
  cublasLtMatrixLayout_t layout(const Part& p) {
    cublasLtMatrixLayout_t made = nullptr;
    EXPECT_EQ(cublasLtMatrixLayoutCreate(&made, p.type, uint64_t(p.rows), uint64_t(p.columns), p.ld),
              CUBLAS_STATUS_SUCCESS);
    const int32_t order = p.by_rows ? CUBLASLT_ORDER_ROW : CUBLASLT_ORDER_COL;
    EXPECT_EQ(cublasLtMatrixLayoutSetAttribute(made, CUBLASLT_MATRIX_LAYOUT_ORDER, &order, sizeof order),
              CUBLAS_STATUS_SUCCESS);
    layouts_.push_back(made);
    return made;
  }
  /// Values that `type` holds exactly.
  std::vector<float> draw(size_t count, cudaDataType_t type) {
    std::vector<float> values(count);
    for (float& value : values) value = normal_(random_);
    std::vector<char> stored(count * bytes_of(type));
    yopo::from_float(values.data(), count, dtype(type), stored.data());
    yopo::to_float(stored.data(), dtype(type), count, values.data());
    return values;
  }
  char* stored(const std::vector<float>& values, cudaDataType_t type) {
    std::vector<char> bytes(values.size() * bytes_of(type));
    yopo::from_float(values.data(), values.size(), dtype(type), bytes.data());
    return uploaded(bytes);
  }
  std::vector<float> floats(const char* data, size_t count, cudaDataType_t type) {
    const std::vector<char> bytes = downloaded(data, count * bytes_of(type));
    std::vector<float> values(count);
    yopo::to_float(bytes.data(), dtype(type), count, values.data());
    return values;
  }
  cublasStatus_t multiply(const Part& a, const void* a_data, const Part& b, const void* b_data, const Part& c,
                          void* c_data, float alpha, float beta) {
    return cublasLtMatmul(handle, operation, &alpha, a_data, layout(a), b_data, layout(b), &beta, c_data, layout(c),
                          c_data, layout(c), nullptr, nullptr, 0, stream);
  }

  /// op(A) [m, k] op(B) [k, n] inside larger matrices, with a bias where the epilogue adds one.
  void check(cudaDataType_t type, cudaDataType_t out_type, int m, int n, int k, unsigned options, float alpha,
             float beta) {
    const bool across_a = options & 1, across_b = options & 2, a_rows = options & 4, b_rows = options & 8,
               c_rows = options & 16;
    const bool with_bias = options & 32;
    SCOPED_TRACE(::testing::Message() << "type " << type << " to " << out_type << ", " << m << " x " << n << " x " << k
                                      << ", options " << options);
    const Part a = part(type, across_a ? k : m, across_a ? m : k, 3, 5, a_rows),
               b = part(type, across_b ? n : k, across_b ? k : n, 0, 2, b_rows);
    const Part c = part(out_type, m, n, 4, 7, c_rows);
    const std::vector<float> a_values = draw(a.size(), type), b_values = draw(b.size(), type),
                             bias = draw(size_t(m), out_type);
    std::vector<float> expected = draw(c.size(), out_type);
    char *a_data = stored(a_values, type), *b_data = stored(b_values, type), *c_data = stored(expected, out_type);
    char* bias_data = stored(bias, out_type);
    set(CUBLASLT_MATMUL_DESC_TRANSA, across_a ? CUBLAS_OP_T : CUBLAS_OP_N);
    set(CUBLASLT_MATMUL_DESC_TRANSB, across_b ? CUBLAS_OP_T : CUBLAS_OP_N);
    set(CUBLASLT_MATMUL_DESC_EPILOGUE, with_bias ? CUBLASLT_EPILOGUE_BIAS : CUBLASLT_EPILOGUE_DEFAULT);
    set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, static_cast<const void*>(bias_data));
    for (int i = 0; i < m; ++i)
      for (int j = 0; j < n; ++j) {
        double sum = 0;
        for (int l = 0; l < k; ++l)
          sum += double(a_values[across_a ? a.at(l, i) : a.at(i, l)]) * b_values[across_b ? b.at(j, l) : b.at(l, j)];
        float& value = expected[c.at(i, j)];
        value = float(alpha * sum + (beta == 0 ? 0 : beta * double(value)) + (with_bias ? double(bias[size_t(i)]) : 0));
      }
    ASSERT_EQ(multiply(a, a_data + 5 * bytes_of(type), b, b_data + 2 * bytes_of(type), c,
                       c_data + 7 * bytes_of(out_type), alpha, beta),
              CUBLAS_STATUS_SUCCESS);
    // One rounding of the output, and fp32 sums of k terms.
    const double rounding = out_type == CUDA_R_32F ? 1e-6 : out_type == CUDA_R_16F ? 1.0 / 2048 : 1.0 / 256;
    EXPECT_TRUE(close_relative(floats(c_data, c.size(), out_type), expected, rounding));
  }

  cublasLtHandle_t handle = nullptr;
  cublasLtMatmulDesc_t operation = nullptr;
  cublasLtMatmulPreference_t preference = nullptr;

 private:
  std::vector<cublasLtMatrixLayout_t> layouts_;
  std::mt19937 random_{11};
  std::normal_distribution<float> normal_;
};

TEST_F(CudaShimBlas, EveryTypeTransposeOrderAndBiasInsideLargerMatrices) {
  const std::pair<cudaDataType_t, cudaDataType_t> types[] = {{CUDA_R_32F, CUDA_R_32F},
                                                             {CUDA_R_16BF, CUDA_R_16BF},
                                                             {CUDA_R_16BF, CUDA_R_32F},
                                                             {CUDA_R_16F, CUDA_R_16F},
                                                             {CUDA_R_16F, CUDA_R_32F}};
  for (const auto& [type, out_type] : types)
    for (unsigned options = 0; options < 64; ++options)
      check(type, out_type, 19, 11, 23, options, options % 3 == 0 ? 1.0f : -0.5f, options % 2 == 0 ? 0.0f : 1.5f);
}

TEST_F(CudaShimBlas, SizesAroundTheBlocksOfTheComputation) {
  for (const int m : {1, 15, 16, 17, 64})
    for (const int n : {1, 5, 6, 7, 30})
      for (const int k : {1, 255, 256, 257, 600}) check(CUDA_R_16BF, CUDA_R_32F, m, n, k, 1 + 32, 1, 1);
}

TEST_F(CudaShimBlas, CIsNotReadWhereBetaIsZero) {
  const Part square = part(CUDA_R_32F, 4, 4, 0, 0, false);
  char *a = stored(std::vector<float>(16, 1), CUDA_R_32F), *c = stored(std::vector<float>(16, NAN), CUDA_R_32F);
  ASSERT_EQ(multiply(square, a, square, a, square, c, 1, 0), CUBLAS_STATUS_SUCCESS);
  EXPECT_TRUE(close(floats(c, 16, CUDA_R_32F), std::vector<float>(16, 4), 0));
}

TEST_F(CudaShimBlas, DescriptionsThatDoNotFit) {
  const Part a = part(CUDA_R_16BF, 4, 8, 0, 0, false), b = part(CUDA_R_16BF, 8, 6, 0, 0, false),
             c = part(CUDA_R_16BF, 4, 6, 0, 0, false);
  char *a_data = device<char>(256), *b_data = device<char>(256), *c_data = device<char>(256);
  const auto status = [&](Part x, Part y, Part z) { return multiply(x, a_data, y, b_data, z, c_data, 1, 0); };
  EXPECT_EQ(status(a, b, c), CUBLAS_STATUS_SUCCESS);
  const auto changed = [](Part p, auto change) {
    change(p);
    return p;
  };
  EXPECT_EQ(status(changed(a, [](Part& p) { p.ld = 3; }), b, c), CUBLAS_STATUS_INVALID_VALUE);
  EXPECT_EQ(status(a, changed(b, [](Part& p) { p.rows = 7; }), c), CUBLAS_STATUS_INVALID_VALUE);
  EXPECT_NE(std::string(cublasLtGetStatusString(CUBLAS_STATUS_INVALID_VALUE)).find("op(A) has 8 columns, op(B) 7 rows"),
            std::string::npos);
  EXPECT_EQ(status(a, b, changed(c, [](Part& p) { p.columns = 5; })), CUBLAS_STATUS_INVALID_VALUE);
  EXPECT_EQ(status(changed(a, [](Part& p) { p.columns = 0; }), b, c), CUBLAS_STATUS_INVALID_VALUE);
  EXPECT_EQ(status(a, changed(b, [](Part& p) { p.type = CUDA_R_16F; }), c), CUBLAS_STATUS_NOT_SUPPORTED);
  EXPECT_EQ(status(a, b, changed(c, [](Part& p) { p.type = CUDA_R_16F; })), CUBLAS_STATUS_NOT_SUPPORTED);
  set(CUBLASLT_MATMUL_DESC_TRANSA, CUBLAS_OP_T);
  EXPECT_EQ(status(a, b, c), CUBLAS_STATUS_INVALID_VALUE);
  set(CUBLASLT_MATMUL_DESC_TRANSA, CUBLAS_OP_N);
  set(CUBLASLT_MATMUL_DESC_POINTER_MODE, CUBLASLT_POINTER_MODE_DEVICE);
  EXPECT_EQ(status(a, b, c), CUBLAS_STATUS_NOT_SUPPORTED);
  set(CUBLASLT_MATMUL_DESC_POINTER_MODE, CUBLASLT_POINTER_MODE_HOST);
  set(CUBLASLT_MATMUL_DESC_EPILOGUE, CUBLASLT_EPILOGUE_GELU);
  EXPECT_EQ(status(a, b, c), CUBLAS_STATUS_NOT_SUPPORTED);
  set(CUBLASLT_MATMUL_DESC_EPILOGUE, CUBLASLT_EPILOGUE_BIAS);
  EXPECT_EQ(status(a, b, c), CUBLAS_STATUS_INVALID_VALUE);  // no bias
  set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, static_cast<const void*>(a_data));
  EXPECT_EQ(status(a, b, c), CUBLAS_STATUS_SUCCESS);
  set(CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, CUDA_R_32F);
  EXPECT_EQ(status(a, b, c), CUBLAS_STATUS_NOT_SUPPORTED);  // fp32 bias, bf16 output
  const int64_t wide = 1;
  EXPECT_EQ(cublasLtMatmulDescSetAttribute(operation, CUBLASLT_MATMUL_DESC_TRANSA, &wide, sizeof wide),
            CUBLAS_STATUS_INVALID_VALUE);
  EXPECT_EQ(cublasLtDestroy(nullptr), CUBLAS_STATUS_INVALID_VALUE);
  shim::configure({.major = 7, .minor = 5});
  set(CUBLASLT_MATMUL_DESC_EPILOGUE, CUBLASLT_EPILOGUE_DEFAULT);
  EXPECT_EQ(status(a, b, c), CUBLAS_STATUS_ARCH_MISMATCH);
}

TEST_F(CudaShimBlas, AnAlgorithmIsForItsProductItsWorkspaceAndItsAlignment) {
  const Part a = part(CUDA_R_16BF, 32, 512, 0, 0, false), b = part(CUDA_R_16BF, 512, 8, 0, 0, false),
             c = part(CUDA_R_32F, 32, 8, 0, 0, false);
  char* a_data = stored(std::vector<float>(32 * 512 + 8, 1), CUDA_R_16BF);
  char* b_data = stored(std::vector<float>(size_t(512) * 8, 0.5f), CUDA_R_16BF);
  char *c_data = device<char>(size_t(32) * 8 * 4), *workspace = uploaded(std::vector<char>(4096, 1));
  const cublasLtMatrixLayout_t a_layout = layout(a), b_layout = layout(b), c_layout = layout(c);
  cublasLtMatmulHeuristicResult_t best;
  int found = 0;
  const auto choose = [&] {
    return cublasLtMatmulAlgoGetHeuristic(handle, operation, a_layout, b_layout, c_layout, c_layout, preference, 1,
                                          &best, &found);
  };
  const auto run = [&](const void* at, size_t workspace_bytes) {
    const float one = 1, zero = 0;
    return cublasLtMatmul(handle, operation, &one, at, a_layout, b_data, b_layout, &zero, c_data, c_layout, c_data,
                          c_layout, &best.algo, workspace, workspace_bytes, stream);
  };
  ASSERT_EQ(choose(), CUBLAS_STATUS_SUCCESS);
  EXPECT_EQ(found, 1);
  EXPECT_EQ(best.workspaceSize, 0u);  // none was allowed
  EXPECT_EQ(run(a_data, 0), CUBLAS_STATUS_SUCCESS);
  EXPECT_EQ(run(a_data + 16, 0), CUBLAS_STATUS_INVALID_VALUE);  // 256 was promised
  prefer(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, uint64_t(4096));
  prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, uint32_t(16));
  ASSERT_EQ(choose(), CUBLAS_STATUS_SUCCESS);
  EXPECT_EQ(best.workspaceSize, 1024u);
  EXPECT_EQ(run(a_data + 16, 1023), CUBLAS_STATUS_INVALID_VALUE);
  EXPECT_EQ(run(a_data + 16, 4096), CUBLAS_STATUS_SUCCESS);
  EXPECT_TRUE(close(floats(c_data, 256, CUDA_R_32F), std::vector<float>(256, 256), 0));
  const std::vector<char> used = downloaded(workspace, 4096);
  EXPECT_EQ(std::count(used.begin(), used.end(), char(1)), 4096 - 1024);  // what it was given is what it wrote
  set(CUBLASLT_MATMUL_DESC_EPILOGUE, CUBLASLT_EPILOGUE_BIAS);
  set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, static_cast<const void*>(c_data));
  EXPECT_EQ(run(a_data + 16, 4096), CUBLAS_STATUS_INVALID_VALUE);  // chosen for a product without a bias
  set(CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, CUDA_R_16BF);
  EXPECT_EQ(choose(), CUBLAS_STATUS_NOT_SUPPORTED);
  EXPECT_EQ(found, 0);
}

TEST_F(CudaShimBlas, MemoryThatIsNotTheDevicesIsNoticed) {
  const Part square = part(CUDA_R_32F, 4, 4, 0, 0, false);
  std::vector<float> host(16, 1);
  char *short_data = device<char>(60), *data = device<char>(64);
  ASSERT_EQ(multiply(square, host.data(), square, data, square, data, 1, 0), CUBLAS_STATUS_SUCCESS);
  EXPECT_NE(thrown().find("A at"), std::string::npos);
  ASSERT_EQ(multiply(square, data, square, short_data, square, data, 1, 0), CUBLAS_STATUS_SUCCESS);
  EXPECT_NE(thrown().find("B of 64 bytes"), std::string::npos);
  ASSERT_EQ(multiply(square, data, square, data, square, data, 1, 0), CUBLAS_STATUS_SUCCESS);
  EXPECT_NE(thrown().find("D overlaps"), std::string::npos);
}

TEST_F(CudaShimBlas, ProductsAreQueuedAndRecorded) {
  const Part square = part(CUDA_R_32F, 2, 2, 0, 0, false);
  char *a = stored({1, 2, 3, 4}, CUDA_R_32F), *b = stored({1, 0, 0, 1}, CUDA_R_32F),
       *c = stored({1, 1, 1, 1}, CUDA_R_32F);
  ASSERT_EQ(cudaStreamSynchronize(stream), cudaSuccess);
  ASSERT_EQ(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), cudaSuccess);
  ASSERT_EQ(multiply(square, a, square, b, square, c, 1, 1), CUBLAS_STATUS_SUCCESS);
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t step = nullptr;
  ASSERT_EQ(cudaStreamEndCapture(stream, &graph), cudaSuccess);
  ASSERT_EQ(cudaGraphInstantiate(&step, graph, 0), cudaSuccess);
  EXPECT_TRUE(close(floats(c, 4, CUDA_R_32F), std::vector<float>{1, 1, 1, 1}, 0));
  for (int i = 0; i < 2; ++i) ASSERT_EQ(cudaGraphLaunch(step, stream), cudaSuccess);
  EXPECT_TRUE(close(floats(c, 4, CUDA_R_32F), std::vector<float>{3, 5, 7, 9}, 0));
  EXPECT_EQ(cudaGraphExecDestroy(step), cudaSuccess);
  EXPECT_EQ(cudaGraphDestroy(graph), cudaSuccess);
}

}  // namespace
}  // namespace shim_test
